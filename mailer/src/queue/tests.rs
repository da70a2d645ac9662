//! What is remembered of jobs, against a real server.

use std::time::Duration;

use rookery_testbed::NatsCluster;

use super::{
    NatsSettings, Queue,
    memory::{Claim, Memory, Ours, State},
};

/// A claim of another message is respected for so long.
const THEIRS_MS: i64 = 60_000;

/// `None`, said loudly: NATS is not installed.
async fn queue() -> Option<(NatsCluster, Queue)> {
    let nats = rookery_testbed::nats_single()?;
    let settings = NatsSettings { urls: nats.urls(), replicas: 1, ..NatsSettings::default() };
    let queue = Queue::connect(&settings, "memories").await.unwrap();
    queue.prepare(Duration::from_secs(60)).await.unwrap();
    Some((nats, queue))
}

fn sending(job: u64, delivery: i64) -> Memory {
    Memory::now(State::Sending, (job, delivery), 0)
}

async fn ours(queue: &Queue, id: &str, claim: &Memory) -> Ours {
    match queue.claim(id, claim, THEIRS_MS).await.unwrap() {
        Claim::Ours(ours) => ours,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn who_was_overtaken_changes_nothing_unless_he_has_sent() {
    let Some((_nats, queue)) = queue().await else { return };
    let first = ours(&queue, "a", &sending(1, 1)).await;
    assert!(!first.again);
    // It came again while the first was still at it, who was taken for dead.
    let second = ours(&queue, "a", &sending(1, 2)).await;
    assert!(second.again);
    let failed = Memory::now(State::Waiting, (1, 1), 1);
    assert!(!queue.ended("a", &first, &failed).await.unwrap(), "the second is at it");
    // The second's claim stands.
    assert_eq!(queue.claim("a", &sending(9, 1), THEIRS_MS).await.unwrap(), Claim::Theirs);
    // But what was sent was sent: the second has nothing to try again.
    let sent = Memory::now(State::Sent, (1, 1), 0);
    assert!(queue.ended("a", &first, &sent).await.unwrap());
    let failed = Memory::now(State::Waiting, (1, 2), 1);
    assert!(!queue.ended("a", &second, &failed).await.unwrap());
    assert_eq!(queue.claim("a", &sending(1, 3), THEIRS_MS).await.unwrap(), Claim::Sent);
}

#[tokio::test]
async fn what_was_written_is_found_when_its_answer_was_lost() {
    let Some((_nats, queue)) = queue().await else { return };
    let claim = sending(1, 1);
    let first = ours(&queue, "a", &claim).await;
    assert_eq!(ours(&queue, "a", &claim).await, first);
    let failed = Memory::now(State::Waiting, (1, 1), 3);
    for _ in 0..2 {
        assert!(queue.ended("a", &first, &failed).await.unwrap());
    }
    let next = ours(&queue, "a", &sending(1, 2)).await;
    assert_eq!((next.failures, next.again), (3, false));
}

#[tokio::test]
async fn a_mail_of_which_nobody_knows_is_one_that_may_have_been_sent() {
    let Some((_nats, queue)) = queue().await else { return };
    let first = ours(&queue, "a", &sending(1, 1)).await;
    let unknown = Memory::now(State::Sending, (1, 1), 1);
    assert!(queue.ended("a", &first, &unknown).await.unwrap());
    let next = ours(&queue, "a", &sending(1, 2)).await;
    assert_eq!((next.failures, next.again), (1, true));
    // Given up like that and put back, it is not waited for anybody.
    assert!(queue.ended("a", &next, &Memory::given_up(State::Sending, 1)).await.unwrap());
    let anew = ours(&queue, "a", &sending(2, 1)).await;
    assert_eq!((anew.failures, anew.again), (0, true));
}
