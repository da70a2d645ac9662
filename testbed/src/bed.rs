//! A directory with the data and logs of servers, and the guard over their processes.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use crate::{guard::Guard, process::Process};

/// Where servers live. Clones are the same one; it ends with the last of them.
#[derive(Clone)]
pub struct Bed {
    inner: Arc<Inner>,
}

struct Inner {
    dir: PathBuf,
    passing: bool,
    guard: Guard,
}

impl Bed {
    /// A new directory beside the system's other temporary ones, removed with this value unless a test fails or
    /// `ROOKERY_TESTBED_KEEP` is `1`.
    pub fn temporary() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("rookery-testbed-{}-{number}", std::process::id()));
        Self::at(dir, !keep())
    }

    /// A directory that stays: what is in it is found again.
    pub fn lasting(dir: &Path) -> Self {
        // Servers are given its name, and may run in another working directory.
        Self::at(std::path::absolute(dir).expect("the working directory exists"), false)
    }

    fn at(dir: PathBuf, passing: bool) -> Self {
        fs::create_dir_all(&dir).unwrap_or_else(|error| panic!("cannot make {}: {error}", dir.display()));
        let guard = Guard::new(passing.then_some(&*dir));
        Self { inner: Arc::new(Inner { dir, passing, guard }) }
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        &self.inner.dir
    }

    /// A process that is to run here, logging to `NAME.log`. Not started yet.
    pub fn process(&self, name: &str, program: &Path, args: Vec<String>) -> Process {
        Process::new(self.clone(), name, program, args)
    }

    pub(crate) fn guard(&self) -> &Guard {
        &self.inner.guard
    }
}

impl Drop for Inner {
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        if !self.passing {
            return;
        }
        if std::thread::panicking() {
            eprintln!("--- logs and data are kept in {}", self.dir.display());
        } else {
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

fn keep() -> bool {
    std::env::var_os("ROOKERY_TESTBED_KEEP").is_some_and(|value| value == "1")
}
