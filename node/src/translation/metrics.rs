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

/// Why a message, or what was left to do for it, was dropped.
#[derive(Debug, Clone, Copy)]
pub(super) enum Because {
    /// Too much waited to be looked at.
    Queue,
    /// Too many messages were being translated.
    UnderWay,
    /// Too many messages waited for engines to come back.
    Waiting,
    /// Readers were not written the message in time, or too many messages had such readers.
    Behind,
}

impl Because {
    const ALL: [Self; 4] = [Self::Queue, Self::UnderWay, Self::Waiting, Self::Behind];

    fn label(self) -> Dropped {
        let because = match self {
            Self::Queue => "queue",
            Self::UnderWay => "under_way",
            Self::Waiting => "waiting",
            Self::Behind => "behind",
        };
        Dropped { because }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Dropped {
    because: &'static str,
}

/// Counters of translation. Clones share them.
#[derive(Debug, Default, Clone)]
pub struct TranslationMetrics {
    asked: Family<Answered, Counter>,
    told: Counter,
    dropped: Family<Dropped, Counter>,
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
            "Messages not translated for some readers because too many were in the way, by where",
            metrics.dropped.clone(),
        );
        // A rate sees the first of each only if there was a zero before.
        for because in Because::ALL {
            drop(metrics.dropped.get_or_create(&because.label()));
        }
        metrics
    }

    pub(super) fn dropped(&self, because: Because) {
        self.dropped.get_or_create(&because.label()).inc();
    }

    /// All readers of a language here were told.
    pub(super) fn told(&self) {
        self.told.inc();
    }

    pub(super) fn asked(&self, answered: bool) {
        let answered = if answered { "yes" } else { "no" };
        self.asked.get_or_create(&Answered { answered }).inc();
    }
}
