//! A cluster: nodes of Rookery over servers of NATS, of etcd and a Redis, all of them local processes that we start.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use rookery_testbed::{Bed, ClusterOptions, Process, eventually};

use super::{
    Http, Part, Usage,
    metrics::{self, Metrics},
    node::unlimited,
};

/// A node that does not end by itself for so long is killed.
const LEAVING: Duration = Duration::from_secs(20);

/// Which cluster to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct ClusterSettings {
    /// The node's program
    #[arg(long, value_name = "PATH", default_value = "target/release/rookery-node")]
    pub server: PathBuf,
    /// Nodes
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(1..=9))]
    pub nodes: u8,
    /// Where the servers' data are kept while it runs (a real disk: fsync on tmpfs costs nothing)
    #[arg(long, value_name = "DIR", default_value = "target")]
    pub data_under: PathBuf,
}

/// A running cluster. It ends with this value.
pub struct Cluster {
    parts: rookery_testbed::Cluster,
    name: String,
    bed: Bed,
    /// Removed after the processes have ended.
    _directory: tempfile::TempDir,
}

impl Cluster {
    /// Starts it, and returns when all nodes are ready; `None`, said loudly, when a server is not installed.
    ///
    /// # Errors
    /// When there is no place, or no program of the node.
    ///
    /// # Panics
    /// As all of the testbed does, with the last lines of what does not start.
    pub fn start(settings: &ClusterSettings) -> anyhow::Result<Option<Self>> {
        Self::start_with(settings, &[])
    }

    /// The same, with more settings of the nodes.
    ///
    /// # Errors
    /// As [`Self::start`].
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn start_with(settings: &ClusterSettings, more: &[(&str, &str)]) -> anyhow::Result<Option<Self>> {
        let program = settings.server.canonicalize().with_context(|| {
            format!("there is no {}: build it with cargo build --release", settings.server.display())
        })?;
        let directory = tempfile::Builder::new()
            .prefix("rookery-bench-")
            .tempdir_in(&settings.data_under)
            .with_context(|| format!("cannot make a directory in {}", settings.data_under.display()))?;
        let others =
            [("ROOKERY_ROOMS__ROOMS_PER_USER", "10000"), ("ROOKERY_SERVER__DRAIN_WINDOW_SECONDS", "0")];
        let bed = Bed::lasting(directory.path());
        let options = ClusterOptions {
            // One shard: rooms are spread over all nodes.
            shards: vec!["bench".to_owned(); usize::from(settings.nodes)],
            settings: unlimited()
                .chain(others.iter().chain(more).map(|&(key, value)| (key.into(), value.into())))
                .collect(),
            bed: Some(bed.clone()),
            ..ClusterOptions::of(program)
        };
        let parts = rookery_testbed::Cluster::start(&options);
        Ok(parts.map(|parts| Self { parts, name: options.name, bed, _directory: directory }))
    }

    /// Where clients connect: the nodes that run.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.running().map(rookery_testbed::Node::listen).collect()
    }

    /// Its processes: `nodes`, `nats`, `etcd`, `redis`.
    pub fn parts(&self) -> Vec<Part> {
        let of = |name, processes: Vec<&Process>| {
            let pids = processes.into_iter().filter_map(Process::pid).collect();
            Part { name, usage: Usage::of_all(pids) }
        };
        let (nats, etcd) = (self.parts.nats(), self.parts.etcd());
        vec![
            of("nodes", self.running().map(rookery_testbed::Node::process).collect()),
            of("nats", (0..nats.len()).map(|server| nats.process(server)).collect()),
            of("etcd", (0..etcd.len()).map(|member| etcd.process(member)).collect()),
            of("redis", vec![self.parts.redis().process()]),
        ]
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where the servers of its NATS are.
    pub fn nats(&self) -> Vec<String> {
        self.parts.nats().urls()
    }

    /// Where its Redis is.
    pub fn redis(&self) -> String {
        self.parts.redis().url()
    }

    /// Another process beside it, to be started.
    pub fn process(&self, name: &str, program: &Path, args: Vec<String>) -> Process {
        self.bed.process(name, program, args)
    }

    /// Calls to one of the nodes.
    ///
    /// # Errors
    /// When none runs.
    pub fn http(&self) -> anyhow::Result<Http> {
        Ok(Http::to(*self.addresses().first().context("no node runs")?))
    }

    /// Metrics of all nodes that run, added up.
    ///
    /// # Errors
    /// When one does not answer.
    pub fn metrics(&self) -> anyhow::Result<Metrics> {
        let mut all = Metrics::new();
        for one in self.of_each()? {
            one.into_iter().for_each(|(name, value)| *all.entry(name).or_default() += value);
        }
        Ok(all)
    }

    fn of_each(&self) -> anyhow::Result<Vec<Metrics>> {
        let of = |node: &rookery_testbed::Node| {
            let at = node.management_url().trim_start_matches("http://").parse()?;
            Ok(metrics::parse(&Http::to(at).text("GET", "/metrics", None, None)?.1))
        };
        self.running().map(of).collect()
    }

    /// Starts nodes, or asks them to leave, until the first `count` run and know of each other.
    ///
    /// # Panics
    /// As [`Self::start`].
    pub fn resize(&self, count: usize) {
        let (stay, leave) = self.parts.nodes().split_at(count.min(self.parts.nodes().len()));
        for node in leave.iter().filter(|node| node.process().pid().is_some()) {
            node.process().terminate();
            if node.process().wait(LEAVING).is_none() {
                node.process().kill();
            }
        }
        stay.iter().for_each(rookery_testbed::Node::start);
        stay.iter().for_each(rookery_testbed::Node::await_ready);
        #[allow(clippy::cast_precision_loss)] // At most 9.
        let wanted = stay.len() as f64;
        let knows = |seen: &Metrics| {
            let members = seen.iter().filter(|(name, _)| name.starts_with("rookery_membership_members{"));
            let active = seen.get("rookery_membership_members{state=\"active\"}").copied().unwrap_or(0.0);
            active == wanted && members.map(|(_, count)| count).sum::<f64>() == wanted
        };
        eventually(
            "the nodes know of each other",
            || format!("{:?}", self.addresses()),
            || self.of_each().is_ok_and(|each| each.iter().all(knows)).then_some(()),
        );
    }

    fn running(&self) -> impl Iterator<Item = &rookery_testbed::Node> {
        self.parts.nodes().iter().filter(|node| node.process().pid().is_some())
    }
}
