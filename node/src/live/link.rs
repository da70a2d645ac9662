//! What the node's other parts know of a connection: where to leave frames for it, and how to wake it.
//!
//! Everything here is short and never waits: publishers call it for thousands of connections in a row.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicI64, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    task::Waker,
};

use arc_swap::{ArcSwapOption, Guard};
use parking_lot::Mutex;
use rookery_core::room::Profile;
use rookery_protocol::{
    Subprotocol, client,
    id::{RoomId, SessionId, UserId},
};

use super::{frame, room::Following};
use crate::translation::Lang;

/// Frames for one connection alone may wait up to so many bytes; more means that it does not read.
const MAX_OUTBOX: usize = 1024 * 1024;

/// A room that a connection is to follow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Which.
    pub room: RoomId,
    /// After which seq; `None`: from now on.
    pub after: Option<u64>,
    /// [`super::Hub::dismissals`] when its user was known to be a member.
    pub known: Option<u64>,
}

/// What a connection waits for, and what ends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Phase {
    /// `hello` must come before its deadline.
    Greeting = 0,
    /// It ends with its token.
    Open = 1,
    /// It is dropped at its deadline, whether its client has closed or not.
    Closing = 2,
}

/// Something a connection must do, decided elsewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u16)]
pub enum Signal {
    /// Send a ping.
    Ping = 1,
    /// Close: nothing was heard of the client for too long.
    Silent = 2,
    /// Close with 4408: no `hello` came in time.
    HelloLate = 4,
    /// Close with 4401: the token has expired.
    Expired = 8,
    /// Close with 4401: the login has ended.
    Revoked = 16,
    /// Close with 4409: it is too far behind.
    Lagging = 32,
    /// Look how far behind it is.
    CheckLag = 64,
    /// Close with 4401: the credentials were refused.
    Refused = 128,
    /// `hello` was accepted: go on reading.
    Admitted = 256,
    /// Say `drain`, then close with 1012.
    Drain = 512,
    /// Something inside the node failed: close with 1011.
    Failed = 1024,
    /// It cannot be served for now: close with 1013.
    Overloaded = 2048,
    /// Its user reads another language now.
    Reads = 4096,
}

/// What waits for a connection.
#[derive(Debug, Default)]
pub struct Mail {
    /// Indexes of its rooms with something new on their tapes.
    pub ready: Vec<u32>,
    /// Whole frames for it alone. They go out before anything that is then read from a tape.
    pub out: Vec<u8>,
    /// Frames that others get too, after those.
    pub shared: Vec<Arc<[u8]>>,
    /// Rooms that it follows from now on, or not (`None`), by index.
    pub joined: Vec<(u32, Option<Following>)>,
    /// Rooms that it is to follow.
    pub orders: Vec<Order>,
    /// Bits of [`Signal`].
    pub signals: u16,
    /// All of it waits for the connection's turn to write ([`Link::turn`]).
    paced: bool,
    waker: Option<Waker>,
}

impl Mail {
    fn is_empty(&self) -> bool {
        self.ready.is_empty()
            && self.out.is_empty()
            && self.shared.is_empty()
            && self.joined.is_empty()
            && self.orders.is_empty()
            && self.signals == 0
    }

    /// Bytes of the frames that wait.
    fn bytes(&self) -> usize {
        self.out.len() + self.shared.iter().map(|frame| frame.len()).sum::<usize>()
    }

    /// Wakes the connection, if it was there before.
    fn wake(&self) {
        if let Some(waker) = &self.waker {
            waker.wake_by_ref();
        }
    }

    /// Whether `signal` was given.
    pub fn has(&self, signal: Signal) -> bool {
        self.signals & signal as u16 != 0
    }
}

/// One connection, seen from outside.
#[derive(Debug)]
pub struct Link {
    mail: Mutex<Mail>,
    user: OnceLock<UserId>,
    /// His names, which he may change.
    profile: ArcSwapOption<Profile>,
    /// The language that its user wants translations into, and the rooms, in order, that he wants none of.
    reads: Mutex<Option<(Lang, Arc<[RoomId]>)>>,
    session: Mutex<Option<SessionId>>,
    /// The subprotocol it speaks.
    pub protocol: Subprotocol,
    /// Gone: whoever works for it may stop.
    closed: AtomicBool,
    /// It is not online but away, says its client.
    pub away: AtomicBool,
    /// It follows rooms that its user comes into later.
    pub follows_all: AtomicBool,
    /// The socket takes no more at the moment.
    pub blocked: AtomicBool,
    phase: AtomicU8,
    /// Node time when something was last heard of the client, in seconds.
    pub heard: AtomicU32,
    /// Node time of the last ping, in seconds.
    pub pinged: AtomicU32,
    /// Node time in milliseconds; what happens then, its [`Phase`] says.
    pub deadline: AtomicU64,
    /// When its token ends, Unix milliseconds.
    pub expires_at: AtomicI64,
    /// Requests whose answer is still to come.
    pub in_flight: AtomicUsize,
    /// Bytes of its own frames that the connection took but has not written.
    pub unwritten: AtomicUsize,
}

