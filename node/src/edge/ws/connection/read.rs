//! Reading: bytes to frames, frames to requests, within limits.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use rookery_protocol::Subprotocol;
use rookery_protocol::client::ClientFrame;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;

use super::super::answer::rate_limited;
use super::super::codec::Incoming;
use super::super::codec::Violation;
use super::super::requests;
use super::{Connection, ENOUGH, Over, READ, State};
use crate::live::frame;
use crate::live::frame::PONG;

impl<S: AsyncRead + AsyncWrite + Unpin, G> Connection<S, G> {
    // Reading.

    pub(super) fn may_read(&self) -> bool {
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
    pub(super) fn read(&mut self, context: &mut Context<'_>, input: &mut Vec<u8>) -> Result<bool, Over> {
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

    pub(super) fn violated(&mut self, violation: Violation) {
        self.close(violation.close_code(), &violation.to_string());
        self.state = State::Broken(false);
    }

    pub(super) fn handle(&mut self, incoming: Incoming<'_>) {
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
                if refused.reason.code() == "malformed"
                    && self.malformed.add(self.edge.now_seconds()) > self.edge.settings.max_malformed
                {
                    self.close(1008, "too many malformed frames");
                } else if let Err(retry_after_ms) = limited {
                    self.limit(refused.id, retry_after_ms);
                }
            }
        }
    }

    /// Too fast. Whoever goes on regardless is closed.
    pub(super) fn limit(&mut self, id: Option<u64>, retry_after_ms: u64) {
        self.post(&rate_limited(id, retry_after_ms));
        self.limited += 1;
        if self.limited > self.edge.settings.max_rate_limited {
            self.close(1008, "too many frames");
        }
    }
}
