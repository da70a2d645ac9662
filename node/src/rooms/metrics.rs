//! Metrics of rooms.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

/// Counters, gauges and histograms of rooms. Clones share them.
#[derive(Debug, Clone)]
pub struct RoomsMetrics {
    /// Messages stored.
    pub(super) sends: Counter,
    refusals: Family<Code, Counter>,
    /// Rooms in memory.
    pub(super) active: Gauge,
    /// What this node's clients wait for.
    pub(super) unanswered: Gauge,
    /// Events per stored record.
    pub(super) batch: Histogram,
    latency: Histogram,
    /// Rooms taken over: read from the log, or inherited, and fenced.
    pub(super) takeovers: Counter,
    /// Rooms taken over with what the owner before left: nothing was read.
    pub(super) inherited: Counter,
    /// Times that a room's old events were removed.
    pub(super) forgotten: Counter,
    /// Writes of read marks, each of many.
    pub(super) mark_flushes: Counter,
    /// Tasks of rooms that panicked and were started again.
    pub(super) panics: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Code {
    code: &'static str,
}

impl Default for RoomsMetrics {
    fn default() -> Self {
        Self {
            sends: Counter::default(),
            refusals: Family::default(),
            active: Gauge::default(),
            unanswered: Gauge::default(),
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
            latency: Histogram::new(exponential_buckets(0.0001, 2.0, 17)),
            takeovers: Counter::default(),
            inherited: Counter::default(),
            forgotten: Counter::default(),
            mark_flushes: Counter::default(),
            panics: Counter::default(),
        }
    }
}

impl RoomsMetrics {
    /// Adds them to a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        let registry = registry.sub_registry_with_prefix("rookery_rooms");
        registry.register("messages_stored", "Messages stored", all.sends.clone());
        registry.register("refusals", "Commands refused, by code", all.refusals.clone());
        registry.register("active", "Rooms in memory", all.active.clone());
        registry.register(
            "unanswered",
            "Commands of this node's clients that wait for their answer",
            all.unanswered.clone(),
        );
        registry.register("record_events", "Events per stored record", all.batch.clone());
        registry.register("command_seconds", "From a command's arrival to its answer", all.latency.clone());
        registry.register("takeovers", "Rooms taken over", all.takeovers.clone());
        registry.register(
            "inherited",
            "Rooms taken over with what the owner before left, without reading the log",
            all.inherited.clone(),
        );
        registry.register("read_mark_flushes", "Writes of read marks to the store", all.mark_flushes.clone());
        registry.register("forgotten", "Times that a room's old events were removed", all.forgotten.clone());
        registry.register("panics", "Rooms started again after a panic", all.panics.clone());
        all
    }

    /// Codes are those of `refusal.rs`: a small fixed set.
    pub(super) fn refused(&self, code: &'static str) {
        self.refusals.get_or_create(&Code { code }).inc();
    }

    pub(super) fn answered(&self, after: Duration) {
        self.latency.observe(after.as_secs_f64());
    }
}
