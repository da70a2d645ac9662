//! What all connections of a node share.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use rookery_protocol::client::{self, server_frame::Frame};
use tokio::sync::Semaphore;

use super::{answer::event, registry::Registry};
use crate::{
    edge::{App, EdgeMetrics, EdgeSettings, http::Network},
    live::link::Order,
};

/// See the module's text.
pub struct Edge {
    pub(super) app: Arc<App>,
    pub(super) settings: EdgeSettings,
    pub(crate) metrics: EdgeMetrics,
    /// All WebSockets.
    pub registry: Registry,
    pub(super) replays: Semaphore,
    started: Instant,
    /// How often somebody came into a room.
    newcomers: AtomicU64,
    draining: AtomicBool,
}

impl Edge {
    /// Made once per node, in a Tokio runtime: it also watches over the connections.
    pub fn start(app: Arc<App>, settings: EdgeSettings, metrics: EdgeMetrics) -> Arc<Self> {
        let edge = Arc::new(Self {
            replays: Semaphore::new(settings.concurrent_replays),
            app,
            settings,
            metrics,
            registry: Registry::default(),
            started: Instant::now(),
            newcomers: AtomicU64::new(0),
            draining: AtomicBool::new(false),
        });
        let hub = edge.app.hub.clone();
        edge.app.rooms.on_committed(Box::new(move |record| hub.stored_here(record)));
        let watched = Arc::downgrade(&edge);
        edge.app.rooms.on_newcomer(Box::new(move |user, room, seq| {
            let Some(edge) = watched.upgrade() else { return };
            // Before it is looked who is there: who comes after that sees it.
            edge.newcomers.fetch_add(1, Ordering::SeqCst);
            for link in edge.registry.links(user) {
                if link.follows_all.load(Ordering::Acquire) {
                    // From the event itself on: it says how he came in.
                    link.order([Order { room, after: seq.checked_sub(1), known: None }]);
                }
            }
        }));
        let watched = Arc::downgrade(&edge);
        edge.app.rooms.on_read(Box::new(move |room, user, seq| {
            let Some(edge) = watched.upgrade() else { return };
            let mark = client::ReadMark { room: room.to_string(), user: user.to_string(), seq };
            let told = event(Frame::Read(mark));
            for link in edge.registry.links(user) {
                link.post(&told);
            }
        }));
        let watched = Arc::downgrade(&edge);
        edge.app.accounts.on_change(Box::new(move |user| {
            let Some(edge) = watched.upgrade() else { return };
            let links = edge.registry.links(user);
            if !links.is_empty() {
                tokio::spawn(async move { super::hello::look_up(&edge, user, &links).await });
            }
        }));
        tokio::spawn(super::sweep::sweep(Arc::downgrade(&edge)));
        tokio::spawn(super::sweep::revocations(Arc::downgrade(&edge), edge.app.accounts.revocations()));
        edge
    }

    /// Time since the node started.
    pub(super) fn now(&self) -> Duration {
        self.started.elapsed()
    }

    /// Node time in milliseconds: it goes on evenly, whatever happens to the clock on the wall.
    pub(super) fn now_millis(&self) -> u64 {
        u64::try_from(self.now().as_millis()).unwrap_or(u64::MAX)
    }

    /// Node time in seconds.
    pub(super) fn now_seconds(&self) -> u32 {
        u32::try_from(self.now().as_secs()).unwrap_or(u32::MAX)
    }

    /// Node time in milliseconds, wrapping.
    #[allow(clippy::cast_possible_truncation)]
    pub(crate) fn now_ms(&self) -> u32 {
        self.now().as_millis() as u32
    }

    pub(crate) fn settings(&self) -> &EdgeSettings {
        &self.settings
    }

    pub(crate) fn trusted_proxies(&self) -> &[Network] {
        &self.app.http.trusted_proxies
    }

    /// How often somebody came into a room, as far as this node has heard: as long as this has not changed, nobody has.
    pub(super) fn newcomers(&self) -> u64 {
        self.newcomers.load(Ordering::SeqCst)
    }

    /// Whether new WebSockets are refused.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire)
    }

    pub(crate) fn set_draining(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// When one who is sent away should come back, in milliseconds: spread, so that not all come at once.
    pub(super) fn retry_after_ms(&self) -> u64 {
        rand::random_range(500..=3_000)
    }

    pub(super) fn limits(&self) -> client::Limits {
        let number = |value: usize| u32::try_from(value).unwrap_or(u32::MAX);
        client::Limits {
            text_chars: self.app.rooms.text_chars(),
            frame_bytes: number(self.settings.max_frame_bytes),
            subscriptions: number(self.settings.max_subscriptions),
            replay_events: u32::try_from(self.settings.replay_events).unwrap_or(u32::MAX),
        }
    }
}

/// Unix milliseconds.
pub(super) fn unix_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
