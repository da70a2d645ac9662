//! The newest record of each room in use, in bounded memory.

use quick_cache::{Weighter, sync::Cache};
use rookery_protocol::id::RoomId;

use super::engine::Tail;

#[derive(Clone)]
struct Bytes;

impl Weighter<RoomId, Tail> for Bytes {
    fn weight(&self, _: &RoomId, tail: &Tail) -> u64 {
        // What the cache, the reference count and the allocator need besides, about.
        tail.record.len() as u64 + 160
    }
}

/// Only the committer puts tails in, after they are durable: what is found is the newest committed one.
/// What is not found may have been dropped for room: the engine knows it.
pub(super) struct Tails(Cache<RoomId, Tail, Bytes>);

impl Tails {
    pub(super) fn new(bytes: u64) -> Self {
        let items = usize::try_from(bytes / 512).unwrap_or(usize::MAX);
        Self(Cache::with_weighter(items, bytes, Bytes))
    }

    pub(super) fn get(&self, room: RoomId) -> Option<Tail> {
        self.0.get(&room)
    }

    pub(super) fn put(&self, room: RoomId, tail: Tail) {
        self.0.insert(room, tail);
    }
}
