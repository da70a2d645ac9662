//! Read marks: in memory first, on disk soon after.
//!
//! A mark that is lost with the process costs its user some unread messages that he has seen, so marks are not worth
//! a sync each. They never move backwards. Who posts has read what is before it: unless he posts often, his mark is
//! stored with the record, in the same step.
//!
//! In a cluster several nodes know the same mark: the one through which its user reads, and the rooms' owners, who move it when
//! he posts. Each stores what it has moved; what a user moves himself is told to the others at once; and what is remembered of
//! other nodes' doing is looked up again after a moment.

use std::{
    collections::HashMap,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rookery_protocol::id::{RoomId, UserId};

use super::{
    log::unavailable,
    metrics::RoomsMetrics,
    rows::{self, Mark},
};
use crate::{
    backend::{
        Expect, Row, Rows, Table,
        bus::{Bus, News, Tell},
    },
    problem::Problem,
};

/// Marks kept in memory, besides those that are not stored yet.
const KEPT: usize = 200_000;
/// Rows written at once.
const ROWS: usize = 500;
/// Mentions counted, and cleared away at once, at most.
pub(super) const MENTIONS: usize = 100;

/// After mentions that were read have been cleared away, it is believed for so long that none is left, unless this node stores
/// one. Others may, if the room moves: what they leave counts nowhere, and is cleared away later.
const CLEARED: Duration = Duration::from_secs(3600);

/// A mark that was stored so short a time ago is not stored with a record: those of several messages are gathered then.
const OFTEN: Duration = Duration::from_millis(200);
/// Marks stored with a record, at most.
const RIDERS: usize = 16;

/// With other nodes, a mark that was looked up is believed for so long.
const BELIEVED: Duration = Duration::from_millis(200);

/// Told of each mark that a user moved himself.
pub type OnRead = Box<dyn Fn(RoomId, UserId, u64) + Send + Sync>;

#[derive(Clone, Copy, Default)]
struct Entry {
    mark: Mark,
    /// To be stored by this node.
    dirty: bool,
    /// It is being stored by itself.
    storing: bool,
    /// When this node stored it last.
    stored: Option<Instant>,
    /// This node has moved it at some time.
    own: bool,
    /// When it was looked up last.
    at: Option<Instant>,
    /// When mentions were cleared away last, if no new one is known of.
    cleared: Option<Instant>,
    /// Seq of the newest message that the user has posted through this node to another node's room: he has read it, but how
    /// many messages there are up to it was not said.
    posted: u64,
}

#[derive(Default)]
struct Known {
    entries: HashMap<(UserId, RoomId), Entry>,
    dirty: Vec<(UserId, RoomId)>,
}

/// Marks that are stored with a record.
pub(super) struct Riders {
    asked: Instant,
    marks: Vec<(UserId, Mark)>,
}

impl Riders {
    /// Their rows.
    pub(super) fn rows(&self, room: RoomId) -> impl Iterator<Item = Row> {
        self.marks.iter().map(move |(user, mark)| Row {
            table: Table::ReadMarks,
            key: rows::of_user(*user, room),
            value: Some(mark.encode()),
        })
    }
}

pub(super) struct Marks {
    rows: Arc<dyn Rows>,
    metrics: RoomsMetrics,
    known: Mutex<Known>,
    /// Only one flush at a time: an older mark must not be written after a newer one.
    flushing: tokio::sync::Mutex<()>,
    on_read: OnceLock<OnRead>,
    news: Tell,
}

impl Marks {
    pub(super) fn new(rows: Arc<dyn Rows>, metrics: RoomsMetrics) -> Self {
        Self {
            rows,
            metrics,
            known: Mutex::default(),
            flushing: tokio::sync::Mutex::default(),
            on_read: OnceLock::new(),
            news: Tell::default(),
        }
    }

    pub(super) fn on_read(&self, hook: OnRead) {
        // The hub registers once, at the start.
        let _ = self.on_read.set(hook);
    }

    /// There are other nodes.
    pub(super) fn join(&self, bus: Arc<dyn Bus>) {
        self.news.join(bus);
    }

    /// A user has moved his mark through this node: his other connections must know.
    pub(super) fn tell(&self, room: RoomId, user: UserId, mark: Mark) {
        self.call(room, user, mark.seq);
        self.news.tell(News::Read { user, room, seq: mark.seq, messages: mark.messages });
    }

    fn call(&self, room: RoomId, user: UserId, seq: u64) {
        if let Some(hook) = self.on_read.get() {
            hook(room, user, seq);
        }
    }

    /// A user has moved his mark through another node.
    pub(super) fn heard(&self, room: RoomId, user: UserId, mark: Mark) {
        let newer = {
            let mut known = self.known.lock();
            self.make_place(&mut known);
            let Known { entries, dirty } = &mut *known;
            let entry =
                entries.entry((user, room)).or_insert(Entry { at: Some(Instant::now()), ..Entry::default() });
            if mark > entry.mark {
                entry.mark = mark;
                // What this node has stored, or is storing now, may come after what the other stores.
                if entry.own && !entry.dirty {
                    entry.dirty = true;
                    dirty.push((user, room));
                }
                entry.cleared = None;
            }
            Some(entry.mark).filter(|newer| entry.own && *newer > mark)
        };
        match newer {
            // The other did not know.
            Some(newer) => {
                self.news.tell(News::Read { user, room, seq: newer.seq, messages: newer.messages });
            }
            None => self.call(room, user, mark.seq),
        }
    }

    /// A user has posted through this node to a room of another's, which moves his mark. That is stored soon; he sees it now.
    pub(super) fn posted(&self, room: RoomId, user: UserId, seq: u64) {
        let mut known = self.known.lock();
        self.make_place(&mut known);
        let entry = known.entries.entry((user, room)).or_default();
        entry.posted = entry.posted.max(seq);
    }

    /// Where a user stands at least: [`Self::posted`] may have been told more.
    pub(super) fn posted_after(&self, user: UserId, room: RoomId, mark: Mark) -> Option<u64> {
        let known = self.known.lock();
        known.entries.get(&(user, room)).map(|entry| entry.posted).filter(|posted| *posted > mark.seq)
    }

    /// Remembers where a user stands; the room's owner stores it.
    pub(super) fn learn(&self, user: UserId, room: RoomId, mark: Mark) {
        if let Some(entry) = self.known.lock().entries.get_mut(&(user, room)) {
            entry.mark = entry.mark.max(mark);
        }
    }

    fn make_place(&self, known: &mut Known) {
        if known.entries.len() >= KEPT {
            known.entries.retain(|_, entry| entry.dirty || entry.storing);
        }
    }

    /// Where a user stands.
    pub(super) async fn get(&self, user: UserId, room: RoomId) -> Result<Mark, Problem> {
        if let Some(Entry { mark, at: Some(at), .. }) = self.known.lock().entries.get(&(user, room))
            && (self.news.bus().is_none() || at.elapsed() < BELIEVED)
        {
            return Ok(*mark);
        }
        let at = Instant::now();
        let key = rows::of_user(user, room);
        let entry = self.rows.get(Table::ReadMarks, &key).await.map_err(|why| unavailable(&why))?;
        let mark = entry.and_then(|entry| Mark::decode(&entry.value)).unwrap_or_default();
        let mut known = self.known.lock();
        self.make_place(&mut known);
        let entry = known.entries.entry((user, room)).or_default();
        entry.mark = entry.mark.max(mark);
        entry.at = Some(at);
        Ok(entry.mark)
    }

    /// Moves marks forward; to be called with marks that were loaded, or that no older one can exceed.
    pub(super) fn raise(&self, room: RoomId, marks: impl IntoIterator<Item = (UserId, Mark)>) {
        let mut known = self.known.lock();
        let Known { entries, dirty } = &mut *known;
        for (user, mark) in marks {
            let entry = entries.entry((user, room)).or_default();
            // It is not looked up before a time has passed in which others may have moved it further.
            entry.at.get_or_insert_with(Instant::now);
            if mark > entry.mark {
                entry.mark = mark;
                entry.own = true;
                if !entry.dirty {
                    entry.dirty = true;
                    dirty.push((user, room));
                }
            }
        }
    }

    /// Which of these marks are to be stored with the record that causes them.
    pub(super) fn with_record(&self, room: RoomId, marks: &HashMap<UserId, Mark>) -> Riders {
        let mut riders = Riders { asked: Instant::now(), marks: Vec::new() };
        let known = self.known.lock();
        for (user, mark) in marks.iter().take(RIDERS) {
            // Whoever has mentions to be cleared away has that done when his mark is stored by itself.
            let fits = known.entries.get(&(*user, room)).is_some_and(|entry| {
                !entry.dirty
                    && !entry.storing
                    && entry.cleared.is_some_and(|at| at.elapsed() < CLEARED)
                    && entry.stored.is_some_and(|at| at.elapsed() >= OFTEN)
            });
            if fits {
                riders.marks.push((*user, *mark));
            }
        }
        riders
    }

    /// The record is stored, and these with it. To be called before [`Self::raise`].
    pub(super) fn stored_with_record(&self, room: RoomId, riders: &Riders) {
        let mut known = self.known.lock();
        for (user, mark) in &riders.marks {
            let Some(entry) = known.entries.get_mut(&(*user, room)) else { continue };
            // An older one that was stored by itself meanwhile may have come after the record.
            let alone = !entry.dirty && !entry.storing && entry.stored.is_none_or(|at| at < riders.asked);
            if alone && *mark > entry.mark {
                entry.mark = *mark;
                entry.own = true;
                entry.stored = Some(Instant::now());
            }
        }
    }

    /// A user moves his mark forward himself; as [`Self::raise`]. Mentions are looked for that another node has stored.
    pub(super) fn read(&self, room: RoomId, user: UserId, mark: Mark) {
        self.raise(room, [(user, mark)]);
        self.mentioned(room, [user]);
    }

    /// This node has stored mentions of these users.
    pub(super) fn mentioned(&self, room: RoomId, users: impl IntoIterator<Item = UserId>) {
        let mut known = self.known.lock();
        for user in users {
            if let Some(entry) = known.entries.get_mut(&(user, room)) {
                entry.cleared = None;
            }
        }
    }

    /// Seqs of the messages after a seq that mention him, the oldest first, at most [`MENTIONS`] of them.
    pub(super) async fn mention_seqs(
        &self,
        user: UserId,
        room: RoomId,
        after: u64,
    ) -> Result<Vec<u64>, Problem> {
        let (prefix, after) = (rows::of_user(user, room), rows::of_mention(user, room, after));
        let found = self.rows.scan(Table::ReadMarks, &prefix, Some(&after), MENTIONS).await;
        let found = found.map_err(|why| unavailable(&why))?;
        Ok(found.into_iter().filter_map(|row| rows::seq_in(&row.key)).collect())
    }

    /// How many those are.
    pub(super) async fn mentions(&self, user: UserId, room: RoomId, after: u64) -> Result<u32, Problem> {
        let found = self.mention_seqs(user, room, after).await?;
        Ok(u32::try_from(found.len()).unwrap_or(u32::MAX))
    }

    /// Stores what is not stored yet. What fails is tried again with the next flush.
    pub(super) async fn flush(&self) {
        let _one = self.flushing.lock().await;
        let mut dirty = std::mem::take(&mut self.known.lock().dirty);
        while !dirty.is_empty() {
            let some = dirty.split_off(dirty.len().saturating_sub(ROWS));
            let stored = self.store(&some).await;
            self.stored(&some);
            if let Err(problem) = stored {
                tracing::warn!(%problem, waiting = some.len() + dirty.len(), "read marks could not be stored");
                let mut known = self.known.lock();
                for key in &some {
                    if let Some(entry) = known.entries.get_mut(key) {
                        entry.dirty = true;
                        entry.cleared = None;
                    }
                }
                known.dirty.extend(some.into_iter().chain(dirty));
                return;
            }
        }
    }

    fn stored(&self, keys: &[(UserId, RoomId)]) {
        let (now, mut known) = (Instant::now(), self.known.lock());
        for key in keys {
            if let Some(entry) = known.entries.get_mut(key) {
                entry.storing = false;
                entry.stored = Some(now);
            }
        }
    }

    async fn store(&self, keys: &[(UserId, RoomId)]) -> Result<(), Problem> {
        let mut writes = Vec::with_capacity(keys.len());
        for &(user, room) in keys {
            let (mark, cleared) = {
                let mut known = self.known.lock();
                let Some(entry) = known.entries.get_mut(&(user, room)) else { continue };
                // Moved again while this is written, it is dirty again.
                entry.dirty = false;
                entry.storing = true;
                let cleared = entry.cleared.is_some_and(|at| at.elapsed() < CLEARED);
                if !cleared {
                    // Before it is looked: who is mentioned meanwhile takes it back.
                    entry.cleared = Some(Instant::now());
                }
                (entry.mark, cleared)
            };
            let key = rows::of_user(user, room);
            if !cleared {
                let old = self.rows.scan(Table::ReadMarks, &key, Some(&key), MENTIONS).await;
                let old = old.map_err(|why| unavailable(&why))?;
                if old.len() == MENTIONS || old.iter().any(|row| !is_seen(&row.key, mark)) {
                    // Some are left, for the next time.
                    self.mentioned(room, [user]);
                }
                let seen = old.into_iter().filter(|row| is_seen(&row.key, mark));
                let seen = seen.map(|row| Row { table: Table::ReadMarks, key: row.key, value: None });
                writes.extend(seen.map(|row| (row, Expect::Any)));
            }
            writes.push((Row { table: Table::ReadMarks, key, value: Some(mark.encode()) }, Expect::Any));
        }
        self.rows.write(writes).await.map_err(|why| unavailable(&why))?;
        self.metrics.mark_flushes.inc();
        Ok(())
    }
}

/// Whether the mention with this key is of a message up to the mark.
fn is_seen(key: &[u8], mark: Mark) -> bool {
    rows::seq_in(key).is_some_and(|seq| seq <= mark.seq)
}
