//! Counts what arrives during a step.

use std::{collections::BTreeMap, ops::Range};

use crate::{load::Latency, socket::Sink};

/// Kinds of refusals that are kept apart.
const MAX_KINDS: usize = 8;

/// What arrived, and how late.
#[derive(Debug)]
pub(super) struct Tally {
    /// Messages due then are measured; those before warm the server up.
    window: Range<u64>,
    of_answers: bool,
    /// Messages due before are left over from an earlier step.
    start: u64,
    pub(super) deliveries: Latency,
    pub(super) acks: Latency,
    /// Deliveries of this step so far, warm-up included.
    pub(super) arrived: u64,
    pub(super) acked: u64,
    /// When the last one came, and how late it was.
    pub(super) last: u64,
    pub(super) lag: u64,
    pub(super) closed: u64,
    /// Refusals and ends of connections: how often each.
    pub(super) problems: BTreeMap<String, u64>,
}

impl Tally {
    /// `of_answers`: nobody reads, acknowledgements are what is waited for.
    pub(super) fn new(start: u64, window: Range<u64>, of_answers: bool) -> anyhow::Result<Self> {
        Ok(Self {
            of_answers,
            window,
            start,
            deliveries: Latency::new()?,
            acks: Latency::new()?,
            arrived: 0,
            acked: 0,
            last: start,
            lag: 0,
            closed: 0,
            problems: BTreeMap::new(),
        })
    }

    /// How many have come of what is waited for.
    pub(super) fn came(&self) -> u64 {
        if self.of_answers { self.acked } else { self.arrived }
    }

    fn problem(&mut self, why: &str) {
        if self.problems.len() < MAX_KINDS || self.problems.contains_key(why) {
            *self.problems.entry(why.to_owned()).or_default() += 1;
        }
    }
}

impl Sink for Tally {
    #[inline]
    fn delivery(&mut self, due: u64, now: u64) {
        if due < self.start {
            return;
        }
        self.arrived += 1;
        self.last = now;
        self.lag = now.saturating_sub(due);
        if self.window.contains(&due) {
            self.deliveries.record(self.lag);
        }
    }

    fn ack(&mut self, _conn: usize, due: u64, now: u64) {
        if due >= self.start {
            self.acked += 1;
            if self.of_answers {
                self.last = now;
                self.lag = now.saturating_sub(due);
            }
            if self.window.contains(&due) {
                self.acks.record(now.saturating_sub(due));
            }
        }
    }

    fn refused(&mut self, why: &str) {
        self.problem(why);
    }

    fn closed(&mut self, _conn: usize, why: &str) {
        self.closed += 1;
        self.problem(why);
    }
}

/// Counts arrivals and nothing else.
#[derive(Debug, Default)]
pub(super) struct Arrivals {
    pub(super) count: u64,
}

impl Sink for Arrivals {
    fn delivery(&mut self, _due: u64, _now: u64) {
        self.count += 1;
    }
    fn ack(&mut self, _conn: usize, _due: u64, _now: u64) {
        self.count += 1;
    }
}