impl Link {
    /// A connection that has yet to say `hello`, until `deadline` (node time in milliseconds); `now` is node time in seconds.
    pub fn new(protocol: Subprotocol, now: u32, deadline: u64) -> Arc<Self> {
        Arc::new(Self {
            mail: Mutex::default(),
            user: OnceLock::new(),
            profile: ArcSwapOption::empty(),
            reads: Mutex::new(None),
            session: Mutex::new(None),
            protocol,
            closed: AtomicBool::new(false),
            away: AtomicBool::new(false),
            follows_all: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            phase: AtomicU8::new(Phase::Greeting as u8),
            heard: AtomicU32::new(now),
            pinged: AtomicU32::new(now),
            deadline: AtomicU64::new(deadline),
            expires_at: AtomicI64::new(i64::MAX),
            in_flight: AtomicUsize::new(0),
            unwritten: AtomicUsize::new(0),
        })
    }

    /// Who it is, once `hello` was accepted.
    pub fn user(&self) -> Option<UserId> {
        self.user.get().copied()
    }

    /// The same, with his names as they are now.
    pub fn profile(&self) -> Guard<Option<Arc<Profile>>> {
        self.profile.load()
    }

    /// Says who it is, or what he is called now. It stays the same user.
    pub fn identify(&self, user: Arc<Profile>) {
        if *self.user.get_or_init(|| user.id) == user.id {
            self.profile.store(Some(user));
        }
    }

    /// The language that its user wants a room's translations into, if he does.
    pub fn reads(&self, room: RoomId) -> Option<Lang> {
        let reads = self.reads.lock();
        let (language, except) = reads.as_ref()?;
        except.binary_search(&room).is_err().then_some(*language)
    }

    /// Says which language its user reads, but for these rooms, which are in order. Rooms that it follows already hear of it by
    /// [`super::Room::reads`].
    pub fn read_in(&self, language: Option<Lang>, except: Arc<[RoomId]>) {
        let now = language.map(|language| (language, except));
        let before = std::mem::replace(&mut *self.reads.lock(), now.clone());
        if before != now {
            self.signal(Signal::Reads);
        }
    }

    /// Its login.
    pub fn session(&self) -> Option<SessionId> {
        *self.session.lock()
    }

    /// Sets its login; returns the one before.
    pub fn set_session(&self, session: SessionId) -> Option<SessionId> {
        self.session.lock().replace(session)
    }

    /// What it waits for.
    pub fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Greeting,
            1 => Phase::Open,
            _ => Phase::Closing,
        }
    }

    /// It is open until its token ends (Unix milliseconds), unless it is about to close.
    pub fn open(&self, expires_at: i64) {
        self.expires_at.store(expires_at, Ordering::Release);
        self.phase.fetch_max(Phase::Open as u8, Ordering::AcqRel);
    }

    /// It closes, until `deadline` (node time in milliseconds). There is no way back.
    pub fn closing(&self, deadline: u64) {
        self.deadline.store(deadline, Ordering::Release);
        self.phase.fetch_max(Phase::Closing as u8, Ordering::AcqRel);
    }

    /// Changes what waits, and wakes the connection if nothing waited before (else it is awake already).
    fn change(&self, change: impl FnOnce(&mut Mail)) {
        let mut mail = self.mail.lock();
        let was_empty = mail.is_empty();
        change(&mut mail);
        if was_empty {
            mail.wake();
        }
    }

    /// There is something to read in room `index`. Says whether nothing waited before: then the connection is to be woken, or, if
    /// `paced`, given its turn.
    pub(super) fn ready(&self, index: u32, paced: bool) -> bool {
        let mut mail = self.mail.lock();
        let was_empty = mail.is_empty();
        mail.ready.push(index);
        mail.paced |= was_empty && paced;
        was_empty
    }

    /// Lets the connection take what waits.
    pub(super) fn turn(&self) {
        let mut mail = self.mail.lock();
        mail.paced = false;
        mail.wake();
    }

    /// Leaves a frame for this connection alone.
    pub fn post(&self, message: &client::ServerFrame) {
        self.post_bytes(|out| put_message(out, self.protocol, message));
    }

    /// Lets `put` append whole frames for this connection alone.
    pub fn post_bytes(&self, put: impl FnOnce(&mut Vec<u8>)) {
        self.change(|mail| {
            if mail.bytes() > MAX_OUTBOX {
                mail.signals |= Signal::Lagging as u16;
            } else {
                put(&mut mail.out);
            }
        });
    }

    /// Leaves a whole frame that other connections get too.
    pub fn post_shared(&self, frame: &Arc<[u8]>) {
        self.change(|mail| {
            if mail.bytes() > MAX_OUTBOX {
                mail.signals |= Signal::Lagging as u16;
            } else {
                mail.shared.push(frame.clone());
            }
        });
    }

    /// Leaves the answer to a request that was counted in `in_flight`.
    pub fn answer(&self, message: &client::ServerFrame) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.post(message);
    }

    /// A request counted in `in_flight` is over, without an answer.
    pub fn done(&self) {
        self.in_flight.fetch_sub(1, Ordering::AcqRel);
        self.mail.lock().wake();
    }

    /// Tells the connection to do something.
    pub fn signal(&self, signal: Signal) {
        self.change(|mail| mail.signals |= signal as u16);
    }

    /// Hands over a room that the connection now follows, or fails to (`None`). Gives it back if it is too late.
    pub fn joined(&self, index: u32, following: Option<Following>) -> Result<(), Option<Following>> {
        let mut following = Some(following);
        self.change(|mail| {
            if !self.is_closed() {
                mail.joined.extend(following.take().map(|following| (index, following)));
            }
        });
        following.map_or(Ok(()), Err)
    }

    /// Tells the connection to follow rooms.
    pub fn order(&self, orders: impl IntoIterator<Item = Order>) {
        self.change(|mail| mail.orders.extend(orders));
    }

    /// Takes all that waits, unless it waits for its turn: a connection that is only read from in between writes nothing yet, and more
    /// at once then. `waker` is woken by what comes later. `into` must be empty; its memory is reused.
    pub fn collect(&self, waker: &Waker, into: &mut Mail) {
        let mut mail = self.mail.lock();
        if !mail.waker.as_ref().is_some_and(|known| known.will_wake(waker)) {
            mail.waker = Some(waker.clone());
        }
        if !mail.paced {
            let waker = mail.waker.take();
            std::mem::swap(&mut *mail, into);
            // The swapped-in vectors may be large from use; an idle connection keeps none.
            *mail = Mail { waker, ..Mail::default() };
        }
    }

    /// The connection is over: nothing more is collected. What still waited is returned.
    pub fn close(&self) -> Mail {
        let mut mail = self.mail.lock();
        self.closed.store(true, Ordering::Release);
        std::mem::take(&mut *mail)
    }

    /// Whether [`Self::close`] was called.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Bytes of its own frames that are not written yet.
    pub fn backlog(&self) -> usize {
        self.mail.lock().bytes() + self.unwritten.load(Ordering::Acquire)
    }
}

