//! What the operator counts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

/// How a look at a cluster or at a room ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Outcome {
    /// `done`, `waiting` or `failed`.
    pub outcome: &'static str,
}

/// A ChatCluster, by words that Prometheus' own labels (`namespace`, `name`) do not hide.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Chat {
    /// Its namespace.
    pub chat_namespace: String,
    /// Its name.
    pub chat: String,
}

/// What was written.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Written {
    /// Kind of the object.
    pub kind: &'static str,
    /// `apply`, `delete`, `drain`, `finalizer`, `status`.
    pub what: &'static str,
}

/// A request to the API server.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct Request {
    /// `read`, `watch`, `create`, `write`, `delete`, `other`.
    pub verb: &'static str,
}

/// All of it.
#[derive(Debug, Clone)]
pub struct OperatorMetrics {
    /// Looks at a cluster.
    pub reconciles: Family<Outcome, Counter>,
    /// Looks at a room.
    pub rooms: Family<Outcome, Counter>,
    /// How long looks at a cluster took.
    pub seconds: Histogram,
    /// How long looks at a room took.
    pub room_seconds: Histogram,
    /// Whether a chat needs a person, of each chat.
    pub degraded: Family<Chat, Gauge>,
    /// Writes to the API server.
    pub writes: Family<Written, Counter>,
    /// Requests to the API server, for all of it.
    pub requests: Family<Request, Counter>,
    /// 1 while this one works.
    pub leads: Gauge,
    /// When the last look ended, Unix time.
    pub last: Gauge,
}

impl OperatorMetrics {
    /// Makes them known.
    pub fn register(registry: &mut Registry) -> Self {
        let buckets = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];
        let metrics = Self {
            reconciles: Family::default(),
            rooms: Family::default(),
            seconds: Histogram::new(buckets),
            room_seconds: Histogram::new(buckets),
            degraded: Family::default(),
            writes: Family::default(),
            requests: Family::default(),
            leads: Gauge::default(),
            last: Gauge::default(),
        };
        let part = registry.sub_registry_with_prefix("rookery_operator");
        part.register("reconciles", "Looks at a ChatCluster, by outcome", metrics.reconciles.clone());
        part.register("room_reconciles", "Looks at a ChatRoom, by outcome", metrics.rooms.clone());
        part.register("reconcile_seconds", "How long a look at a ChatCluster took", metrics.seconds.clone());
        part.register(
            "room_reconcile_seconds",
            "How long a look at a ChatRoom took",
            metrics.room_seconds.clone(),
        );
        part.register(
            "degraded",
            "1 while a ChatCluster is Degraded: it needs a person",
            metrics.degraded.clone(),
        );
        part.register("writes", "Writes to the API server, by kind of object", metrics.writes.clone());
        part.register("requests", "Requests to the API server, by verb", metrics.requests.clone());
        part.register("leads", "1 while this operator is the one that works", metrics.leads.clone());
        part.register("last_reconcile_timestamp_seconds", "When the last look ended", metrics.last.clone());
        metrics
    }

    /// Notes whether a chat needs a person.
    pub fn is_degraded(&self, namespace: &str, name: &str, degraded: bool) {
        let chat = Chat { chat_namespace: namespace.to_owned(), chat: name.to_owned() };
        self.degraded.get_or_create(&chat).set(degraded.into());
    }

    /// Forgets a chat that is no more.
    pub fn is_gone(&self, namespace: &str, name: &str) {
        self.degraded.remove(&Chat { chat_namespace: namespace.to_owned(), chat: name.to_owned() });
    }

    /// Counts a write.
    pub fn wrote(&self, kind: &'static str, what: &'static str) {
        self.writes.get_or_create(&Written { kind, what }).inc();
    }
}
