//! Metrics of the edge.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// A label with a value out of a small fixed set.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Kind {
    kind: &'static str,
}

/// The code of a close frame.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct Code {
    code: u16,
}

/// Metrics of the edge.
#[derive(Debug, Default, Clone)]
pub struct EdgeMetrics {
    /// Open TCP connections.
    pub(super) connections: Gauge,
    /// Connections accepted.
    pub(super) accepted: Counter,
    /// Open WebSockets.
    pub(super) websockets: Gauge,
    /// WebSockets that said `hello`.
    pub(super) hellos: Counter,
    /// Bytes written to WebSockets.
    pub(super) bytes_out: Counter<u64, AtomicU64>,
    /// Writes to WebSockets.
    pub(super) writes: Counter<u64, AtomicU64>,
    refused: Family<Kind, Counter>,
    frames_in: Family<Kind, Counter>,
    closes: Family<Code, Counter>,
    /// Replays read from the log.
    pub(super) replays: Counter,
}

impl EdgeMetrics {
    /// Adds them to `registry`.
    pub fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let edge = registry.sub_registry_with_prefix("rookery_edge");
        edge.register("connections", "Open TCP connections", metrics.connections.clone());
        edge.register("accepted", "TCP connections accepted", metrics.accepted.clone());
        edge.register("refused", "TCP connections refused, by reason", metrics.refused.clone());
        edge.register("websockets", "Open WebSockets", metrics.websockets.clone());
        edge.register("hellos", "WebSockets whose hello was accepted", metrics.hellos.clone());
        edge.register("written_bytes", "Bytes written to WebSockets", metrics.bytes_out.clone());
        edge.register("writes", "Writes to WebSockets, each of all that waited", metrics.writes.clone());
        edge.register("frames_received", "Frames from clients, by type", metrics.frames_in.clone());
        edge.register("closes", "WebSockets closed, by the code given or got", metrics.closes.clone());
        edge.register("replays", "Replays that were read from the log", metrics.replays.clone());
        metrics
    }

    pub(super) fn refused(&self, kind: &'static str) {
        self.refused.get_or_create(&Kind { kind }).inc();
    }

    pub(super) fn frame_in(&self, kind: &'static str) {
        self.frames_in.get_or_create(&Kind { kind }).inc();
    }

    pub(super) fn closed(&self, code: u16) {
        // Clients choose among 1,000 codes of their own: those count as one.
        let code = if matches!(code, 1000..=1015 | 4401..=4409) { code } else { 4000 };
        self.closes.get_or_create(&Code { code }).inc();
    }
}
