//! What a run found, as a page that says how to repeat it.

use std::{collections::BTreeMap, fmt::Write as _, fs, time::Duration};

/// What one fault did.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) kind: &'static str,
    /// Longest wait of each room, from before the fault until all was well again.
    pub(crate) waits: Vec<Duration>,
    /// Tries of the writers that were refused or not answered.
    pub(crate) failed: u32,
    /// From the end of the fault until every room was written through every node.
    pub(crate) healed: Duration,
    /// Whether every room was written while the fault lasted.
    pub(crate) meanwhile: bool,
}

/// All of it.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) outcomes: Vec<Outcome>,
    /// Broken promises, in words.
    pub(crate) broken: Vec<String>,
    pub(crate) events: usize,
    pub(crate) acked: usize,
    pub(crate) delivered: usize,
    pub(crate) connections: usize,
    pub(crate) returns: Vec<Duration>,
    pub(crate) took: Duration,
}

impl Report {
    /// The page.
    pub(crate) fn page(&self) -> String {
        let mut page = String::from(
            "# Faults\n\nThree nodes in one shard, three NATS servers (R3, every write synced), three etcd members and a Redis run as \
             processes; clients on all\nnodes write, follow, reconnect and write down all they see, while one fault after the \
             other is done to the parts\nand put right again. Then the promises 1-6 of the client API are checked: nothing \
             acknowledged is lost, nothing is\nstored twice, `seq` has no gap and is the same through every node, senders' order and \
             real time are kept, every\nconnection's stream is exact, nothing is seen that is not stored.\n\n",
        );
        let _ = writeln!(
            page,
            "    ROOKERY_E2E_SEED={} ROOKERY_E2E_FAULTS={} make faults\n\nRevision {}, {}; {} build of the node; {:.0} minutes.\n",
            self.seed,
            self.outcomes.len(),
            from_environment("ROOKERY_E2E_REVISION"),
            machine(),
            from_environment("ROOKERY_E2E_PROFILE"),
            self.took.as_secs_f64() / 60.0,
        );
        let _ = writeln!(
            page,
            "**{} faults, {} broken promises**; {} events stored, {} acknowledgements, {} deliveries, {} attachments of connections to \
             rooms checked.\n",
            self.outcomes.len(),
            self.broken.len(),
            self.events,
            self.acked,
            self.delivered,
            self.connections,
        );
        for broken in self.broken.iter().take(20) {
            let _ = writeln!(page, "- {broken}");
        }
        page.push_str(
            "\nA room's *wait* is the longest that its writer (one message after the other, over a node that the fault is not done \
             to)\nwaited for an acknowledgement, repeats included, around one fault. *Failed* counts its tries that were answered \
             `unavailable` or\nnot at all; each was repeated until it was acknowledged. *Put right* is from the end of the fault until every room is written through \
             every\nnode. Times in milliseconds.\n\n\
             | fault | count | wait p50 | p99 | worst room p50 | p99 | max | failed | written meanwhile | put right p50 | max |\n\
             | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
        );
        let mut kinds: BTreeMap<&str, Vec<&Outcome>> = BTreeMap::new();
        for outcome in &self.outcomes {
            kinds.entry(outcome.kind).or_default().push(outcome);
        }
        for (kind, outcomes) in kinds {
            let waits = Times::of(outcomes.iter().flat_map(|outcome| outcome.waits.iter().copied()));
            let worst = Times::of(outcomes.iter().filter_map(|outcome| outcome.waits.last().copied()));
            let healed = Times::of(outcomes.iter().map(|outcome| outcome.healed));
            let _ = writeln!(
                page,
                "| {kind} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                outcomes.len(),
                waits.at(50),
                waits.at(99),
                worst.at(50),
                worst.at(99),
                worst.at(100),
                outcomes.iter().map(|outcome| outcome.failed).sum::<u32>(),
                outcomes.iter().filter(|outcome| outcome.meanwhile).count(),
                healed.at(50),
                healed.at(100),
            );
        }
        if !self.returns.is_empty() {
            let returns = Times::of(self.returns.iter().copied());
            let _ = writeln!(
                page,
                "\nClients of draining nodes were live again, after the delay that they were told: {} times, p50 {} ms, p99 {} ms, max {} ms.",
                self.returns.len(),
                returns.at(50),
                returns.at(99),
                returns.at(100),
            );
        }
        page
    }

    /// Shows it, and writes it where the environment says.
    pub(crate) fn publish(&self) {
        let page = self.page();
        println!("{page}");
        if let Some(path) = std::env::var_os("ROOKERY_E2E_REPORT") {
            fs::write(&path, page).unwrap_or_else(|error| panic!("cannot write the report: {error}"));
        }
    }
}

/// Sorted times.
struct Times(Vec<Duration>);

impl Times {
    fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<_> = times.collect();
        times.sort_unstable();
        Self(times)
    }

    /// A percentile in milliseconds: the smallest time that so many percent do not exceed.
    fn at(&self, percent: usize) -> u128 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).map_or(0, Duration::as_millis)
    }
}

fn from_environment(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| "unknown".to_owned())
}

fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or(": unknown");
    format!("{cores} cores of {}", model.trim_start_matches([' ', '\t', ':']))
}
