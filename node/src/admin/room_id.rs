//! Which room a declaration is about.

use rookery_protocol::id::RoomId;
use sha2::{Digest, Sha256};

/// The nth room that is declared under a name: the first one is 0, and there is another one when that was removed.
///
/// Its random part is SHA-256 of the names, so that whoever declares it again, from a backup too, finds it again; its time
/// is 0, so that declared rooms come first in lists.
pub(super) fn room_of(cluster: &str, namespace: &str, name: &str, nth: u32) -> RoomId {
    let mut hash = Sha256::new_with_prefix("rookery declared room");
    for part in [cluster, namespace, name] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part);
    }
    hash.update(nth.to_be_bytes());
    let hash = hash.finalize();
    let random = hash.iter().take(16).fold(0u128, |all, &byte| all << 8 | u128::from(byte));
    RoomId::from_parts(0, random)
}

/// No name has more rooms, one after the other.
const MOST: u32 = 1 << 20;

/// Looks for the first room of a name that was not removed, in a few steps: all before it were.
#[derive(Debug)]
pub(super) struct Search {
    /// All before this one were removed.
    low: u32,
    /// So far the next one is looked at, while none is known that was not.
    step: u32,
    /// The first one that is known not to have been.
    high: Option<u32>,
}

impl Search {
    pub(super) fn new() -> Self {
        Self { low: 0, step: 1, high: None }
    }

    /// Which one to look at; `Err`: there is nothing left to look at, and this is it, if there is one at all.
    pub(super) fn next(&self) -> Result<u32, Option<u32>> {
        match self.high {
            Some(high) if high == self.low => Err(Some(high)),
            Some(high) => Ok(self.low + (high - self.low) / 2),
            None if self.low >= MOST => Err(None),
            None => Ok(self.low + self.step - 1),
        }
    }

    /// Whether the one that was looked at was removed.
    pub(super) fn found(&mut self, nth: u32, removed: bool) {
        if removed {
            self.low = nth + 1;
            self.step *= 2;
        } else {
            self.high = Some(nth);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn is_the_same_for_ever_and_other_for_others() {
        let room = room_of("tea", "team-a", "general", 0);
        assert_eq!(room.to_string(), "0000000000E1JVZDPEAZA3GP5R");
        let others = [
            room_of("tea", "team-a", "general", 1),
            room_of("tea", "team-b", "general", 0),
            room_of("tea", "team-a", "generals", 0),
            room_of("teat", "eam-a", "general", 0),
        ];
        assert!(others.iter().all(|other| *other != room));
    }

    #[test]
    fn the_first_that_was_not_removed_is_found_in_a_few_steps() {
        let look = |left: u32| {
            let (mut search, mut looks) = (Search::new(), 0);
            loop {
                match search.next() {
                    Ok(nth) => search.found(nth, nth < left),
                    Err(found) => return (found, looks),
                }
                looks += 1;
            }
        };
        assert_eq!(look(0), (Some(0), 1));
        assert_eq!(look(1), (Some(1), 3));
        for left in (0..200).chain([1000, 4097, 100_000]) {
            let (found, looks) = look(left);
            assert!(found == Some(left) && looks <= 2 * (32 - left.leading_zeros()) + 2, "{left}: {looks}");
        }
        assert_eq!(look(u32::MAX).0, None);
    }
}
