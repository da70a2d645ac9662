//! Writing: everything that waits, in one vectored write.

use std::io::IoSlice;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use rookery_protocol::client;
use rookery_protocol::client::server_frame::Frame;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use super::super::answer::event;
use super::{Connection, Over, SLICES, Shared, Slot, Step, TURN};
use crate::live::Following;

impl<S: AsyncRead + AsyncWrite + Unpin, G> Connection<S, G> {
    // Writing.

    pub(super) fn write(&mut self, context: &mut Context<'_>, shared: &mut Shared) -> Poll<Step> {
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
    pub(super) fn gather(&mut self, shared: &mut Shared) {
        let mut at = 0;
        while at < self.waiting.len() && shared.chunks.len() < SLICES - 1 {
            let index = self.waiting[at];
            match self.gather_room(index, shared) {
                // Something to write, so it keeps waiting for its turn.
                Some(true) => at += 1,
                Some(false) => {}
                // It was too slow: what goes out is what was begun, and that it is over.
                None if self.state.is_closing() => {
                    shared.chunks.clear();
                    shared.shares.clear();
                    return;
                }
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
    pub(super) fn gather_room(&mut self, index: u32, shared: &mut Shared) -> Option<bool> {
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
    pub(super) fn hold_marks(&self) {
        for &index in &self.waiting {
            if let Some(Slot::Live(followed)) = self.slots.get(index as usize) {
                followed.following.sub.hold_mark();
            }
        }
    }

    /// `wrote` bytes of what was gathered are on their way.
    pub(super) fn advance(&mut self, mut wrote: usize, shared: &Shared) {
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
}
