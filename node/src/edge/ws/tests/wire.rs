//! A socket in memory that takes as few bytes as it likes, and a client's side of it.

use std::{
    collections::VecDeque,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use rookery_protocol::{
    Subprotocol,
    client::{ClientFrame, ServerFrame, client_frame, server_frame},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

struct Inner {
    to_node: Vec<u8>,
    from_node: Vec<u8>,
    /// How much the node may write until the client reads.
    window: usize,
    random: StdRng,
    reader: Option<Waker>,
    writer: Option<Waker>,
    ended: bool,
}

/// The node's end.
pub(super) struct Socket(Arc<Mutex<Inner>>);

/// The client's end.
pub(super) struct Client {
    inner: Arc<Mutex<Inner>>,
    protocol: Subprotocol,
    held: Vec<u8>,
    queue: VecDeque<Got>,
    /// Why the node closed.
    pub(super) reason: String,
}

pub(super) fn pair(protocol: Subprotocol, seed: u64) -> (Socket, Client) {
    let inner = Arc::new(Mutex::new(Inner {
        to_node: Vec::new(),
        from_node: Vec::new(),
        window: usize::MAX,
        random: StdRng::seed_from_u64(seed),
        reader: None,
        writer: None,
        ended: false,
    }));
    (
        Socket(inner.clone()),
        Client { inner, protocol, held: Vec::new(), queue: VecDeque::new(), reason: String::new() },
    )
}

impl AsyncRead for Socket {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut inner = self.0.lock();
        if inner.to_node.is_empty() {
            if inner.ended {
                return Poll::Ready(Ok(()));
            }
            inner.reader = Some(context.waker().clone());
            return Poll::Pending;
        }
        let most = inner.to_node.len().min(into.remaining());
        let some = inner.random.random_range(1..=most);
        into.put_slice(&inner.to_node[..some]);
        inner.to_node.drain(..some);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut inner = self.0.lock();
        if inner.ended {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if inner.window == 0 {
            inner.writer = Some(context.waker().clone());
            return Poll::Pending;
        }
        // Now and then it is full for a moment.
        if inner.random.random_ratio(1, 4) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let most = bytes.len().min(inner.window);
        let some = inner.random.random_range(1..=most);
        inner.window -= some;
        inner.from_node.extend_from_slice(&bytes[..some]);
        Poll::Ready(Ok(some))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        // A part that ends anywhere in any of them.
        let all: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
        self.poll_write(context, &all)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// What a client gets.
#[derive(Debug, PartialEq)]
#[expect(clippy::large_enum_variant, reason = "few of them, in tests")]
pub(super) enum Got {
    Frame(server_frame::Frame),
    Ping,
    Close(u16),
}

impl Client {
    /// Sends a request.
    pub(super) fn ask(&self, id: u64, frame: client_frame::Frame) {
        let mut payload = Vec::new();
        self.protocol.encode_client(&ClientFrame { id: Some(id), frame: Some(frame) }, &mut payload);
        self.send(if self.protocol.is_binary() { 2 } else { 1 }, &payload);
    }

    /// Sends a frame of any kind.
    pub(super) fn send(&self, opcode: u8, payload: &[u8]) {
        let mut bytes = vec![0x80 | opcode];
        match u8::try_from(payload.len()) {
            Ok(short) if short < 126 => bytes.push(0x80 | short),
            _ => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
            }
        }
        let key = [7, 0, 255, 19];
        bytes.extend_from_slice(&key);
        bytes.extend(payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
        let mut inner = self.inner.lock();
        inner.to_node.extend_from_slice(&bytes);
        if let Some(waker) = inner.reader.take() {
            waker.wake();
        }
    }

    /// Lets the node write so many more bytes.
    pub(super) fn open_window(&self, bytes: usize) {
        let mut inner = self.inner.lock();
        inner.window = bytes;
        if let Some(waker) = inner.writer.take() {
            waker.wake();
        }
    }

    /// Ends the connection without a word.
    pub(super) fn vanish(&self) {
        let mut inner = self.inner.lock();
        inner.ended = true;
        if let Some(waker) = inner.reader.take() {
            waker.wake();
        }
        if let Some(waker) = inner.writer.take() {
            waker.wake();
        }
    }

    /// Queues all whole frames that have come.
    fn receive(&mut self) {
        self.held.append(&mut self.inner.lock().from_node);
        let mut at = 0;
        while let Some((opcode, from, to)) = frame(&self.held[at..]) {
            let payload = &self.held[at..][from..to];
            self.queue.push_back(match opcode {
                9 => Got::Ping,
                8 => {
                    self.reason = String::from_utf8(payload[2..].to_vec()).unwrap();
                    Got::Close(u16::from_be_bytes([payload[0], payload[1]]))
                }
                _ => {
                    let decoded: ServerFrame = self.protocol.decode_server(payload, usize::MAX).unwrap();
                    Got::Frame(decoded.frame.unwrap())
                }
            });
            at += to;
        }
        self.held.drain(..at);
    }

    /// Frames until one that `is` it, with it.
    pub(super) async fn until(&mut self, mut is: impl FnMut(&Got) -> bool) -> Vec<Got> {
        let mut all = Vec::new();
        let found = async {
            loop {
                self.receive();
                while let Some(got) = self.queue.pop_front() {
                    let found = is(&got);
                    all.push(got);
                    if found {
                        return;
                    }
                }
                tokio::time::sleep(std::time::Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), found).await.expect("it comes");
        all
    }
}

/// Opcode, and where the payload begins and ends, if the frame is whole.
fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    assert_eq!(first & 0xF0, 0x80, "whole messages, no extensions: {first:#x}");
    assert_eq!(second & 0x80, 0, "a server does not mask");
    let (from, len) = match second {
        126 => (4, usize::from(u16::from_be_bytes(*bytes[2..].first_chunk()?))),
        127 => (10, usize::try_from(u64::from_be_bytes(*bytes[2..].first_chunk()?)).unwrap()),
        short => (2, usize::from(short)),
    };
    (bytes.len() >= from + len).then_some((first & 0x0F, from, from + len))
}