/// Appends `message` as a ready frame of `protocol`.
pub fn put_message(out: &mut Vec<u8>, protocol: Subprotocol, message: &client::ServerFrame) {
    // The header's length depends on the payload's: room for the longest usual one, moved if it was too much.
    let mut payload = Vec::with_capacity(256);
    protocol.encode(message, &mut payload);
    frame::put_frame(out, opcode(protocol), &payload);
}

/// Text for JSON, binary for Protobuf.
pub fn opcode(protocol: Subprotocol) -> u8 {
    match protocol {
        Subprotocol::Json => frame::TEXT,
        Subprotocol::Proto => frame::BINARY,
    }
}

/// One connection's reading of one room.
#[derive(Debug)]
pub struct Sub {
    /// The connection.
    pub link: Arc<Link>,
    /// Its index of the room.
    index: u32,
    /// Where the room keeps this, under the room's lock.
    pub(super) slot: AtomicU32,
    /// The connection knows that there is something to read.
    marked: AtomicBool,
    /// Everything before is written, or the connection's own to write.
    pub cursor: AtomicU64,
    /// Counted as away in the room; under the room's lock.
    pub(super) away: AtomicBool,
    /// The subscription ends there: its user left or was removed.
    pub until: AtomicU64,
    /// The language that it reads translations of the room in, and its place among the readers; under the room's lock.
    pub(super) reading: Mutex<Option<(Lang, usize)>>,
}

impl Sub {
    pub(super) fn new(link: Arc<Link>, index: u32, cursor: u64) -> Self {
        Self {
            link,
            index,
            slot: AtomicU32::new(0),
            marked: AtomicBool::new(false),
            cursor: AtomicU64::new(cursor),
            away: AtomicBool::new(false),
            until: AtomicU64::new(u64::MAX),
            reading: Mutex::default(),
        }
    }

    /// Says that the tape has grown. One atomic load if that is known already.
    pub fn mark(&self) {
        if self.is_first_mark() && self.link.ready(self.index, false) {
            self.link.turn();
        }
    }

    /// As [`Self::mark`]; if the connection is to be given its turn for it, it is added to `turns`.
    pub(super) fn mark_for(&self, turns: &mut Vec<Arc<Link>>) {
        if self.is_first_mark() && self.link.ready(self.index, true) {
            turns.push(self.link.clone());
        }
    }

    fn is_first_mark(&self) -> bool {
        !self.marked.load(Ordering::SeqCst) && !self.marked.swap(true, Ordering::SeqCst)
    }

    /// To be called before the tape is read: what is appended later marks again.
    pub fn unmark(&self) {
        self.marked.store(false, Ordering::SeqCst);
    }

    /// The connection will read on by itself, when its socket takes more: no need to be woken.
    pub fn hold_mark(&self) {
        self.marked.store(true, Ordering::SeqCst);
    }
}
