//! Disks that fail, directories that are taken.

use std::{
    io,
    sync::atomic::{AtomicUsize, Ordering},
};

use super::*;
use crate::backend::embedded::store::{FjallCommit, OpenError};

/// Fails at the commit of this number (from 1), after writing it or before; goes on as if nothing had been.
struct Failing {
    at: usize,
    written: bool,
    commits: AtomicUsize,
}

impl Commit for Failing {
    fn commit(&self, batch: fjall::OwnedWriteBatch) -> fjall::Result<()> {
        if self.commits.fetch_add(1, Ordering::SeqCst) + 1 != self.at {
            return FjallCommit.commit(batch);
        }
        if self.written {
            FjallCommit.commit(batch)?;
        }
        Err(io::Error::from(io::ErrorKind::StorageFull).into())
    }
}

#[test]
fn the_directory_is_for_its_owner_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let parent = tempfile::tempdir().unwrap();
    let dir = parent.path().join("below").join("data");
    let metrics = StoreMetrics::register(&mut Registry::default());
    let _store = Store::open(&dir, &StoreSettings::default(), metrics).unwrap();
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&dir), mode(dir.parent().unwrap())), (0o700, 0o700));
}

#[tokio::test]
async fn after_a_failed_sync_nothing_is_written_until_a_restart() {
    for written in [false, true] {
        let bench = Bench::new();
        let store = bench.open_with(Arc::new(Failing { at: 2, written, commits: AtomicUsize::new(0) }));
        let first = stored(&store, record(1, 0, 1..=1, "a")).await;
        assert!(store.writable().is_ok());
        assert_eq!(store.append(record(1, first, 2..=2, "b")).await, Appended::Unknown);
        // The disk would do it again; the store no longer asks.
        assert_eq!(store.append(record(2, 0, 1..=1, "c")).await, Appended::Unknown);
        let why = store.write(vec![(row(Table::Users, "u", Some("v")), Expect::Any)]).await.unwrap_err();
        assert!(why.to_string().contains("no storage space"), "{why}");
        assert!(store.writable().is_err());
        assert_eq!(bench.metrics.writable.get(), 0);
        // Reads go on.
        let all = Read { from: 1, to: 1, backwards: false, max_records: 9, max_bytes: 999 };
        assert_eq!(store.read(RoomId(1), all).await.unwrap().len(), 1);
        assert!(store.tail(RoomId(1)).await.unwrap().is_some());
        drop(store);

        let store = bench.open();
        assert_eq!(bench.metrics.writable.get(), 1);
        let tail = store.tail(RoomId(1)).await.unwrap().unwrap();
        assert_eq!(&tail.record[..], if written { b"b" } else { b"a" });
        assert_eq!(store.get(Table::Users, b"u").await.unwrap(), None);
        let next = if written { 3 } else { 2 };
        stored(&store, record(1, tail.at.0, next..=next, "d")).await;
    }
}

#[tokio::test]
async fn a_directory_serves_one_store_at_a_time() {
    let bench = Bench::new();
    let store = bench.open();
    let second = Store::open(bench.dir.path(), &StoreSettings::default(), bench.metrics.clone());
    assert!(matches!(second, Err(OpenError::Locked { .. })));
    drop(store);
    bench.open();
}

#[tokio::test]
async fn a_store_whose_making_was_cut_short_is_made_again() {
    let bench = Bench::new();
    let half = bench.dir.path().join("db.new");
    std::fs::create_dir_all(&half).unwrap();
    for file in ["lock", "0.jnl"] {
        std::fs::write(half.join(file), b"").unwrap();
    }
    let store = bench.open();
    stored(&store, record(1, 0, 1..=1, "a")).await;
    assert!(!half.exists());
}

#[tokio::test]
async fn another_format_is_refused() {
    let bench = Bench::new();
    let store = bench.open();
    let other =
        Row { value: Some(Bytes::copy_from_slice(&7u64.to_be_bytes())), ..row(Table::Meta, "format", None) };
    store.write(vec![(other, Expect::Any)]).await.unwrap();
    drop(store);
    let opened = Store::open(bench.dir.path(), &StoreSettings::default(), bench.metrics.clone());
    let said = opened.err().map(|error| error.to_string()).unwrap_or_default();
    assert!(said.contains("has format 7; this program reads format 1"), "{said}");
}

#[tokio::test]
async fn rows_beyond_the_limits_are_refused() {
    let bench = Bench::new();
    let store = bench.open();
    let sized = |table, key, value| Row {
        table,
        key: Bytes::from(vec![b'k'; key]),
        value: Some(Bytes::from(vec![b'v'; value])),
    };
    for large in [sized(Table::Users, 513, 1), sized(Table::Users, 1, (1 << 20) + 1)] {
        assert!(store.write(vec![(large, Expect::Any)]).await.is_err());
    }
    let snapshot = sized(Table::Snapshots, 16, 5 << 20);
    store.write(vec![(snapshot.clone(), Expect::Any)]).await.unwrap();
    let read = store.get(Table::Snapshots, &snapshot.key).await.unwrap().unwrap();
    assert_eq!(Some(read.value), snapshot.value);
}
