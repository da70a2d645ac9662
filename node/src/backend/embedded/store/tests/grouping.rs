//! One sync for all that waits.

use std::sync::{
    Mutex,
    atomic::{AtomicUsize, Ordering},
    mpsc,
};

use super::*;
use crate::backend::{CommitSink, Committed, embedded::store::FjallCommit};

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
    while gated.commits.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
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
    while gated.commits.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
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

#[derive(Default)]
struct Heard(Mutex<Vec<Committed>>);

impl CommitSink for Heard {
    fn missed(&self, _: RoomId) {}

    fn committed(&self, record: &Committed) {
        self.0.lock().unwrap().push(record.clone());
    }
}

#[tokio::test]
async fn the_sink_hears_of_followed_rooms_in_order() {
    let bench = Bench::new();
    let store = bench.open();
    let heard = Arc::new(Heard::default());
    store.set_sink(Arc::<Heard>::clone(&heard));
    let a = stored(&store, record(1, 0, 1..=1, "unheard")).await;
    store.follow(RoomId(1), true);
    let b = stored(&store, record(1, a, 2..=2, "b")).await;
    stored(&store, record(2, 0, 1..=1, "elsewhere")).await;
    let c = stored(&store, record(1, b, 3..=3, "c")).await;
    assert_eq!(store.append(record(1, b, 4..=4, "refused")).await, Appended::ConditionFailed);
    store.follow(RoomId(1), false);
    stored(&store, record(1, c, 4..=4, "unheard")).await;
    drop(store);
    let heard: Vec<_> = heard.0.lock().unwrap().iter().map(|c| (c.at.0, c.record.to_vec())).collect();
    assert_eq!(heard, [(b, b"b".to_vec()), (c, b"c".to_vec())]);
}
