//! Rooms as the edge sees them: commands to owners, history, lists.
//!
//! Here belongs finding the owner of a room and reading logs and rows; what a command does is decided in
//! `rookery-core`, and who gets events live in `live/`.

mod access;
mod declared;
mod direct;
mod ends;
mod history;
mod lists;
mod log;
mod marks;
mod messages;
mod metrics;
mod owner;
mod refusal;
mod render;
mod retention;
mod route;
mod rows;
mod settings;
#[cfg(test)]
mod tests;
mod unread;
pub mod words;

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rookery_core::{
    owner::{Legacy, Settings},
    record::Record,
    ring::View,
    room::{Kind, Limits, Profile, Reply, Role, Visibility, What},
};
use rookery_protocol::{
    client,
    id::{RoomId, UserId},
    peer::not_taken::Reason,
};

use crate::{
    backend::{
        RoomLog, Rows,
        bus::{Bus, News, Tell},
    },
    peer::{Caller, Links},
    problem::Problem,
};

use tokio::sync::Semaphore;

pub use history::{History, Part};
pub use lists::{Listed, Member, Page};
pub use marks::OnRead;
pub use messages::NewMessage;
pub use metrics::RoomsMetrics;
pub use render::frame;
pub use settings::RoomsSettings;
pub use unread::Unread;

use self::{
    ends::Ends,
    marks::Marks,
    owner::{Asker, Doubt, Env, Item, Owners, Unanswered, busy},
    route::Route,
};

/// However late it is when the rooms have stopped, their read marks are tried to be stored for so long.
const LEAST: Duration = Duration::from_millis(500);

/// Not all nodes understand what is asked for: one of them might take the room over, and forget it.
const OLDER: &str = "Some nodes of this cluster are of an older version and do not know this; try again when all are upgraded.";

/// Told of each user who became a member of a room of this node's, with the seq of the event. Must not block.
pub type OnNewcomer = Box<dyn Fn(UserId, RoomId, u64) + Send + Sync>;

/// Told of each record with events that an owner of this node has stored, in the order of its room, before the
/// senders are answered. Must not block.
pub type OnCommitted = Box<dyn Fn(&Arc<Record>) + Send + Sync>;

/// Told, once a record is stored, whom its messages are for: who is mentioned, and the other one of a direct room. Must not block.
pub type OnUnread = Box<dyn Fn(&[UserId]) + Send + Sync>;

/// Called exactly once with the outcome of a command, on the owner's thread: must not block.
pub type OnReply = Box<dyn FnOnce(Result<Reply, Problem>) + Send>;

/// A room as one user sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomView {
    /// Id.
    pub id: RoomId,
    /// Name; empty in direct rooms.
    pub name: String,
    /// Kind.
    pub kind: Kind,
    /// Visibility.
    pub visibility: Visibility,
    /// Topic.
    pub topic: Option<String>,
    /// Slow mode, seconds; 0: off.
    pub slow_mode_seconds: u32,
    /// Whether messages may be translated.
    pub translation: bool,
    /// Most members; `None`: as many as the service allows.
    pub max_members: Option<u32>,
    /// Events are kept for so many days; `None`: as long as the service keeps them.
    pub retention_days: Option<u32>,
    /// Declared from outside the chat: members do not change it.
    pub declared: bool,
    /// Members.
    pub member_count: u64,
    /// When made, Unix milliseconds.
    pub created_at: i64,
    /// The asking user's role; `None`: no member (the room is public then).
    pub role: Option<Role>,
    /// Seq of the newest durable event.
    pub last_seq: u64,
    /// In a direct room, the other user.
    pub peer: Option<Profile>,
}

/// Durable events of a room, as frames, oldest first.
#[derive(Debug, Clone, Default)]
pub struct EventPage {
    /// `(seq, frame)`, without gaps.
    pub events: Vec<(u64, client::ServerFrame)>,
    /// The newest seq that the log had when this was read.
    pub last_seq: u64,
}

/// Where a user stands in one of his rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which room.
    pub room: RoomId,
    /// His role.
    pub role: Role,
    /// Seq of the newest durable event.
    pub last_seq: u64,
    /// Up to where he has read.
    pub read_seq: u64,
    /// Messages after that.
    pub unread: u64,
}

