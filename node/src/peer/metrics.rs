//! Metrics of the calls between nodes.

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

/// Counters, gauges and histograms of the calls between nodes. Clones share them.
#[derive(Debug, Clone)]
pub struct PeerMetrics {
    /// Requests sent to other nodes, repeats included.
    pub(crate) forwarded: Counter,
    /// Of those, repeats.
    pub(crate) retried: Counter,
    not_taken: Family<Reason, Counter>,
    /// Rooms taken over because their owner did not answer.
    pub(crate) instead: Counter,
    /// Rooms put down because the ring gives them to another node.
    pub(crate) handed_over: Counter,
    /// From sending a request to its answer.
    latency: Histogram,
    /// Streams to other nodes that are up.
    pub(crate) streams: Gauge,
    /// Streams of other nodes to this one.
    pub(crate) callers: Gauge,
    lost: Family<Reason, Counter>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

impl Default for PeerMetrics {
    fn default() -> Self {
        Self {
            forwarded: Counter::default(),
            retried: Counter::default(),
            not_taken: Family::default(),
            instead: Counter::default(),
            handed_over: Counter::default(),
            latency: Histogram::new(exponential_buckets(0.0001, 2.0, 17)),
            streams: Gauge::default(),
            callers: Gauge::default(),
            lost: Family::default(),
        }
    }
}

impl PeerMetrics {
    /// Adds them to a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        let registry = registry.sub_registry_with_prefix("rookery_peer");
        registry.register("forwarded", "Requests sent to the owners of rooms", all.forwarded.clone());
        registry.register("retried", "Of those, repeats", all.retried.clone());
        registry.register("not_taken", "Requests of other nodes not taken, by reason", all.not_taken.clone());
        registry.register(
            "taken_instead",
            "Rooms taken over because their owner was gone",
            all.instead.clone(),
        );
        registry.register("handed_over", "Rooms put down for another owner", all.handed_over.clone());
        registry.register("answer_seconds", "From sending a request to its answer", all.latency.clone());
        registry.register("streams", "Streams to other nodes that are up", all.streams.clone());
        registry.register("callers", "Streams of other nodes to this one", all.callers.clone());
        registry.register("streams_lost", "Streams to other nodes that ended, by reason", all.lost.clone());
        all
    }

    /// Reasons are those of `NotTaken`: a small fixed set.
    pub(super) fn not_taken(&self, reason: &'static str) {
        self.not_taken.get_or_create(&Reason { reason }).inc();
    }

    pub(super) fn lost(&self, reason: &'static str) {
        self.lost.get_or_create(&Reason { reason }).inc();
    }

    pub(super) fn answered(&self, after: Duration) {
        self.latency.observe(after.as_secs_f64());
    }
}
