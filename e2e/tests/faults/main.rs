//! Faults of every part of a cluster, one after the other, while clients on all nodes write and follow: every promise of the
//! client API holds, and rooms are written again soon after.
//!
//! By default a few fixed faults; `ROOKERY_E2E_FAULTS=1000` does so many that `ROOKERY_E2E_SEED` chooses, in rounds of 20, each from a
//! seed of its own: `ROOKERY_E2E_ROUND=7` repeats one. `ROOKERY_E2E_CLUSTERS=2` does rounds on so many clusters at the same time. A
//! broken promise, or a cluster that does not come back, is written down and the next round goes on; the report is written after each
//! round. What is checked is in `rookery_e2e::history`, which faults there are in `rookery_testbed::Fault`.
//!
//! `ROOKERY_E2E_AIMS=1` lets a run fail that misses an aim of its report.
//!
//! That it catches a node that keeps no promise is shown by `scripts/mutations`: some by the fixed faults, and those that only an owner shows that
//! was overtaken and goes on by cutting nodes from all others.

#![allow(clippy::print_stdout, reason = "what a long run does is shown while it runs")]

mod aims;
mod disk;
mod findings;
mod plan;
mod report;
mod round;

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use rand::{SeedableRng as _, rngs::StdRng};
use rookery_e2e::{
    server::{self, Options},
    service,
};
use rookery_testbed::{Cluster, ClusterOptions};
use tokio::runtime::Runtime;

use plan::{LEAST, Step};
use report::Report;
use round::Round;

/// Faults of one round.
const ROUND: usize = 20;
/// A short run begins no further fault so long after its first one, on machines so busy that it would take too long; but not
/// before [`plan::LEAST`] are done.
const SMOKE: Duration = Duration::from_secs(55);
/// Kinds that a short run that proves something has.
const MUST: [&str; 3] =
    ["kill -9 of a node", "pause of a node, longer than its lease", "kill -9 of a stream's leader"];

fn number(name: &str) -> Option<usize> {
    let text = std::env::var(name).ok().filter(|text| !text.is_empty())?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text}: must be a number")))
}

/// What is to be done, and what was.
struct Run {
    seed: u64,
    /// None: a short run.
    faults: Option<usize>,
    /// The next round, and one after the last.
    rounds: Mutex<std::ops::Range<usize>>,
    report: Mutex<Report>,
    began: Instant,
}

impl Run {
    fn from_environment() -> Self {
        let faults = number("ROOKERY_E2E_FAULTS");
        let default = if faults.is_some() { u64::from(std::process::id()) } else { 1 };
        let seed = number("ROOKERY_E2E_SEED").map_or(default, |seed| u64::try_from(seed).unwrap_or(default));
        let all = 0..faults.unwrap_or(1).div_ceil(ROUND);
        let rounds = Mutex::new(number("ROOKERY_E2E_ROUND").map_or(all, |round| round..round + 1));
        Self {
            seed,
            faults,
            rounds,
            report: Mutex::new(Report::new(seed, faults.unwrap_or(0))),
            began: Instant::now(),
        }
    }

    fn next_round(&self) -> Option<usize> {
        self.rounds.lock().unwrap_or_else(PoisonError::into_inner).next()
    }

    /// Seeds of rounds differ, also between runs whose seeds follow each other.
    fn random(&self, round: usize) -> StdRng {
        let round = u64::try_from(round).unwrap_or_default();
        StdRng::seed_from_u64(self.seed ^ ((round + 1) << 32))
    }

    fn steps(&self, round: usize, random: &mut StdRng) -> Vec<Step> {
        match self.faults {
            Some(count) => {
                let left = count.saturating_sub(round * ROUND).clamp(1, ROUND);
                (0..left).map(|_| plan::next(random)).collect()
            }
            None => plan::smoke(),
        }
    }

    fn add(&self, part: Report) {
        let mut report = self.report.lock().unwrap_or_else(PoisonError::into_inner);
        report.add(part);
        report.took = self.began.elapsed();
        report.save();
    }

    /// Does rounds until none is left. `None`: there is no cluster.
    fn lane(&self, options: &ClusterOptions) -> Option<()> {
        let mut cluster: Option<Cluster> = None;
        while let Some(number) = self.next_round() {
            let mut tries = 0;
            let part = loop {
                // After something that ought not to have happened the next round has a cluster of its own.
                let (on, is_used) = match cluster.take() {
                    Some(cluster) => (cluster, true),
                    None => (Cluster::start(options)?, false),
                };
                let mut part = Report::default();
                let done = catch_unwind(AssertUnwindSafe(|| self.round(number, &on, &mut part)));
                let stopped = match done {
                    Ok(done) => done.err(),
                    Err(panic) => {
                        let said = panic.downcast_ref::<String>().cloned();
                        let said =
                            said.or_else(|| panic.downcast_ref::<&str>().map(|said| (*said).to_owned()));
                        Some(said.unwrap_or_default())
                    }
                };
                let Some(why) = stopped else {
                    if part.broken.is_empty() {
                        cluster = Some(on);
                    } else {
                        findings::keep(self.seed, number, &on, &part.broken);
                    }
                    break part;
                };
                // Before the first fault: its users could not be registered, or its rooms made, in time. Of a cluster to which nothing was
                // done yet that says little, and is written down; one that served before must serve.
                let is_early = part.begun == 0 && tries < 3;
                let why = format!(
                    "round {number}{}: {why}",
                    if is_early { ", before its first fault" } else { "" }
                );
                if is_early && !is_used {
                    println!("{why}");
                    part.not_begun.push(why.clone());
                } else {
                    part.broken.push(why.clone());
                }
                findings::keep(self.seed, number, &on, &[part.broken.as_slice(), &part.not_begun].concat());
                if !is_early {
                    break part;
                }
                tries += 1;
                self.add(part);
            };
            self.add(part);
        }
        Some(())
    }

