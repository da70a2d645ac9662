//! What a run found, as a page that says how to repeat it.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use rookery_e2e::report;

use crate::aims;

/// What one fault did.
#[derive(Debug, Clone)]
pub(crate) struct Outcome {
    pub(crate) kind: &'static str,
    /// How many of the round's rooms its node owned; `None`: it was not done to one node.
    pub(crate) owned: Option<usize>,
    /// Longest wait of those.
    pub(crate) own: Option<Duration>,
    /// Longest wait of those in as long a time after a planned handover in which nothing was done.
    pub(crate) calm: Option<Duration>,
    /// Longest wait of each room, from before the fault until all was well again.
    pub(crate) waits: Vec<Duration>,
    /// Tries of the writers that were refused or not answered.
    pub(crate) failed: u32,
    /// Requests over sockets to the node that were refused while it was drained.
    pub(crate) refused: usize,
    /// From the end of the fault until every room was written through every node.
    pub(crate) healed: Duration,
    /// Whether every room was written while the fault lasted.
    pub(crate) meanwhile: bool,
    /// The longest sync of a file that nobody else has, meanwhile.
    pub(crate) disk: Duration,
}

impl Outcome {
    /// Whether rooms could have waited for it.
    pub(crate) fn concerns_rooms(&self) -> bool {
        self.owned != Some(0)
    }

    /// How long the rooms waited that it was done to: those of its node, or any.
    pub(crate) fn wait(&self) -> Option<Duration> {
        if self.owned.is_some() { self.own } else { self.waits.last().copied() }
    }
}

/// All of it.
#[derive(Default)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    /// Faults asked for; a rolling restart is one of them and one outcome per node.
    pub(crate) asked: usize,
    pub(crate) outcomes: Vec<Outcome>,
    /// Faults that were begun, whether or not they could be put right.
    pub(crate) begun: usize,
    /// Rounds that did not come as far as their first fault, on clusters that nothing had been done to, and why. Others were begun in
    /// their place.
    pub(crate) not_begun: Vec<String>,
    /// Broken promises, in words.
    pub(crate) broken: Vec<String>,
    pub(crate) events: usize,
    pub(crate) records: usize,
    /// Changes of the epoch along the logs.
    pub(crate) takeovers: usize,
    pub(crate) acked: usize,
    pub(crate) delivered: usize,
    pub(crate) connections: usize,
    /// Messages that changed places because the first may have been refused, unheard.
    pub(crate) excused: usize,
    /// Registrations and deletions of accounts that were acknowledged.
    pub(crate) accounts: usize,
    pub(crate) returns: Vec<Duration>,
    /// Those that came back while another fault was done.
    pub(crate) returns_into_fault: usize,
    pub(crate) took: Duration,
}

impl Report {
    pub(crate) fn new(seed: u64, asked: usize) -> Self {
        Self { seed, asked, ..Self::default() }
    }

    /// Adds what another round found.
    pub(crate) fn add(&mut self, part: Self) {
        self.outcomes.extend(part.outcomes);
        self.begun += part.begun;
        self.not_begun.extend(part.not_begun);
        self.broken.extend(part.broken);
        self.events += part.events;
        self.records += part.records;
        self.takeovers += part.takeovers;
        self.acked += part.acked;
        self.delivered += part.delivered;
        self.connections += part.connections;
        self.excused += part.excused;
        self.accounts += part.accounts;
        self.returns.extend(part.returns);
        self.returns_into_fault += part.returns_into_fault;
    }

