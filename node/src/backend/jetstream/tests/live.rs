//! What followers hear.

use std::time::Duration;

use rookery_testbed::NatsOptions;

use super::*;
use crate::backend::{CommitSink, Committed};

#[derive(Default)]
struct Heard {
    records: Mutex<Vec<Committed>>,
    missed: Mutex<Vec<RoomId>>,
    change: tokio::sync::Notify,
}

impl CommitSink for Heard {
    fn committed(&self, record: &Committed) {
        self.records.lock().unwrap().push(record.clone());
        self.change.notify_one();
    }

    fn missed(&self, room: RoomId) {
        self.missed.lock().unwrap().push(room);
        self.change.notify_one();
    }
}

impl Heard {
    async fn until(&self, what: &str, holds: impl Fn(&Self) -> bool) {
        let wait = async {
            while !holds(self) {
                self.change.notified().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("never: {what}"));
    }

    fn count(&self) -> usize {
        self.records.lock().unwrap().len()
    }
}

fn sink(log: &JetStream) -> Arc<Heard> {
    let heard = Arc::new(Heard::default());
    log.set_sink(heard.clone());
    heard
}

#[test]
fn followers_hear_each_committed_record_once_and_no_other() {
    let Some(servers) = servers() else { return };
    run(async {
        let owner = open(&servers, "follow", Some(0)).await;
        let edge = open(&servers, "follow", Some(1)).await;
        let (own, heard) = (sink(&owner), sink(&edge));
        owner.follow(RoomId(1), true);
        edge.follow(RoomId(1), true);
        // An answer after it: the servers know of the interest.
        edge.tail(RoomId(1)).await.unwrap();
        let mut at = 0;
        for seq in 1..=50 {
            let mut append = record(1, at, seq..=seq, &format!("{seq}"));
            if seq % 3 == 0 {
                let key = [&7_u128.to_be_bytes()[..], &1_u128.to_be_bytes()[..]];
                append.rows = vec![row(Table::Memberships, &key, Some("1"))];
            }
            at = stored(&owner, append).await;
            // At once, unless it has just come around and is being handed on by the task that heard it.
            own.until("an own record", |own| own.count() as u64 >= seq).await;
            assert_eq!(owner.append(record(1, at + 1, 99..=99, "refused")).await, Appended::ConditionFailed);
            // Not followed.
            owner.append(record(2, 0, 1..=1, "other room")).await;
        }
        heard.until("all records", |heard| heard.count() >= 50).await;
        let texts = |heard: &Heard| -> Vec<String> {
            let records = heard.records.lock().unwrap();
            records.iter().map(|one| String::from_utf8_lossy(&one.record).into_owned()).collect()
        };
        let wanted: Vec<_> = (1..=50).map(|seq: u64| seq.to_string()).collect();
        assert_eq!(texts(&heard), wanted);
        // What comes around is not heard twice; the end, which comes later, says that nothing is missing.
        tokio::time::sleep(Duration::from_millis(1_600)).await;
        assert_eq!(texts(&own), wanted);
        assert!(heard.missed.lock().unwrap().is_empty());
        // Given up, and followed again.
        edge.follow(RoomId(1), false);
        at = stored(&owner, record(1, at, 51..=51, "51")).await;
        edge.follow(RoomId(1), true);
        edge.tail(RoomId(1)).await.unwrap();
        stored(&owner, record(1, at, 52..=52, "52")).await;
        heard.until("the record after that", |heard| heard.count() >= 51).await;
        assert_eq!(texts(&heard).last().unwrap(), "52");
    });
}

#[test]
fn a_lost_newest_record_is_noticed() {
    let Some(servers) = servers() else { return };
    run(async {
        let owner = open(&servers, "ends", Some(0)).await;
        stored(&owner, record(1, 0, 1..=1, "lost")).await;
        // Follows too late to hear it, and never asks for the tail: as if it had been lost on the way.
        let edge = open(&servers, "ends", Some(2)).await;
        let heard = sink(&edge);
        edge.follow(RoomId(1), true);
        heard.until("the end", |heard| heard.missed.lock().unwrap().contains(&RoomId(1))).await;
        assert_eq!(heard.count(), 0);
    });
}

#[test]
fn after_a_lost_connection_all_followed_rooms_are_looked_up() {
    let Some(servers) = rookery_testbed::nats_single() else { return };
    run(async {
        // So long that it is told apart from "at once" also on a busy machine.
        let patient = NatsSettings { append_timeout_ms: 10_000, ..settings(&servers) };
        let log = open_with(&patient, "lost").await;
        let heard = sink(&log);
        for room in 1..=200 {
            log.follow(RoomId(room), true);
        }
        log.tail(RoomId(1)).await.unwrap();
        assert!(log.connected());
        servers.kill(0);
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            while log.connected() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.expect("the loss is noticed");
        // Nothing is queued: it fails at once.
        let began = std::time::Instant::now();
        assert_eq!(log.append(record(1, 0, 1..=1, "queued?")).await, Appended::Unknown);
        assert!(began.elapsed() < Duration::from_secs(5));
        servers.restart(0);
        heard.until("all rooms", |heard| heard.missed.lock().unwrap().len() >= 200).await;
        // The subscriptions are there again. What is stored though its answer was lost, the tail shows.
        let stored_at_last = async {
            loop {
                if let Appended::Committed(at) = log.append(record(1, 0, 1..=1, "after")).await {
                    break at;
                }
                if let Ok(Some(tail)) = log.tail(RoomId(1)).await {
                    break tail.at;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let at = tokio::time::timeout(Duration::from_secs(60), stored_at_last).await.expect("it is stored");
        let other = open(&servers, "lost", None).await;
        stored(&other, record(1, at.0, 2..=2, "by another")).await;
        heard.until("both", |heard| heard.count() >= 2).await;
        let records = heard.records.lock().unwrap();
        assert!(records.iter().all(|one| &one.record[..] != b"queued?"));
    });
}

/// Three servers of its own: the others' tests would feel the pause.
#[test]
fn a_server_that_falls_silent_is_left_for_another() {
    let Some(servers) = rookery_testbed::nats() else { return };
    run(async {
        let metrics = NatsMetrics::register(&mut Registry::default());
        let log = JetStream::connect(&settings(&servers), "silent", metrics.clone()).await.unwrap();
        let name = log.client().server_info().server_name;
        let server: usize = name.strip_prefix("nats-").unwrap().parse().unwrap();
        let at = stored(&log, record(1, 0, 1..=1, "before")).await;
        assert_eq!(metrics.reconnects.get(), 0);
        servers.pause(server);
        let paused = std::time::Instant::now();
        stored(&log, record(1, at, 2..=2, "after")).await;
        // It hangs, and does not hang up: only pings tell. Those of the client's own accord, a minute apart, would take minutes.
        // If it led the room's stream, too, another was chosen meanwhile.
        assert!(paused.elapsed() < Duration::from_secs(40), "{:?}", paused.elapsed());
        assert!(metrics.reconnects.get() >= 1, "the connection was given up");
        assert_ne!(log.client().server_info().server_name, name);
        servers.resume(server);
    });
}

/// It answers pings, and has a copy of everything: only that it stores nothing tells.
#[test]
fn a_server_that_is_cut_off_from_the_others_is_left_for_another() {
    let options = NatsOptions { proxied: true, ..NatsOptions::default() };
    let Some(servers) = NatsCluster::start(&options) else { return };
    run(async {
        let metrics = NatsMetrics::register(&mut Registry::default());
        let log = JetStream::connect(&settings(&servers), "isolated", metrics.clone()).await.unwrap();
        let at = stored(&log, record(1, 0, 1..=1, "before")).await;
        let name = log.client().server_info().server_name;
        servers.cut_off(name.strip_prefix("nats-").unwrap().parse().unwrap());
        stored(&log, record(1, at, 2..=2, "after")).await;
        // It is still cut off.
        assert_ne!(log.client().server_info().server_name, name);
        assert!(metrics.left_servers.get() >= 1);
        servers.heal();
    });
}

#[test]
fn after_a_subscription_was_too_slow_all_followed_rooms_are_looked_up() {
    let Some(servers) = servers() else { return };
    run(async {
        let log = open(&servers, "slow", None).await;
        let heard = sink(&log);
        for room in 1..=100 {
            log.follow(RoomId(room), true);
        }
        log.tail(RoomId(1)).await.unwrap();
        log.link.signals.event(&async_nats::Event::SlowConsumer(1));
        let all = |heard: &Heard| {
            let missed = heard.missed.lock().unwrap();
            (1..=100).all(|room| missed.contains(&RoomId(room)))
        };
        heard.until("all rooms", all).await;
    });
}
