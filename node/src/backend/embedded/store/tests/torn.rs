//! What a crash leaves, and what it cannot leave.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::*;
use crate::backend::embedded::store::{OpenError, journal};

/// A closed store of three batches; its journal, and where each batch ends.
struct Written {
    bench: Bench,
    journal: PathBuf,
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

const RECORDS: [&str; 3] = ["the first record", "the second record", "the third record, somewhat longer"];

async fn written() -> Written {
    let bench = Bench::new();
    let store = bench.open();
    let mut at = 0;
    for (seq, text) in (1..).zip(RECORDS) {
        let rows = vec![row(Table::Amendments, "last", Some(text))];
        at = stored(&store, Append { rows, ..record(1, at, seq..=seq, text) }).await;
    }
    drop(store);
    let journals = fs::read_dir(bench.dir.path().join("db")).unwrap().map(|file| file.unwrap().path());
    let journal = journals.filter(|path| path.extension().is_some_and(|ext| ext == "jnl")).max().unwrap();
    let mut bytes = fs::read(&journal).unwrap();
    let mut ends = vec![];
    while let Some(end) = journal::batch(&bytes, ends.last().copied().unwrap_or(0)) {
        ends.push(end);
    }
    assert!(ends.len() >= RECORDS.len(), "the journal's format is the one we know");
    bytes.truncate(ends[ends.len() - 1]);
    Written { bench, journal, bytes, ends }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for file in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(file.file_name());
        if file.file_type().unwrap().is_dir() {
            copy(&file.path(), &target);
        } else if file.path().extension().is_none_or(|ext| ext != "jnl") {
            fs::copy(file.path(), target).unwrap();
        }
    }
}

impl Written {
    /// The same store with another journal.
    fn with(&self, journal: &[u8]) -> Bench {
        let bench = Bench::new();
        copy(self.bench.dir.path(), bench.dir.path());
        let path = bench.dir.path().join(self.journal.strip_prefix(self.bench.dir.path()).unwrap());
        fs::write(path, journal).unwrap();
        bench
    }

    /// Where the last batch starts and ends.
    fn last(&self) -> (usize, usize) {
        (self.ends[self.ends.len() - 2], self.ends[self.ends.len() - 1])
    }
}

/// The store has the first `count` records and their rows, takes another, and keeps it.
async fn serves(bench: &Bench, count: usize) {
    for more in 0..2 {
        let store = bench.open();
        let all = Read { from: 1, to: 99, backwards: false, max_records: 99, max_bytes: 9999 };
        let read = store.read(RoomId(1), all).await.unwrap();
        let texts: Vec<_> = read.iter().map(|c| std::str::from_utf8(&c.record).unwrap()).collect();
        let wanted: Vec<_> = RECORDS[..count].iter().copied().chain((0..more).map(|_| "more")).collect();
        assert_eq!(texts, wanted);
        let last = store.get(Table::Amendments, b"last").await.unwrap().unwrap();
        assert_eq!(&last.value[..], RECORDS[count - 1].as_bytes());
        let tail = store.tail(RoomId(1)).await.unwrap().unwrap();
        let next = texts.len() as u64 + 1;
        stored(&store, record(1, tail.at.0, next..=next, "more")).await;
    }
}

#[tokio::test]
async fn a_batch_cut_short_anywhere_is_gone_as_a_whole() {
    let written = written().await;
    let (start, end) = written.last();
    for cut in (start + 1..end).step_by(11).chain([end - 1]) {
        let mut short = written.bytes[..cut].to_vec();
        serves(&written.with(&short), 2).await;
        // The file was longer already, but what should be there is not.
        short.resize(end + 5_000, 0);
        serves(&written.with(&short), 2).await;
    }
    serves(&written.with(&written.bytes), 3).await;
}

#[tokio::test]
async fn a_last_batch_with_wrong_bytes_is_gone_as_a_whole() {
    let written = written().await;
    let (start, end) = written.last();
    for at in (start..end).step_by(13) {
        let mut garbled = written.bytes.clone();
        garbled[at] ^= 0x5A;
        garbled.resize(end + 100, 0);
        // The seqno in the head is not covered by the engine's checksum; it only orders.
        if !(start + 5..start + 13).contains(&at) {
            serves(&written.with(&garbled), 2).await;
        }
    }
}

#[tokio::test]
async fn damage_before_acknowledged_writes_is_refused() {
    let written = written().await;
    let (start, _) = written.last();
    for at in (written.ends[0]..start).step_by(17) {
        let mut garbled = written.bytes.clone();
        garbled[at] ^= 0x5A;
        let batch = written.ends.iter().rev().find(|end| **end <= at).copied().unwrap();
        if (batch + 5..batch + 13).contains(&at) {
            continue;
        }
        let bench = written.with(&garbled);
        let opened = Store::open(bench.dir.path(), &StoreSettings::default(), bench.metrics.clone());
        match opened {
            Err(OpenError::Damaged { offset, .. }) => assert_eq!(offset, batch as u64),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("damage at {at} was not seen"),
        }
    }
}
