//! How fast it is. Run by hand, on a quiet machine, for figures that mean something:
//! `cargo test --release -p rookery-node --lib jetstream::tests::figures -- --ignored --nocapture`

use std::time::{Duration, Instant};

use super::*;
use crate::backend::{Read, Rows as _};

fn told(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: usize| times[(times.len() * share / 100).min(times.len() - 1)];
    eprintln!("{what}: p50 {:?}, p99 {:?} of {}", at(50), at(99), times.len());
}

async fn timed<T>(times: &mut Vec<Duration>, what: impl Future<Output = T>) -> T {
    let began = Instant::now();
    let done = what.await;
    times.push(began.elapsed());
    done
}

#[test]
#[ignore = "measures"]
fn appends_and_pages() {
    let Some(servers) = rookery_testbed::nats() else { return };
    run(async {
        let settings = NatsSettings { log_streams: 8, ..settings(&servers) };
        let log = open_with(&settings, "figures").await;
        let text = "x".repeat(200);
        let (mut at, mut plain, mut with_row) = (0, Vec::new(), Vec::new());
        for seq in 1..=2_000 {
            at = timed(&mut plain, stored(&log, record(1, at, seq..=seq, &text))).await;
        }
        for seq in 2_001..=3_000 {
            let mut append = record(1, at, seq..=seq, &text);
            let key = [&7_u128.to_be_bytes()[..], &1_u128.to_be_bytes()[..]];
            append.rows = vec![row(Table::Memberships, &key, Some("1"))];
            at = timed(&mut with_row, stored(&log, append)).await;
        }
        told("append, one room", plain);
        told("append with a row, one room", with_row);

        for rooms in [100_u32, 1_000] {
            let (began, each) = (Instant::now(), 20_000 / u64::from(rooms));
            let writers: Vec<_> = (0..rooms)
                .map(|room| {
                    let (log, text) = (log.clone(), text.clone());
                    tokio::spawn(async move {
                        let (mut at, mut times) = (0, Vec::new());
                        for seq in 1..=each {
                            let append = record(u128::from(rooms * 1_000 + room), at, seq..=seq, &text);
                            at = timed(&mut times, stored(&log, append)).await;
                        }
                        times
                    })
                })
                .collect();
            let mut times = Vec::new();
            for writer in writers {
                times.extend(writer.await.unwrap());
            }
            let rate = times.len() as f64 / began.elapsed().as_secs_f64();
            eprintln!("{rooms} rooms: {rate:.0} appends/s");
            told("  each", times);
        }

        // Another node, which knows none of it: the newest page of rooms of 200 messages, and then again.
        let other = open_with(&settings, "figures").await;
        for what in ["first time", "again"] {
            let (mut times, before) = (Vec::new(), other.link.metrics.reads.get());
            for room in 0..100 {
                let read = Read { from: 1, to: 200, backwards: true, max_records: 50, max_bytes: 1 << 20 };
                let found = timed(&mut times, other.read(RoomId(100_000 + room), read)).await.unwrap();
                assert_eq!(found.len(), 50);
            }
            told(&format!("newest page of 50, {what}"), times);
            eprintln!("  requests for each: {:.2}", (other.link.metrics.reads.get() - before) as f64 / 100.0);
        }
        // A long log from its beginning, as a new owner reads it.
        let (began, mut next, before) = (Instant::now(), 1, other.link.metrics.reads.get());
        while next <= 3_000 {
            let read =
                Read { from: next, to: 3_000, backwards: false, max_records: 1_024, max_bytes: 4 << 20 };
            next += other.read(RoomId(1), read).await.unwrap().len() as u64;
        }
        let requests = other.link.metrics.reads.get() - before;
        eprintln!("a log of 3,000 records: {:?}, {requests} requests", began.elapsed());
        let mut times = Vec::new();
        for _ in 0..1_000 {
            timed(&mut times, log.tail(RoomId(1))).await.unwrap();
        }
        told("tail", times);
        let reads = || log.link.metrics.reads.get();
        let (mut times, before) = (Vec::new(), reads());
        for _ in 0..500 {
            timed(&mut times, log.scan(Table::Memberships, &7_u128.to_be_bytes(), None, 100)).await.unwrap();
        }
        told("list of a user's rooms", times);
        eprintln!(
            "  requests for each: {:.2}, asked again {}",
            (reads() - before) as f64 / 500.0,
            log.link.metrics.stale.get()
        );
    });
}
