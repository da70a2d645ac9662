//! Metrics of the translator.

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

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Of {
    engine: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    engine: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Cache {
    cache: &'static str,
}

/// Counters, gauges and histograms of the translator. Clones share them.
#[derive(Debug, Clone)]
pub struct TranslatorMetrics {
    asked: Family<Outcome, Counter>,
    calls: Family<Call, Counter>,
    seconds: Family<Of, Histogram>,
    characters: Family<Of, Counter>,
    open: Family<Of, Gauge>,
    hits: Family<Cache, Counter>,
    /// Requests that waited for an equal one.
    pub(crate) joined: Counter,
    /// Lines in which an engine lost a mark, so that it was asked for the pieces.
    pub(crate) pieces: Counter,
    /// Failures of Redis.
    pub(crate) redis_failures: Counter,
    /// Texts that are being translated.
    pub(crate) active: Gauge,
}

impl Default for TranslatorMetrics {
    fn default() -> Self {
        let histogram: fn() -> Histogram = || Histogram::new(exponential_buckets(0.001, 2.0, 15));
        Self {
            asked: Family::default(),
            calls: Family::default(),
            seconds: Family::new_with_constructor(histogram),
            characters: Family::default(),
            open: Family::default(),
            hits: Family::default(),
            joined: Counter::default(),
            pieces: Counter::default(),
            redis_failures: Counter::default(),
            active: Gauge::default(),
        }
    }
}

impl TranslatorMetrics {
    /// Adds them to a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let of = &metrics;
        let registry = registry.sub_registry_with_prefix("rookery_translator");
        registry.register(
            "asked",
            "Translations into one language that were asked for, by outcome",
            of.asked.clone(),
        );
        registry.register("engine_calls", "Calls to engines, by outcome", of.calls.clone());
        registry.register("engine_seconds", "Time of a call to an engine", of.seconds.clone());
        registry.register("engine_characters", "Characters given to engines", of.characters.clone());
        registry.register("engine_open", "1 while an engine that fails is left alone", of.open.clone());
        registry.register("cache_hits", "Translations found in a cache: local or redis", of.hits.clone());
        registry.register("joined", "Translations that waited for an equal one under way", of.joined.clone());
        registry.register(
            "pieces",
            "Lines translated piece by piece, because an engine lost a mark",
            of.pieces.clone(),
        );
        registry.register("redis_failures", "Calls to Redis that failed", of.redis_failures.clone());
        registry.register("active", "Texts that are being translated", of.active.clone());
        metrics
    }

    pub(crate) fn outcome(&self, outcome: &'static str) {
        self.asked.get_or_create(&Outcome { outcome }).inc();
    }

    pub(crate) fn call(&self, engine: &'static str, outcome: &'static str, took: Duration) {
        self.calls.get_or_create(&Call { engine, outcome }).inc();
        self.seconds.get_or_create(&Of { engine }).observe(took.as_secs_f64());
    }

    pub(crate) fn characters(&self, engine: &'static str, characters: u64) {
        self.characters.get_or_create(&Of { engine }).inc_by(characters);
    }

    pub(crate) fn open(&self, engine: &'static str, open: bool) {
        self.open.get_or_create(&Of { engine }).set(i64::from(open));
    }

    pub(crate) fn hit(&self, cache: &'static str) {
        self.hits.get_or_create(&Cache { cache }).inc();
    }
}
