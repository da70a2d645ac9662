//! What the store counts.

use prometheus_client::{
    metrics::{
        counter::Counter,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};

/// Metrics of the store.
#[derive(Debug, Clone)]
pub struct StoreMetrics {
    /// Records stored.
    pub appends: Counter,
    /// Appends whose condition did not hold.
    pub refused: Counter,
    /// Rows written, with records or without.
    pub rows: Counter,
    /// Bytes handed to the journal.
    pub bytes: Counter,
    /// Writes that shared one sync.
    pub batch: Histogram,
    /// Seconds that one batch took to become durable.
    pub sync: Histogram,
    /// Writes that wait.
    pub queued: Gauge,
    /// Writes whose outcome is unknown or that were refused because the disk failed.
    pub errors: Counter,
    /// 1 as long as the store takes writes.
    pub writable: Gauge,
}

impl StoreMetrics {
    /// Makes and registers them.
    pub fn register(registry: &mut Registry) -> Self {
        let this = Self {
            appends: Counter::default(),
            refused: Counter::default(),
            rows: Counter::default(),
            bytes: Counter::default(),
            batch: Histogram::new(exponential_buckets(1.0, 2.0, 13)),
            sync: Histogram::new(exponential_buckets(0.000_05, 2.0, 16)),
            queued: Gauge::default(),
            errors: Counter::default(),
            writable: Gauge::default(),
        };
        let store = registry.sub_registry_with_prefix("rookery_store");
        store.register("appends", "Records stored", this.appends.clone());
        store.register("refused_appends", "Appends whose condition did not hold", this.refused.clone());
        store.register("rows_written", "Rows written", this.rows.clone());
        store.register_with_unit("written", "Handed to the journal", Unit::Bytes, this.bytes.clone());
        store.register("batch_writes", "Writes that shared one sync", this.batch.clone());
        store.register_with_unit("sync", "Until a batch was durable", Unit::Seconds, this.sync.clone());
        store.register("queued_writes", "Writes that wait for the disk", this.queued.clone());
        store.register("failed_writes", "Writes that failed or may have", this.errors.clone());
        store.register("writable", "1 as long as the store takes writes", this.writable.clone());
        this
    }
}