    fn round(&self, number: usize, cluster: &Cluster, report: &mut Report) -> Result<(), String> {
        let mut random = self.random(number);
        let steps = self.steps(number, &mut random);
        let runtime = Background::new();
        let round = Round::begin(number, cluster, runtime.runtime(), &mut random);
        let began = Instant::now();
        for (done, step) in steps.iter().enumerate() {
            if self.faults.is_none() && done >= LEAST && began.elapsed() >= SMOKE {
                let left = steps.len() - done;
                rookery_e2e::skipped(
                    "faults",
                    &format!("{left} of {} took too long on this machine", steps.len()),
                );
                break;
            }
            if let Err(why) = round.step(*step, report) {
                if report.begun > 0 {
                    round.look_at_logs(report);
                }
                return Err(why);
            }
        }
        round.end(report)
    }
}

/// A runtime whose tasks, whatever became of them, hold up nobody when it ends.
struct Background(Option<Runtime>);

impl Background {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        Self(Some(runtime.expect("a runtime")))
    }

    fn runtime(&self) -> &Runtime {
        self.0.as_ref().expect("it has not ended")
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// Promises 1-6 of the client API, and progress, under faults of every part.
#[test]
fn promises_hold_under_faults_of_every_part() {
    if service::is_external() {
        return rookery_e2e::skipped("faults", "the service is not ours to break");
    }
    let run = Run::from_environment();
    println!("ROOKERY_E2E_SEED={}", run.seed);
    let options = ClusterOptions {
        // One shard, so that every room has somewhere to go when its owner is gone.
        shards: ["main"; 3].map(str::to_owned).to_vec(),
        proxied: true,
        settings: Options::under_load().environment().to_vec(),
        ..ClusterOptions::of(server::program())
    };
    let done = std::thread::scope(|scope| {
        let lanes =
            (0..number("ROOKERY_E2E_CLUSTERS").unwrap_or(1)).map(|_| scope.spawn(|| run.lane(&options)));
        let lanes: Vec<_> = lanes.collect();
        lanes.into_iter().map(|lane| lane.join().expect("a lane ends")).collect::<Option<Vec<()>>>()
    });
    if done.is_none() {
        return rookery_e2e::skipped("faults", "the servers of a cluster are not installed: scripts/servers");
    }
    let report = run.report.into_inner().unwrap_or_else(PoisonError::into_inner);
    println!("{}", report.page());
    assert!(
        report.broken.is_empty(),
        "{} promises broken with ROOKERY_E2E_SEED={}; the first:\n{}",
        report.broken.len(),
        run.seed,
        report.broken.iter().take(20).cloned().collect::<Vec<_>>().join("\n")
    );
    let done = report.outcomes.len();
    assert!(
        done >= LEAST.min(run.faults.unwrap_or(LEAST)),
        "{done} faults were done: too few to prove anything"
    );
    assert!(report.acked > done * 10, "too little was written to prove anything");
    if run.faults.is_none() {
        short_run(&report);
        println!("the short run took {:.0?}, with what started the cluster", run.began.elapsed());
    }
    if number("ROOKERY_E2E_AIMS") == Some(1) {
        let missed = aims::missed(&report);
        assert!(missed.is_empty(), "aims missed with ROOKERY_E2E_SEED={}:\n{}", run.seed, missed.join("\n"));
    }
}

/// What the fixed faults must have shown on any machine.
fn short_run(report: &Report) {
    for kind in MUST {
        let of_it: Vec<_> = report.outcomes.iter().filter(|outcome| outcome.kind == kind).collect();
        assert!(!of_it.is_empty(), "no {kind} was done");
        assert!(of_it.iter().all(|outcome| outcome.concerns_rooms()), "{kind}, of a node that owned nothing");
    }
    // Others go on while an owner is dead: it was started again only after that, or after 15 s.
    let kills = report.outcomes.iter().filter(|outcome| outcome.kind == MUST[0]);
    assert!(
        kills.into_iter().all(|kill| kill.meanwhile),
        "no room's writer went on without the node that was killed"
    );
    assert!(report.accounts > 0, "no account was made");
}
