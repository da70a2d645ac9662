//! The leader of a stream is killed, and paused, under appends: nothing acknowledged is lost, nothing is stored twice.

use std::{
    collections::HashSet,
    sync::atomic::{AtomicBool, Ordering},
    time::{Duration, Instant},
};

use super::*;
use crate::backend::{LogSeq, Read, Rows as _};

const ROOMS: u128 = 6;

/// What a writer knows for certain.
#[derive(Default)]
struct Written {
    /// Place and text of each acknowledged record, by its seq.
    acknowledged: Vec<(u64, String)>,
    /// Longest time without one.
    longest: Duration,
    unknown: u32,
}

/// Appends record after record, each until its outcome is certain, as the core's owners do.
async fn write(
    log: Arc<JetStream>,
    room: u128,
    stop: Arc<AtomicBool>,
    done: Arc<Mutex<Vec<u64>>>,
) -> Written {
    let mut written = Written::default();
    let (mut at, mut seq) = (0, 1_u64);
    while !stop.load(Ordering::Acquire) {
        let text = format!("{room}/{seq}/{:x}", rand::random::<u64>());
        let mut append = record(room, at, seq..=seq, &text);
        if seq.is_multiple_of(3) {
            // Some as a batch.
            let key = [&7_u128.to_be_bytes()[..], &room.to_be_bytes()];
            append.rows = vec![row(Table::Memberships, &key, Some(&text))];
        }
        let began = Instant::now();
        at = loop {
            let outcome = log.append(append.clone()).await;
            if let Appended::Committed(at) = outcome {
                break at.0;
            }
            written.unknown += u32::from(outcome == Appended::Unknown);
            // Why? The tail says, if it can be read and is not older than what is stored (a leader that was paused
            // answers for a moment as if it still led); else the same record goes again.
            if outcome == Appended::ConditionFailed
                && let Ok(Some(tail)) = log.tail(RoomId(room)).await
                && tail.at > LogSeq(at)
            {
                assert_eq!(tail.record, append.record, "another's record in a room with one writer");
                break tail.at.0;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        written.longest = written.longest.max(began.elapsed());
        written.acknowledged.push((at, text));
        done.lock().unwrap()[usize::try_from(room).unwrap()] = seq;
        seq += 1;
    }
    written
}

/// Waits until each room has one more acknowledged record than now.
async fn all_go_on(done: &Mutex<Vec<u64>>) -> Duration {
    let (began, before) = (Instant::now(), done.lock().unwrap().clone());
    // A writer may just be waiting for an answer from before: two more.
    while done.lock().unwrap().iter().zip(&before).any(|(now, before)| *now < before + 2) {
        assert!(began.elapsed() < Duration::from_secs(60), "appends do not go on");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    began.elapsed()
}

#[test]
fn nothing_acknowledged_is_lost_when_leaders_die_or_fall_silent() {
    let Some(servers) = rookery_testbed::nats() else { return };
    let servers = Arc::new(servers);
    run(async {
        let mut logs = Vec::new();
        for _ in 0..3 {
            logs.push(open(&servers, "faults", None).await);
        }
        let stop = Arc::new(AtomicBool::new(false));
        let done = Arc::new(Mutex::new(vec![0; usize::try_from(ROOMS).unwrap()]));
        let writers: Vec<_> = (0..ROOMS)
            .map(|room| {
                let log = logs[usize::try_from(room).unwrap() % 3].clone();
                tokio::spawn(write(log, room, stop.clone(), done.clone()))
            })
            .collect();
        all_go_on(&done).await;
        let blocking = |what: fn(&NatsCluster) -> usize| {
            let servers = servers.clone();
            tokio::task::spawn_blocking(move || what(&servers))
        };
        let killed = blocking(|servers| {
            let leader = servers.leader_of("faults-log-0").unwrap();
            servers.kill(leader);
            leader
        });
        let killed = killed.await.unwrap();
        let after_kill = all_go_on(&done).await;
        let again = servers.clone();
        tokio::task::spawn_blocking(move || again.restart(killed)).await.unwrap();
        all_go_on(&done).await;
        let paused = blocking(|servers| {
            let leader = servers.leader_of("faults-log-1").unwrap();
            servers.pause(leader);
            leader
        });
        let paused = paused.await.unwrap();
        let after_pause = all_go_on(&done).await;
        servers.resume(paused);
        all_go_on(&done).await;
        stop.store(true, Ordering::Release);
        for (room, writer) in (0..ROOMS).zip(writers) {
            let Written { acknowledged, longest, unknown } = writer.await.unwrap();
            let mut seen = HashSet::new();
            let mut found = Vec::new();
            let log = &logs[usize::try_from(room).unwrap() % 3];
            let last = acknowledged.len() as u64;
            while (found.len() as u64) < last {
                let from = found.len() as u64 + 1;
                let read = Read { from, to: last, backwards: false, max_records: 1_000, max_bytes: 1 << 20 };
                let more = log.read(RoomId(room), read).await.unwrap();
                assert!(!more.is_empty(), "records from {from} are gone");
                found.extend(more);
            }
            for (found, (at, text)) in found.iter().zip(&acknowledged) {
                assert_eq!((found.at.0, &found.record[..]), (*at, text.as_bytes()));
                assert!(seen.insert(text), "stored twice");
            }
            assert_eq!(found.len(), acknowledged.len());
            let tail = log.tail(RoomId(room)).await.unwrap().unwrap();
            assert_eq!(tail.at.0, acknowledged.last().unwrap().0, "something was stored after the last");
            // The row that was written with the last third record.
            let key = [7_u128.to_be_bytes(), room.to_be_bytes()].concat();
            let with = &acknowledged[acknowledged.len() / 3 * 3 - 1].1;
            let began = Instant::now();
            while log
                .get(Table::Memberships, &key)
                .await
                .unwrap()
                .is_none_or(|row| row.value != with.as_bytes())
            {
                // The leader that was paused may not know yet that it leads no more.
                assert!(began.elapsed() < Duration::from_secs(30), "the row is not what was written last");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            eprintln!("room {room}: {last} records, longest wait {longest:?}, {unknown} unknown outcomes");
        }
        eprintln!("all rooms went on {after_kill:?} after a kill, {after_pause:?} after a pause began");
    });
}
