//! NATS JetStream as the log of the rooms, as the store of rows, and as the outbox: what a cluster's node runs on.
//!
//! Here belong the implementations of [`RoomLog`](super::RoomLog), [`Rows`](super::Rows) and
//! [`Outbox`](super::Outbox) on JetStream, and what they need to know about it: names (`layout`), what an answer
//! means (`publish`), how to read without being told something stale (`read`, `scan`,
//! `proof`). No policy about rooms:
//! what to do with an unknown outcome is the core's business.
//!
//! How it lies: rooms are spread over a fixed number of streams; the records of a room are on subjects of 256 events
//! each, and the rows of rooms in the same stream as their records, so that a record with rows is one atomic batch
//! (ADR-50). Each append names, as its condition, the stream sequence of the room's last record.

mod connect;
mod forget;
mod gets;
mod history;
mod isolated;
mod item;
mod layout;
mod link;
mod live;
mod log;
mod metrics;
mod outbox;
mod proof;
mod public;
mod publish;
mod read;
mod reminders;
mod replies;
mod rows;
mod scan;
mod settings;
mod streams;
mod sync;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task::AbortHandle};

pub use connect::ConnectError;
pub use metrics::NatsMetrics;
pub use reminders::NatsReminders;
pub use settings::NatsSettings;

use self::{
    history::History,
    layout::Layout,
    link::Link,
    live::Live,
    public::PublicRooms,
    publish::{BATCHES, Batches, Post, Posted},
};
use super::CommitSink;

/// JetStream, as the node uses it.
pub struct JetStream {
    link: Arc<Link>,
    layout: Layout,
    live: Arc<Live>,
    batches: Batches,
    /// Atomic batches under way, for each log stream, and last for the accounts.
    slots: Vec<Semaphore>,
    history: History,
    public: PublicRooms,
    append_timeout: Duration,
    write_timeout: Duration,
    /// Proofs under way.
    proofs: Semaphore,
    tasks: [AbortHandle; 3],
    /// Servers that have not said yet how they are.
    _late: sync::Late,
}

impl Drop for JetStream {
    fn drop(&mut self) {
        self.tasks.iter().for_each(AbortHandle::abort);
        self.live.close();
    }
}

impl JetStream {
    /// Connects, and makes or checks the streams of the cluster named `cluster`.
    ///
    /// # Errors
    /// [`ConnectError`]: what is wrong and what to do about it.
    pub async fn connect(
        settings: &NatsSettings,
        cluster: &str,
        metrics: NatsMetrics,
    ) -> Result<Arc<Self>, ConnectError> {
        let (client, signals) = connect::connect(settings, cluster, &metrics).await?;
        let layout = Layout { cluster: cluster.to_owned(), log_streams: settings.log_streams };
        let context = async_nats::jetstream::new(client.clone());
        let within = Duration::from_secs(settings.connect_seconds);
        if settings.require_sync_always && settings.monitoring_urls.is_empty() {
            tracing::warn!(
                "nats.monitoring_urls is empty: whether the NATS servers sync each write cannot be checked \
                 (it must be `sync_interval: always`)"
            );
        }
        let late = sync::check(&settings.monitoring_urls, settings.require_sync_always, within).await?;
        streams::prepare(&context, &layout, settings, within).await?;
        let read_timeout = Duration::from_millis(settings.read_timeout_ms);
        let link = Link::open(client, signals, metrics.clone(), read_timeout).await;
        let link = Arc::new(link.map_err(|error| ConnectError::Lost(error.to_string()))?);
        let live = Arc::new(Live::new(layout.clone(), metrics));
        let tasks = [
            tokio::spawn(live.clone().tell_ends(link.clone())).abort_handle(),
            tokio::spawn(live.clone().look_after_losses(link.clone())).abort_handle(),
            tokio::spawn(connect::look_at_servers(link.clone())).abort_handle(),
        ];
        Ok(Arc::new(Self {
            link,
            slots: (0..=settings.log_streams).map(|_| Semaphore::new(BATCHES)).collect(),
            layout,
            live,
            batches: Batches::default(),
            history: History::new(settings.history_cache_mib),
            public: PublicRooms::default(),
            append_timeout: Duration::from_millis(settings.append_timeout_ms),
            write_timeout: read_timeout,
            proofs: Semaphore::new(proof::PROOFS),
            tasks,
            _late: late,
        }))
    }

    /// Sets who is told of committed records of followed rooms; the first one stays. It must not hold the log (a cycle).
    pub fn set_sink(&self, sink: Arc<dyn CommitSink>) {
        self.live.set_sink(sink);
    }

    /// Whether there is a connection now; for readiness.
    pub fn connected(&self) -> bool {
        self.link.connected()
    }

    /// The connection, for messages between nodes that may be lost.
    pub fn client(&self) -> async_nats::Client {
        self.link.client.clone()
    }

    /// Publishes all or none into one stream.
    async fn post_all(&self, stream: &str, posts: Vec<Post>, within: Duration) -> Posted {
        let part = stream.rsplit('-').next().and_then(|part| part.parse::<usize>().ok());
        let slots = &self.slots[part.unwrap_or(self.slots.len() - 1).min(self.slots.len() - 1)];
        self.link.post_all(posts, &self.batches, slots, within).await
    }
}
