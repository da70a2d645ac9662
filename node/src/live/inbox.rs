//! Where committed records wait to be delivered.
//!
//! The thread that commits only pushes here: it never waits for delivery. What does not fit is not lost, since it
//! is in the log: only its room is noted.

use std::collections::HashSet;

use parking_lot::Mutex;
use rookery_protocol::id::RoomId;
use tokio::sync::Notify;

use super::ids::IdHasher;
use crate::backend::Committed;

/// What was taken out.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// In the order in which they came.
    pub(super) records: Vec<Committed>,
    /// Rooms of records that did not fit.
    pub(super) lost: HashSet<RoomId, IdHasher>,
}

/// See the module's text.
#[derive(Debug)]
pub(super) struct Inbox {
    waiting: Mutex<Taken>,
    notify: Notify,
    capacity: usize,
}

impl Inbox {
    pub(super) fn new(capacity: usize) -> Self {
        Self { waiting: Mutex::default(), notify: Notify::new(), capacity }
    }

    /// Says whether there was room.
    pub(super) fn push(&self, record: &Committed) -> bool {
        let mut waiting = self.waiting.lock();
        let first = waiting.records.is_empty();
        let fits = waiting.records.len() < self.capacity;
        if fits {
            waiting.records.push(record.clone());
        } else {
            waiting.lost.insert(record.room);
        }
        drop(waiting);
        if first {
            self.notify.notify_one();
        }
        fits
    }

    /// Notes that records of a room were lost on their way here.
    pub(super) fn lost(&self, room: RoomId) {
        self.waiting.lock().lost.insert(room);
        self.notify.notify_one();
    }

    /// Waits for something, and takes all of it into `into`, which must be empty.
    pub(super) async fn take(&self, into: &mut Taken) {
        loop {
            {
                let mut waiting = self.waiting.lock();
                if !waiting.records.is_empty() || !waiting.lost.is_empty() {
                    std::mem::swap(&mut *waiting, into);
                    return;
                }
            }
            self.notify.notified().await;
        }
    }
}
