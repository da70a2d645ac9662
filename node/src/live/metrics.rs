//! Metrics of live delivery.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// Metrics of live delivery.
#[derive(Debug, Default, Clone)]
pub struct LiveMetrics {
    frames: Counter,
    deliveries: Counter,
    pub(super) records: Counter,
    pub(super) overflows: Counter,
    pub(super) repairs: Counter,
    pub(super) rooms: Gauge,
    pub(super) follows: Gauge,
    pub(super) tape_bytes: Gauge,
}

impl LiveMetrics {
    /// Adds them to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let live = registry.sub_registry_with_prefix("rookery_live");
        live.register("frames", "Frames put on tapes, each once per subprotocol", metrics.frames.clone());
        live.register(
            "deliveries",
            "Frames times the connections that were to get them",
            metrics.deliveries.clone(),
        );
        live.register("records", "Committed records taken from the log", metrics.records.clone());
        live.register(
            "inbox_overflows",
            "Records that found the inbox full and are read from the log instead",
            metrics.overflows.clone(),
        );
        live.register(
            "gap_repairs",
            "Times that missing events were fetched from the log",
            metrics.repairs.clone(),
        );
        live.register("rooms", "Rooms that this node follows", metrics.rooms.clone());
        live.register("follows", "Rooms followed, summed over connections", metrics.follows.clone());
        live.register("tape_bytes", "Bytes held on tapes", metrics.tape_bytes.clone());
        metrics
    }

    pub(super) fn published(&self, frames: usize, readers: usize) {
        self.frames.inc_by(frames as u64);
        self.deliveries.inc_by((frames * readers) as u64);
    }
}