/// A room to make.
#[derive(Debug, Clone)]
pub struct NewRoom {
    /// 1-100 characters.
    pub name: String,
    /// Group or channel.
    pub kind: Kind,
    /// Visibility.
    pub visibility: Visibility,
    /// At most 500 characters.
    pub topic: Option<String>,
}

/// What another node asks of a room.
pub(crate) enum Asked {
    /// To do something.
    Command {
        /// Who asks.
        actor: Arc<Profile>,
        /// For what.
        what: What,
    },
    /// Who its members are.
    Members {
        /// After this one.
        after: Option<UserId>,
        /// So many at most.
        limit: usize,
    },
}

/// What the operator sees of a node's rooms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    /// In memory.
    pub(crate) rooms: u64,
    /// Commands of this node's clients that wait for their answer.
    pub(crate) unacked: u64,
    /// Slots of its own.
    pub(crate) slots: u32,
    /// Nodes in its ring.
    pub(crate) members: u32,
    /// Its ring's.
    pub(crate) revision: u64,
}

/// The rooms of this service. One per node.
pub struct Rooms {
    owners: Owners,
    /// Ends the task that stores read marks.
    flusher: tokio::task::AbortHandle,
}

impl Drop for Rooms {
    fn drop(&mut self) {
        self.flusher.abort();
    }
}

impl Rooms {
    /// Serves rooms from a log and its rows: those that are the node's by the ring's `view`. `node` is its name
    /// there, and is written into records. Needs a Tokio runtime.
    pub fn start(
        settings: RoomsSettings,
        node: &str,
        view: &View,
        log: Arc<dyn RoomLog>,
        rows: Arc<dyn Rows>,
        metrics: RoomsMetrics,
    ) -> Arc<Self> {
        let marks = Arc::new(Marks::new(rows.clone(), metrics.clone()));
        let flusher = {
            let (marks, every) = (marks.clone(), settings.read_mark_flush());
            tokio::spawn(async move {
                loop {
                    tokio::time::sleep(every).await;
                    marks.flush().await;
                }
            })
        };
        let core = core_settings(&settings, node);
        let env = Env {
            settings,
            core,
            route: Route::new(node, view),
            links: OnceLock::new(),
            stopping: AtomicBool::new(false),
            log,
            rows,
            marks,
            ends: Ends::default(),
            metrics,
            on_newcomer: OnceLock::new(),
            news: Tell::default(),
            on_committed: OnceLock::new(),
            on_unread: OnceLock::new(),
            started: Instant::now(),
            forgetting: Arc::new(Semaphore::new(retention::ROOMS)),
        };
        Arc::new(Self { owners: Owners::new(Arc::new(env)), flusher: flusher.abort_handle() })
    }

    /// Finishes what is in flight, stores snapshots and read marks; gives up after `within`, or a moment more. Commands are answered `unavailable` from now on.
    pub async fn stop(&self, within: Duration) {
        let until = Instant::now() + within;
        self.owners.stop(within).await;
        // Also after rooms that took all the time: a store that answers does it at once.
        let left = until.saturating_duration_since(Instant::now()).max(LEAST);
        if tokio::time::timeout(left, self.env().marks.flush()).await.is_err() {
            tracing::warn!(
                "read marks could not be stored in time: what was read last counts as unread again"
            );
        }
    }

    /// Takes over the newest view of the ring; called in the order of the views. Rooms that went to another node are put down at once: what is in flight
    /// is finished, what waits is forwarded.
    pub fn change_view(&self, view: &View) {
        self.env().route.change(view);
        self.owners.look_again();
    }

    /// Lets what is asked of other nodes' rooms go to their owners. Once, at the start.
    pub(crate) fn connect(&self, links: Arc<Links>) {
        let _ = self.env().links.set(links);
    }

    /// Revision of the ring.
    pub(crate) fn revision(&self) -> u64 {
        self.env().route.revision()
    }

    /// Whether this node takes what is asked of a room.
    pub(crate) fn takes(&self, room: RoomId) -> bool {
        !self.env().stopping.load(Ordering::Acquire) && self.env().route.is_mine(room)
    }

