//! Figures for `docs/storage.md`; the command is there.

use std::{
    fs::File,
    io::Write as _,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use super::*;

const BODY: usize = 300;
const SLICE: Duration = Duration::from_secs(4);

fn resident_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() / 1024
}

/// Appends one record after the other to each of so many rooms; says how many there were, and each one's time.
async fn load(store: &Arc<Store>, rooms: std::ops::Range<u128>, time: Duration) -> (u64, Vec<Duration>) {
    let done = Arc::new(AtomicU64::new(0));
    let end = Instant::now() + time;
    let writers: Vec<_> = rooms
        .map(|room| {
            let (store, done) = (Arc::clone(store), Arc::clone(&done));
            tokio::spawn(async move {
                let body = "x".repeat(BODY);
                let (mut at, mut seq, mut times) = (0, 0, vec![]);
                while Instant::now() < end {
                    seq += 1;
                    let started = Instant::now();
                    at = stored(&store, record(room, at, seq..=seq, &body)).await;
                    times.push(started.elapsed());
                    done.fetch_add(1, Ordering::Relaxed);
                }
                times
            })
        })
        .collect();
    let mut times = vec![];
    for writer in writers {
        times.extend(writer.await.unwrap());
    }
    times.sort_unstable();
    (done.load(Ordering::Relaxed), times)
}

/// A loop that writes and syncs the bytes of so many records; says how many records a second.
fn bare(dir: &std::path::Path, records: usize) -> f64 {
    let mut file = File::create(dir.join("bare")).unwrap();
    let bytes = vec![b'x'; records * BODY];
    let (started, mut syncs) = (Instant::now(), 0);
    while started.elapsed() < SLICE {
        file.write_all(&bytes).unwrap();
        file.sync_data().unwrap();
        syncs += 1;
    }
    f64::from(syncs) * records as f64 / started.elapsed().as_secs_f64()
}

#[derive(Default)]
struct Counted(AtomicU64);

impl Commit for Counted {
    fn commit(&self, batch: fjall::OwnedWriteBatch) -> fjall::Result<()> {
        self.0.fetch_add(1, Ordering::Relaxed);
        batch.commit()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn durable_appends() {
    println!("rooms  appends/s  per sync   p50 ms   p99 ms   bare loop/s   ratio");
    for rooms in [1u128, 64, 1_000] {
        let bench = Bench::new();
        let commits = Arc::new(Counted::default());
        let store = bench.open_with(Arc::<Counted>::clone(&commits));
        let (done, times) = load(&store, 0..rooms, SLICE).await;
        let rate = done as f64 / SLICE.as_secs_f64();
        let per_sync = done as f64 / commits.0.load(Ordering::Relaxed) as f64;
        let of = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1e3;
        drop(store);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let bare = bare(bench.dir.path(), per_sync.round() as usize);
        println!(
            "{rooms:>5}{rate:>11.0}{per_sync:>10.1}{:>9.2}{:>9.2}{bare:>14.0}{:>8.2}",
            of(50),
            of(99),
            rate / bare
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement"]
async fn many_rooms() {
    const ROOMS: u128 = 1_000_000;
    const EACH: u64 = 4;
    let bench = Bench::new();
    let store = bench.open();
    let before = resident_mib();
    let started = Instant::now();
    let writers: Vec<_> = (0..1_000)
        .map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let body = "x".repeat(BODY);
                for room in (writer..ROOMS).step_by(1_000) {
                    // Spread like real ids.
                    let room = room.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
                    let mut at = 0;
                    for seq in 1..=EACH {
                        at = stored(&store, record(room, at, seq..=seq, &body)).await;
                    }
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    let records = ROOMS as f64 * EACH as f64;
    println!(
        "{records} records in 1,000,000 rooms: {:.0} appends/s",
        records / started.elapsed().as_secs_f64()
    );
    println!("memory: {before} MiB before, {} MiB after", resident_mib());
    drop(store);
    let started = Instant::now();
    let store = bench.open();
    println!("reopened in {} ms, {} MiB", started.elapsed().as_millis(), resident_mib());
    let started = Instant::now();
    let all = Read { from: 1, to: 9, backwards: true, max_records: 50, max_bytes: 1 << 20 };
    for room in 0..10_000u128 {
        let room = room.wrapping_mul(0x9E37_79B9_7F4A_7C15_F39C_C060_5CED_C835);
        assert_eq!(store.read(RoomId(room), all).await.unwrap().len(), 4);
    }
    println!("a room's records read in {:.0} µs", started.elapsed().as_secs_f64() * 1e6 / 1e4);
}
