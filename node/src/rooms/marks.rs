//! Read marks: in memory first, on disk soon after.
//!
//! A mark that is lost with the process costs its user some unread messages that he has seen, so marks are not worth
//! a sync each. They never move backwards.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
};

use parking_lot::Mutex;
use rookery_protocol::id::{RoomId, UserId};

use super::{
    log::unavailable,
    metrics::RoomsMetrics,
    rows::{self, Mark},
};
use crate::{
    backend::{Expect, Row, Rows, Table},
    problem::Problem,
};

/// Marks kept in memory, besides those that are not stored yet.
const KEPT: usize = 200_000;
/// Rows written at once.
const ROWS: usize = 500;
/// Mentions counted, and cleared away at once, at most.
pub(super) const MENTIONS: usize = 100;

/// Told of each mark that a user moved himself.
pub type OnRead = Box<dyn Fn(RoomId, UserId, u64) + Send + Sync>;

#[derive(Clone, Copy)]
struct Entry {
    mark: Mark,
    stored: bool,
}

#[derive(Default)]
struct Known {
    entries: HashMap<(UserId, RoomId), Entry>,
    dirty: Vec<(UserId, RoomId)>,
}

pub(super) struct Marks {
    rows: Arc<dyn Rows>,
    metrics: RoomsMetrics,
    known: Mutex<Known>,
    /// Only one flush at a time: an older mark must not be written after a newer one.
    flushing: tokio::sync::Mutex<()>,
    on_read: OnceLock<OnRead>,
}

impl Marks {
    pub(super) fn new(rows: Arc<dyn Rows>, metrics: RoomsMetrics) -> Self {
        Self {
            rows,
            metrics,
            known: Mutex::default(),
            flushing: tokio::sync::Mutex::default(),
            on_read: OnceLock::new(),
        }
    }

    pub(super) fn on_read(&self, hook: OnRead) {
        // The hub registers once, at the start.
        let _ = self.on_read.set(hook);
    }

    pub(super) fn tell(&self, room: RoomId, user: UserId, seq: u64) {
        if let Some(hook) = self.on_read.get() {
            hook(room, user, seq);
        }
    }

    /// Where a user stands.
    pub(super) async fn get(&self, user: UserId, room: RoomId) -> Result<Mark, Problem> {
        if let Some(entry) = self.known.lock().entries.get(&(user, room)) {
            return Ok(entry.mark);
        }
        let key = rows::of_user(user, room);
        let entry = self.rows.get(Table::ReadMarks, &key).await.map_err(|why| unavailable(&why))?;
        let mark = entry.and_then(|entry| Mark::decode(&entry.value)).unwrap_or_default();
        let mut known = self.known.lock();
        if known.entries.len() >= KEPT {
            known.entries.retain(|_, entry| !entry.stored);
        }
        let entry = known.entries.entry((user, room)).or_insert(Entry { mark, stored: true });
        entry.mark = entry.mark.max(mark);
        Ok(entry.mark)
    }

    /// Moves marks forward; to be called with marks that were loaded, or that no older one can exceed.
    pub(super) fn raise(&self, room: RoomId, marks: impl IntoIterator<Item = (UserId, Mark)>) {
        let mut known = self.known.lock();
        let Known { entries, dirty } = &mut *known;
        for (user, mark) in marks {
            let entry = entries.entry((user, room)).or_insert(Entry { mark: Mark::default(), stored: true });
            if mark > entry.mark {
                entry.mark = mark;
                if entry.stored {
                    entry.stored = false;
                    dirty.push((user, room));
                }
            }
        }
    }

    /// Mentions after a seq.
    pub(super) async fn mentions(&self, user: UserId, room: RoomId, after: u64) -> Result<u32, Problem> {
        let (prefix, after) = (rows::of_user(user, room), rows::of_mention(user, room, after));
        let found = self
            .rows
            .scan(Table::ReadMarks, &prefix, Some(&after), MENTIONS)
            .await
            .map_err(|why| unavailable(&why))?;
        Ok(u32::try_from(found.len()).unwrap_or(u32::MAX))
    }

    /// Stores what is not stored yet. What fails is tried again with the next flush.
    pub(super) async fn flush(&self) {
        let _one = self.flushing.lock().await;
        let mut dirty = std::mem::take(&mut self.known.lock().dirty);
        while !dirty.is_empty() {
            let some = dirty.split_off(dirty.len().saturating_sub(ROWS));
            if let Err(problem) = self.store(&some).await {
                tracing::warn!(%problem, waiting = some.len() + dirty.len(), "read marks could not be stored");
                let mut known = self.known.lock();
                for key in &some {
                    if let Some(entry) = known.entries.get_mut(key) {
                        entry.stored = false;
                    }
                }
                known.dirty.extend(some.into_iter().chain(dirty));
                return;
            }
        }
    }

    async fn store(&self, keys: &[(UserId, RoomId)]) -> Result<(), Problem> {
        let mut writes = Vec::with_capacity(keys.len());
        for &(user, room) in keys {
            let mark = {
                let mut known = self.known.lock();
                let Some(entry) = known.entries.get_mut(&(user, room)) else { continue };
                // Moved again while this is written, it is dirty again.
                entry.stored = true;
                entry.mark
            };
            let key = rows::of_user(user, room);
            let old = self
                .rows
                .scan(Table::ReadMarks, &key, Some(&key), MENTIONS)
                .await
                .map_err(|why| unavailable(&why))?;
            let seen =
                old.into_iter().filter(|row| rows::seq_in(&row.key).is_some_and(|seq| seq <= mark.seq));
            let seen = seen.map(|row| Row { table: Table::ReadMarks, key: row.key, value: None });
            writes.extend(seen.map(|row| (row, Expect::Any)));
            writes.push((Row { table: Table::ReadMarks, key, value: Some(mark.encode()) }, Expect::Any));
        }
        self.rows.write(writes).await.map_err(|why| unavailable(&why))?;
        self.metrics.mark_flushes.inc();
        Ok(())
    }
}