    /// Takes what another node asks, in the order of the calls.
    pub(crate) fn take(&self, room: RoomId, asked: Asked, caller: Caller) {
        let at = Instant::now();
        let caller = Box::new(caller);
        let item = match asked {
            Asked::Command { actor, what } => {
                Item::Command { actor, what, asker: Asker::Peer(caller), at, doubt: Doubt::None }
            }
            Asked::Members { after, limit } => Item::Members { after, limit, asker: Asker::Peer(caller), at },
        };
        if let Err(item) = self.owners.hand(room, item) {
            if self.env().stopping.load(Ordering::Acquire) {
                item.refuse(busy(), Reason::Ending, None);
            } else {
                item.fail(busy());
            }
        }
    }

    /// Another node has put the room down, because it is this one's by a ring of this revision: it is taken up before
    /// somebody asks, with what that node has left.
    pub(crate) fn handed_over(&self, room: RoomId, revision: u64, legacy: Option<Legacy>) {
        let _ = self.owners.hand(room, Item::Wake { revision, legacy: legacy.map(Box::new) });
    }

    /// How many rooms there are, and so on.
    pub(crate) fn counts(&self) -> Counts {
        let (slots, members) = self.env().route.counts();
        let of = |gauge: &prometheus_client::metrics::gauge::Gauge| u64::try_from(gauge.get()).unwrap_or(0);
        Counts {
            rooms: of(&self.env().metrics.active),
            unacked: of(&self.env().metrics.unanswered),
            slots: u32::try_from(slots).unwrap_or(u32::MAX),
            members: u32::try_from(members).unwrap_or(u32::MAX),
            revision: self.revision(),
        }
    }

    /// Waits until every room is put down that is another node's by the ring. The caller bounds the time.
    pub async fn moved_away(&self) {
        self.owners.moved_away().await;
    }

    /// Registers who is told of read marks that users move, to tell their other connections. Once, at the start.
    pub fn on_read(&self, hook: OnRead) {
        self.env().marks.on_read(hook);
    }

    /// Registers who is told of newcomers, so that their connections follow the room. Once, at the start.
    pub fn on_newcomer(&self, hook: OnNewcomer) {
        let _ = self.env().on_newcomer.set(hook);
    }

    /// Registers who delivers what owners of this node store. Once, at the start.
    pub fn on_committed(&self, hook: OnCommitted) {
        let _ = self.env().on_committed.set(hook);
    }

    /// Registers who is told of users whom a stored message is for. Once, at the start.
    pub fn on_unread(&self, hook: OnUnread) {
        let _ = self.env().on_unread.set(hook);
    }

    /// Longest text of a message, in characters.
    pub fn text_chars(&self) -> u32 {
        self.env().settings.text_chars
    }

    fn env(&self) -> &Env {
        &self.owners.env
    }

    fn owners(&self) -> &Owners {
        &self.owners
    }

    fn store(&self) -> (&dyn RoomLog, &dyn Rows) {
        (&*self.env().log, &*self.env().rows)
    }

    /// Hands a command to the room's owner. Commands of one caller to one room keep their order.
    /// `reply` is called once: with the room's answer, or `unavailable` when the deadline (5 s) passes.
    /// When too much waits for the room already, that is at once, and on the caller's thread.
    pub fn submit(&self, room: RoomId, actor: &Arc<Profile>, what: What, reply: OnReply) {
        if what.level() > self.env().route.level() {
            return reply(Err(Problem::unavailable(OLDER)));
        }
        let reply = if matches!(what, What::Post { .. }) && !self.env().route.is_mine(room) {
            self.noting(room, actor.id, reply)
        } else {
            reply
        };
        let asker = Asker::Here(reply, Unanswered::one(&self.env().metrics.unanswered));
        let item =
            Item::Command { actor: actor.clone(), what, asker, at: Instant::now(), doubt: Doubt::None };
        if let Err(item) = self.owners.hand(room, item) {
            self.env().metrics.refused("unavailable");
            item.fail(busy());
        }
    }

    /// A reply that tells this node, too, that its user has read what he posted: the room's owner is another.
    fn noting(&self, room: RoomId, user: UserId, reply: OnReply) -> OnReply {
        let marks = self.env().marks.clone();
        Box::new(move |outcome| {
            if let Ok(Reply::Posted { seq, .. }) = outcome {
                marks.posted(room, user, seq);
            }
            reply(outcome);
        })
    }

