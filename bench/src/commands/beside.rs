//! Chat beside a service of its cluster: what `mailer` and `translator` have in common. The service is a process that is started and
//! stopped, and chat goes on at its rate whatever that does.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::OnceLock,
    time::Duration,
};

use anyhow::Context as _;
use rookery_testbed::{Process, eventually};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::cluster::progress;
use crate::{
    bed::{self, Bed, Plan},
    report::Report,
    target::{Cluster, Http},
};

pub(super) const TARGET: &str = "cluster";
/// A service that does not end by itself for so long is killed.
const LEAVING: Duration = Duration::from_secs(20);

/// Flags of the chat, and of how long anything is measured.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Chat {
    /// Chat messages per second
    #[arg(long, default_value_t = 100.0)]
    pub(super) rate: f64,
    /// Rooms that they go to
    #[arg(long, default_value_t = 100)]
    pub(super) rooms: usize,
    /// Connections that read all of the rooms, spread over the nodes
    #[arg(long, default_value_t = 3)]
    pub(super) readers: usize,
    /// Seconds of warm-up of each step: a service's start, and that its work was put in, are over by then
    #[arg(long, default_value_t = 6.0)]
    pub(super) warm_up: f64,
    /// Seconds measured in each step
    #[arg(long, default_value_t = 5.0)]
    pub(super) window: f64,
    /// Who runs where, in all windows
    #[arg(long, value_enum, default_value_t = Cores::Apart)]
    pub(super) cores: Cores,
}

/// Who runs where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Cores {
    /// Chat has the first core: its clients, nodes, and all of their servers. The service and whatever it works for have the others: as on
    /// machines of their own, or within limits
    Apart,
    /// Everybody has all
    Shared,
}

impl Cores {
    fn first_of_services(self) -> Option<usize> {
        // Counted before any thread is kept to some of them: a thread counts those that it may use.
        static COUNT: OnceLock<usize> = OnceLock::new();
        let count = *COUNT.get_or_init(|| std::thread::available_parallelism().map_or(1, usize::from));
        (self == Self::Apart && count > 1).then_some(1)
    }

    /// Puts this thread, and what it starts from now on, among chat's. To be called before a cluster is started.
    ///
    /// # Errors
    /// The system does not let it.
    pub(super) fn of_chat(self) -> anyhow::Result<()> {
        if self == Self::Apart && self.first_of_services().is_none() {
            progress("ONE CORE ONLY: chat and the service share it");
        }
        self.first_of_services().map_or(Ok(()), |first| keep_to(0..first))
    }

    /// Runs it in a thread among the service's, and so whatever that starts.
    ///
    /// # Errors
    /// The system does not let it, or what it returns.
    pub(super) fn beside<T: Send>(
        self,
        what: impl FnOnce() -> anyhow::Result<T> + Send,
    ) -> anyhow::Result<T> {
        std::thread::scope(|scope| {
            let keep = || self.first_of_services().map_or(Ok(()), |first| keep_to(first..CpuSet::MAX_CPU));
            let there = scope.spawn(move || keep().and_then(|()| what()));
            there.join().map_err(|_| anyhow::anyhow!("what is beside chat has panicked"))?
        })
    }

    /// A process of the service, to be started.
    pub(super) fn process(self, cluster: &Cluster, name: &str, mut words: Vec<String>) -> Process {
        if let Some(first) = self.first_of_services() {
            // `taskset` becomes the program that it starts.
            words.splice(
                0..0,
                ["taskset".to_owned(), "-c".to_owned(), format!("{first}-{}", CpuSet::MAX_CPU - 1)],
            );
        }
        let program = words.remove(0);
        cluster.process(name, program.as_ref(), words)
    }
}

fn keep_to(cores: std::ops::Range<usize>) -> anyhow::Result<()> {
    let mut set = CpuSet::new();
    cores.for_each(|core| set.set(core));
    sched_setaffinity(None, &set).context("a thread cannot be kept to some of the cores")
}

impl Chat {
    /// Chat at its rate, whatever else goes on: its p99 in milliseconds.
    pub(super) fn run(&self, bed: &mut Bed, what: &str, report: &mut Report) -> anyhow::Result<f64> {
        let plan = Plan { rate: self.rate, warm_up: self.warm_up, window: self.window };
        let step = bed::run(bed, plan)?;
        anyhow::ensure!(step.lost == 0, "{what}: {} messages were lost: {step:?}", step.lost);
        let (p50, p99) = (step.latency_ms.p50, step.latency_ms.p99);
        progress(&format!("chat with {what}: p50 {p50:.1} p99 {p99:.1} ms"));
        report.add(&format!("chat with {what}: p50"), "ms", None, TARGET, p50);
        report.add(&format!("chat with {what}: p99"), "ms", None, TARGET, p99);
        report.detail(what, TARGET, &step);
        Ok(p99)
    }
}

/// A service that is started and stopped.
pub(super) struct Service {
    /// What it is, in a sentence.
    what: &'static str,
    pub(super) process: Process,
    management: SocketAddr,
}

impl Service {
    /// The process with these settings, and a management port of its own.
    pub(super) fn new(what: &'static str, process: Process, settings: &[(&str, String)]) -> Self {
        let management = SocketAddr::from(([127, 0, 0, 1], rookery_testbed::free_port()));
        let process = process.with_env("ROOKERY_SERVER__MANAGEMENT", &management.to_string());
        let process = settings
            .iter()
            .fold(process, |process, (key, value)| process.with_env(&format!("ROOKERY_{key}"), value));
        Self { what, process, management }
    }

    /// Starts it, and returns when it is ready.
    pub(super) fn start(&self) {
        self.process.start();
        let answers = || Http::to(self.management).text("GET", "/readyz", None, None);
        eventually(
            &format!("{} is ready", self.what),
            || self.process.log_tail(10),
            || {
                self.process.assert_running();
                answers().is_ok_and(|(status, _)| status == 200).then_some(())
            },
        );
    }

    pub(super) fn stop(&self) {
        self.process.terminate();
        if self.process.wait(LEAVING).is_none() {
            self.process.kill();
        }
    }
}

/// Where a service's program is, from everywhere.
pub(super) fn program(path: &Path) -> anyhow::Result<PathBuf> {
    path.canonicalize()
        .with_context(|| format!("there is no {}: build it with cargo build --release", path.display()))
}
