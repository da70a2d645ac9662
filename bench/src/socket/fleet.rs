//! Many client connections, driven by one loop.

use std::{
    io::{self, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use socket2::{Domain, Socket, Type};

use super::{
    frame::{self, Frame},
    poller::{Poller, Ready},
    wire::{Control, FIRST_ID, Wire},
};
use crate::{clock, load::stamp};

/// Every read goes through one buffer of this size: it stays in the cache.
const SCRATCH: usize = 256 * 1024;
/// Local ports per source address that we rely on; Linux has 28,232 by default.
const PORTS_PER_ADDRESS: usize = 20_000;
/// Connections that are opening at once: below every usual accept backlog.
const OPENING: usize = 200;
/// What waits to be written to one connection may not grow beyond this: the server is lost by then.
const MAX_OUT: usize = 4 * 1024 * 1024;

/// Gets what arrives.
pub trait Sink {
    /// A message, due at `due`, came at `now`.
    fn delivery(&mut self, _due: u64, _now: u64) {}
    /// The message due at `due` was acknowledged.
    fn ack(&mut self, _conn: usize, _due: u64, _now: u64) {}
    /// A request was refused.
    fn refused(&mut self, _why: &str) {}
    /// A connection got its `welcome`.
    fn ready(&mut self, _conn: usize, _now: u64) {}
    /// A connection ended.
    fn closed(&mut self, _conn: usize, _why: &str) {}
}

/// How to connect.
#[derive(Debug, Clone)]
pub struct FleetSettings {
    /// Where, at least one: connection `c` goes to server `c % servers`.
    pub servers: Vec<SocketAddr>,
    /// What to speak.
    pub wire: Wire,
    /// Nothing may take longer to open, counted from the last one that did.
    pub patience: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Connecting,
    Upgrading,
    Greeting,
    Ready,
    Closed,
}

#[derive(Debug)]
struct Conn {
    socket: Option<TcpStream>,
    state: State,
    /// Tells events of this socket from those of the one before it in the same place.
    generation: u32,
    /// The first frame, sent after the upgrade.
    hello: Arc<[u8]>,
    /// The start of a frame whose rest has not come.
    carry: Vec<u8>,
    /// What could not be written yet.
    out: Vec<u8>,
    /// Where the stamp was in the last delivery.
    hint: usize,
}

/// Client connections.
#[derive(Debug)]
pub struct Fleet {
    settings: FleetSettings,
    /// One per server.
    handshakes: Vec<Vec<u8>>,
    poller: Poller,
    ready: Vec<Ready>,
    scratch: Vec<u8>,
    conns: Vec<Conn>,
    open: usize,
    /// Monotonic time of this process's start: ids of requests count from it.
    since: u64,
    /// Bytes of the last delivered frame, with its header.
    frame_bytes: usize,
}

impl Fleet {
    /// No connections yet.
    ///
    /// # Errors
    /// The system's.
    pub fn new(settings: FleetSettings) -> anyhow::Result<Self> {
        if settings.servers.is_empty() {
            bail!("there is no server to connect to");
        }
        let subprotocol = settings.wire.subprotocol().name();
        let handshake = |server: &SocketAddr| {
            format!(
                "GET /v1/ws HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                 Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
                 Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
            )
            .into_bytes()
        };
        Ok(Self {
            handshakes: settings.servers.iter().map(handshake).collect(),
            settings,
            poller: Poller::new()?,
            ready: Vec::new(),
            scratch: vec![0; SCRATCH],
            conns: Vec::new(),
            open: 0,
            since: clock::now(),
            frame_bytes: 0,
        })
    }

    /// Connections that got their `welcome` and are not closed.
    pub fn open(&self) -> usize {
        self.open
    }

    /// Bytes of the last delivered frame, with its header; 0: none came yet.
    pub fn frame_bytes(&self) -> usize {
        self.frame_bytes
    }

    /// When ids of requests began to count.
    pub fn since(&self) -> u64 {
        self.since
    }

    /// What is spoken.
    pub fn wire(&self) -> Wire {
        self.settings.wire
    }

    /// Opens one connection per `hello`, several at a time, and waits until each has its `welcome`.
    ///
    /// # Errors
    /// When one is refused, or none has come for the settings' patience.
    pub fn open_all(&mut self, hellos: impl IntoIterator<Item = Arc<[u8]>>) -> anyhow::Result<()> {
        let mut hellos = hellos.into_iter().peekable();
        let mut seen = Opening { ready: self.open, problem: None };
        let wanted_before = self.conns.len();
        if self.open != wanted_before {
            bail!("{} of {wanted_before} connections are closed", wanted_before - self.open);
        }
        let mut progress = (self.open, clock::now());
        while hellos.peek().is_some() || self.open < self.conns.len() {
            while self.conns.len() - self.open < OPENING
                && let Some(hello) = hellos.next()
            {
                let conn = self.add(hello);
                self.connect(conn)?;
            }
            self.await_progress(&mut seen, &mut progress)?;
        }
        Ok(())
    }

    /// A place for a connection, not connected yet.
    pub fn add(&mut self, hello: Arc<[u8]>) -> usize {
        self.conns.push(Conn {
            socket: None,
            state: State::Closed,
            generation: 0,
            hello,
            carry: Vec::new(),
            out: Vec::new(),
            hint: 0,
        });
        self.conns.len() - 1
    }

    /// Opens those again that have been closed; says how many those were.
    ///
    /// # Errors
    /// As [`Self::open_all`].
    pub fn reopen_closed(&mut self) -> anyhow::Result<usize> {
        let closed: Vec<usize> =
            (0..self.conns.len()).filter(|&conn| self.conns[conn].state == State::Closed).collect();
        let mut seen = Opening { ready: self.open, problem: None };
        let mut progress = (self.open, clock::now());
        for some in closed.chunks(OPENING) {
            let target = self.open + some.len();
            for &conn in some {
                self.connect(conn)?;
            }
            while self.open < target {
                self.await_progress(&mut seen, &mut progress)?;
            }
        }
        Ok(closed.len())
    }

    fn await_progress(&mut self, seen: &mut Opening, progress: &mut (usize, u64)) -> anyhow::Result<()> {
        let deadline = progress.1 + clock::nanos(self.settings.patience);
        self.turn(deadline, seen)?;
        if let Some(problem) = seen.problem.take() {
            bail!("a connection was refused after {} of {}: {problem}", seen.ready, self.conns.len());
        }
        if self.open != progress.0 {
            *progress = (self.open, clock::now());
        } else if clock::now() >= deadline {
            bail!(
                "no connection was welcomed for {:?}, {} of {} are open",
                self.settings.patience,
                self.open,
                self.conns.len()
            );
        }
        Ok(())
    }

    /// Starts to connect in place `conn`, after dropping what was there.
    ///
    /// # Errors
    /// The system's: no more local ports or files.
    pub fn connect(&mut self, conn: usize) -> anyhow::Result<()> {
        self.drop_socket(conn);
        let server = self.settings.servers[conn % self.settings.servers.len()];
        let socket = Socket::new(Domain::for_address(server), Type::STREAM.nonblocking().cloexec(), None)?;
        socket.set_tcp_nodelay(true)?;
        // Closed by a reset: a benchmark's sockets must not wait a minute each in TIME_WAIT.
        socket.set_linger(Some(Duration::ZERO))?;
        if let IpAddr::V4(ip) = server.ip()
            && ip.is_loopback()
        {
            let more = u8::try_from(conn / PORTS_PER_ADDRESS).context("too many connections")?;
            let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, 1 + more), 0));
            socket.bind(&from.into()).with_context(|| format!("cannot bind to {from}"))?;
        }
        match socket.connect(&server.into()) {
            Ok(()) => {}
            Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error()) => {}
            Err(error) => return Err(error).with_context(|| format!("cannot connect to {server}")),
        }
        let socket = TcpStream::from(socket);
        let slot = &mut self.conns[conn];
        slot.generation = slot.generation.wrapping_add(1);
        slot.state = State::Connecting;
        slot.hint = 0;
        self.poller.add(&socket, (u64::from(slot.generation) << 32) | conn as u64)?;
        slot.socket = Some(socket);
        Ok(())
    }

    /// Changes what a connection says first, from its next [`Self::connect`] on.
    pub fn set_hello(&mut self, conn: usize, hello: Arc<[u8]>) {
        self.conns[conn].hello = hello;
    }

    /// Closes a connection.
    pub fn close(&mut self, conn: usize) {
        self.drop_socket(conn);
    }

    fn drop_socket(&mut self, conn: usize) {
        let slot = &mut self.conns[conn];
        if slot.state == State::Ready {
            self.open -= 1;
        }
        slot.state = State::Closed;
        slot.socket = None;
        slot.carry = Vec::new();
        slot.out = Vec::new();
    }

    /// Lets `write` add frames to what goes out on `conn`; [`Self::flush`] sends them.
    pub fn queue(&mut self, conn: usize, write: impl FnOnce(&mut Vec<u8>)) {
        let slot = &mut self.conns[conn];
        if slot.state == State::Ready && slot.out.len() < MAX_OUT {
            write(&mut slot.out);
        }
    }

    /// Writes what is queued on `conn`, as much as goes.
    pub fn flush(&mut self, conn: usize, sink: &mut impl Sink) {
        if let Err(why) = write_out(&mut self.conns[conn]) {
            self.end(conn, &why, sink);
        }
    }

    /// Waits until `deadline` at most for something to happen, and handles what did.
    ///
    /// # Errors
    /// The system's; never for one connection's sake.
    pub fn turn(&mut self, deadline: u64, sink: &mut impl Sink) -> io::Result<()> {
        let mut ready = std::mem::take(&mut self.ready);
        ready.clear();
        self.poller.wait(deadline, &mut ready)?;
        for event in &ready {
            let conn = usize::try_from(event.token & 0xffff_ffff).unwrap_or(usize::MAX);
            let current = self.conns.get(conn).is_some_and(|slot| {
                u64::from(slot.generation) == event.token >> 32 && slot.state != State::Closed
            });
            if current {
                self.handle(conn, *event, sink);
            }
        }
        self.ready = ready;
        Ok(())
    }

    fn handle(&mut self, conn: usize, event: Ready, sink: &mut impl Sink) {
        let slot = &mut self.conns[conn];
        if event.writable {
            if slot.state == State::Connecting && !event.ending {
                slot.state = State::Upgrading;
                slot.out.extend_from_slice(&self.handshakes[conn % self.handshakes.len()]);
            }
            if !slot.out.is_empty() {
                self.flush(conn, sink);
            }
        }
        if event.readable {
            self.read(conn, event.ending, sink);
        }
    }

    fn read(&mut self, conn: usize, to_the_end: bool, sink: &mut impl Sink) {
        loop {
            let slot = &mut self.conns[conn];
            let Some(mut socket) = slot.socket.as_ref() else { return };
            let kept = slot.carry.len();
            if kept >= self.scratch.len() / 2 {
                return self.end(conn, "a frame larger than 128 KiB", sink);
            }
            self.scratch[..kept].copy_from_slice(&slot.carry);
            let read = match socket.read(&mut self.scratch[kept..]) {
                Ok(0) => return self.end(conn, "the server closed the connection", sink),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return self.end(conn, &error.to_string(), sink),
            };
            let filled = kept + read;
            match self.consume(conn, filled, sink) {
                Ok(used) => {
                    let slot = &mut self.conns[conn];
                    slot.carry.clear();
                    slot.carry.extend_from_slice(&self.scratch[used..filled]);
                }
                Err(why) => return self.end(conn, &why, sink),
            }
            // A short read emptied the socket, and what comes later is reported anew.
            if filled < self.scratch.len() && !to_the_end {
                return;
            }
        }
    }

    /// Handles what is complete in the first `filled` bytes of the buffer; says how many that were.
    fn consume(&mut self, conn: usize, filled: usize, sink: &mut impl Sink) -> Result<usize, String> {
        let now = clock::now();
        let bytes = &self.scratch[..filled];
        let slot = &mut self.conns[conn];
        let mut at = 0;
        if slot.state == State::Upgrading {
            let Some(end) = memchr::memmem::find(bytes, b"\r\n\r\n") else { return Ok(0) };
            if !bytes.starts_with(b"HTTP/1.1 101") {
                return Err(String::from_utf8_lossy(&bytes[..end.min(300)]).replace("\r\n", " | "));
            }
            at = end + 4;
            slot.state = State::Greeting;
            slot.out.extend_from_slice(&slot.hello);
            write_out(slot)?;
        }
        while let Some(Frame { opcode, payload, len }) =
            frame::first(&bytes[at..]).map_err(|broken| broken.to_string())?
        {
            at += len;
            match opcode {
                frame::TEXT | frame::BINARY => {
                    if let Some(due) = stamp::read(payload, &mut slot.hint) {
                        self.frame_bytes = len;
                        sink.delivery(due, now);
                        continue;
                    }
                    match self.settings.wire.control(payload) {
                        Control::Ok(re) => sink.ack(conn, re.saturating_sub(FIRST_ID) + self.since, now),
                        Control::Welcome if slot.state == State::Greeting => {
                            slot.state = State::Ready;
                            self.open += 1;
                            sink.ready(conn, now);
                        }
                        Control::Error(why) if slot.state == State::Greeting => return Err(why),
                        Control::Error(why) => sink.refused(&why),
                        Control::Welcome | Control::Other => {}
                    }
                }
                frame::PING => {
                    slot.out.extend_from_slice(&frame::from_client(frame::PONG, payload));
                    write_out(slot)?;
                }
                frame::CLOSE => {
                    let code = payload.first_chunk().map_or(1005, |code| u16::from_be_bytes(*code));
                    let reason = String::from_utf8_lossy(payload.get(2..).unwrap_or_default());
                    return Err(format!("closed with {code} {reason}"));
                }
                _ => {}
            }
        }
        Ok(at)
    }

    fn end(&mut self, conn: usize, why: &str, sink: &mut impl Sink) {
        self.drop_socket(conn);
        sink.closed(conn, why);
    }
}

/// Writes what waits on a connection; the rest goes when the socket says that it has room.
fn write_out(slot: &mut Conn) -> Result<(), String> {
    let Some(mut socket) = slot.socket.as_ref() else { return Ok(()) };
    let mut written = 0;
    while written < slot.out.len() {
        match socket.write(&slot.out[written..]) {
            Ok(0) => return Err("the server takes no more".to_owned()),
            Ok(some) => written += some,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error.to_string()),
        }
    }
    slot.out.drain(..written);
    Ok(())
}

/// Watches connections open.
struct Opening {
    ready: usize,
    problem: Option<String>,
}

impl Sink for Opening {
    fn ready(&mut self, _conn: usize, _now: u64) {
        self.ready += 1;
    }
    fn closed(&mut self, _conn: usize, why: &str) {
        self.problem = Some(why.to_owned());
    }
}
