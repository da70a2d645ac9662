//! All metrics of the node, from its parts.

use std::sync::Arc;

use prometheus_client::registry::Registry;
use rookery_mailer::metrics::MailerMetrics;

use crate::{
    accounts::AccountsMetrics,
    backend::{bus::BusMetrics, embedded::StoreMetrics, jetstream::NatsMetrics, redis::RedisMetrics},
    edge::EdgeMetrics,
    live::LiveMetrics,
    membership::MembershipMetrics,
    notices::NoticesMetrics,
    peer::PeerMetrics,
    rooms::RoomsMetrics,
    translation::TranslationMetrics,
};

/// What each part counts.
#[derive(Debug, Clone)]
pub struct Metrics {
    /// The embedded store.
    pub store: StoreMetrics,
    /// NATS JetStream.
    pub nats: NatsMetrics,
    /// What nodes tell each other beside the log.
    pub bus: BusMetrics,
    /// Redis.
    pub redis: RedisMetrics,
    /// Accounts.
    pub accounts: AccountsMetrics,
    /// Rooms and their owners.
    pub rooms: RoomsMetrics,
    /// Live delivery.
    pub live: LiveMetrics,
    /// Mails about what is unread.
    pub notices: NoticesMetrics,
    /// Mails sent from this process.
    pub mailer: MailerMetrics,
    /// Sockets.
    pub edge: EdgeMetrics,
    /// Membership in the cluster.
    pub membership: MembershipMetrics,
    /// Calls between nodes.
    pub peer: PeerMetrics,
    /// Translation.
    pub translation: TranslationMetrics,
}

impl Metrics {
    /// Makes all of them, in a registry of their own.
    pub fn register() -> (Self, Arc<Registry>) {
        let mut registry = Registry::default();
        rookery_service::register_process(&mut registry);
        let metrics = Self {
            store: StoreMetrics::register(&mut registry),
            nats: NatsMetrics::register(&mut registry),
            bus: BusMetrics::register(&mut registry),
            redis: RedisMetrics::register(&mut registry),
            accounts: AccountsMetrics::register(&mut registry),
            rooms: RoomsMetrics::register(&mut registry),
            live: LiveMetrics::register(&mut registry),
            mailer: MailerMetrics::register(&mut registry),
            notices: NoticesMetrics::register(&mut registry),
            edge: EdgeMetrics::register(&mut registry),
            membership: MembershipMetrics::register(&mut registry),
            peer: PeerMetrics::register(&mut registry),
            translation: TranslationMetrics::register(&mut registry),
        };
        (metrics, Arc::new(registry))
    }
}
