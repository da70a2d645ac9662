//! What the JetStream backend counts.

use prometheus_client::{
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// Metrics of the JetStream backend.
#[derive(Debug, Clone)]
pub struct NatsMetrics {
    /// Records stored.
    pub appends: Counter,
    /// Seconds until an append's outcome was definite.
    pub append: Histogram,
    /// Appends whose condition did not hold, or could not be evaluated.
    pub refused: Counter,
    /// Appends and writes of rows whose outcome is unknown.
    pub unknown: Counter,
    /// Batches sent again because the server had no place for them.
    pub crowded: Counter,
    /// Rows written, with records or without.
    pub rows: Counter,
    /// Requests for history, lists and single rows.
    pub reads: Counter,
    /// Reads that were asked again because the answering server lagged behind.
    pub stale: Counter,
    /// Writes that proved, or were to prove, what was read.
    pub proofs: Counter,
    /// Records heard live.
    pub heard: Counter,
    /// Times that rooms had to be looked up since records may have been lost.
    pub missed: Counter,
    /// Reconnects after a loss of the connection.
    pub reconnects: Counter,
    /// Servers left because nothing was stored by way of them.
    pub left_servers: Counter,
    /// 1 as long as there is a connection.
    pub connected: Gauge,
    /// 1 as long as the server that is connected to is one that would be refused at the start.
    pub unfit_server: Gauge,
    /// Rooms followed.
    pub followed: Gauge,
}

impl NatsMetrics {
    /// Makes and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let this = Self {
            appends: Counter::default(),
            append: Histogram::new(exponential_buckets(0.000_25, 2.0, 16)),
            refused: Counter::default(),
            unknown: Counter::default(),
            crowded: Counter::default(),
            rows: Counter::default(),
            reads: Counter::default(),
            stale: Counter::default(),
            proofs: Counter::default(),
            heard: Counter::default(),
            missed: Counter::default(),
            reconnects: Counter::default(),
            left_servers: Counter::default(),
            connected: Gauge::default(),
            unfit_server: Gauge::default(),
            followed: Gauge::default(),
        };
        let nats = registry.sub_registry_with_prefix("rookery_nats");
        nats.register("appends", "Records stored", this.appends.clone());
        nats.register_with_unit(
            "append",
            "Until an append's outcome was definite",
            Unit::Seconds,
            this.append.clone(),
        );
        nats.register("refused_appends", "Appends whose condition did not hold", this.refused.clone());
        nats.register("unknown_outcomes", "Writes whose outcome is unknown", this.unknown.clone());
        nats.register(
            "crowded_batches",
            "Batches sent again because a server had no place for them",
            this.crowded.clone(),
        );
        nats.register("rows_written", "Rows written", this.rows.clone());
        nats.register("reads", "Requests for history, lists and rows", this.reads.clone());
        nats.register("stale_reads", "Reads asked again because a server lagged behind", this.stale.clone());
        nats.register("proofs", "Writes to prove what was read", this.proofs.clone());
        nats.register("heard_records", "Records heard live", this.heard.clone());
        nats.register("missed_rooms", "Rooms looked up since records may be lost", this.missed.clone());
        nats.register("reconnects", "Reconnects", this.reconnects.clone());
        nats.register(
            "left_servers",
            "Servers left because nothing was stored by way of them",
            this.left_servers.clone(),
        );
        nats.register("connected", "1 as long as there is a connection", this.connected.clone());
        nats.register(
            "unfit_server",
            "1 as long as the server connected to is too old, or takes too small messages",
            this.unfit_server.clone(),
        );
        nats.register("followed_rooms", "Rooms followed", this.followed.clone());
        this
    }
}
