//! Metrics of translation.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};
use rookery_translator::metrics::TranslatorMetrics;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Answered {
    answered: &'static str,
}

/// Counters of translation. Clones share them.
#[derive(Debug, Default, Clone)]
pub struct TranslationMetrics {
    asked: Family<Answered, Counter>,
    /// Translations that readers of rooms were told.
    pub(super) told: Counter,
    /// Messages that were not translated, because too many were under way.
    pub(super) dropped: Counter,
    /// Of the translator, where it runs in this process.
    pub translator: TranslatorMetrics,
}

impl TranslationMetrics {
    /// Adds them to a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self { translator: TranslatorMetrics::register(registry), ..Self::default() };
        let registry = registry.sub_registry_with_prefix("rookery_translation");
        registry.register(
            "asked",
            "Requests to the translator, by whether it answered",
            metrics.asked.clone(),
        );
        registry.register("told", "Translations that readers of rooms were told", metrics.told.clone());
        registry.register(
            "dropped",
            "Messages not translated because too many were under way",
            metrics.dropped.clone(),
        );
        metrics
    }

    pub(super) fn asked(&self, answered: bool) {
        let answered = if answered { "yes" } else { "no" };
        self.asked.get_or_create(&Answered { answered }).inc();
    }
}
