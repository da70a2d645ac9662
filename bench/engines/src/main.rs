//! Compares engines for the embedded store: `cargo run --release -- DIR [records]` in this folder.
//!
//! The load is that of the room log: records of 300 bytes in 200 rooms, in batches of which each is one atomic
//! step and one sync. DIR must be on the disk to be measured, not on a tmpfs.

mod engine;
mod fjall_engine;
mod redb_engine;
mod segments;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use engine::{Engine, Record};

const ROOMS: u64 = 200;
const RECORD: usize = 300;
/// Time given to each batch size.
const SLICE: Duration = Duration::from_secs(3);

type Open = fn(&Path) -> Box<dyn Engine>;

fn main() {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().expect("usage: rookery-engines DIR [records]"));
    let records: u64 = args.next().map_or(1_000_000, |n| n.parse().expect("a number"));
    println!("durable appends per second (300 bytes each), by records per sync");
    println!("{:<22}{:>10}{:>10}{:>10}{:>10}", "engine", 1, 8, 64, 512);
    print!("{:<22}", "write + fdatasync");
    for batch in [1, 8, 64, 512] {
        print!("{:>10.0}", bare(&dir, batch));
    }
    println!();
    let engines: [(&str, Open); 4] = [
        ("fjall", |d| Box::new(fjall_engine::FjallEngine::open(d, false))),
        ("fjall, values apart", |d| Box::new(fjall_engine::FjallEngine::open(d, true))),
        ("redb", |d| Box::new(redb_engine::RedbEngine::open(d))),
        ("own segments", |d| Box::new(segments::Segments::open(d))),
    ];
    for (name, open) in engines {
        print!("{name:<22}");
        for batch in [1, 8, 64, 512] {
            let at = fresh(&dir, name);
            let mut engine = open(&at);
            print!("{:>10.0}", appends(engine.as_mut(), batch));
            let _ = std::io::stdout().flush();
        }
        println!();
    }
    println!("\nafter {records} records in batches of 512");
    println!(
        "{:<22}{:>12}{:>14}{:>14}{:>14}{:>12}",
        "engine", "append/s", "bytes/record", "reopen ms", "last 50 µs", "cold 50 µs"
    );
    for (name, open) in engines {
        let at = fresh(&dir, name);
        let mut engine = open(&at);
        let started = Instant::now();
        for first in (0..records).step_by(512) {
            engine.append(&batch(first, 512));
        }
        let rate = records as f64 / started.elapsed().as_secs_f64();
        let warm = read_time(engine.as_ref());
        drop(engine);
        let started = Instant::now();
        let engine = open(&at);
        let reopen = started.elapsed();
        let cold = read_time(engine.as_ref());
        drop(engine);
        println!(
            "{name:<22}{rate:>12.0}{:>14.0}{:>14.0}{warm:>14.1}{cold:>12.1}",
            size(&at) as f64 / records as f64,
            reopen.as_secs_f64() * 1e3,
        );
        let _ = fs::remove_dir_all(at);
    }
}

fn batch(first: u64, count: u64) -> Vec<Record> {
    (first..first + count)
        .map(|n| Record { room: n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % ROOMS, seq: n + 1, body: body(n) })
        .collect()
}

/// Text-like, so that nothing compresses it to nothing.
fn body(n: u64) -> Vec<u8> {
    let mut state = n + 1;
    (0..RECORD)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            b' ' + (state >> 58) as u8
        })
        .collect()
}

fn fresh(dir: &Path, name: &str) -> PathBuf {
    let at = dir.join(name.replace([' ', ','], "-"));
    let _ = fs::remove_dir_all(&at);
    fs::create_dir_all(&at).expect("create");
    at
}

fn bare(dir: &Path, count: u64) -> f64 {
    fs::create_dir_all(dir).expect("create");
    let path = dir.join("bare");
    let mut file = fs::File::create(&path).expect("create");
    let bytes: Vec<u8> = batch(0, count).into_iter().flat_map(|r| r.body).collect();
    let (started, mut done) = (Instant::now(), 0);
    while started.elapsed() < SLICE {
        file.write_all(&bytes).expect("write");
        file.sync_data().expect("sync");
        done += count;
    }
    let rate = done as f64 / started.elapsed().as_secs_f64();
    let _ = fs::remove_file(path);
    rate
}

fn appends(engine: &mut dyn Engine, count: u64) -> f64 {
    let batches: Vec<_> = (0..64).map(|n| batch(n * count, count)).collect();
    let (started, mut done) = (Instant::now(), 0);
    while started.elapsed() < SLICE {
        let mut records = batches[(done / count % 64) as usize].clone();
        for (at, record) in records.iter_mut().enumerate() {
            record.seq = done + at as u64 + 1;
        }
        engine.append(&records);
        done += count;
    }
    done as f64 / started.elapsed().as_secs_f64()
}

fn read_time(engine: &dyn Engine) -> f64 {
    let started = Instant::now();
    for room in 0..ROOMS {
        assert_eq!(engine.last(room, 50), 50);
    }
    started.elapsed().as_secs_f64() * 1e6 / ROOMS as f64
}

fn size(at: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    fs::read_dir(at)
        .expect("list")
        .flatten()
        .map(|e| {
            let meta = e.metadata().expect("metadata");
            if meta.is_dir() { size(&e.path()) } else { meta.blocks() * 512 }
        })
        .sum()
}
