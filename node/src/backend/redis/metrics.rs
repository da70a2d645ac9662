//! What the connection to Redis counts.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Call {
    call: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Failure {
    call: &'static str,
    why: &'static str,
}

/// Metrics of Redis.
#[derive(Debug, Clone)]
pub struct RedisMetrics {
    calls: Family<Call, Histogram, fn() -> Histogram>,
    failures: Family<Failure, Counter>,
    pub(super) connected: Gauge,
    pub(super) connects: Counter,
    pub(super) failed_connects: Counter,
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.000_1, 2.0, 14))
}

impl RedisMetrics {
    /// Makes and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let this = Self {
            calls: Family::new_with_constructor(seconds),
            failures: Family::default(),
            connected: Gauge::default(),
            connects: Counter::default(),
            failed_connects: Counter::default(),
        };
        let redis = registry.sub_registry_with_prefix("rookery_redis");
        redis.register_with_unit("call", "Calls that were answered", Unit::Seconds, this.calls.clone());
        redis.register("failed_calls", "Calls that failed, by reason", this.failures.clone());
        redis.register("connected", "1 as long as Redis answers", this.connected.clone());
        redis.register("connects", "Connections made", this.connects.clone());
        redis.register("failed_connects", "Tries to connect that failed", this.failed_connects.clone());
        this
    }

    pub(super) fn answered(&self, call: &'static str, took: Duration) {
        self.calls.get_or_create(&Call { call }).observe(took.as_secs_f64());
    }

    pub(super) fn failed(&self, call: &'static str, why: &'static str) {
        self.failures.get_or_create(&Failure { call, why }).inc();
    }
}
