//! Metrics of accounts.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Counters and gauges of accounts. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct AccountsMetrics {
    logins: Family<Outcome, Counter>,
    registrations: Family<Outcome, Counter>,
    refreshes: Family<Outcome, Counter>,
    limited: Family<CallLabel, Counter>,
    mails: Family<Kind, Counter>,
    issuers_asked: Family<Asked, Counter>,
    tokens_verified: Counter,
    sessions_ended: Counter,
    /// Passwords being hashed or waiting for it.
    pub(super) hashing: Gauge,
    /// Passwords refused because too many were waiting.
    pub(super) hashing_refused: Counter,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asked {
    issuer: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabel {
    call: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Kind {
    kind: &'static str,
}

impl AccountsMetrics {
    /// Adds them to a registry.
    pub fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        let registry = registry.sub_registry_with_prefix("rookery_accounts");
        registry.register("logins", "Logins by outcome", all.logins.clone());
        registry.register("registrations", "Registrations by outcome", all.registrations.clone());
        registry.register("refreshes", "Uses of refresh tokens by outcome", all.refreshes.clone());
        registry.register("rate_limited", "Calls refused by a rate limit", all.limited.clone());
        registry.register("mails_enqueued", "Mails given to the outbox by kind", all.mails.clone());
        registry.register(
            "issuers_asked",
            "Reads of external issuers' keys by issuer and outcome",
            all.issuers_asked.clone(),
        );
        registry.register(
            "tokens_verified",
            "Access tokens whose signature was checked, not found in the cache",
            all.tokens_verified.clone(),
        );
        registry.register("sessions_ended", "Logins ended before their time", all.sessions_ended.clone());
        registry.register("hashing", "Passwords that are being hashed or wait for it", all.hashing.clone());
        registry.register(
            "hashing_refused",
            "Passwords refused because too many were waiting",
            all.hashing_refused.clone(),
        );
        all
    }

    pub(super) fn login(&self, outcome: &'static str) {
        self.logins.get_or_create(&Outcome { outcome }).inc();
    }

    pub(super) fn registration(&self, outcome: &'static str) {
        self.registrations.get_or_create(&Outcome { outcome }).inc();
    }

    pub(super) fn refresh(&self, outcome: &'static str) {
        self.refreshes.get_or_create(&Outcome { outcome }).inc();
    }

    pub(super) fn issuer_asked(&self, issuer: &str, answered: bool) {
        let outcome = if answered { "ok" } else { "failed" };
        self.issuers_asked.get_or_create(&Asked { issuer: issuer.to_owned(), outcome }).inc();
    }

    pub(super) fn limited(&self, call: &'static str) {
        self.limited.get_or_create(&CallLabel { call }).inc();
    }

    pub(super) fn mail(&self, kind: &'static str) {
        self.mails.get_or_create(&Kind { kind }).inc();
    }

    pub(super) fn token_verified(&self) {
        self.tokens_verified.inc();
    }

    pub(super) fn session_ended(&self) {
        self.sessions_ended.inc();
    }
}
