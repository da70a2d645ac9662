//! What is remembered of jobs and what waits for its time, against a real server.

use std::time::Duration;

use async_nats::{
    header,
    jetstream::{
        AckKind,
        consumer::{AckPolicy, pull},
        stream::Config,
    },
};
use bytes::Bytes;
use futures_util::future::join_all;
use rookery_testbed::NatsCluster;

use super::{
    NatsSettings, Queue,
    delivery::Delivery,
    memory::{Claim, Memory, Ours, State},
    pull::{PULL, Puller},
    streams::Source,
};
use crate::courier::now_ms;

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

/// Three servers, and two mailers. `None`, said loudly: NATS is not installed.
async fn queues() -> Option<(NatsCluster, [Queue; 2])> {
    let nats = rookery_testbed::nats()?;
    let settings = NatsSettings { urls: nats.urls(), ..NatsSettings::default() };
    let queue = async || Queue::connect(&settings, "memories").await.unwrap();
    let queues = [queue().await, queue().await];
    queues[0].prepare(Duration::from_secs(60)).await.unwrap();
    Some((nats, queues))
}

/// Of a job that was in the outbox.
fn delivery(payload: &'static [u8]) -> Delivery {
    Delivery {
        key: 7,
        count: 3,
        due: false,
        since: 12_345,
        version: "2".to_owned(),
        payload: Bytes::from_static(payload),
    }
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

#[tokio::test]
async fn a_consumer_is_kept_in_memory_unless_there_is_one_on_disk() {
    let Some((_nats, queue)) = queue().await else { return };
    let stream = queue.source(Source::Due).await.unwrap();
    for in_memory in [true, false] {
        if !in_memory {
            let disk = pull::Config {
                durable_name: Some("mailer".to_owned()),
                filter_subject: queue.due_subjects(),
                ack_policy: AckPolicy::Explicit,
                max_ack_pending: 20_000,
                ..pull::Config::default()
            };
            stream.create_consumer(disk).await.unwrap();
        }
        for seconds in [30, 40] {
            let ack_wait = Duration::from_secs(seconds);
            let consumer = queue.consumer(Source::Due, ack_wait).await.unwrap();
            let config = &consumer.cached_info().config;
            assert_eq!((config.memory_storage, config.ack_wait), (in_memory, ack_wait));
        }
        stream.delete_consumer("mailer").await.unwrap();
    }
}

/// How often anybody has subscribed to anything.
fn subscriptions(nats: &NatsCluster) -> u64 {
    nats.monitor(0, "/subsz").unwrap()["num_inserts"].as_u64().unwrap()
}

#[tokio::test]
async fn jobs_are_had_and_acknowledged_over_subscriptions_that_are_there() {
    let Some((nats, queue)) = queue().await else { return };
    let consumer = queue.consumer(Source::Due, Duration::from_secs(30)).await.unwrap();
    let mut puller = Puller::new(&queue, consumer).await.unwrap();
    for n in 0..20 {
        queue.later(&format!("job-{n}"), &delivery(b"a job"), Duration::ZERO).await.unwrap();
    }
    let (mut jobs, mut before) = (Vec::new(), 0);
    while jobs.len() < 20 {
        jobs.extend(puller.pull(1).await.unwrap().next().await.map(Result::unwrap));
        if jobs.len() == 1 && before == 0 {
            queue.acknowledge(&jobs[0], AckKind::Ack).await.unwrap();
            before = subscriptions(&nats);
        }
    }
    let acknowledged = jobs[1..].iter().map(|job| queue.acknowledge(job, AckKind::Ack));
    for confirmed in join_all(acknowledged).await {
        confirmed.unwrap();
    }
    let more = subscriptions(&nats) - before;
    assert!(more < 10, "{more} subscriptions for 19 jobs");
    let left = queue.context.get_stream(queue.later_stream()).await.unwrap();
    assert_eq!(left.cached_info().state.messages, 0);
}

#[tokio::test]
async fn a_pull_that_nobody_awaits_neither_ends_the_next_nor_loses_its_jobs() {
    let Some((_nats, queue)) = queue().await else { return };
    let consumer = queue.consumer(Source::Due, Duration::from_secs(30)).await.unwrap();
    let mut puller = Puller::new(&queue, consumer).await.unwrap();
    drop(puller.pull(1).await.unwrap());
    // It ends in the middle of the next.
    tokio::time::sleep(PULL / 2).await;
    let begun = tokio::time::Instant::now();
    assert!(puller.pull(1).await.unwrap().next().await.is_none());
    assert!(begun.elapsed() > PULL * 3 / 4, "it was ended after {:?} by the one before", begun.elapsed());

    drop(puller.pull(2).await.unwrap());
    for id in ["a", "b"] {
        queue.later(id, &delivery(b"a job"), Duration::ZERO).await.unwrap();
    }
    let mut came = Vec::new();
    while came.len() < 2 {
        // As many as were asked for, though two pulls have some for us.
        let mut pull = puller.pull(1).await.unwrap();
        came.extend(pull.next().await.map(|job| Delivery::of(&job.unwrap(), true).unwrap().count));
        assert!(pull.next().await.is_none());
    }
    // Each for the first time.
    assert_eq!(came, [1, 1]);
}

#[tokio::test]
async fn what_is_put_off_comes_once_and_not_before_its_time() {
    let Some((_nats, queue)) = queue().await else { return };
    let consumer = queue.consumer(Source::Due, Duration::from_secs(30)).await.unwrap();
    // The last time counts.
    queue.later("a", &delivery(b"first"), Duration::from_secs(3600)).await.unwrap();
    let begun = now_ms();
    queue.later("a", &delivery(b"second"), Duration::from_secs(1)).await.unwrap();
    queue.later("b.c", &delivery(b"other"), Duration::ZERO).await.unwrap();
    let mut puller = Puller::new(&queue, consumer).await.unwrap();
    let mut came = Vec::new();
    let end = tokio::time::Instant::now() + Duration::from_secs(60);
    while came.len() < 2 {
        let mut messages = puller.pull(10).await.unwrap();
        while let Some(message) = messages.next().await {
            let message = message.unwrap();
            let due = Delivery::of(&message, true).unwrap();
            assert!(due.due && due.has_waited() && due.key != 7 && due.count == 1);
            assert_eq!((due.since, due.version.as_str()), (12_345, "2"));
            assert!(due.payload != "second" || now_ms() >= begun + 1000);
            message.double_ack_with(AckKind::Ack).await.unwrap();
            came.push(due.payload);
        }
        assert!(tokio::time::Instant::now() < end, "{came:?} came");
    }
    assert_eq!(came, ["other", "second"]);
    let left = queue.context.get_stream(queue.later_stream()).await.unwrap();
    assert_eq!(left.cached_info().state.messages, 0);
}

/// What is at a place in the memory: of which job it is, and whether it was stored with others.
async fn note_at(queue: &Queue, at: u64) -> (String, bool) {
    let stream = queue.context.get_stream_no_info(queue.memory_stream()).await.unwrap();
    let note = stream.get_raw_message(at).await.unwrap();
    let id = note.subject.rsplit('.').next().unwrap().to_owned();
    (id, note.headers.get(header::NATS_BATCH_ID).is_some())
}

#[tokio::test]
async fn notes_of_a_group_are_one_batch_and_each_knows_its_place() {
    let Some((_nats, queues)) = queues().await else { return };
    let (mut together, mut all) = (0, 0);
    for round in 0..5 {
        let claims = (0..40).map(|n| {
            let (queue, id) = (&queues[n % 2], format!("{round}-{n}"));
            async move {
                let ours = ours(queue, &id, &sending(1, 1)).await;
                (id, ours)
            }
        });
        for (id, ours) in join_all(claims).await {
            let (of, batch) = note_at(&queues[0], ours.at).await;
            assert_eq!(of, id);
            (together, all) = (together + u32::from(batch), all + 1);
        }
    }
    assert!(together > all * 3 / 4, "{together} of {all} notes were stored with others");
}

#[tokio::test]
async fn a_note_that_comes_too_late_keeps_no_other_from_being_written() {
    let Some((_nats, [one, other])) = queues().await else { return };
    let theirs = ours(&other, "a-3", &sending(3, 1)).await;
    // The first leaves alone.
    ours(&one, "alone", &sending(9, 1)).await;
    let claims = (0..6).map(|n| {
        let (id, claim) = (format!("a-{n}"), sending(100 + n, 1));
        let one = &one;
        async move { one.claim(&id, &claim, THEIRS_MS).await.unwrap() }
    });
    for (n, claim) in join_all(claims).await.into_iter().enumerate() {
        match claim {
            Claim::Ours(ours) => assert_eq!(note_at(&one, ours.at).await, (format!("a-{n}"), false)),
            other => assert_eq!((n, other), (3, Claim::Theirs)),
        }
    }
    let sent = Memory::now(State::Sent, (3, 1), 0);
    assert!(other.ended("a-3", &theirs, &sent).await.unwrap(), "their claim stands");
}

#[tokio::test]
async fn a_memory_of_a_version_before_takes_batches_once_it_is_prepared() {
    let Some((_nats, queue)) = queue().await else { return };
    let name = queue.memory_stream();
    let made = queue.context.get_stream(&name).await.unwrap().cached_info().config.clone();
    assert!(made.allow_atomic_publish);
    let before = Config { allow_atomic_publish: false, ..made.clone() };
    queue.context.update_stream(before).await.unwrap();
    // Until then the same is written, one by one.
    let claims = ["a", "b", "c"].map(|id| {
        let (queue, claim) = (&queue, sending(1, 1));
        async move { ours(queue, id, &claim).await }
    });
    assert_eq!(join_all(claims).await.len(), 3);
    queue.prepare(Duration::from_secs(60)).await.unwrap();
    assert_eq!(queue.context.get_stream(&name).await.unwrap().cached_info().config, made);
}
