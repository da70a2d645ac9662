//! The machine's own disk, beside what rooms wait for: every message is synced to it by three servers, so while it stands still
//! they do, too, whatever is done to them.

use std::{
    fs::File,
    io::Write as _,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

/// Between two syncs.
const CADENCE: Duration = Duration::from_millis(20);
/// A sync adds so much: some 700 MB in an hour.
const PAGE: [u8; 4096] = [7; 4096];

/// One sync.
struct Sync {
    began: Instant,
    /// `None`: it is not done.
    took: Option<Duration>,
}

/// Syncs a file of its own, where the servers have theirs, until it is dropped.
pub(crate) struct Disk {
    syncs: Arc<Mutex<Vec<Sync>>>,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Disk {
    /// Begins.
    pub(crate) fn watch() -> Self {
        let (syncs, stopped) = (Arc::<Mutex<Vec<Sync>>>::default(), Arc::<AtomicBool>::default());
        let (told, until) = (syncs.clone(), stopped.clone());
        let thread = thread::spawn(move || {
            // Nobody finds it: it goes with this process.
            let mut file = tempfile::tempfile().expect("a file can be made where the servers have theirs");
            while !until.load(Ordering::Acquire) {
                told.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(Sync { began: Instant::now(), took: None });
                let took = sync(&mut file);
                if let Some(last) = told.lock().unwrap_or_else(PoisonError::into_inner).last_mut() {
                    last.took = Some(took);
                }
                thread::sleep(CADENCE);
            }
        });
        Self { syncs, stopped, thread: Some(thread) }
    }

    /// The longest sync since then. What was before is forgotten.
    pub(crate) fn longest(&self, since: Instant) -> Duration {
        let mut syncs = self.syncs.lock().unwrap_or_else(PoisonError::into_inner);
        // One that began before may have ended since.
        syncs.retain(|sync| sync.took.is_none_or(|took| sync.began + took >= since));
        syncs.iter().map(|sync| sync.took.unwrap_or_else(|| sync.began.elapsed())).max().unwrap_or_default()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn sync(file: &mut File) -> Duration {
    let began = Instant::now();
    // At its end, as logs are written: the file system has to store that it is longer now, too, which it does for all files together.
    file.write_all(&PAGE).expect("the file can be written");
    file.sync_data().expect("the file can be synced");
    began.elapsed()
}
