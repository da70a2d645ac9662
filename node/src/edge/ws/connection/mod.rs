//! One connection: a future that reads, answers and writes, and that holds next to nothing while it is idle.
//!
//! Order of what is written: frames for this connection alone (`writing`, then what was posted), then its rooms'
//! tapes. A room's cursor always stands between two frames: when the socket takes only a part of one, the rest of it
//! is copied to `writing`.

mod read;
mod serve;
mod slots;
mod write;

use std::cell::RefCell;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use rookery_protocol::Subprotocol;
use rookery_protocol::client;
use rookery_protocol::client::server_frame::Frame;
use rookery_protocol::id::RoomId;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use super::answer::event;
use super::bucket::{Bucket, PerMinute};
use super::codec::Decoder;
use super::hello::UrlCredentials;
use super::node::Edge;
use crate::live::Chunk;
use crate::live::Following;
use crate::live::frame;
use crate::live::link::Link;
use crate::live::link::Mail;
use crate::live::link::Signal;
use crate::live::link::put_message;

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
    malformed: PerMinute,
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
        let hello_by = edge.now_millis().saturating_add(edge.settings.hello_timeout_ms);
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
            malformed: PerMinute::default(),
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
        self.link.closing(self.edge.now_millis().saturating_add(self.edge.settings.close_timeout_ms));
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
        for frame in mail.shared.drain(..) {
            self.writing.extend_from_slice(&frame);
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
        if mail.has(Signal::Overloaded) {
            let retry_after_ms = self.edge.retry_after_ms();
            self.close(1013, &format!("{{\"retry_after_ms\":{retry_after_ms}}}"));
            return Ok(());
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
        if mail.has(Signal::Reads) {
            for slot in &self.slots {
                if let Slot::Live(followed) = slot {
                    followed.following.room.reads(&followed.following.sub);
                }
            }
        }
        if mail.has(Signal::Ping) {
            frame::put_header(&mut self.writing, frame::PING, 0);
        }
        Ok(())
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

#[cfg(test)]
impl<S, G> Connection<S, G> {
    /// Bytes of memory that it holds for what it reads and writes.
    pub(super) fn buffers(&self) -> usize {
        let of_waiting = self.waiting.capacity() * size_of::<u32>();
        self.writing.capacity() + self.held.capacity() + of_waiting
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
