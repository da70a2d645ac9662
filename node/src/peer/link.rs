//! The way to one other node: a session, or the tries to get one.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rookery_core::owner::Legacy;
use rookery_protocol::{
    id::RoomId,
    peer::{Probe, answer, ask},
};
use tokio::sync::{Notify, mpsc, watch};
use tonic::transport::{ClientTlsConfig, Endpoint};

use super::{
    metrics::PeerMetrics,
    ring::Ring,
    session::{Driver, Ended, Lost, Opening, Request, Session},
    settings::PeerSettings,
};

/// First pause between two tries to connect, and the longest that it doubles up to.
pub(super) const PAUSES: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(500)];
/// Windows of the stream: what waits for a busy node waits there, not here.
const STREAM_WINDOW: u32 = 1 << 20;
const CONNECTION_WINDOW: u32 = 2 << 20;
/// A node that is asked whether it takes a room answers within this time, or nothing is known. A room is not kept for one longer
/// either.
const SOON: Duration = Duration::from_millis(500);

/// How another node can be reached.
#[derive(Debug, Clone)]
pub(crate) enum State {
    /// Not known yet.
    Connecting,
    /// There is a session.
    Up(Session),
    /// There is none.
    Down {
        /// Tries that failed since there was one; 0: it was lost just now, and may be back at once.
        tries: u32,
        /// Nobody listens there: no process that could still do anything of what it was asked.
        refused: bool,
    },
}

impl State {
    /// Whether the node is gone as far as can be seen from here.
    pub(crate) fn is_gone(&self) -> bool {
        matches!(self, Self::Down { tries: 1.., .. })
    }
}

/// What all links share.
pub(super) struct Common {
    pub(super) settings: PeerSettings,
    pub(super) metrics: PeerMetrics,
    pub(super) cluster: String,
    pub(super) me: String,
    /// Random: tells this process from those before it under the same name.
    pub(super) process: u64,
    /// What this node speaks.
    pub(super) version: u32,
    pub(super) tls: Option<ClientTlsConfig>,
    /// As [`PAUSES`].
    pub(super) pauses: [Duration; 2],
    pub(super) ring: Arc<Ring>,
}

/// The way to one other node. Dropping it ends its session.
pub(crate) struct Link {
    way: Arc<Way>,
    task: tokio::task::AbortHandle,
}

