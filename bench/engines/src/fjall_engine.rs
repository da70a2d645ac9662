//! fjall: a log-structured merge tree with a journal.

use std::{hint::black_box, path::Path};

use fjall::{Database, Keyspace, KeyspaceCreateOptions, KvSeparationOptions, PersistMode};

use crate::engine::{Engine, Record, key};

pub struct FjallEngine {
    db: Database,
    records: Keyspace,
}

impl FjallEngine {
    pub fn open(dir: &Path, apart: bool) -> Self {
        let db = Database::builder(dir)
            .manual_journal_persist(true)
            .max_journaling_size(128 << 20)
            .worker_threads(1)
            .open()
            .expect("open");
        let separation = apart.then(|| KvSeparationOptions::default().separation_threshold(128));
        let records = db
            .keyspace("records", || {
                KeyspaceCreateOptions::default().max_memtable_size(32 << 20).with_kv_separation(separation)
            })
            .expect("keyspace");
        Self { db, records }
    }
}

impl Engine for FjallEngine {
    fn append(&mut self, records: &[Record]) {
        let mut batch = self.db.batch().durability(Some(PersistMode::SyncData));
        for record in records {
            batch.insert(&self.records, record.key(), record.body.as_slice());
        }
        batch.commit().expect("commit");
    }

    fn last(&self, room: u64, count: usize) -> usize {
        self.records
            .range(key(room, 0)..=key(room, u64::MAX))
            .rev()
            .take(count)
            .map(|item| black_box(item.into_inner().expect("read").1))
            .count()
    }
}
