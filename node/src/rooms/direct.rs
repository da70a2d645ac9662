//! Which room two users talk in directly.

use rookery_protocol::id::{RoomId, UserId, ulid_millis};
use sha2::{Digest, Sha256};

/// The direct room of two users: the same whoever asks, so that two who write to each other at once meet.
///
/// Its random part is SHA-256 of both ids, its time that of the later account, so that it sorts like other ids.
pub(super) fn room_of(one: UserId, other: UserId) -> RoomId {
    let (low, high) = (one.min(other), one.max(other));
    let mut hash = Sha256::new_with_prefix("rookery direct room");
    hash.update(low.to_bytes());
    hash.update(high.to_bytes());
    let hash = hash.finalize();
    let random = hash.iter().take(16).fold(0u128, |all, &byte| all << 8 | u128::from(byte));
    RoomId::from_parts(ulid_millis(high.0), random)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_same_for_both_and_other_for_others() {
        let [a, b, c] = [1u64, 5, 9].map(|at| UserId::from_parts(at, 7));
        assert_eq!(room_of(a, b), room_of(b, a));
        assert_ne!(room_of(a, b), room_of(a, c));
        assert_eq!(ulid_millis(room_of(b, a).0), 5);
    }
}
