//! Reads that are certain, whoever answers.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::backend::{Expect, Rows as _, Seen};

#[test]
fn what_is_there_and_what_is_not_is_proven() {
    let Some(servers) = servers() else { return };
    run(async {
        let log = open(&servers, "proofs", None).await;
        assert_eq!(log.certain_tail(RoomId(1)).await.unwrap(), None);
        let key = [3_u128.to_be_bytes(), 1_u128.to_be_bytes()].concat();
        assert_eq!(log.certain(Table::Memberships, &key).await.unwrap(), None);
        // A proof is no record and no row.
        let mut append = record(1, 0, 1..=1, "one");
        append.rows = vec![row(Table::Memberships, &[&key], Some("2"))];
        let at = stored(&log, append).await;
        let tail = log.certain_tail(RoomId(1)).await.unwrap().unwrap();
        assert_eq!((tail.at.0, &tail.record[..]), (at, &b"one"[..]));
        let found = log.certain(Table::Memberships, &key).await.unwrap().unwrap();
        assert_eq!(&found.value[..], b"2");
        log.write(vec![(row(Table::Memberships, &[&key], None), Expect::Any)]).await.unwrap();
        assert_eq!(log.certain(Table::Memberships, &key).await.unwrap(), None);
        assert_eq!(
            stored(&log, record(1, at, 2..=2, "two")).await,
            log.tail(RoomId(1)).await.unwrap().unwrap().at.0
        );

        // Many at once, also of the same room, while its owner appends.
        let mut asked = tokio::task::JoinSet::new();
        for number in 0..60_u128 {
            let log = log.clone();
            asked.spawn(async move { log.certain_tail(RoomId(number / 3)).await });
        }
        let mut at = log.tail(RoomId(1)).await.unwrap().unwrap().at.0;
        for seq in 3..20 {
            at = stored(&log, record(1, at, seq..=seq, "more")).await;
        }
        for tail in soon("all are answered", asked.join_all()).await {
            tail.unwrap();
        }
    });
}

#[test]
fn a_row_is_never_older_than_the_record_that_is_known() {
    let Some(servers) = servers() else { return };
    run(async {
        let owner = open(&servers, "as-of", Some(0)).await;
        let other = open(&servers, "as-of", Some(1)).await;
        let (room, mut at) = (RoomId(1), 0);
        let key = [&1_u128.to_be_bytes()[..], &1_u64.to_be_bytes()].concat();
        for seq in 1..=300 {
            let text = seq.to_string();
            let mut append = record(1, at, seq..=seq, "record");
            append.rows = vec![row(Table::Amendments, &[&key], Some(&text))];
            at = stored(&owner, append).await;
            let seen = Seen { room, at: LogSeq(at), first_seq: seq };
            let found = other.get_as_of(Table::Amendments, &key, seen).await.unwrap().unwrap();
            assert_eq!(found.value, text.as_bytes());
        }
        let none = [&1_u128.to_be_bytes()[..], &2_u64.to_be_bytes()].concat();
        let seen = Seen { room, at: LogSeq(at), first_seq: 300 };
        assert_eq!(other.get_as_of(Table::Amendments, &none, seen).await.unwrap(), None);
    });
}

#[test]
fn what_is_certain_is_never_older_than_what_was_acknowledged() {
    let Some(servers) = rookery_testbed::nats() else { return };
    let servers = Arc::new(servers);
    run(async {
        let mut logs = Vec::new();
        for server in 0..3 {
            logs.push(open(&servers, "stood-still", Some(server)).await);
        }
        let room = (1..).find(|room| logs[0].layout.part(RoomId(*room)) == 0).unwrap();
        let acknowledged = Arc::new(AtomicU64::new(stored(&logs[0], record(room, 0, 1..=1, "first")).await));
        let stop = Arc::new(AtomicBool::new(false));
        let (plain_old, proven) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let mut readers = tokio::task::JoinSet::new();
        for log in logs.clone() {
            let (acknowledged, stop) = (acknowledged.clone(), stop.clone());
            let (plain_old, proven) = (plain_old.clone(), proven.clone());
            readers.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let least = acknowledged.load(Ordering::Acquire);
                    if let Ok(tail) = log.tail(RoomId(room)).await {
                        plain_old.fetch_add(
                            u64::from(tail.is_none_or(|tail| tail.at.0 < least)),
                            Ordering::Relaxed,
                        );
                    }
                    let least = acknowledged.load(Ordering::Acquire);
                    if let Ok(tail) = log.certain_tail(RoomId(room)).await {
                        assert!(tail.is_some_and(|tail| tail.at.0 >= least), "older than {least}");
                        proven.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let mut seq = 2;
        for _ in 0..3 {
            let of = servers.clone();
            let leader = tokio::task::spawn_blocking(move || of.leader_of("stood-still-log-0").unwrap())
                .await
                .unwrap();
            servers.pause(leader);
            for _ in 0..3 {
                let other = &logs[(leader + 1) % 3];
                let at = stored(other, record(room, acknowledged.load(Ordering::Acquire), seq..=seq, "next"))
                    .await;
                acknowledged.store(at, Ordering::Release);
                seq += 1;
            }
            servers.resume(leader);
            // From now on it answers, too.
            let before = proven.load(Ordering::Relaxed);
            soon("proofs go on", async {
                while proven.load(Ordering::Relaxed) < before + 30 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            })
            .await;
        }
        stop.store(true, Ordering::Relaxed);
        soon("readers end", readers.join_all()).await;
        eprintln!(
            "{} proven, {} plain reads were old",
            proven.load(Ordering::Relaxed),
            plain_old.load(Ordering::Relaxed)
        );
    });
}
