//! What is counted about notices.

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// `rookery_notices_*`
#[derive(Debug, Clone)]
pub struct NoticesMetrics {
    looks: Family<[(&'static str, &'static str); 1], Counter>,
    /// Reminders that had no place.
    pub(super) lost: Counter,
    /// Reminders that are not stored yet.
    pub(super) waiting: Gauge,
}

impl NoticesMetrics {
    /// Adds them to a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("rookery_notices");
        let all = Self { looks: Family::default(), lost: Counter::default(), waiting: Gauge::default() };
        registry.register("looks", "Users looked at, by what came of it", all.looks.clone());
        registry.register("lost", "Reminders of users dropped because too many waited", all.lost.clone());
        registry.register("waiting", "Reminders of users that are not stored yet", all.waiting.clone());
        all
    }

    pub(super) fn looked(&self, outcome: &'static str) {
        self.looks.get_or_create(&[("outcome", outcome)]).inc();
    }
}
