//! What keeps a message from being stored twice: the `client_msg_id`s of a room.
//!
//! Built from the log's events alone, so it survives every change of owner. Ids are remembered for the
//! window and twice the allowance for wrong clocks, by the time of events. A dated id (ULID, `UUIDv7`) is
//! refused as stale when it is older than the window and the allowance: since its message was stored at
//! most one allowance before its date, it is still remembered then, so there is no time at which a repeat
//! is neither remembered nor stale.

use std::{
    collections::VecDeque,
    hash::{BuildHasher as _, RandomState},
};

use hashbrown::{HashTable, hash_table::Entry};
use rookery_protocol::id::{MessageId, UserId, parse_ulid, ulid_millis};
use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128_with_seed};

use super::{Limits, RowError};

/// A message that was posted under a `client_msg_id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Post {
    /// Of user and `client_msg_id`.
    key: u128,
    /// Hash of what was said.
    pub(super) content: u64,
    pub(super) id: MessageId,
    pub(super) seq: u64,
    pub(super) ts: i64,
}

/// Bytes of a post in a snapshot.
const POST_BYTES: usize = 16 + 8 + 16 + 8 + 8;

/// The posts of the window, oldest first, and where each is.
#[derive(Debug, Clone, Default)]
pub(super) struct Dedupe {
    posts: VecDeque<Post>,
    /// How many posts were dropped from the front: `index` counts those too.
    dropped: u64,
    /// By a post's key, where it is: of one key the newest. Its keys are those of `posts`, and an owner that takes a room over makes it anew
    /// from them, so it holds nothing else and is made in one go.
    index: HashTable<u64>,
    /// Secret, because clients choose what is hashed. The order of the table is never looked at.
    hasher: RandomState,
}

fn post_at(posts: &VecDeque<Post>, at: u64) -> Option<&Post> {
    posts.get(usize::try_from(at).ok()?)
}

/// The user is part of the key, so that nobody can make another's id collide.
fn key(user: UserId, client_msg_id: &str) -> u128 {
    xxh3_128_with_seed(client_msg_id.as_bytes(), xxh3_64_with_seed(&user.to_bytes(), 0))
}

/// What a message says, for telling a repeat from another message under the same id.
pub(super) fn content(text: &str, reply_to: Option<u64>) -> u64 {
    xxh3_64_with_seed(text.as_bytes(), reply_to.unwrap_or(0))
}

/// When a `client_msg_id` was made, if it says so: Unix milliseconds.
pub(super) fn dated(client_msg_id: &str) -> Option<i64> {
    if let Ok(ulid) = parse_ulid(client_msg_id) {
        return i64::try_from(ulid_millis(ulid)).ok();
    }
    uuid_v7_millis(client_msg_id)
}

/// The time in a `UUIDv7` in its hyphenated form (RFC 9562, section 5.7).
fn uuid_v7_millis(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    let hyphens = [8, 13, 18, 23];
    let well_formed = bytes.len() == 36
        && bytes
            .iter()
            .enumerate()
            .all(|(at, byte)| if hyphens.contains(&at) { *byte == b'-' } else { byte.is_ascii_hexdigit() });
    let version_and_variant = well_formed && bytes[14] == b'7' && b"89abAB".contains(&bytes[19]);
    if !version_and_variant {
        return None;
    }
    let high = i64::from_str_radix(text.get(..8)?, 16).ok()?;
    let low = i64::from_str_radix(text.get(9..13)?, 16).ok()?;
    Some(high << 16 | low)
}

impl Limits {
    /// How long ids are remembered.
    fn retention(&self) -> i64 {
        self.dedupe_window_ms.saturating_add(self.clock_skew_ms.saturating_mul(2))
    }

    fn dedupes(&self) -> bool {
        self.dedupe_window_ms > 0
    }

    /// Whether an id is too old to be taken, if it is not remembered.
    pub(super) fn stale(&self, client_msg_id: &str, now: i64) -> bool {
        let oldest = now.saturating_sub(self.dedupe_window_ms).saturating_sub(self.clock_skew_ms);
        self.dedupes() && dated(client_msg_id).is_some_and(|at| at < oldest)
    }
}

impl Dedupe {
    pub(super) fn len(&self) -> usize {
        self.posts.len()
    }

    pub(super) fn find(&self, user: UserId, client_msg_id: &str) -> Option<&Post> {
        let key = key(user, client_msg_id);
        let post = |at: u64| post_at(&self.posts, at - self.dropped);
        let at =
            self.index.find(self.hasher.hash_one(key), |at| post(*at).is_some_and(|post| post.key == key));
        post(*at?)
    }

    /// Whether one more can be remembered at `ts` without forgetting one too early.
    pub(super) fn has_room(&self, ts: i64, limits: &Limits) -> bool {
        !limits.dedupes()
            || self.posts.len() < limits.dedupe_entries
            || self.posts.front().is_none_or(|oldest| oldest.ts < ts.saturating_sub(limits.retention()))
    }

