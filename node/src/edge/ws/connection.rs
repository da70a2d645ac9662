//! One connection: a future that reads, answers and writes, and that holds next to nothing while it is idle.
//!
//! Order of what is written: frames for this connection alone (`writing`, then what was posted), then its rooms'
//! tapes. A room's cursor always stands between two frames: when the socket takes only a part of one, the rest of it
//! is copied to `writing`.

use std::{
    cell::RefCell,
    future::Future,
    io::IoSlice,
    pin::Pin,
    sync::{Arc, atomic::Ordering},
    task::{Context, Poll},
};

use rookery_protocol::{
    Subprotocol,
    client::{self, ClientFrame, client_frame::Frame as Asked, server_frame::Frame},
    id::RoomId,
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::{
    answer::{error, event, ok, rate_limited, refusal},
    bucket::Bucket,
    codec::{Decoder, Incoming, Violation},
    follow::{Because, Follow, follow},
    hello::{UrlCredentials, hello, refresh},
    node::{Edge, unix_ms},
    requests,
};
use crate::{
    live::{
        Chunk, Following,
        frame::{self, PONG},
        link::{Link, Mail, Order, Phase, Signal, put_message},
    },
    problem::Problem,
};

/// Slices of one write.
const SLICES: usize = 64;
/// Bytes that are read at once, besides what was left of the last read.
const READ: usize = 32 * 1024;
/// Bytes written before other connections get their turn.
const TURN: usize = 1024 * 1024;
/// A connection with so many bytes of its own to write takes no further requests.
const ENOUGH: usize = 256 * 1024;
/// A user types at most once in so many seconds, per room and connection.
const TYPING_EVERY: u32 = 3;

/// Memory that all connections of a thread share while they are polled.
#[derive(Default)]
struct Shared {
    input: Vec<u8>,
    chunks: Vec<Chunk>,
    /// Which room how many of the chunks belong to.
    shares: Vec<(u32, usize)>,
    mail: Mail,
}

thread_local! {
    static SHARED: RefCell<Shared> = RefCell::default();
}

/// A room, by its index in a connection.
enum Slot {
    Free,
    /// On its way; whether it is to be left again at once, and which request asks for that.
    Joining {
        room: RoomId,
        leave: Option<Option<u64>>,
    },
    Live(Followed),
}

struct Followed {
    following: Following,
    /// Node time when typing was told last, in seconds.
    typed: u32,
    /// In `Connection::waiting`.
    waiting: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// `hello` has not come.
    New,
    /// It is being looked at.
    Greeting,
    Open,
    /// A close frame is on its way; `true`: the client's has come.
    Closing(bool),
    /// The same, but what the client sends makes no sense any more: it is dropped unread until the client
    /// ends, since to drop the connection instead could take the close frame with it. `true`: nothing is left to write.
    Broken(bool),
}

impl State {
    fn is_closing(self) -> bool {
        matches!(self, Self::Closing(_) | Self::Broken(_))
    }
}

/// What goes on with the connection after a step.
type Step = Result<(), Over>;

/// The connection is over.
struct Over;

/// See the module's text.
pub(super) struct Connection<S, G> {
    socket: S,
    edge: Arc<Edge>,
    link: Arc<Link>,
    state: State,
    slots: Vec<Slot>,
    /// Rooms whose tapes may have something to write.
    waiting: Vec<u32>,
    writing: Vec<u8>,
    written: usize,
    /// What was read but not decoded.
    held: Vec<u8>,
    /// `held` may begin with whole frames: decoding was stopped.
    stopped: bool,
    decoder: Decoder,
    credentials: Option<Box<UrlCredentials>>,
    frames: Bucket,
    sends: Bucket,
    malformed: u32,
    limited: u32,
    /// Counts the connection as long as it lives.
    _guard: G,
}

impl<S: AsyncRead + AsyncWrite + Unpin, G> Connection<S, G> {
    /// A connection that has been upgraded; `leftover` was read with the request.
    pub(super) fn new(
        socket: S,
        edge: Arc<Edge>,
        protocol: Subprotocol,
        credentials: Option<UrlCredentials>,
        leftover: &[u8],
        guard: G,
    ) -> Self {
        let hello_by =
            unix_ms().saturating_add(i64::try_from(edge.settings.hello_timeout_ms).unwrap_or(i64::MAX));
        let link = Link::new(protocol, edge.now_seconds(), hello_by);
        edge.registry.add(&link);
        edge.metrics.websockets.inc();
        Self {
            socket,
            edge,
            link,
            state: State::New,
            slots: Vec::new(),
            waiting: Vec::new(),
            writing: Vec::new(),
            written: 0,
            held: leftover.to_vec(),
            stopped: !leftover.is_empty(),
            decoder: Decoder::default(),
            credentials: credentials.map(Box::new),
            frames: Bucket::default(),
            sends: Bucket::default(),
            malformed: 0,
            limited: 0,
            _guard: guard,
        }
    }

    /// Closes the connection as soon as the close frame is written and the client has answered it.
    pub(super) fn close(&mut self, code: u16, reason: &str) {
        if self.state.is_closing() {
            return;
        }
        self.edge.metrics.closed(code);
        self.leave_all();
        frame::put_close(&mut self.writing, code, reason);
        self.state = State::Closing(false);
        let patience = i64::try_from(self.edge.settings.close_timeout_ms).unwrap_or(i64::MAX);
        self.link.enter(Phase::Closing, unix_ms().saturating_add(patience));
    }

    fn post(&mut self, message: &client::ServerFrame) {
        put_message(&mut self.writing, self.link.protocol, message);
    }

    // What others left for it.

    fn collect(&mut self, context: &Context<'_>, mail: &mut Mail) -> Step {
        self.link.collect(context.waker(), mail);
        if self.state.is_closing() {
            let late = mail.has(Signal::Silent);
            self.discard(std::mem::take(mail));
            return if late { Err(Over) } else { Ok(()) };
        }
        if self.writing.is_empty() {
            std::mem::swap(&mut self.writing, &mut mail.out);
        } else {
            self.writing.append(&mut mail.out);
        }
        for (index, following) in mail.joined.drain(..) {
            self.joined(index, following);
        }
        for index in mail.ready.drain(..) {
            self.wait_for(index);
        }
        if !mail.orders.is_empty() {
            let orders = std::mem::take(&mut mail.orders);
            self.take_orders(&orders);
        }
        if mail.signals != 0 {
            self.obey(mail)?;
            mail.signals = 0;
        }
        Ok(())
    }

    fn obey(&mut self, mail: &Mail) -> Step {
        if mail.has(Signal::Admitted) {
            self.state = State::Open;
            self.credentials = None;
        }
        if mail.has(Signal::Silent) {
            self.edge.metrics.closed(1006);
            return Err(Over);
        }
        for (signal, code, reason) in [
            (Signal::HelloLate, 4408, "no hello in time"),
            (Signal::Refused, 4401, "the credentials were refused"),
            (Signal::Revoked, 4401, "the login has ended"),
            (Signal::Expired, 4401, "the token has expired"),
            (Signal::Failed, 1011, "this cannot be served now"),
            (Signal::Lagging, 4409, "too slow a reader; resume from the last seq"),
        ] {
            if mail.has(signal) {
                self.close(code, reason);
                return Ok(());
            }
        }
        if mail.has(Signal::CheckLag) && self.lag() > self.edge.app.hub.live.settings.max_lag_bytes {
            self.close(4409, "too slow a reader; resume from the last seq");
            return Ok(());
        }
        if mail.has(Signal::Drain) {
            let retry_after_ms = self.edge.retry_after_ms();
            self.post(&event(Frame::Drain(client::Drain { retry_after_ms })));
            self.close(1012, "this node is leaving");
            return Ok(());
        }
        if mail.has(Signal::Ping) {
            frame::put_header(&mut self.writing, frame::PING, 0);
        }
        Ok(())
    }

    /// Bytes that wait for the client.
    fn lag(&self) -> u64 {
        let live = self.slots.iter().filter_map(|slot| match slot {
            Slot::Live(followed) => {
                let Following { tape, sub, .. } = &followed.following;
                Some(tape.end().saturating_sub(sub.cursor.load(Ordering::Relaxed)))
            }
            _ => None,
        });
        live.sum::<u64>() + self.writing.len() as u64
    }

    // Rooms.

    fn slot_for(&mut self, room: RoomId) -> Result<u32, Problem> {
        let free = self.slots.iter().position(|slot| matches!(slot, Slot::Free));
        let index = match free {
            Some(index) => index,
            None if self.slots.len() < self.edge.settings.max_subscriptions => {
                // Most follow one room or a few; room for four would be wasted on them.
                self.slots.reserve_exact(1 + self.slots.len() / 2);
                self.slots.push(Slot::Free);
                self.slots.len() - 1
            }
            None => {
                let detail = "This connection follows as many rooms as it may.";
                return Err(Problem::new(429, "too_many_subscriptions", detail));
            }
        };
        self.slots[index] = Slot::Joining { room, leave: None };
        u32::try_from(index).map_err(|_| Problem::internal())
    }

    fn index_of(&self, room: RoomId) -> Option<usize> {
        self.slots.iter().position(|slot| match slot {
            Slot::Free => false,
            Slot::Joining { room: joining, .. } => *joining == room,
            Slot::Live(followed) => followed.following.room.id == room,
        })
    }

    fn take_orders(&mut self, orders: &[Order]) {
        let mut follows = Vec::with_capacity(orders.len());
        for &Order { room, after, known } in orders {
            if self.index_of(room).is_none()
                && let Ok(index) = self.slot_for(room)
            {
                follows.push(Follow { room, index, after, known, because: Because::Hello });
            }
        }
        if !follows.is_empty() {
            tokio::spawn(follow(self.edge.clone(), self.link.clone(), follows));
        }
    }

    fn joined(&mut self, index: u32, following: Option<Following>) {
        let slot = &mut self.slots[index as usize];
        let leave = match slot {
            Slot::Joining { leave, .. } => leave.take(),
            _ => None,
        };
        *slot = match following {
            Some(following) => {
                // It may have changed since the room was told.
                let away = self.link.away.load(Ordering::Acquire);
                following.room.presence(&following.sub, away, &self.edge.app.hub.live);
                Slot::Live(Followed { following, typed: 0, waiting: false })
            }
            None => Slot::Free,
        };
        match leave {
            Some(re) => {
                self.leave(index as usize);
                self.post(&ok(re));
                self.link.in_flight.fetch_sub(1, Ordering::AcqRel);
            }
            None => self.wait_for(index),
        }
    }

    fn wait_for(&mut self, index: u32) {
        if let Some(Slot::Live(followed)) = self.slots.get_mut(index as usize)
            && !followed.waiting
        {
            followed.waiting = true;
            self.waiting.push(index);
        }
    }

    fn leave(&mut self, index: usize) {
        if let Slot::Live(followed) = std::mem::replace(&mut self.slots[index], Slot::Free) {
            followed.following.room.leave(&followed.following.sub, &self.edge.app.hub.live);
        }
    }

    fn leave_all(&mut self) {
        for index in 0..self.slots.len() {
            self.leave(index);
        }
        self.waiting = Vec::new();
    }

    /// Gives back what came too late.
    fn discard(&self, mail: Mail) {
        for (_, following) in mail.joined {
            if let Some(following) = following {
                following.room.leave(&following.sub, &self.edge.app.hub.live);
            }
        }
    }

    // Writing.

    fn write(&mut self, context: &mut Context<'_>, shared: &mut Shared) -> Poll<Step> {
        let mut turn = TURN;
        loop {
            shared.chunks.clear();
            shared.shares.clear();
            self.gather(shared);
            let own = self.writing.len() - self.written;
            if own == 0 && shared.chunks.is_empty() {
                self.link.blocked.store(false, Ordering::Relaxed);
                // TLS keeps what it has encrypted until it is told to send it.
                return Pin::new(&mut self.socket).poll_flush(context).map_err(|_| Over);
            }
            if turn == 0 {
                // Others first; then here again.
                self.hold_marks();
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            let mut count = 0;
            if own > 0 {
                slices[0] = IoSlice::new(&self.writing[self.written..]);
                count = 1;
            }
            for (slice, chunk) in slices[count..].iter_mut().zip(&shared.chunks) {
                *slice = IoSlice::new(chunk.bytes());
                count += 1;
            }
            let socket = Pin::new(&mut self.socket);
            // The usual case, one slice, has a shorter way through the kernel.
            let outcome = match &slices[..count] {
                [one] => socket.poll_write(context, one),
                several => socket.poll_write_vectored(context, several),
            };
            let wrote = match outcome {
                Poll::Ready(Ok(wrote)) if wrote > 0 => wrote,
                Poll::Ready(_) => return Poll::Ready(Err(Over)),
                Poll::Pending => {
                    self.link.blocked.store(true, Ordering::Relaxed);
                    self.hold_marks();
                    return Poll::Pending;
                }
            };
            self.edge.metrics.writes.inc();
            self.edge.metrics.bytes_out.inc_by(wrote as u64);
            turn = turn.saturating_sub(wrote);
            self.advance(wrote, shared);
        }
    }

    /// Collects what its rooms have for it.
    fn gather(&mut self, shared: &mut Shared) {
        let mut at = 0;
        while at < self.waiting.len() && shared.chunks.len() < SLICES - 1 {
            let index = self.waiting[at];
            match self.gather_room(index, shared) {
                // Something to write, so it keeps waiting for its turn.
                Some(true) => at += 1,
                Some(false) => {}
                None => {
                    self.waiting.swap_remove(at);
                }
            }
        }
        if self.waiting.is_empty() && self.waiting.capacity() > 0 {
            self.waiting = Vec::new();
        }
    }

    /// Collects what one room has. `None`: nothing, or it is not followed any more; `Some(false)`: look again.
    fn gather_room(&mut self, index: u32, shared: &mut Shared) -> Option<bool> {
        let Some(Slot::Live(followed)) = self.slots.get_mut(index as usize) else { return None };
        let Following { tape, sub, caught_up, room } = &mut followed.following;
        sub.unmark();
        let until = sub.until.load(Ordering::Acquire);
        let stop = caught_up.map_or(until, |(position, _)| position.min(until));
        let cursor = sub.cursor.load(Ordering::Relaxed);
        let before = shared.chunks.len();
        if cursor < stop && tape.read(cursor, stop, SLICES - 1 - before, &mut shared.chunks).is_err() {
            self.close(4409, "too slow a reader; resume from the last seq");
            return None;
        }
        let count = shared.chunks.len() - before;
        if count > 0 {
            shared.shares.push((index, count));
            return Some(true);
        }
        if let Some((position, last_seq)) = *caught_up
            && cursor >= position
        {
            let room = room.id.to_string();
            *caught_up = None;
            self.post(&event(Frame::CaughtUp(client::CaughtUp { room, last_seq })));
            return Some(false);
        }
        if cursor >= until {
            self.leave(index as usize);
        } else {
            followed.waiting = false;
        }
        None
    }

    /// Publishers need not wake a connection that will go on by itself.
    fn hold_marks(&self) {
        for &index in &self.waiting {
            if let Some(Slot::Live(followed)) = self.slots.get(index as usize) {
                followed.following.sub.hold_mark();
            }
        }
    }

    /// `wrote` bytes of what was gathered are on their way.
    fn advance(&mut self, mut wrote: usize, shared: &Shared) {
        let own = wrote.min(self.writing.len() - self.written);
        self.written += own;
        wrote -= own;
        if self.written == self.writing.len() {
            self.writing = Vec::new();
            self.written = 0;
        }
        let mut chunks = shared.chunks.iter();
        for &(index, count) in &shared.shares {
            let Some(Slot::Live(followed)) = self.slots.get(index as usize) else { return };
            let Following { tape, sub, .. } = &followed.following;
            let mut cursor = sub.cursor.load(Ordering::Relaxed);
            for chunk in chunks.by_ref().take(count) {
                let part = wrote.min(chunk.bytes().len());
                cursor += part as u64;
                wrote -= part;
                if part < chunk.bytes().len() {
                    // The rest of a frame that was begun must come before anything else.
                    if part > 0
                        && let Some(end) = tape.frame_end(cursor)
                    {
                        let rest = usize::try_from(end - cursor).unwrap_or(usize::MAX);
                        self.writing.extend_from_slice(&chunk.bytes()[part..][..rest]);
                        cursor = end;
                    }
                    sub.cursor.store(cursor, Ordering::Relaxed);
                    return;
                }
            }
            sub.cursor.store(cursor, Ordering::Relaxed);
        }
    }

    // Reading.

    fn may_read(&self) -> bool {
        match self.state {
            State::Greeting => false,
            State::Closing(_) | State::Broken(_) => true,
            State::New | State::Open => {
                self.link.in_flight.load(Ordering::Acquire) < self.edge.settings.max_in_flight
                    && self.writing.len() - self.written < ENOUGH
            }
        }
    }

    /// Reads and handles what there is. Says whether anything was.
    fn read(&mut self, context: &mut Context<'_>, input: &mut Vec<u8>) -> Result<bool, Over> {
        if !self.may_read() {
            return Ok(false);
        }
        let held = self.held.len();
        let size = held + READ;
        if input.len() < size {
            input.resize(size, 0);
        }
        input[..held].copy_from_slice(&self.held);
        let mut filled = held;
        if !std::mem::take(&mut self.stopped) {
            let mut buffer = ReadBuf::new(&mut input[held..size]);
            match Pin::new(&mut self.socket).poll_read(context, &mut buffer) {
                Poll::Pending => return Ok(false),
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => filled += buffer.filled().len(),
                Poll::Ready(_) => return Err(Over),
            }
            self.link.heard.store(self.edge.now_seconds(), Ordering::Relaxed);
        }
        let mut at = 0;
        loop {
            if matches!(self.state, State::Broken(_)) {
                at = filled;
                break;
            }
            if !self.may_read() {
                self.stopped = at < filled;
                break;
            }
            match self.decoder.decode(&mut input[at..filled], self.edge.settings.max_frame_bytes) {
                Ok(None) => break,
                Ok(Some((taken, incoming))) => {
                    at += taken;
                    self.handle(incoming);
                }
                Err(violation) => {
                    self.violated(violation);
                }
            }
        }
        if at < filled {
            self.held.clear();
            self.held.extend_from_slice(&input[at..filled]);
        } else {
            self.held = Vec::new();
        }
        Ok(true)
    }

    fn violated(&mut self, violation: Violation) {
        self.close(violation.close_code(), &violation.to_string());
        self.state = State::Broken(false);
    }

    fn handle(&mut self, incoming: Incoming<'_>) {
        if self.state.is_closing() {
            if matches!(incoming, Incoming::Close(_)) {
                self.state = State::Closing(true);
            }
            return;
        }
        let bytes = match (incoming, self.link.protocol) {
            (Incoming::Ping(payload), _) => {
                if self.frames.take(self.edge.now_ms(), self.edge.settings.frames_per_second).is_ok() {
                    frame::put_frame(&mut self.writing, PONG, payload);
                }
                return;
            }
            (Incoming::Pong | Incoming::Fragment, _) => return,
            (Incoming::Close(code), _) => {
                self.close(code.unwrap_or(1000), "");
                self.state = State::Closing(true);
                return;
            }
            (Incoming::Text(bytes), Subprotocol::Json) | (Incoming::Binary(bytes), Subprotocol::Proto) => {
                bytes
            }
            (Incoming::Text(_) | Incoming::Binary(_), protocol) => {
                let kind = if protocol.is_binary() { "binary" } else { "text" };
                self.close(1003, &format!("{} is spoken in {kind} frames", protocol.name()));
                return;
            }
        };
        let limited = self.frames.take(self.edge.now_ms(), self.edge.settings.frames_per_second);
        match self.link.protocol.decode(&bytes, self.edge.settings.max_frame_bytes) {
            Ok(ClientFrame { id, frame: Some(asked) }) => {
                self.edge.metrics.frame_in(requests::kind(&asked));
                match limited {
                    Ok(()) => self.request(id, asked),
                    Err(retry_after_ms) => self.limit(id, retry_after_ms),
                }
            }
            Ok(ClientFrame { frame: None, .. }) => {}
            Err(refused) => {
                self.edge.metrics.frame_in("malformed");
                self.post(&refused.answer());
                self.malformed += u32::from(refused.reason.code() == "malformed");
                if self.malformed > self.edge.settings.max_malformed {
                    self.close(1008, "too many malformed frames");
                } else if let Err(retry_after_ms) = limited {
                    self.limit(refused.id, retry_after_ms);
                }
            }
        }
    }

    /// Too fast. Whoever goes on regardless is closed.
    fn limit(&mut self, id: Option<u64>, retry_after_ms: u64) {
        self.post(&rate_limited(id, retry_after_ms));
        self.limited += 1;
        if self.limited > self.edge.settings.max_rate_limited {
            self.close(1008, "too many frames");
        }
    }

    fn request(&mut self, id: Option<u64>, asked: Asked) {
        if let Asked::Hello(asked) = asked {
            if self.state == State::New {
                self.state = State::Greeting;
                let credentials = self.credentials.take().map(|credentials| *credentials);
                tokio::spawn(hello(self.edge.clone(), self.link.clone(), id, asked, credentials));
            } else {
                self.post(&error(id, "already_welcome", "hello comes once, as the first frame."));
            }
            return;
        }
        if self.state == State::New {
            self.post(&error(id, "hello_required", "Say hello with a token or ticket first."));
            return;
        }
        self.limited = 0;
        let asked = match requests::command(asked) {
            Ok((room, what)) => {
                if matches!(what, rookery_core::room::What::Post { .. })
                    && let Err(retry_after_ms) =
                        self.sends.take(self.edge.now_ms(), self.edge.settings.sends_per_second)
                {
                    self.limit(id, retry_after_ms);
                    return;
                }
                requests::submit(&self.edge, &self.link, id, &room, what);
                return;
            }
            Err(other) => other,
        };
        match asked {
            Asked::Subscribe(asked) => self.subscribe(id, &asked),
            Asked::Unsubscribe(asked) => self.unsubscribe(id, &asked.room),
            Asked::Read(asked) => {
                self.link.in_flight.fetch_add(1, Ordering::AcqRel);
                tokio::spawn(requests::read(self.edge.clone(), self.link.clone(), id, asked));
            }
            Asked::Typing(asked) => self.typing(&asked.room),
            Asked::Presence(asked) => self.presence(id, asked.status == "away"),
            Asked::Refresh(asked) => {
                self.link.in_flight.fetch_add(1, Ordering::AcqRel);
                tokio::spawn(refresh(self.edge.clone(), self.link.clone(), id, asked.token));
            }
            Asked::Ping(_) => self.post(&requests::pong(id)),
            // `command` and `hello` took these.
            _ => self.post(&refusal(id, &Problem::internal())),
        }
    }

    /// A room that is followed already is followed anew, with a replay of its own.
    fn subscribe(&mut self, id: Option<u64>, asked: &client::Subscribe) {
        let index = requests::room_id(&asked.room).and_then(|room| {
            match self.index_of(room).map(|index| (index, &self.slots[index])) {
                Some((_, Slot::Joining { .. })) => {
                    return Err(Problem::new(
                        409,
                        "conflict",
                        "This connection is about to follow that room.",
                    ));
                }
                Some((index, _)) => self.leave(index),
                None => {}
            }
            Ok((room, self.slot_for(room)?))
        });
        match index {
            Ok((room, index)) => {
                self.link.in_flight.fetch_add(1, Ordering::AcqRel);
                let because = Because::Subscribe(id);
                let wanted = Follow { room, index, after: asked.after, known: None, because };
                tokio::spawn(follow(self.edge.clone(), self.link.clone(), vec![wanted]));
            }
            Err(problem) => self.post(&refusal(id, &problem)),
        }
    }

    /// Not to follow the room is what was wanted: that it was not followed is no error.
    fn unsubscribe(&mut self, id: Option<u64>, room: &str) {
        let index = requests::room_id(room).ok().and_then(|room| self.index_of(room));
        if let Some(index) = index {
            if let Slot::Joining { leave, .. } = &mut self.slots[index]
                && leave.is_none()
            {
                *leave = Some(id);
                self.link.in_flight.fetch_add(1, Ordering::AcqRel);
                return;
            }
            self.leave(index);
        }
        self.post(&ok(id));
    }

    fn typing(&mut self, room: &str) {
        let now = self.edge.now_seconds();
        let index = requests::room_id(room).ok().and_then(|room| self.index_of(room));
        if let Some(Slot::Live(followed)) = index.map(|index| &mut self.slots[index])
            && let Some(user) = self.link.user()
            && (followed.typed == 0 || now.saturating_sub(followed.typed) >= TYPING_EVERY)
        {
            followed.typed = now.max(1);
            followed.following.room.typing(user.id, self.edge.now(), &self.edge.app.hub.live);
        }
    }

    fn presence(&mut self, id: Option<u64>, away: bool) {
        self.link.away.store(away, Ordering::Release);
        for slot in &self.slots {
            if let Slot::Live(followed) = slot {
                let Following { room, sub, .. } = &followed.following;
                room.presence(sub, away, &self.edge.app.hub.live);
            }
        }
        self.post(&ok(id));
    }

    // All of it.

    fn step(&mut self, context: &mut Context<'_>, shared: &mut Shared) -> Poll<()> {
        loop {
            let mut mail = std::mem::take(&mut shared.mail);
            if self.collect(context, &mut mail).is_err() {
                return Poll::Ready(());
            }
            shared.mail = mail;
            let writing = self.write(context, shared);
            self.link.unwritten.store(self.writing.len() - self.written, Ordering::Release);
            match writing {
                Poll::Ready(Err(Over)) => return Poll::Ready(()),
                // Everything is said, and so has the client.
                Poll::Ready(Ok(())) if self.state == State::Closing(true) => {
                    return Pin::new(&mut self.socket).poll_shutdown(context).map(|_| ());
                }
                Poll::Ready(Ok(()))
                    if self.state == State::Broken(false)
                        && Pin::new(&mut self.socket).poll_shutdown(context).is_ready() =>
                {
                    self.state = State::Broken(true);
                }
                _ => {}
            }
            match self.read(context, &mut shared.input) {
                Err(Over) => return Poll::Ready(()),
                Ok(false) => return Poll::Pending,
                Ok(true) => {}
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin, G: Unpin> Future for Connection<S, G> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        SHARED.with_borrow_mut(|shared| self.step(context, shared))
    }
}

impl<S, G> Drop for Connection<S, G> {
    fn drop(&mut self) {
        let late = self.link.close();
        let rooms = self.slots.drain(..).filter_map(|slot| match slot {
            Slot::Live(followed) => Some(followed.following),
            _ => None,
        });
        for Following { room, sub, .. } in rooms.chain(late.joined.into_iter().filter_map(|(_, late)| late)) {
            room.leave(&sub, &self.edge.app.hub.live);
        }
        self.edge.registry.remove(&self.link);
        self.edge.metrics.websockets.dec();
    }
}
