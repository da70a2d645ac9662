//! Rooms in use, a task each: it drives the core's `Owner` against the log and the rows, or, where the room is another
//! node's, forwards what waits to that one.
//!
//! One mailbox per room, whoever owns it: so what comes from here keeps its order when the room moves. Here belongs
//! when a room is taken into memory and put down, doing what its owner wants done, and asking another owner; what a
//! command does is decided in `rookery-core`.

mod commit;
mod heir;
mod item;
mod lane;
mod shell;
mod snapshots;

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rookery_core::owner::{Legacy, Settings};
use rookery_protocol::{id::RoomId, peer::not_taken::Reason};
use tokio::sync::{Notify, Semaphore, mpsc};

use super::{
    OnCommitted, OnNewcomer, OnUnread,
    ends::Ends,
    marks::Marks,
    metrics::RoomsMetrics,
    route::{Owner, Route},
    settings::RoomsSettings,
};
use crate::{
    backend::{RoomLog, Rows, bus::Tell},
    peer::Links,
    problem::Problem,
};

pub(in crate::rooms) use item::{Asker, Doubt, Item, Unanswered};

/// Rooms are spread over so many maps, so that callers rarely wait for each other.
const SHARDS: usize = 16;
/// When another owner was faster though the ring says that the room is ours, a newer ring may be on its way: so long
/// is waited for it, instead of taking the room back at once.
const SETTLE: Duration = Duration::from_millis(100);
/// A room whose log is found to be wrong is not read again sooner: each command would cost a takeover.
const REST: Duration = Duration::from_secs(1);

/// What all owners of this node share.
pub(super) struct Env {
    pub(super) settings: RoomsSettings,
    pub(super) core: Settings,
    pub(super) route: Route,
    /// The ways to other nodes; none in a service of one node.
    pub(super) links: OnceLock<Arc<Links>>,
    /// Nothing is taken any more.
    pub(super) stopping: AtomicBool,
    pub(super) log: Arc<dyn RoomLog>,
    pub(super) rows: Arc<dyn Rows>,
    pub(super) marks: Arc<Marks>,
    pub(super) ends: Ends,
    pub(super) metrics: RoomsMetrics,
    /// Rooms whose old events are being removed.
    pub(super) forgetting: Arc<Semaphore>,
    pub(super) on_newcomer: OnceLock<OnNewcomer>,
    pub(super) news: Tell,
    pub(super) on_committed: OnceLock<OnCommitted>,
    pub(super) on_unread: OnceLock<OnUnread>,
    /// Where the clock of the owners begins.
    pub(super) started: Instant,
}

impl Env {
    /// Milliseconds of a clock that never goes back.
    pub(super) fn now(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }
}

/// How a room's task is reached.
struct Handle {
    mailbox: mpsc::Sender<Item>,
    /// When something was last asked of it, by [`Env::now`].
    used: AtomicU64,
    calls: Arc<Calls>,
}

/// What a room's task is told beside its mailbox.
#[derive(Default)]
struct Calls {
    /// Put the room down.
    put_down: Notify,
    /// The ring changed: look whose the room is.
    look: Notify,
    /// The room is served here.
    serving: AtomicBool,
}

type Shard = Mutex<HashMap<RoomId, Handle>>;

/// The rooms of this node that are in memory.
pub(super) struct Owners {
    pub(super) env: Arc<Env>,
    shards: Arc<[Shard]>,
    /// Told whenever a task has ended.
    ended: Arc<Notify>,
}

impl Owners {
    pub(super) fn new(env: Arc<Env>) -> Self {
        Self { env, shards: (0..SHARDS).map(|_| Shard::default()).collect(), ended: Arc::default() }
    }