    pub(super) fn remember(
        &mut self,
        (user, client_msg_id): (UserId, &str),
        (content, id): (u64, MessageId),
        (seq, ts): (u64, i64),
        limits: &Limits,
    ) {
        if limits.dedupes() {
            self.forget_before(ts.saturating_sub(limits.retention()));
            self.push(Post { key: key(user, client_msg_id), content, id, seq, ts });
        }
    }

    fn push(&mut self, post: Post) {
        let at = self.dropped + self.posts.len() as u64;
        let Self { posts, dropped, index, hasher } = self;
        let key = |at: u64| post_at(posts, at - *dropped).map(|post| post.key);
        // All that are in the table are among the posts: `None` is no key of theirs.
        let entry = index.entry(
            hasher.hash_one(post.key),
            |at| key(*at) == Some(post.key),
            |at| key(*at).map_or(0, |key| hasher.hash_one(key)),
        );
        match entry {
            Entry::Occupied(mut newest) => *newest.get_mut() = at,
            Entry::Vacant(place) => drop(place.insert(at)),
        }
        self.posts.push_back(post);
    }

    fn forget_before(&mut self, ts: i64) {
        while let Some(oldest) = self.posts.front().filter(|oldest| oldest.ts < ts) {
            // A key that was used again belongs to the newer post.
            if let Ok(entry) =
                self.index.find_entry(self.hasher.hash_one(oldest.key), |at| *at == self.dropped)
            {
                entry.remove();
            }
            self.posts.pop_front();
            self.dropped += 1;
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.posts.len() * POST_BYTES);
        for post in &self.posts {
            out.extend_from_slice(&post.key.to_be_bytes());
            out.extend_from_slice(&post.content.to_be_bytes());
            out.extend_from_slice(&post.id.to_bytes());
            out.extend_from_slice(&post.seq.to_be_bytes());
            out.extend_from_slice(&post.ts.to_be_bytes());
        }
        out
    }

    pub(super) fn decode(mut bytes: &[u8]) -> Result<Self, RowError> {
        use bytes::Buf as _;
        if !bytes.len().is_multiple_of(POST_BYTES) {
            return Err(RowError("posts of a wrong length"));
        }
        let mut dedupe = Self::default();
        let count = bytes.len() / POST_BYTES;
        dedupe.posts.reserve(count);
        // The table is empty: nothing is hashed again.
        dedupe.index.reserve(count, |_| 0);
        while bytes.has_remaining() {
            dedupe.push(Post {
                key: bytes.get_u128(),
                content: bytes.get_u64(),
                id: MessageId(bytes.get_u128()),
                seq: bytes.get_u64(),
                ts: bytes.get_i64(),
            });
        }
        Ok(dedupe)
    }

    /// The same posts; how many came before them does not matter.
    pub(super) fn same(&self, other: &Self) -> bool {
        self.posts == other.posts && self.index.len() == other.index.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_dates_of_ids() {
        assert_eq!(dated("01ARZ3NDEKTSV4RRFFQ69G5FAV"), Some(1_469_922_850_259));
        // RFC 9562, appendix A.6: made 2022-02-22 14:22:22.00 GMT-05:00.
        assert_eq!(dated("017F22E2-79B0-7CC3-98C4-DC0C0C07398F"), Some(1_645_557_742_000));
        for other in ["", "hello", "017F22E2-79B0-4CC3-98C4-DC0C0C07398F", "017F22E279B07CC398C4DC0C0C07398F"]
        {
            assert_eq!(dated(other), None, "{other}");
        }
    }

    #[test]
    fn no_repeat_is_neither_remembered_nor_stale() {
        let limits = Limits { dedupe_window_ms: 1_000, clock_skew_ms: 100, ..Limits::default() };
        let user = UserId(1);
        for made in [5_000i64, 5_100, 4_900] {
            // Stored at 5,000, made with a clock that is right, ahead, behind.
            let id = MessageId::from_parts(made.unsigned_abs(), 7).to_string();
            let mut dedupe = Dedupe::default();
            dedupe.remember((user, &id), (1, MessageId(1)), (1, 5_000), &limits);
            for now in 5_000..8_000 {
                dedupe.forget_before(now - limits.retention());
                let remembered = dedupe.find(user, &id).is_some();
                assert!(remembered || limits.stale(&id, now), "made {made}, now {now}");
            }
            assert!(dedupe.find(user, &id).is_none());
        }
    }

    #[test]
    fn forgets_nothing_early() {
        let limits = Limits { dedupe_entries: 2, ..Limits::default() };
        let mut dedupe = Dedupe::default();
        dedupe.remember((UserId(1), "a"), (1, MessageId(1)), (1, 10), &limits);
        assert!(dedupe.has_room(11, &limits));
        dedupe.remember((UserId(1), "b"), (1, MessageId(2)), (2, 11), &limits);
        assert!(!dedupe.has_room(12, &limits));
        assert!(dedupe.has_room(12 + limits.retention(), &limits));
        assert_eq!(dedupe.find(UserId(1), "a").map(|p| p.seq), Some(1));
        assert!(dedupe.find(UserId(2), "a").is_none());
    }
}
