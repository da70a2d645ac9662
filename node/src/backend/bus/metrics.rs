//! What the bus counts.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// Metrics of the bus.
#[derive(Debug, Clone, Default)]
pub struct BusMetrics {
    pub(super) told: Counter,
    pub(super) heard: Counter,
    pub(super) dropped: Counter,
    pub(super) unreadable: Counter,
    pub(super) missed: Counter,
    pub(super) nodes: Gauge,
    pub(super) rooms: Gauge,
}

impl BusMetrics {
    /// Makes and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let this = Self::default();
        let bus = registry.sub_registry_with_prefix("rookery_bus");
        bus.register("told", "Messages sent to other nodes", this.told.clone());
        bus.register("heard", "Messages of other nodes", this.heard.clone());
        bus.register("dropped", "News that could not be sent", this.dropped.clone());
        bus.register("unreadable", "Messages that could not be read", this.unreadable.clone());
        bus.register("missed", "Times that news of another node were lost", this.missed.clone());
        bus.register("nodes", "Other nodes that were heard a moment ago", this.nodes.clone());
        bus.register("rooms", "Rooms whose news are followed", this.rooms.clone());
        this
    }
}