    /// [`Self::submit`], awaited.
    ///
    /// # Errors
    /// The room's refusal, or `unavailable`.
    pub async fn command(&self, room: RoomId, actor: &Arc<Profile>, what: What) -> Result<Reply, Problem> {
        let (tell, told) = tokio::sync::oneshot::channel();
        self.submit(
            room,
            actor,
            what,
            Box::new(move |outcome| {
                let _ = tell.send(outcome);
            }),
        );
        told.await.unwrap_or_else(|_| Err(Problem::internal()))
    }

    /// [`Self::command`] from somebody who may not know the room: an id that he made up starts no owner.
    ///
    /// # Errors
    /// The room's refusal, or `unavailable`.
    pub async fn member_command(
        &self,
        room: RoomId,
        actor: &Arc<Profile>,
        what: What,
    ) -> Result<Reply, Problem> {
        self.exists(room).await?;
        self.command(room, actor, what).await
    }

    /// Makes a room.
    ///
    /// # Errors
    /// `invalid`; `limit_reached` when the user is in too many rooms already; `unavailable`.
    pub async fn create(&self, actor: &Arc<Profile>, new: NewRoom) -> Result<RoomView, Problem> {
        self.has_place(actor.id).await?;
        let millis = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let millis = u64::try_from(millis.as_millis()).unwrap_or_default();
        let room = RoomId::from_parts(millis, rand::random());
        let members = vec![((**actor).clone(), Role::Owner)];
        let NewRoom { name, kind, visibility, topic } = new;
        self.command(room, actor, What::Create { name, kind, visibility, topic, members }).await?;
        self.view(room, actor.id).await
    }

    /// Joins a public room.
    ///
    /// # Errors
    /// `room_not_found`, `banned`; `limit_reached` when the room is full or the user in too many; `unavailable`.
    pub async fn join(&self, room: RoomId, actor: &Arc<Profile>) -> Result<RoomView, Problem> {
        if self.role(room, actor.id).await?.is_none() {
            self.has_place(actor.id).await?;
            self.exists(room).await?;
        }
        self.command(room, actor, What::Join).await?;
        self.view(room, actor.id).await
    }

    /// The direct room with `other`, made on first use; says whether it was made now.
    ///
    /// # Errors
    /// `invalid` for oneself; `limit_reached` when one of the two is in too many rooms already; `unavailable`.
    pub async fn direct(&self, actor: &Arc<Profile>, other: &Profile) -> Result<(RoomView, bool), Problem> {
        if actor.id == other.id {
            return Err(Problem::invalid("username", "A direct room is one with somebody else."));
        }
        let room = direct::room_of(actor.id, other.id);
        if self.role(room, actor.id).await?.is_some() {
            return Ok((self.view(room, actor.id).await?, false));
        }
        self.has_place(actor.id).await?;
        self.can_be_added(other.id).await?;
        let members = vec![((**actor).clone(), Role::Member), (other.clone(), Role::Member)];
        let what = What::Create {
            name: String::new(),
            kind: Kind::Direct,
            visibility: Visibility::Private,
            topic: None,
            members,
        };
        self.command(room, actor, what).await?;
        Ok((self.view(room, actor.id).await?, true))
    }

    /// Adds a user to a room.
    ///
    /// # Errors
    /// `limit_reached` when he is in too many rooms already, or the room is full; the room's other refusals; `unavailable`.
    pub async fn add(
        &self,
        room: RoomId,
        actor: &Arc<Profile>,
        user: Profile,
        role: Role,
    ) -> Result<Reply, Problem> {
        // Whoever may not do it need not learn of his rooms: that is decided before, by the room.
        if self.role(room, user.id).await?.is_none()
            && self.role(room, actor.id).await? >= Some(Role::Moderator)
        {
            self.can_be_added(user.id).await?;
        }
        self.member_command(room, actor, What::Add { user, role }).await
    }

    /// A user is in at most so many rooms, whoever brings him there.
    async fn has_place(&self, user: UserId) -> Result<(), Problem> {
        let most = self.env().settings.rooms_per_user;
        if self.is_full(user).await? {
            let why = format!("You are in {most} rooms already; leave one first.");
            return Err(Problem::new(409, "limit_reached", why));
        }
        Ok(())
    }

    /// [`Self::has_place`] of somebody else.
    async fn can_be_added(&self, user: UserId) -> Result<(), Problem> {
        if self.is_full(user).await? {
            return Err(Problem::new(
                409,
                "limit_reached",
                "That user is in as many rooms as one can be in.",
            ));
        }
        Ok(())
    }

