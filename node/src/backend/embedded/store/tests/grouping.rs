//! One sync for all that waits.

use std::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use super::*;
use crate::backend::embedded::store::FjallCommit;

/// Counts commits; each waits until it is let go.
struct Gated {
    commits: AtomicUsize,
    gate: Mutex<mpsc::Receiver<()>>,
}

impl Commit for Gated {
    fn commit(&self, batch: fjall::OwnedWriteBatch) -> fjall::Result<()> {
        self.commits.fetch_add(1, Ordering::SeqCst);
        // Open for good once the sender is gone.
        let _ = self.gate.lock().unwrap().recv();
        FjallCommit.commit(batch)
    }
}

/// Waits until a first commit waits at the gate.
async fn begun(gated: &Gated) {
    let begun = async {
        while gated.commits.load(Ordering::SeqCst) == 0 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), begun).await.expect("the first append is committed");
}

/// One thread runs all tasks here, some at a time: after this, each of the 200 that there are at most has queued its append.
async fn let_all_queue() {
    for _ in 0..=200 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn what_collects_while_the_disk_is_busy_shares_one_sync() {
    let (open, gate) = mpsc::channel();
    let gated = Arc::new(Gated { commits: AtomicUsize::new(0), gate: Mutex::new(gate) });
    let bench = Bench::new();
    let store = bench.open_with(Arc::<Gated>::clone(&gated));
    let append = |room| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.append(record(room, 0, 1..=1, "hello")).await })
    };
    let first = append(0);
    begun(&gated).await;
    let others: Vec<_> = (1..=200).map(append).collect();
    let_all_queue().await;
    drop(open);
    assert!(matches!(first.await.unwrap(), Appended::Committed(_)));
    for other in others {
        assert!(matches!(other.await.unwrap(), Appended::Committed(_)));
    }
    assert_eq!(gated.commits.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn two_appends_to_one_room_fit_into_one_batch() {
    let (open, gate) = mpsc::channel();
    let gated = Arc::new(Gated { commits: AtomicUsize::new(0), gate: Mutex::new(gate) });
    let bench = Bench::new();
    let store = bench.open_with(Arc::<Gated>::clone(&gated));
    let append = |append| {
        let store = Arc::clone(&store);
        tokio::spawn(async move { store.append(append).await })
    };
    let first = append(record(9, 0, 1..=1, "first"));
    begun(&gated).await;
    // Positions are counted up by one for each record: the second one's condition is the position of the first.
    let one = append(record(1, 0, 1..=1, "one"));
    let again = append(record(1, 0, 1..=1, "again"));
    let two = append(record(1, 2, 2..=2, "two"));
    let_all_queue().await;
    drop(open);
    assert_eq!(first.await.unwrap(), Appended::Committed(LogSeq(1)));
    assert_eq!(one.await.unwrap(), Appended::Committed(LogSeq(2)));
    assert_eq!(again.await.unwrap(), Appended::ConditionFailed);
    assert_eq!(two.await.unwrap(), Appended::Committed(LogSeq(3)));
    assert_eq!(gated.commits.load(Ordering::SeqCst), 2);
}
