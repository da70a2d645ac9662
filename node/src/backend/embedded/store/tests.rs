//! The store against real files.

use std::sync::Arc;

use bytes::Bytes;
use prometheus_client::registry::Registry;
use rookery_protocol::id::RoomId;

use super::{Store, commit::Commit};
use crate::backend::{
    Append, Appended, Expect, LogSeq, Read, RoomLog as _, Row, Rows as _, Table, Written,
    embedded::{StoreMetrics, StoreSettings},
};

mod conditions;
mod crash;
mod disk;
mod grouping;
mod model;
mod speed;
mod tables;
mod torn;

/// A store in a directory of its own.
struct Bench {
    dir: tempfile::TempDir,
    metrics: StoreMetrics,
}

impl Bench {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap(), metrics: StoreMetrics::register(&mut Registry::default()) }
    }

    fn open(&self) -> Arc<Store> {
        Store::open(self.dir.path(), &StoreSettings::default(), self.metrics.clone()).unwrap()
    }

    fn open_with(&self, commit: Arc<dyn Commit>) -> Arc<Store> {
        Store::open_with(
            self.dir.path(),
            &StoreSettings::default(),
            self.metrics.clone(),
            commit,
            Arc::default(),
        )
        .unwrap()
    }
}

fn record(room: u128, expected: u64, seqs: std::ops::RangeInclusive<u64>, text: &str) -> Append {
    Append {
        room: RoomId(room),
        expected: LogSeq(expected),
        first_seq: *seqs.start(),
        last_seq: *seqs.end(),
        record: Bytes::copy_from_slice(text.as_bytes()),
        rows: vec![],
    }
}

fn row(table: Table, key: &str, value: Option<&str>) -> Row {
    let bytes = |text: &str| Bytes::copy_from_slice(text.as_bytes());
    Row { table, key: bytes(key), value: value.map(bytes) }
}

async fn stored(store: &Store, append: Append) -> u64 {
    match store.append(append).await {
        Appended::Committed(at) => at.0,
        other => panic!("{other:?}"),
    }
}