/// What a link and its task share.
struct Way {
    common: Arc<Common>,
    name: String,
    address: String,
    state: watch::Sender<State>,
    /// The newest that is known of the node.
    incarnation: AtomicU64,
    /// There is a reason to try at once.
    again: Notify,
    /// The node left the ring: its session is the last one.
    retired: AtomicBool,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Link {
    pub(super) fn start(common: Arc<Common>, name: &str, address: &str, incarnation: u64) -> Self {
        let way = Arc::new(Way {
            common,
            name: name.to_owned(),
            address: address.to_owned(),
            state: watch::Sender::new(State::Connecting),
            incarnation: AtomicU64::new(incarnation),
            again: Notify::new(),
            retired: AtomicBool::new(false),
        });
        let task = tokio::spawn(way.clone().keep()).abort_handle();
        Self { way, task }
    }

    /// Where it leads.
    pub(super) fn address(&self) -> &str {
        &self.way.address
    }

    /// The node left the ring: its session is the last one.
    pub(super) fn retire(&self) {
        self.way.retired.store(true, Ordering::Release);
    }

    pub(super) fn is_retired(&self) -> bool {
        self.way.retired.load(Ordering::Acquire)
    }

    /// The node is in the ring as this incarnation: one that was not known before has just come, and its rooms with it. What was
    /// learnt of the one before it, and how long to wait until it is tried again, does not hold for it.
    pub(super) fn seen(&self, incarnation: u64) {
        if self.way.incarnation.fetch_max(incarnation, Ordering::AcqRel) < incarnation {
            self.way.state.send_if_modified(|state| {
                let was_down = matches!(state, State::Down { .. });
                if was_down {
                    *state = State::Connecting;
                }
                was_down
            });
            self.way.again.notify_one();
        }
    }

    pub(crate) fn state(&self) -> State {
        self.way.state.borrow().clone()
    }

    /// The state, and what says when it is another one.
    pub(crate) fn look(&self) -> (State, watch::Receiver<State>) {
        let mut watch = self.way.state.subscribe();
        let state = watch.borrow_and_update().clone();
        (state, watch)
    }

    /// Whether nothing of what was sent in that session can still be begun.
    pub(crate) fn is_over(&self, session: u64) -> bool {
        match &*self.way.state.borrow() {
            State::Up(now) => now.number > session,
            State::Down { refused, .. } => *refused,
            State::Connecting => false,
        }
    }

    /// The session, once there is one.
    ///
    /// # Errors
    /// There is none soon, as the node is gone (`true`), or nothing is known of it (`false`).
    async fn reached(&self) -> Result<Session, bool> {
        let mut state = self.way.state.subscribe();
        let known = state.wait_for(|state| matches!(state, State::Up(_)) || state.is_gone());
        match tokio::time::timeout(SOON, known).await {
            Ok(Ok(state)) => match &*state {
                State::Up(session) => Ok(session.clone()),
                _ => Err(true),
            },
            _ => Err(false),
        }
    }

    /// Whether the node is there and takes what is asked of the room. `None`: that is not known (yet).
    pub(crate) async fn probe(&self, room: RoomId) -> Option<bool> {
        let by = Instant::now() + SOON;
        let session = match self.reached().await {
            Ok(session) => session,
            Err(gone) => return gone.then_some(false),
        };
        let (back, mut ended) = mpsc::channel(1);
        let what = ask::What::Probe(Probe {});
        let request = Request { room, lane: 0, instead: false, deadline: by, what, token: 0, back };
        session.requests.try_send(request).ok()?;
        match tokio::time::timeout(SOON, ended.recv()).await {
            Ok(Some((_, Ended::Answered(answer::Outcome::Probed(probed))))) => Some(probed.takes),
            _ => self.way.state.borrow().is_gone().then_some(false),
        }
    }

    /// Tells the node that a room is its own now, and leaves it what there is to know, if there is place for it. A node that has just
    /// come is in the ring some milliseconds before it is reached: that is waited for, as long as it may be there.
    pub(crate) async fn hand_over(&self, room: RoomId, legacy: Option<Legacy>) {
        if let Ok(session) = self.reached().await {
            session.hand_over(room, legacy);
        }
    }
}

impl Way {
    /// Connects, and again whenever the session ends.
    async fn keep(self: Arc<Self>) {
        let Self { common, name, address, state, .. } = &*self;
        let [first, most] = common.pauses;
        let (mut number, mut tries, mut pause) = (0, 0u32, first);
        while !self.retired.load(Ordering::Acquire) {
            number += 1;
            let opening = Opening {
                cluster: &common.cluster,
                from: &common.me,
                to: name,
                process: common.process,
                version: common.version,
                number,
                ring: common.ring.clone(),
            };
            let incarnation = self.incarnation.load(Ordering::Acquire);
            let patience = common.settings.connect() + common.settings.silent() / 2;
            let opened = match tokio::time::timeout(patience, open(common, address, &opening)).await {
                Ok(opened) => opened,
                Err(_) => Err(Lost::Silent),
            };
            match opened {
                Ok((driver, session)) => {
                    tracing::debug!(node = name, address, "connected");
                    common.metrics.streams.inc();
                    state.send_replace(State::Up(session));
                    let why = driver.run().await;
                    common.metrics.streams.dec();
                    common.metrics.lost(why.reason());
                    tracing::info!(node = name, address, %why, "the stream to a node ended");
                    (tries, pause) = (0, first);
                    state.send_replace(State::Down { tries, refused: false });
                }
                Err(why) => {
                    if tries == 0 {
                        tracing::info!(node = name, address, %why, "a node cannot be reached");
                    }
                    tries = tries.saturating_add(1);
                    state.send_modify(|state| {
                        // That was the one before: nothing is known yet of the one that came meanwhile.
                        if self.incarnation.load(Ordering::Acquire) == incarnation {
                            *state = State::Down { tries, refused: matches!(why, Lost::Refused(_)) };
                        }
                    });
                    // Not all nodes at the same moment.
                    tokio::select! {
                        () = tokio::time::sleep(pause.mul_f64(rand::random_range(0.5..1.0))) => {
                            pause = (pause * 2).min(most);
                        }
                        () = self.again.notified() => pause = first,
                    }
                }
            }
        }
        state.send_replace(State::Down { tries: 1, refused: false });
    }
}

async fn open(common: &Common, address: &str, opening: &Opening<'_>) -> Result<(Driver, Session), Lost> {
    let scheme = if common.tls.is_some() { "https" } else { "http" };
    let mut endpoint = Endpoint::from_shared(format!("{scheme}://{address}"))
        .map_err(|error| Lost::of(&error))?
        .connect_timeout(common.settings.connect())
        .tcp_nodelay(true)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .http2_keep_alive_interval(common.settings.silent())
        .keep_alive_timeout(common.settings.silent());
    if let Some(tls) = &common.tls {
        endpoint = endpoint.tls_config(tls.clone()).map_err(|error| Lost::of(&error))?;
    }
    let channel = endpoint.connect().await.map_err(|error| Lost::of(&error))?;
    Driver::open(channel, opening, &common.settings, common.metrics.clone()).await
}
