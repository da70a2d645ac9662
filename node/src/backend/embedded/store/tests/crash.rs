//! `kill -9` at any moment: a child process appends and says what was acknowledged, the test kills it and looks.

use std::{
    collections::HashMap,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::*;

const DIR: &str = "ROOKERY_TEST_CRASH_DIR";
const ROOMS: u128 = 8;
const ROUNDS: usize = 24;

/// A record is the checksum of the one before it, its events and its room.
fn body(previous: u64, room: u128, first: u64, last: u64) -> String {
    format!("{previous:016x} {room} {first} {last}")
}

fn checksum(record: &[u8]) -> u64 {
    xxh3_64_with_seed(record, 0)
}

async fn open_in(dir: &Path) -> Arc<Store> {
    let metrics = StoreMetrics::register(&mut Registry::default());
    Store::open(dir, &StoreSettings::default(), metrics).unwrap()
}

/// All of a room's records, checked: no gap, chained, and its row is that of the last one. Says the last seq and position.
async fn check(store: &Store, room: u128) -> (u64, u64, u64) {
    let all =
        Read { from: 1, to: u64::MAX, backwards: false, max_records: usize::MAX, max_bytes: usize::MAX };
    let (mut last, mut previous, mut at) = (0, 0, 0);
    for found in store.read(RoomId(room), all).await.unwrap() {
        let text = std::str::from_utf8(&found.record).unwrap();
        let (first, end) = {
            let mut numbers = text.split(' ').skip(2).map(|n| n.parse::<u64>().unwrap());
            (numbers.next().unwrap(), numbers.next().unwrap())
        };
        assert_eq!(first, last + 1, "a gap in room {room}");
        assert_eq!(text, body(previous, room, first, end));
        (last, previous, at) = (end, checksum(&found.record), found.at.0);
    }
    let tail = store.tail(RoomId(room)).await.unwrap();
    assert_eq!(tail.map_or(0, |tail| tail.at.0), at);
    let row = store.get(Table::ReadMarks, room.to_string().as_bytes()).await.unwrap();
    let row = row.map_or(0, |row| std::str::from_utf8(&row.value).unwrap().parse().unwrap());
    assert_eq!(row, last, "record and row of room {room} are one step");
    (last, previous, at)
}

/// Not a test of its own: what the killed processes run.
#[test]
#[ignore = "run by the test below in processes of their own"]
fn child() {
    let Some(dir) = std::env::var_os(DIR) else { return };
    println!("\nopening");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let store = open_in(Path::new(&dir)).await;
        let rooms = (0..ROOMS).map(|room| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let (mut last, mut previous, mut at) = check(&store, room).await;
                loop {
                    let (first, end) = (last + 1, last + 1 + last % 3);
                    let text = body(previous, room, first, end);
                    let rows = vec![row(Table::ReadMarks, &room.to_string(), Some(&end.to_string()))];
                    previous = checksum(text.as_bytes());
                    at = stored(&store, Append { rows, ..record(room, at, first..=end, &text) }).await;
                    last = end;
                    println!("ack {room} {last}");
                }
            })
        });
        // None ends but by a panic.
        rooms.collect::<Vec<_>>().swap_remove(0).await.unwrap();
    });
}

#[tokio::test]
async fn what_was_acknowledged_survives_kill_9() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged: HashMap<u128, u64> = HashMap::new();
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["backend::embedded::store::tests::crash::child", "--exact", "--ignored", "--nocapture"])
            .env(DIR, dir.path())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        // Some die while they open, some after few writes, some after many.
        let mut left = [0, 1, 7, 60, 400][round % 5] + round;
        let early = round % 5 == 0;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut read = |line: &str| {
            let mut words = line.split(' ');
            if words.next() != Some("ack") {
                return line == "opening" && early;
            }
            let (Some(room), Some(seq)) = (words.next(), words.next()) else { return false };
            // A line that the kill cut short says a smaller number at most.
            acknowledged.insert(room.parse().unwrap(), seq.parse().unwrap_or(0));
            left = left.saturating_sub(1);
            left == 0
        };
        let reached = lines.by_ref().map_while(Result::ok).any(|line| read(&line));
        child.kill().unwrap();
        assert!(reached, "the child ended by itself in round {round}");
        // What it still said before it died counts too; a last line without its end does not.
        let rest: Vec<_> = lines.map_while(Result::ok).collect();
        for line in &rest[..rest.len().saturating_sub(1)] {
            read(line);
        }
        child.wait().unwrap();
        let store = open_in(dir.path()).await;
        for room in 0..ROOMS {
            let (last, ..) = check(&store, room).await;
            let acknowledged = acknowledged.get(&room).copied().unwrap_or(0);
            assert!(last >= acknowledged, "room {room}: {acknowledged} was acknowledged, {last} is there");
        }
    }
    assert_eq!(acknowledged.len(), usize::try_from(ROOMS).unwrap());
}
