//! What was written is read, through whatever server.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::backend::{Expect, Read, Rows as _};

#[test]
fn reads_right_after_writes_are_complete() {
    let Some(servers) = servers() else { return };
    run(async {
        let mut logs = Vec::new();
        for server in 0..3 {
            logs.push(open(&servers, "fresh", Some(server)).await);
        }
        // Others write too, so that replicas have something to lag behind with.
        let stop = Arc::new(AtomicBool::new(false));
        let noise: Vec<_> = (0..4_u128)
            .map(|n| {
                let (log, stop) = (logs[usize::try_from(n).unwrap() % 3].clone(), stop.clone());
                tokio::spawn(async move {
                    let (mut at, mut seq) = (0, 1);
                    while !stop.load(Ordering::Relaxed) {
                        at = stored(&log, record(1000 + n, at, seq..=seq, "noise")).await;
                        seq += 1;
                    }
                })
            })
            .collect();
        let (user, room) = (7_u128.to_be_bytes(), 1_u128.to_be_bytes());
        let mut at = 0;
        for (order, seq) in (1..=200_u64).enumerate() {
            let writer = &logs[order % 3];
            let reader = &logs[(order + 1 + order / 3 % 2) % 3];
            let mut append = record(1, at, seq..=seq, &format!("{seq}"));
            append.rows = vec![row(Table::ReadMarks, &[&user, &room, &seq.to_be_bytes()], Some(""))];
            at = stored(writer, append).await;
            let tail = reader.tail(RoomId(1)).await.unwrap().unwrap();
            assert_eq!(tail.at.0, at);
            for backwards in [false, true] {
                let from = seq.saturating_sub(20).max(1);
                let read = Read { from, to: seq, backwards, max_records: 64, max_bytes: 1 << 20 };
                let mut found = reader.read(RoomId(1), read).await.unwrap();
                if backwards {
                    found.reverse();
                }
                let found: Vec<_> =
                    found.iter().map(|one| String::from_utf8_lossy(&one.record).into_owned()).collect();
                let wanted: Vec<_> = (from..=seq).map(|seq| seq.to_string()).collect();
                assert_eq!(found, wanted);
            }
            let mentions = reader.scan(Table::ReadMarks, &[user, room].concat(), None, 1_000).await.unwrap();
            assert_eq!(mentions.len() as u64, seq);
            let name = row(Table::UsersByName, &[&seq.to_be_bytes()], Some("x"));
            writer.write(vec![(name, Expect::Absent)]).await.unwrap();
            assert!(reader.get(Table::UsersByName, &seq.to_be_bytes()).await.unwrap().is_some());
        }
        stop.store(true, Ordering::Relaxed);
        for task in noise {
            task.await.unwrap();
        }
        let stale: u64 = logs.iter().map(|log| log.link.metrics.stale.get()).sum();
        eprintln!("asked again because a replica lagged: {stale} times");
    });
}
