//! Owners: one task per room in use drives the core's `Owner` against the log and the rows.
//!
//! Here belongs when a room is taken into memory and put down, and doing what its owner wants done; what a
//! command does is decided in `rookery-core`.

mod commit;
mod shell;

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rookery_core::{
    owner::Settings,
    room::{Profile, State, What},
};
use rookery_protocol::id::RoomId;
use tokio::sync::{Notify, mpsc};

use super::{OnNewcomer, OnReply, ends::Ends, marks::Marks, metrics::RoomsMetrics, settings::RoomsSettings};
use crate::{
    backend::{RoomLog, Rows, bus::Tell},
    problem::Problem,
};

/// Rooms are spread over so many maps, so that callers rarely wait for each other.
const SHARDS: usize = 16;

/// What all owners of this node share.
pub(super) struct Env {
    pub(super) settings: RoomsSettings,
    pub(super) core: Settings,
    pub(super) log: Arc<dyn RoomLog>,
    pub(super) rows: Arc<dyn Rows>,
    pub(super) marks: Arc<Marks>,
    pub(super) ends: Ends,
    pub(super) metrics: RoomsMetrics,
    pub(super) on_newcomer: OnceLock<OnNewcomer>,
    pub(super) news: Tell,
    /// Where the clock of the owners begins.
    pub(super) started: Instant,
}

impl Env {
    /// Milliseconds of a clock that never goes back.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// A look at a room's state, on its owner's task. `None`: the room cannot be served now.
type Look = Box<dyn FnOnce(Option<&State>) + Send>;

/// What waits for a room's owner.
pub(super) enum Item {
    Command { actor: Arc<Profile>, what: What, reply: OnReply, at: Instant },
    Look(Look),
}

/// How a room's task is reached.
struct Handle {
    mailbox: mpsc::Sender<Item>,
    /// When something was last asked of it, by [`Env::now`].
    used: AtomicU64,
    /// Asks the task to put the room down.
    put_down: Arc<Notify>,
}

type Shard = Mutex<HashMap<RoomId, Handle>>;

/// The rooms of this node that are in memory.
pub(super) struct Owners {
    pub(super) env: Arc<Env>,
    shards: Arc<[Shard]>,
    stopping: AtomicBool,
    /// Told whenever a task has ended.
    ended: Arc<Notify>,
}

impl Owners {
    pub(super) fn new(env: Arc<Env>) -> Self {
        Self {
            env,
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            stopping: AtomicBool::new(false),
            ended: Arc::default(),
        }
    }

    /// Hands something to a room's task, and starts the task if there is none. Never waits.
    ///
    /// # Errors
    /// The item, when too much waits already or the node is stopping.
    #[expect(clippy::result_large_err, reason = "the error is the item itself, given back whole")]
    pub(super) fn hand(&self, room: RoomId, item: Item) -> Result<(), Item> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(item);
        }
        let now = self.env.now();
        let mut shard = self.shards[shard_of(room)].lock();
        let known = shard.len();
        let handle = match shard.entry(room) {
            Entry::Occupied(handle) => handle.into_mut(),
            Entry::Vacant(place) => place.insert(self.start(room)),
        };
        handle.used.store(now, Ordering::Relaxed);
        // Under the lock of the map: a task takes itself out of it only when nothing waits.
        let outcome = handle.mailbox.try_send(item);
        if shard.len() > known && shard.len() > self.env.settings.active.div_ceil(SHARDS) {
            make_place(&shard);
        }
        outcome.map_err(|refused| match refused {
            mpsc::error::TrySendError::Full(item) | mpsc::error::TrySendError::Closed(item) => item,
        })
    }

    fn start(&self, room: RoomId) -> Handle {
        let (mailbox, waiting) = mpsc::channel(self.env.settings.waiting_commands);
        let put_down = Arc::new(Notify::new());
        let task = Task {
            room,
            env: self.env.clone(),
            shards: Arc::downgrade(&self.shards),
            ended: self.ended.clone(),
            put_down: put_down.clone(),
            waiting,
        };
        self.env.metrics.active.inc();
        tokio::spawn(task.run());
        Handle { mailbox, used: AtomicU64::new(0), put_down }
    }

    /// Asks the state of a room something.
    ///
    /// # Errors
    /// `unavailable`.
    pub(super) async fn look<T: Send + 'static>(
        &self,
        room: RoomId,
        look: impl FnOnce(&State) -> T + Send + 'static,
    ) -> Result<T, Problem> {
        let (tell, told) = tokio::sync::oneshot::channel();
        let item = Item::Look(Box::new(move |state: Option<&State>| {
            let _ = tell.send(state.map(look));
        }));
        self.hand(room, item).map_err(|_| busy())?;
        match tokio::time::timeout(self.env.settings.deadline(), told).await {
            Ok(Ok(Some(seen))) => Ok(seen),
            _ => Err(busy()),
        }
    }

    /// Takes nothing more, finishes what is in flight, saves snapshots; gives up after `within`.
    pub(super) async fn stop(&self, within: Duration) {
        self.stopping.store(true, Ordering::Release);
        let all_ended = async {
            loop {
                let ended = self.ended.notified();
                let mut left = 0;
                for shard in self.shards.iter() {
                    let shard = shard.lock();
                    left += shard.len();
                    shard.values().for_each(|handle| handle.put_down.notify_one());
                }
                if left == 0 {
                    return;
                }
                ended.await;
            }
        };
        if tokio::time::timeout(within, all_ended).await.is_err() {
            tracing::warn!(
                "some rooms did not stop in time; they are read again from the log at the next start"
            );
        }
    }
}

/// The answer when a room takes nothing more.
pub(super) fn busy() -> Problem {
    Problem::unavailable("The room cannot take this now; try again.")
}

fn shard_of(room: RoomId) -> usize {
    // The low bits of an id are random.
    usize::try_from(room.0 % SHARDS as u128).unwrap_or(0)
}

/// Puts down the room that was used longest ago.
fn make_place(shard: &HashMap<RoomId, Handle>) {
    if let Some(oldest) = shard.values().min_by_key(|handle| handle.used.load(Ordering::Relaxed)) {
        oldest.put_down.notify_one();
    }
}

/// A room's task.
struct Task {
    room: RoomId,
    env: Arc<Env>,
    /// Weak: the mailbox closes when the rooms are dropped, and the task ends.
    shards: Weak<[Shard]>,
    ended: Arc<Notify>,
    put_down: Arc<Notify>,
    waiting: mpsc::Receiver<Item>,
}

impl Task {
    async fn run(mut self) {
        loop {
            shell::serve(&self.env, self.room, &mut self.waiting, &self.put_down).await;
            let Some(shards) = self.shards.upgrade() else { break };
            let mut shard = shards[shard_of(self.room)].lock();
            if self.waiting.is_empty() {
                shard.remove(&self.room);
                break;
            }
            // Something came while the room was put down: it is taken up again.
        }
        self.env.metrics.active.dec();
        self.ended.notify_waiters();
    }
}
