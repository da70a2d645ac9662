//! When what is in memory goes to the disk's tables.
//!
//! The engine asks its worker to see to a full memory table with each batch until that has happened, by a queue of 1,000. When the
//! worker has other things to do for that long, or little of the processor, the queue fills; and the worker, which puts the next step into the
//! same queue, waits for itself for ever, and so does the next writer (<https://github.com/fjall-rs/fjall/pull/323>,
//! `worker_pool` of 3.1). So each table is sealed here, once, and by the thread that writes.
//!
//! When a table is sealed, the engine lets go of the one before, whose entries are on disk by then: a hundred thousand pieces of memory
//! and more, each given back apart, in tens of milliseconds in which nothing would be stored. So it is not the last to have it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering::Relaxed},
};

use fjall::{AbstractTree, Keyspace, KeyspaceCreateOptions, OwnedWriteBatch, Slice};
use parking_lot::Mutex;

use super::background;

/// A keyspace, and how much of it is in its memory table.
pub(super) struct MemoryTable {
    keyspace: Keyspace,
    limit: u64,
    /// Bytes of keys and values, and what the engine counts for each.
    filled: AtomicU64,
    sealed: Sealed,
}

/// What an entry takes besides its key and value, as the engine counts it, about.
const ENTRY: u64 = 64;

impl MemoryTable {
    /// To make the keyspace with: the engine seals no table by itself before ours are sealed.
    pub(super) fn options(limit: u64) -> KeyspaceCreateOptions {
        KeyspaceCreateOptions::default().max_memtable_size(2 * limit)
    }

    pub(super) fn new(keyspace: Keyspace, limit: u64, filled: u64) -> Self {
        Self { keyspace, limit, filled: filled.into(), sealed: Sealed::default() }
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
            // Both are not in the engine's documentation: they are what its worker does when asked.
            let full = self.keyspace.tree.active_memtable();
            self.keyspace.rotate_memtable()?;
            self.sealed.keep(full);
        }
        Ok(())
    }
}

/// Sealed tables that the engine, or who reads, may still have.
#[derive(Default)]
struct Sealed(Mutex<Vec<Arc<dyn Send + Sync>>>);

impl Sealed {
    /// Keeps one that was just sealed, and has those freed which nobody else has any more.
    fn keep(&self, table: Arc<dyn Send + Sync>) {
        let mut kept = self.0.lock();
        kept.push(table);
        let unused: Vec<_> = kept.extract_if(.., |table| Arc::strong_count(table) == 1).collect();
        if !unused.is_empty() {
            background::later("store-free", move || drop(unused));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::mpsc, thread, time::Duration};

    use super::*;

    /// Says which thread has dropped it.
    struct Table(mpsc::Sender<Option<String>>);

    impl Drop for Table {
        fn drop(&mut self) {
            let _ = self.0.send(thread::current().name().map(str::to_owned));
        }
    }

    #[test]
    fn a_table_is_freed_in_the_background_once_nobody_else_has_it() {
        let (dropped, told) = mpsc::channel();
        let sealed = Sealed::default();
        let of_the_engine = Arc::new(Table(dropped.clone()));
        sealed.keep(of_the_engine.clone());
        drop(of_the_engine);
        assert!(told.try_recv().is_err(), "the engine was the last to have it");
        let next = Arc::new(Table(dropped));
        sealed.keep(next.clone());
        assert_eq!(told.recv_timeout(Duration::from_secs(60)).unwrap().as_deref(), Some("store-free"));
        assert!(told.try_recv().is_err(), "the engine has the next one");
    }
}