    async fn is_full(&self, user: UserId) -> Result<bool, Problem> {
        let most = self.env().settings.rooms_per_user;
        Ok(self.memberships(user, most).await?.len() >= most)
    }

    /// Durable events with `from ≤ seq ≤ to`, at most `limit`. Deleted messages come without their text.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn events(&self, room: RoomId, from: u64, to: u64, limit: usize) -> Result<EventPage, Problem> {
        let end = self.env().ends.get(&*self.env().log, room).await?;
        history::events(self.store(), room, (from, to), limit, end.last_seq).await
    }

    /// Messages of a room, a page of at most `limit`.
    ///
    /// # Errors
    /// `room_not_found`, `not_a_member`; `unavailable`.
    pub async fn history(
        &self,
        room: RoomId,
        user: UserId,
        part: Option<Part>,
        limit: usize,
    ) -> Result<History, Problem> {
        let last_seq = self.readable(room, user).await?;
        let part = part.unwrap_or(Part::Before(last_seq + 1));
        history::page(self.store(), (room, user), last_seq, part, limit).await
    }

    /// Moves a user's read mark forward; says whether it moved.
    ///
    /// # Errors
    /// `not_a_member`, `room_not_found`, `invalid` for a seq the room has not reached.
    pub async fn mark_read(&self, room: RoomId, user: UserId, seq: u64) -> Result<bool, Problem> {
        let mut end = self.read_end(room, user).await?;
        if seq > end.last_seq {
            end = self.certain_end(room).await?;
        }
        if seq > end.last_seq {
            let why = format!("The room has only reached {}.", end.last_seq);
            return Err(Problem::invalid("seq", why));
        }
        if seq <= self.mark(user, room).await?.seq {
            return Ok(false);
        }
        let messages = if seq == end.last_seq {
            end.messages
        } else {
            // Or the first one that is kept.
            let record = log::first_from(&*self.env().log, room, seq).await?;
            record.map_or(end.messages, |record| record.messages_up_to(seq))
        };
        let mark = rows::Mark { seq, messages };
        let marks = &self.env().marks;
        marks.read(room, user, mark);
        marks.tell(room, user, mark);
        Ok(true)
    }

    /// Up to where a user has read.
    async fn mark(&self, user: UserId, room: RoomId) -> Result<rows::Mark, Problem> {
        let env = self.env();
        let mark = env.marks.get(user, room).await?;
        let Some(seq) = env.marks.posted_after(user, room, mark) else { return Ok(mark) };
        let Some(record) = log::record_with(&*env.log, room, seq).await? else { return Ok(mark) };
        let mark = rows::Mark { seq, messages: record.messages_up_to(seq) };
        env.marks.learn(user, room, mark);
        Ok(mark)
    }

    /// There are other nodes, with rooms of their own over the same log. Once, at the start.
    pub fn join_bus(&self, bus: Arc<dyn Bus>) {
        self.env().marks.join(bus.clone());
        self.env().news.join(bus);
    }

    /// What another node tells.
    pub fn heard(&self, news: &News) {
        match *news {
            News::Newcomer { user, room, seq } => {
                if let Some(hook) = self.env().on_newcomer.get() {
                    hook(user, room, seq);
                }
            }
            News::Read { user, room, seq, messages } => {
                self.env().marks.heard(room, user, rows::Mark { seq, messages });
            }
            _ => {}
        }
    }

    /// The rooms that a user is in.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn rooms_of(&self, user: UserId) -> Result<Vec<RoomId>, Problem> {
        Ok(self.memberships(user, usize::MAX).await?.into_iter().map(|(room, _)| room).collect())
    }
}

fn core_settings(settings: &RoomsSettings, node: &str) -> Settings {
    Settings {
        owner: node.to_owned(),
        limits: Arc::new(Limits {
            text_chars: settings.text_chars as usize,
            members: settings.members as usize,
            retention_days: match settings.retention_days {
                0 => u32::MAX,
                days => u32::try_from(days).unwrap_or(u32::MAX),
            },
            dedupe_window_ms: i64::try_from(settings.dedupe_seconds * 1000).unwrap_or(i64::MAX),
            ..Limits::default()
        }),
        max_waiting: settings.waiting_commands,
        deadline_ms: settings.deadline_ms,
        ..Settings::default()
    }
}
