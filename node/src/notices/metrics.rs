//! What is counted about notices.

use prometheus_client::{
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

/// `rookery_notices_*`
#[derive(Debug, Clone)]
pub struct NoticesMetrics {
    looks: Family<[(&'static str, &'static str); 1], Counter>,
    /// Reminders that could not be stored, or had no place.
    pub(super) lost: Counter,
}

impl NoticesMetrics {
    /// Adds them to a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let registry = registry.sub_registry_with_prefix("rookery_notices");
        let all = Self { looks: Family::default(), lost: Counter::default() };
        registry.register("looks", "Users looked at, by what came of it", all.looks.clone());
        registry.register("lost", "Reminders of users that could not be stored", all.lost.clone());
        all
    }

    pub(super) fn looked(&self, outcome: &'static str) {
        self.looks.get_or_create(&[("outcome", outcome)]).inc();
    }
}
