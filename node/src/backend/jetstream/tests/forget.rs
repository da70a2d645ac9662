//! Removing what is old.

use super::*;
use crate::backend::{Expect, Read, Rows as _, jetstream::forget::forget_amendments};

fn all(from: u64, backwards: bool) -> Read {
    Read { from, to: 1_100, backwards, max_records: 1_000, max_bytes: 1 << 20 }
}

fn amendment(room: u128, seq: u64) -> Row {
    row(Table::Amendments, &[&room.to_be_bytes(), &seq.to_be_bytes()], Some("deleted"))
}

#[test]
fn oldest_records_go_by_subjects_and_reads_begin_after_them() {
    let Some(servers) = servers() else { return };
    run(async {
        let log = open(&servers, "forgets", None).await;
        let (room, other) = (RoomId(1), RoomId(2));
        let mut at = 0;
        // Records of 50 events: one reaches from the first subject (1 to 256) into the second.
        for first in (1..=1_000).step_by(50) {
            at = stored(&log, record(1, at, first..=first + 49, &first.to_string())).await;
        }
        let beside = stored(&log, record(2, 0, 1..=300, "other")).await;
        let amended = [20, 600].map(|seq| (amendment(1, seq), Expect::Any));
        log.write(amended.into()).await.unwrap();
        let firsts = async |from, backwards| -> Vec<u64> {
            let found = log.read(room, all(from, backwards)).await.unwrap();
            found.iter().map(|found| std::str::from_utf8(&found.record).unwrap().parse().unwrap()).collect()
        };
        assert_eq!(firsts(1, false).await.len(), 20);

        log.forget(room, 256).await.unwrap();
        assert_eq!(firsts(1, false).await.len(), 20, "the first subject ends with 300");
        log.forget(room, 301).await.unwrap();
        let kept: Vec<_> = (301..=1_000).step_by(50).collect();
        for from in [1, 40, 256, 300, 301] {
            assert_eq!(firsts(from, false).await, kept, "{from}");
            assert_eq!(firsts(from, true).await, kept.iter().rev().copied().collect::<Vec<_>>(), "{from}");
        }
        assert_eq!(firsts(302, false).await, kept, "the record that holds it");
        let gone = Read { from: 1, to: 300, backwards: true, max_records: 1, max_bytes: 1 };
        assert_eq!(log.read(room, gone).await.unwrap(), []);
        // A node that has never read it finds the same.
        let fresh = open(&servers, "forgets", Some(1)).await;
        assert_eq!(fresh.read(room, all(1, false)).await.unwrap().len(), kept.len());
        assert_eq!(log.first(room).await.unwrap(), 301);

        // The rest stays: the tail, the other room, and the condition of appends.
        assert_eq!(log.tail(room).await.unwrap().unwrap().at.0, at);
        assert_eq!(log.tail(other).await.unwrap().unwrap().at.0, beside);
        assert_eq!(log.append(record(1, at - 1, 1_001..=1_001, "late")).await, Appended::ConditionFailed);
        stored(&log, record(1, at, 1_001..=1_001, "1001")).await;

        // However much is asked for, the newest record stays.
        log.forget(room, u64::MAX).await.unwrap();
        assert_eq!(firsts(1, false).await.last(), Some(&1_001));

        let rows = async || log.scan(Table::Amendments, &1_u128.to_be_bytes(), None, 10).await.unwrap().len();
        assert_eq!(rows().await, 2, "who has the messages in memory must know what became of them");
        forget_amendments(log.link.clone(), log.layout.clone(), room, 1..301).await.unwrap();
        assert_eq!(rows().await, 1);
    });
}
