//! Appends, tails and reads.

use super::*;
use crate::backend::{Read, Rows as _};

fn epoch(room: u128, expected: u64, first: u64) -> Append {
    Append { last_seq: first - 1, ..record(room, expected, first..=first, "epoch") }
}

fn texts(found: &[crate::backend::Committed]) -> Vec<String> {
    found.iter().map(|found| String::from_utf8_lossy(&found.record).into_owned()).collect()
}

fn all(from: u64, to: u64, backwards: bool) -> Read {
    Read { from, to, backwards, max_records: 1_000, max_bytes: 1 << 20 }
}

#[test]
fn one_append_at_each_place() {
    let Some(servers) = servers() else { return };
    run(async {
        let log = open(&servers, "places", None).await;
        assert_eq!(log.tail(RoomId(1)).await.unwrap(), None);
        let epoch = stored(&log, epoch(1, 0, 1)).await;
        let first = stored(&log, record(1, epoch, 1..=2, "one two")).await;
        assert!(first > epoch);
        for expected in [0, epoch, first + 1] {
            let outcome = log.append(record(1, expected, 3..=3, "late")).await;
            assert_eq!(outcome, Appended::ConditionFailed, "{expected}");
        }
        // Another room of the same stream does not disturb.
        let part = log.layout.part(RoomId(1));
        let other = (2..).find(|other| log.layout.part(RoomId(*other)) == part).unwrap();
        stored(&log, record(other, 0, 1..=1, "other")).await;
        let second = stored(&log, record(1, first, 3..=3, "three")).await;
        let tail = log.tail(RoomId(1)).await.unwrap().unwrap();
        assert_eq!((tail.at.0, &tail.record[..]), (second, &b"three"[..]));
        assert_eq!(texts(&log.read(RoomId(1), all(1, 9, false)).await.unwrap()), ["one two", "three"]);
        assert_eq!(texts(&log.read(RoomId(1), all(2, 2, false)).await.unwrap()), ["one two"]);
        assert_eq!(texts(&log.read(RoomId(1), all(1, 9, true)).await.unwrap()), ["three", "one two"]);
        assert_eq!(texts(&log.read(RoomId(1), all(4, 9, false)).await.unwrap()), [""; 0]);
        assert_eq!(texts(&log.read(RoomId(99), all(1, 9, true)).await.unwrap()), [""; 0]);
    });
}

#[test]
fn of_many_that_append_at_one_place_one_wins() {
    let Some(servers) = servers() else { return };
    run(async {
        let mut logs = Vec::new();
        for server in 0..3 {
            logs.push(open(&servers, "races", Some(server)).await);
        }
        let mut at = 0;
        for round in 1..=40_u64 {
            let tries = (0..9_usize).map(|n| {
                let log = logs[n % 3].clone();
                tokio::spawn(async move {
                    let mut append = record(1, at, round..=round, &format!("{round} by {n}"));
                    if n % 2 == 0 {
                        // As a batch.
                        let key = [&7_u128.to_be_bytes()[..], &1_u128.to_be_bytes()[..]];
                        append.rows = vec![row(Table::Memberships, &key, Some(&n.to_string()))];
                    }
                    (n, log.append(append).await)
                })
            });
            let mut won = Vec::new();
            for task in tries.collect::<Vec<_>>() {
                let (n, outcome) = task.await.unwrap();
                match outcome {
                    Appended::Committed(at) => won.push((n, at.0)),
                    Appended::ConditionFailed | Appended::Unknown => {}
                }
            }
            assert!(won.len() <= 1, "{won:?}");
            let tail = logs[0].tail(RoomId(1)).await.unwrap();
            match won.pop() {
                Some((n, now)) => {
                    let tail = tail.unwrap();
                    assert_eq!((tail.at.0, tail.record), (now, Bytes::from(format!("{round} by {n}"))));
                    at = now;
                }
                // All were told "not now", or the winner does not know it.
                None => match tail.filter(|tail| tail.at.0 != at) {
                    Some(tail) => at = tail.at.0,
                    None => at = stored(&logs[0], record(1, at, round..=round, "alone")).await,
                },
            }
        }
        let found = logs[1].read(RoomId(1), all(1, 40, false)).await.unwrap();
        assert_eq!(found.len(), 40);
    });
}

