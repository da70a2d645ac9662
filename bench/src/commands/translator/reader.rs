//! Somebody who reads another language: how long after a message its translation comes.

use std::{
    collections::HashMap,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rookery_protocol::client::server_frame::Frame;

use crate::{
    clock,
    load::Latency,
    socket::{Wire, frame},
};

/// A welcome that does not come by then never will.
const PATIENCE: Duration = Duration::from_secs(20);
/// So long is waited for something to read before it is looked whether there is anything else to do.
const LOOK: Duration = Duration::from_millis(100);
/// No frame is longer, in bytes.
const LONGEST: usize = 1 << 20;

/// A connection that reads. It ends with this value.
pub(super) struct Reader {
    seen: Arc<Seen>,
    thread: Option<JoinHandle<anyhow::Result<()>>>,
}

#[derive(Default)]
struct Seen {
    translations: AtomicU64,
    stopped: AtomicBool,
    /// From a message to its translation.
    latency: Mutex<Option<Latency>>,
}

impl Seen {
    fn latency(&self) -> std::sync::MutexGuard<'_, Option<Latency>> {
        self.latency.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Reader {
    /// Follows all rooms of a user on a node. What is said in them from now on is translated for him as it comes; what was said before a
    /// room is caught up would be history, which is translated when somebody asks for it.
    pub(super) fn open(server: SocketAddr, token: &str) -> anyhow::Result<Self> {
        let begun = Instant::now();
        let (mut socket, mut input, mut behind) = loop {
            let (socket, input, rooms) = greet(server, token)?;
            if rooms > 0 {
                break (socket, input, rooms);
            }
            // He has just come into them by way of another node.
            anyhow::ensure!(begun.elapsed() < PATIENCE, "the node does not know of the user's rooms");
            std::thread::sleep(Duration::from_millis(20));
        };
        while behind > 0 {
            anyhow::ensure!(begun.elapsed() < PATIENCE, "a room is not caught up");
            behind -= usize::from(matches!(input.next(&mut socket)?, Some(Frame::CaughtUp(_))));
        }
        socket.set_read_timeout(Some(LOOK))?;
        let seen = Arc::new(Seen::default());
        let shared = seen.clone();
        let thread = std::thread::spawn(move || read(&mut socket, &mut input, &shared));
        Ok(Self { seen, thread: Some(thread) })
    }

    /// Translations that have come.
    pub(super) fn translations(&self) -> u64 {
        self.seen.translations.load(Ordering::Acquire)
    }

    /// What was measured since the last call.
    pub(super) fn take(&self) -> anyhow::Result<Latency> {
        let taken = self.seen.latency().take();
        taken.map_or_else(Latency::new, Ok)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.seen.stopped.store(true, Ordering::Release);
        self.thread.take().map(JoinHandle::join);
    }
}

/// Logs in; also says how many rooms are to be caught up.
fn greet(server: SocketAddr, token: &str) -> anyhow::Result<(TcpStream, Input, usize)> {
    let mut socket = TcpStream::connect_timeout(&server, PATIENCE)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    let subprotocol = Wire::Json.subprotocol().name();
    let handshake = format!(
        "GET /v1/ws HTTP/1.1\r\nHost: {server}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
         Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    );
    socket.write_all(handshake.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        socket.read_exact(&mut byte).context("the upgrade was not answered")?;
        head.push(byte[0]);
        anyhow::ensure!(head.len() < 16 * 1024, "the upgrade is answered without an end");
    }
    anyhow::ensure!(head.starts_with(b"HTTP/1.1 101"), "the upgrade was refused");
    socket.write_all(&Wire::Json.hello(token, None))?;
    let mut input = Input::default();
    loop {
        if let Some(Frame::Welcome(welcome)) = input.next(&mut socket)? {
            return Ok((socket, input, welcome.rooms.len()));
        }
    }
}

fn read(socket: &mut TcpStream, input: &mut Input, seen: &Seen) -> anyhow::Result<()> {
    let mut came = HashMap::new();
    while !seen.stopped.load(Ordering::Acquire) {
        match input.next(socket)? {
            Some(Frame::Message(message)) => {
                came.insert((message.room, message.seq), clock::now());
            }
            Some(Frame::Translation(told)) => {
                seen.translations.fetch_add(1, Ordering::Release);
                if let Some(at) = came.remove(&(told.room, told.seq)) {
                    let mut latency = seen.latency();
                    if latency.is_none() {
                        *latency = Some(Latency::new()?);
                    }
                    latency.iter_mut().for_each(|latency| latency.record(clock::now() - at));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// What was read and is not a whole frame yet.
#[derive(Default)]
struct Input {
    bytes: Vec<u8>,
}

impl Input {
    /// The next frame; `None`: nothing has come for a while, or nothing that says something.
    fn next(&mut self, socket: &mut TcpStream) -> anyhow::Result<Option<Frame>> {
        loop {
            if let Some(found) = frame::first(&self.bytes)? {
                let (len, opcode) = (found.len, found.opcode);
                let said = (opcode == frame::TEXT)
                    .then(|| Wire::Json.subprotocol().decode_server(found.payload, LONGEST));
                let pong = (opcode == frame::PING).then(|| frame::from_client(frame::PONG, found.payload));
                self.bytes.drain(..len);
                anyhow::ensure!(opcode != frame::CLOSE, "the node closed the connection");
                if let Some(pong) = pong {
                    socket.write_all(&pong)?;
                }
                match said {
                    Some(said) => return Ok(said.context("a frame cannot be read")?.frame),
                    None => continue,
                }
            }
            let mut some = [0; 16 * 1024];
            match socket.read(&mut some) {
                Ok(0) => anyhow::bail!("the node has ended the connection"),
                Ok(count) => self.bytes.extend_from_slice(&some[..count]),
                Err(error)
                    if [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut]
                        .contains(&error.kind()) =>
                {
                    return Ok(None);
                }
                Err(error) => return Err(error.into()),
            }
        }
    }
}
