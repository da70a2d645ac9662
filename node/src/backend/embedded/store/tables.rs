//! When what is in memory goes to the disk's tables.
//!
//! The engine asks its worker to see to a full memory table with each batch until that has happened, by a queue of 1,000. When the
//! worker has other things to do for that long, or little of the processor, the queue fills; and the worker, which puts the next step into the
//! same queue, waits for itself for ever, and so does the next writer (<https://github.com/fjall-rs/fjall/pull/323>,
//! `worker_pool` of 3.1). So each table is sealed here, once, and by the thread that writes.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use fjall::{Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, Slice};

/// A keyspace, and how much of it is in its memory table.
pub(super) struct MemoryTable {
    keyspace: Keyspace,
    limit: u64,
    /// Bytes of keys and values, and what the engine counts for each.
    filled: AtomicU64,
}

/// What an entry takes besides its key and value, as the engine counts it, about.
const ENTRY: u64 = 64;

impl MemoryTable {
    /// To make the keyspace with: the engine seals no table by itself before ours are sealed.
    pub(super) fn options(limit: u64) -> KeyspaceCreateOptions {
        KeyspaceCreateOptions::default().max_memtable_size(2 * limit)
    }

    pub(super) fn new(keyspace: Keyspace, limit: u64, filled: u64) -> Self {
        Self { keyspace, limit, filled: filled.into() }
    }

    /// To read.
    pub(super) const fn keyspace(&self) -> &Keyspace {
        &self.keyspace
    }

    pub(super) fn insert(&self, batch: &mut OwnedWriteBatch, key: Slice, value: Slice) {
        self.count(key.len() + value.len());
        batch.insert(&self.keyspace, key, value);
    }

    pub(super) fn remove(&self, batch: &mut OwnedWriteBatch, key: Slice) {
        self.count(key.len());
        batch.remove(&self.keyspace, key);
    }

    fn count(&self, bytes: usize) {
        self.filled.fetch_add(bytes as u64 + ENTRY, Relaxed);
    }

    /// After the commit, by the thread that did it.
    pub(super) fn seal_if_full(&self) -> fjall::Result<()> {
        if self.filled.load(Relaxed) >= self.limit {
            self.filled.store(0, Relaxed);
            // Not in the engine's documentation; it is what its worker does when asked.
            self.keyspace.rotate_memtable()?;
        }
        Ok(())
    }
}