    /// Hands something to a room's task, and starts the task if there is none. Never waits.
    ///
    /// # Errors
    /// The item, when too much waits already or the node is stopping.
    #[expect(clippy::result_large_err, reason = "the error is the item itself, given back whole")]
    pub(super) fn hand(&self, room: RoomId, item: Item) -> Result<(), Item> {
        if self.env.stopping.load(Ordering::Acquire) {
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
        let calls = Arc::<Calls>::default();
        let task = Task {
            room,
            env: self.env.clone(),
            shards: Arc::downgrade(&self.shards),
            ended: self.ended.clone(),
            calls: calls.clone(),
            waiting,
            instead: None,
            begin: Begin::default(),
        };
        tokio::spawn(task.run());
        Handle { mailbox, used: AtomicU64::new(0), calls }
    }

    /// Tells all rooms that the ring changed.
    pub(super) fn look_again(&self) {
        for shard in self.shards.iter() {
            shard.lock().values().for_each(|handle| handle.calls.look.notify_one());
        }
    }

    /// Waits until no room is served here that is another node's by the ring.
    pub(super) async fn moved_away(&self) {
        loop {
            let ended = self.ended.notified();
            let stays = |(room, handle): (&RoomId, &Handle)| {
                handle.calls.serving.load(Ordering::Acquire) && !self.env.route.is_mine(*room)
            };
            if !self.shards.iter().any(|shard| shard.lock().iter().any(stays)) {
                return;
            }
            ended.await;
        }
    }

    /// Takes nothing more, finishes what is in flight, saves snapshots; gives up after `within`.
    pub(super) async fn stop(&self, within: Duration) {
        self.env.stopping.store(true, Ordering::Release);
        let all_ended = async {
            loop {
                let ended = self.ended.notified();
                let mut left = 0;
                for shard in self.shards.iter() {
                    let shard = shard.lock();
                    left += shard.len();
                    shard.values().for_each(|handle| handle.calls.put_down.notify_one());
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
        oldest.calls.put_down.notify_one();
    }
}

/// A room's task.
struct Task {
    room: RoomId,
    env: Arc<Env>,
    /// Weak: the mailbox closes when the rooms are dropped, and the task ends.
    shards: Weak<[Shard]>,
    ended: Arc<Notify>,
    calls: Arc<Calls>,
    waiting: mpsc::Receiver<Item>,
    /// The owner by the ring that this node serves the room instead of, because it was gone.
    instead: Option<Owner>,
    /// What the next owner here begins with.
    begin: Begin,
}

/// What an owner begins with.
#[derive(Default)]
struct Begin {
    /// What the one before has left; none: it reads the log.
    legacy: Option<Box<Legacy>>,
    /// The one before was overtaken.
    fencing_first: bool,
}

impl Begin {
    /// Of what several owners have left, the last one's.
    fn inherit(&mut self, legacy: Option<Box<Legacy>>) {
        let at = |legacy: &Option<Box<Legacy>>| legacy.as_ref().map(|legacy| legacy.place.at);
        if at(&legacy) > at(&self.legacy) {
            self.legacy = legacy;
        }
    }
}

/// Why a room is not served any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nobody needs it, or the node is stopping.
    PutDown,
    /// It is another node's by the ring.
    Moved,
    /// Another owner was faster.
    Fenced,
    /// The owner before wrote while this one took over.
    Overtaken,
    /// Its log is found to be wrong.
    Broken,
    /// Its task made a mistake.
    Failed,
}

impl Task {
    async fn run(mut self) {
        // What the one before has not done: it comes before what is in the mailbox.
        let mut left = VecDeque::new();
        loop {
            if self.serves() {
                heir::expect(&mut self, &mut left).await;
            }
            if self.serves() {
                self.env.metrics.active.inc();
                self.calls.serving.store(true, Ordering::Release);
                let end = shell::serve(&mut self, &mut left).await;
                self.env.metrics.active.dec();
                self.calls.serving.store(false, Ordering::Release);
                self.ended.notify_waiters();
                self.served(end).await;
            } else {
                self.begin = Begin::default();
                lane::forward(&mut self, &mut left).await;
            }
            let Some(shards) = self.shards.upgrade() else { break };
            if self.env.stopping.load(Ordering::Acquire) {
                while let Ok(item) = self.waiting.try_recv() {
                    left.push_back(item);
                }
                left.drain(..).for_each(|item| item.refuse(busy(), Reason::Ending, None));
            }
            let mut shard = shards[shard_of(self.room)].lock();
            if self.waiting.is_empty() && left.is_empty() && self.begin.legacy.is_none() {
                shard.remove(&self.room);
                break;
            }
            // Something waits: the room is taken up again, or forwarded.
        }
        left.drain(..).for_each(|item| item.refuse(busy(), Reason::Ending, None));
        self.ended.notify_waiters();
    }

    /// Whether this node serves the room: it is its own by the ring, or it took it over and the ring has not changed
    /// since.
    fn serves(&self) -> bool {
        let mine = self.env.route.is_mine(self.room);
        mine || (self.instead.is_some() && self.instead == self.env.route.owner(self.room))
    }

    /// Tells the owner by the ring that the room waits for it, and leaves it what there is to know.
    async fn hand_over(&self, legacy: Option<Legacy>) {
        let Some((links, owner)) = self.env.links.get().zip(self.env.route.owner(self.room)) else { return };
        links.metrics().handed_over.inc();
        if let Some(link) = links.get(&owner.name) {
            link.hand_over(self.room, legacy).await;
        }
    }

    /// Answers what comes for a while that it cannot be done now.
    async fn rest(&mut self) {
        let until = tokio::time::Instant::now() + REST;
        while !self.env.stopping.load(Ordering::Acquire) {
            tokio::select! {
                () = tokio::time::sleep_until(until) => break,
                () = self.calls.put_down.notified() => {}
                item = self.waiting.recv() => match item {
                    Some(Item::Command { asker, .. }) => asker.reply(Err(busy())),
                    Some(Item::Members { asker, .. }) => asker.members(Err(busy())),
                    Some(Item::Wake { .. }) => {}
                    None => break,
                },
            }
        }
    }

    /// Does what follows from the end of serving.
    async fn served(&mut self, end: End) {
        match end {
            End::PutDown | End::Failed | End::Overtaken => {}
            End::Broken => self.rest().await,
            End::Moved => self.instead = None,
            End::Fenced => {
                self.instead = None;
                let until = tokio::time::Instant::now() + SETTLE;
                while self.serves() && !self.env.stopping.load(Ordering::Acquire) {
                    if tokio::time::timeout_at(until, self.calls.look.notified()).await.is_err() {
                        break;
                    }
                }
            }
        }
    }
}
