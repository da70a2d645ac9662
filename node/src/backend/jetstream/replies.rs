//! Answers to requests: one inbox for all of them, so that a request costs no subscription.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use async_nats::Message;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};

/// Messages that may wait for one request: a server sends at most 1,024 and an end.
const WAITING: usize = 1_100;

enum Waiter {
    One(oneshot::Sender<Message>),
    Many(mpsc::Sender<Message>),
}

/// Who waits for an answer.
#[derive(Default)]
pub(super) struct Replies {
    next: AtomicU64,
    waiting: Mutex<HashMap<u64, Waiter>>,
}

/// A place in the inbox; given back when dropped.
pub(super) struct Ticket {
    replies: Arc<Replies>,
    pub(super) number: u64,
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.replies.waiting.lock().remove(&self.number);
    }
}

impl Replies {
    fn wait(self: &Arc<Self>, waiter: Waiter) -> Ticket {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        self.waiting.lock().insert(number, waiter);
        Ticket { replies: self.clone(), number }
    }

    /// For a request with one answer.
    pub(super) fn one(self: &Arc<Self>) -> (Ticket, oneshot::Receiver<Message>) {
        let (tell, told) = oneshot::channel();
        (self.wait(Waiter::One(tell)), told)
    }

    /// For a request with several.
    pub(super) fn many(self: &Arc<Self>) -> (Ticket, mpsc::Receiver<Message>) {
        let (tell, told) = mpsc::channel(WAITING);
        (self.wait(Waiter::Many(tell)), told)
    }

    /// Hands a message to who waits for it, by the last token of its subject.
    pub(super) fn deliver(&self, message: Message) {
        let Some(number) = message.subject.rsplit('.').next().and_then(|token| token.parse().ok()) else {
            return;
        };
        let mut waiting = self.waiting.lock();
        match waiting.remove(&number) {
            Some(Waiter::One(tell)) => {
                // Whoever gave up does not listen.
                let _ = tell.send(message);
            }
            Some(Waiter::Many(tell)) if tell.try_send(message).is_ok() => {
                waiting.insert(number, Waiter::Many(tell));
            }
            // Gone, or more than anybody asked for: the request fails.
            Some(Waiter::Many(_)) | None => {}
        }
    }

    /// The connection is gone: no answer will come.
    pub(super) fn fail_all(&self) {
        self.waiting.lock().clear();
    }
}
