//! redb: a copy-on-write B-tree.

use std::{hint::black_box, path::Path};

use redb::{Database, ReadableDatabase as _, TableDefinition};

use crate::engine::{Engine, Record, key};

const RECORDS: TableDefinition<'_, [u8; 24], &[u8]> = TableDefinition::new("records");

pub struct RedbEngine {
    db: Database,
}

impl RedbEngine {
    pub fn open(dir: &Path) -> Self {
        Self { db: Database::builder().set_cache_size(128 << 20).create(dir.join("db")).expect("open") }
    }
}

impl Engine for RedbEngine {
    fn append(&mut self, records: &[Record]) {
        let write = self.db.begin_write().expect("begin");
        {
            let mut table = write.open_table(RECORDS).expect("table");
            for record in records {
                table.insert(&record.key(), record.body.as_slice()).expect("insert");
            }
        }
        write.commit().expect("commit");
    }

    fn last(&self, room: u64, count: usize) -> usize {
        let read = self.db.begin_read().expect("begin");
        let table = read.open_table(RECORDS).expect("table");
        table
            .range(key(room, 0)..=key(room, u64::MAX))
            .expect("range")
            .rev()
            .take(count)
            .map(|item| black_box(item.expect("read").1.value().to_vec()))
            .count()
    }
}
