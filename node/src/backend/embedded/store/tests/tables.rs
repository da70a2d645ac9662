//! Memory tables fill faster than they are written to disk.

use std::{path::Path, sync::mpsc, time::Duration};

use rookery_protocol::id::RoomId;

use crate::backend::{
    Committed, LogSeq,
    embedded::{StoreSettings, store::engine::Engine},
};

/// Much longer than it takes.
const PATIENCE: Duration = Duration::from_secs(120);
const LIMIT_MIB: u64 = 4;
/// Records of a batch that fills two memory tables.
const LARGE: usize = 30_000;
/// Batches of one record after it, more than the engine's queue has places.
const SMALL: usize = 2_000;
const ROUNDS: usize = 6;

#[test]
fn a_writer_who_is_faster_than_the_engines_thread_is_held_up_and_goes_on() {
    // Where a sync costs nothing, if there is such a place.
    let memory = Path::new("/dev/shm");
    let dir = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
    let settings = StoreSettings { write_buffer_mib: LIMIT_MIB, ..StoreSettings::default() };
    let engine = Engine::open(&dir.path().join("db"), &settings).unwrap();
    let (done, is_done) = mpsc::channel();
    let writer = std::thread::spawn(move || {
        let mut at = 0;
        let sizes = std::iter::once(LARGE).chain(std::iter::repeat_n(1, SMALL));
        for size in std::iter::repeat_n(sizes, ROUNDS).flatten() {
            let mut batch = engine.batch().durability(None);
            for _ in 0..size {
                at += 1;
                let record = vec![b'x'; 200].into();
                let record = Committed { room: RoomId(u128::from(at % 200)), at: LogSeq(at), record };
                engine.put_record(&mut batch, &record, at, at);
            }
            batch.commit().unwrap();
            engine.seal_full().unwrap();
            // Four sealed ones at most, one that is filled, and one that is being written; each of twice the limit.
            let unwritten = engine.unwritten() >> 20;
            assert!(unwritten <= 12 * LIMIT_MIB, "{unwritten} MiB wait in memory");
        }
        let tail = engine.tail(RoomId(u128::from(at % 200))).unwrap().unwrap();
        assert_eq!(tail.last_seq, at);
        done.send(()).unwrap();
    });
    is_done.recv_timeout(PATIENCE).expect("the writer goes on");
    writer.join().unwrap();
}