#[test]
fn records_longer_than_a_subject_are_found() {
    let Some(servers) = servers() else { return };
    run(async {
        let log = open(&servers, "long", None).await;
        // Events 1-250, 251-700 (over a whole subject), 701-1000, 1001.
        let (mut at, mut first) = (0, 1);
        for last in [250, 700, 1_000, 1_001] {
            at = stored(&log, record(5, at, first..=last, &format!("{first}-{last}"))).await;
            at = stored(&log, epoch(5, at, last + 1)).await;
            first = last + 1;
        }
        for (seq, wanted) in [
            (1, "1-250"),
            (250, "1-250"),
            (251, "251-700"),
            (300, "251-700"),
            (600, "251-700"),
            (700, "251-700"),
            (701, "701-1000"),
            (1_000, "701-1000"),
            (1_001, "1001-1001"),
        ] {
            for backwards in [false, true] {
                let found = log.read(RoomId(5), all(seq, seq, backwards)).await.unwrap();
                assert_eq!(texts(&found), [wanted], "{seq} {backwards}");
            }
        }
        let found = log.read(RoomId(5), all(300, 5_000, true)).await.unwrap();
        assert_eq!(texts(&found), ["1001-1001", "701-1000", "251-700"]);
        let found = log.read(RoomId(5), all(600, 5_000, false)).await.unwrap();
        assert_eq!(texts(&found), ["251-700", "701-1000", "1001-1001"]);
    });
}

#[test]
fn rows_come_with_their_record_or_not_at_all() {
    let Some(servers) = servers() else { return };
    run(async {
        let log = open(&servers, "rows-with", None).await;
        let key = [&7_u128.to_be_bytes()[..], &1_u128.to_be_bytes()[..]];
        let mut append = record(1, 0, 1..=1, "one");
        append.rows = vec![row(Table::Memberships, &key, Some("1"))];
        let at = stored(&log, append.clone()).await;
        append.rows = vec![row(Table::Memberships, &key, Some("2"))];
        assert_eq!(log.append(append.clone()).await, Appended::ConditionFailed);
        let found = log.get(Table::Memberships, &key.concat()).await.unwrap().unwrap();
        assert_eq!(&found.value[..], b"1");
        append = record(1, at, 2..=2, "two");
        append.rows = vec![row(Table::Memberships, &key, None)];
        let at = stored(&log, append).await;
        assert_eq!(log.get(Table::Memberships, &key.concat()).await.unwrap(), None);
        // Far more rows than a batch holds: mentions.
        let mut append = record(1, at, 3..=3, "mentions");
        append.rows = (1..=2_500_u64)
            .map(|seq| row(Table::ReadMarks, &[key[0], key[1], &seq.to_be_bytes()], Some("")))
            .chain([row(Table::Memberships, &key, Some("3"))])
            .collect();
        stored(&log, append).await;
        assert!(log.get(Table::Memberships, &key.concat()).await.unwrap().is_some());
        let found = log.scan(Table::ReadMarks, &key.concat(), None, 5_000).await.unwrap();
        assert_eq!(found.len(), 2_500);
        assert!(found.is_sorted_by(|a, b| a.key < b.key));
    });
}

#[test]
fn what_cannot_be_stored_is_refused_at_once() {
    let Some(servers) = servers() else { return };
    run(async {
        let log = open(&servers, "large", None).await;
        let huge = "x".repeat(2 << 20);
        assert_eq!(log.append(record(1, 0, 1..=1, &huge)).await, Appended::ConditionFailed);
        let mut append = record(1, 0, 1..=1, "fine");
        append.rows = vec![row(Table::Ephemeral, &[b"x"], Some("1"))];
        assert_eq!(log.append(append).await, Appended::ConditionFailed);
        assert_eq!(log.tail(RoomId(1)).await.unwrap(), None);
    });
}

/// "A page of 50 must not cost 50", however the records were written.
#[test]
fn a_page_costs_a_few_requests_and_nothing_the_second_time() {
    let Some(servers) = servers() else { return };
    run(async {
        let owner = open(&servers, "pages", None).await;
        let mut at = 0;
        for seq in 1..=320 {
            at = stored(&owner, record(1, at, seq..=seq, &format!("{seq}"))).await;
        }
        let log = open(&servers, "pages", None).await;
        let page = async |to: u64| {
            let before = log.link.metrics.reads.get();
            let read = Read { from: 1, to, backwards: true, max_records: 50, max_bytes: 1 << 20 };
            let found = log.read(RoomId(1), read).await.unwrap();
            let wanted: Vec<_> = (to - 49..=to).rev().map(|seq| seq.to_string()).collect();
            assert_eq!(texts(&found), wanted);
            log.link.metrics.reads.get() - before
        };
        // The first subject has the events 1 to 256, the second the others. A replica that lags is asked once more.
        for (to, most) in [(320, 2), (280, 3)] {
            let first = page(to).await;
            assert!((1..=most).contains(&first), "{first} requests for 50 records up to {to}");
        }
        for to in [320, 280] {
            assert_eq!(page(to).await, 0, "the page up to {to} was read before");
        }
    });
}