    /// The part of the page that a run writes.
    pub(crate) fn page(&self) -> String {
        let mut page = String::new();
        let chosen = ["CLUSTERS", "LOSS", "KIND", "ROUND"].map(|name| format!("ROOKERY_E2E_{name}"));
        let chosen: String = chosen
            .iter()
            .filter_map(|name| {
                Some(format!(" {name}={}", std::env::var(name).ok().filter(|value| !value.is_empty())?))
            })
            .collect();
        let _ = writeln!(
            page,
            "    ROOKERY_E2E_SEED={} ROOKERY_E2E_FAULTS={}{chosen} make faults\n\nRevision {}, {}; {} build of the node; {:.0} minutes.\n",
            self.seed,
            if self.asked > 0 { self.asked } else { self.outcomes.len() },
            report::from_environment("ROOKERY_E2E_REVISION"),
            report::machine(),
            report::from_environment("ROOKERY_E2E_PROFILE"),
            self.took.as_secs_f64() / 60.0,
        );
        let _ = writeln!(
            page,
            "**{} faults, {} broken promises**; {} events in {} records stored under {} changes of the epoch, {} acknowledgements, {} \
             deliveries, {} attachments of connections to rooms and {} answers about accounts checked.\n",
            self.outcomes.len(),
            self.broken.len(),
            self.events,
            self.records,
            self.takeovers,
            self.acked,
            self.delivered,
            self.connections,
            self.accounts,
        );
        for broken in self.broken.iter().take(20) {
            let _ = writeln!(page, "- {broken}");
        }
        if !self.not_begun.is_empty() {
            let _ = writeln!(
                page,
                "{} rounds were begun again on another cluster, because on a new one they did not come as far as their first fault:\n",
                self.not_begun.len(),
            );
            for why in self.not_begun.iter().take(20) {
                let _ = writeln!(page, "- {why}");
            }
            page.push('\n');
        }
        let _ = writeln!(
            page,
            "{} times two messages changed places, where the first was not answered before its client left and the later one was not known to \
             be\nstored before the first one's deadline: that one may have been refused, unheard, and was sent again. That is no broken \
             promise.\n",
            self.excused,
        );
        page.push_str(&aims::table(self));
        page.push('\n');
        page.push_str(&aims::disk(self));
        page.push_str(
            "\nA room's *wait* is the longest from when a message to it was due (one every 20 ms, over a node that the fault is not done \
             to)\nuntil it was acknowledged, repeats included, around one fault. *Failed* counts the writers' tries that were answered \
             `unavailable` or\nnot at all; each was repeated until it was acknowledged. *Refused* counts what clients asked over WebSockets to the node that was \
             drained\nand were answered `unavailable`. *Put right* is from the end of the fault until every room is written through \
             every\nnode. *Owners* counts the faults done to a node that owned some of the rooms; the aims of kills, pauses and handovers are of these, and of \
             the rooms that it owned; the table is of all rooms.\nTimes in milliseconds.\n\n\
             | fault | count | owners | wait p50 | p99 | worst room p50 | p99 | max | failed | refused | written meanwhile | put right p50 | max |\n\
             | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
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
                "| {kind} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
                outcomes.len(),
                if outcomes.iter().all(|outcome| outcome.owned.is_none()) {
                    "–".to_owned()
                } else {
                    outcomes.iter().filter(|outcome| outcome.concerns_rooms()).count().to_string()
                },
                waits.at(50),
                waits.at(99),
                worst.at(50),
                worst.at(99),
                worst.at(100),
                outcomes.iter().map(|outcome| outcome.failed).sum::<u32>(),
                outcomes.iter().map(|outcome| outcome.refused).sum::<usize>(),
                outcomes.iter().filter(|outcome| outcome.meanwhile).count(),
                healed.at(50),
                healed.at(100),
            );
        }
        if !self.returns.is_empty() {
            let returns = Times::of(self.returns.iter().copied());
            let _ = writeln!(
                page,
                "\nClients of draining nodes were live again, after the delay that they were told: {} times, p50 {} ms, p99 {} ms, max {} \
                 ms; {} more came back into another fault.",
                self.returns.len(),
                returns.at(50),
                returns.at(99),
                returns.at(100),
                self.returns_into_fault,
            );
        }
        page
    }

    /// Writes it where the environment says.
    pub(crate) fn save(&self) {
        report::write("ROOKERY_E2E_REPORT", &self.page());
    }
}

/// Sorted times.
pub(crate) struct Times(Vec<Duration>);

impl Times {
    pub(crate) fn of(times: impl Iterator<Item = Duration>) -> Self {
        let mut times: Vec<_> = times.collect();
        times.sort_unstable();
        Self(times)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// A percentile in milliseconds: the smallest time that so many percent do not exceed.
    pub(crate) fn at(&self, percent: usize) -> u128 {
        let rank = (self.0.len() * percent).div_ceil(100).max(1);
        self.0.get(rank - 1).map_or(0, Duration::as_millis)
    }
}
