//! Many seeds in a limited time, on all cores.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use crate::{check::Broken, plan::Mutation};

/// No core panics, whatever it is told.
pub const NO_PANIC: &str = "no panic";
/// Failures that a summary keeps: the first ones tell enough.
const KEPT: usize = 20;

/// Which seeds to run.
#[derive(Debug, Clone, Copy)]
pub struct Sweep {
    /// The first seed.
    pub from: u64,
    /// So many are run whatever the time.
    pub at_least: u64,
    /// So many are run if there is time.
    pub at_most: u64,
    /// The time; a run that has begun is finished.
    pub budget: Duration,
    /// Broken on purpose in all runs.
    pub mutation: Option<Mutation>,
    /// Stop at the first broken promise.
    pub stop_at_first: bool,
}

/// A seed whose run broke promises.
#[derive(Debug, Clone)]
pub struct Failure {
    /// The seed.
    pub seed: u64,
    /// Which promises, and how. Never empty.
    pub broken: Vec<Broken>,
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Summary {
    /// Runs finished.
    pub seeds: u64,
    /// Events stored, in all.
    pub stored: u64,
    /// Events delivered, in all.
    pub delivered: u64,
    /// Faults of nodes, log and membership, in all.
    pub faults: u64,
    /// Runs that broke promises, in all.
    pub failed: u64,
    /// The first of those, by seed.
    pub failures: Vec<Failure>,
    /// Time taken.
    pub elapsed: Duration,
}

impl Sweep {
    /// Runs them.
    pub fn run(&self) -> Summary {
        let start = Instant::now();
        let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
        let summary = Mutex::new(Summary::default());
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let in_time = at < self.at_least || start.elapsed() < self.budget;
                        if at >= self.at_most || !in_time || stop.load(Ordering::Relaxed) {
                            return;
                        }
                        if self.run_one(self.from.wrapping_add(at), &summary) && self.stop_at_first {
                            stop.store(true, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        let mut summary = summary.into_inner().unwrap_or_else(PoisonError::into_inner);
        summary.elapsed = start.elapsed();
        summary
    }

    /// Says whether a promise was broken.
    fn run_one(&self, seed: u64, summary: &Mutex<Summary>) -> bool {
        let outcome = catch_unwind(AssertUnwindSafe(|| crate::run(seed, self.mutation, false)));
        let mut summary = summary.lock().unwrap_or_else(PoisonError::into_inner);
        summary.seeds += 1;
        let broken = match outcome {
            Ok(outcome) => {
                summary.stored += outcome.stored;
                summary.delivered += outcome.delivered;
                summary.faults += outcome.faults;
                outcome.broken
            }
            Err(panic) => {
                let said = panic.downcast_ref::<String>().map(String::as_str);
                let how = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic");
                vec![Broken { promise: NO_PANIC, how: how.to_owned() }]
            }
        };
        if broken.is_empty() {
            return false;
        }
        summary.failed += 1;
        let at = summary.failures.partition_point(|other| other.seed < seed);
        summary.failures.insert(at, Failure { seed, broken });
        summary.failures.truncate(KEPT);
        true
    }
}

impl Failure {
    /// The command that runs it again and tells what happened.
    pub fn replay(&self, mutation: Option<Mutation>) -> String {
        use clap::ValueEnum as _;
        let mut command = format!("cargo run -p rookery-sim -- --seed {} --trace", self.seed);
        if let Some(value) = mutation.and_then(|mutation| mutation.to_possible_value()) {
            command.push_str(" --mutation ");
            command.push_str(value.get_name());
        }
        command
    }
}
