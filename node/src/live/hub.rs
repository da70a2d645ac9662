//! The hub: from committed records to tapes, room by room.

use std::{
    cell::RefCell,
    collections::HashMap,
    hash::BuildHasher,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rookery_core::{feed::Gap, record::Record};
use rookery_protocol::id::RoomId;

use super::{
    LiveMetrics, LiveSettings,
    ids::IdHasher,
    inbox::{Inbox, Taken},
    pacer::Pacer,
    room::{Room, Scratch},
};
use crate::backend::{
    CommitSink, Committed, Read, RoomLog,
    bus::{Bus, NodeRun, RoomNews, Tell},
};
use crate::translation::Translates;

/// How much of the log one step of a repair reads.
const REPAIR_RECORDS: usize = 256;
const REPAIR_BYTES: usize = 1024 * 1024;
/// Time between two tries of a repair that gets nothing.
const REPAIR_PAUSE: Duration = Duration::from_millis(10);
const REPAIR_LONGEST_PAUSE: Duration = Duration::from_secs(5);

thread_local! {
    /// Memory of [`Hub::stored_here`].
    static SCRATCH: RefCell<(Vec<Arc<Record>>, Scratch)> = RefCell::default();
}

/// Settings and metrics, for all parts of live delivery.
#[derive(Debug, Default)]
pub struct Live {
    /// Settings.
    pub settings: LiveSettings,
    /// Metrics.
    pub metrics: LiveMetrics,
    /// See [`Hub::dismissals`].
    pub(super) dismissals: AtomicU64,
    /// Wakes those who have something to write.
    pub(super) pacer: Pacer,
    /// Other nodes.
    pub(super) news: Tell,
    /// Who translates what is said, if somebody does.
    pub(super) translates: OnceLock<Translates>,
}

/// Live delivery of this node. One per node.
///
/// It is made before the log, whose sink it is, and started with the log.
pub struct Hub {
    /// Settings and metrics.
    pub live: Live,
    shards: Box<[Shard]>,
    /// Weak: the log holds the hub, as its sink.
    log: OnceLock<Weak<dyn RoomLog>>,
    started: Instant,
}

struct Shard {
    rooms: Mutex<HashMap<RoomId, Arc<Room>, IdHasher>>,
    inbox: Inbox,
}

impl Default for Hub {
    fn default() -> Self {
        Self::new(LiveSettings::default(), LiveMetrics::default())
    }
}

impl CommitSink for Hub {
    fn committed(&self, record: &Committed) {
        if !self.shard(record.room).inbox.push(record) {
            self.live.metrics.overflows.inc();
        }
    }

    fn missed(&self, room: RoomId) {
        self.shard(room).inbox.lost(room);
    }
}

impl Hub {
    /// A hub that takes records but delivers none before [`Self::start`].
    pub fn new(settings: LiveSettings, metrics: LiveMetrics) -> Self {
        let shards = (0..settings.worker_count())
            .map(|_| Shard { rooms: Mutex::default(), inbox: Inbox::new(settings.inbox_records) })
            .collect();
        Self {
            live: Live { settings, metrics, ..Live::default() },
            shards,
            log: OnceLock::new(),
            started: Instant::now(),
        }
    }

    /// Starts delivering what is committed to `log`. Once; in a Tokio runtime.
    pub fn start(self: &Arc<Self>, log: Arc<dyn RoomLog>) {
        let weak = Arc::downgrade(&log);
        drop(log);
        if self.log.set(weak).is_err() {
            return;
        }
        for shard in 0..self.shards.len() {
            tokio::spawn(self.clone().work(shard));
        }
        tokio::spawn(self.clone().tick());
        let hub = self.clone();
        tokio::spawn(async move { hub.live.pacer.run().await });
    }

    /// There are other nodes, whose users follow the same rooms. Once, at the start.
    pub fn join(&self, bus: Arc<dyn Bus>) {
        self.live.news.join(bus);
    }

    /// What is said in rooms is told to `translates`, for those who read other languages. Once, at the start.
    pub fn translate(&self, translates: Translates) {
        let _ = self.live.translates.set(translates);
    }

    /// A room that somebody here follows.
    pub fn find(&self, id: RoomId) -> Option<Arc<Room>> {
        self.shard(id).rooms.lock().get(&id).cloned()
    }

    /// What another node tells of a room.
    pub fn heard(&self, room: RoomId, from: NodeRun, news: RoomNews) {
        let room = self.shard(room).rooms.lock().get(&room).cloned();
        if let Some(room) = room {
            room.heard(from, news, self.started.elapsed(), &self.live);
        }
    }

    /// A node is silent: its users are gone, as far as is known.
    pub fn silent(&self, node: NodeRun) {
        self.all().for_each(|room| room.silent(node, &self.live));
    }

    /// News of other nodes were lost.
    pub fn missed_news(&self) {
        self.all().for_each(|room| room.missed());
    }

    /// All rooms, a part of them at a time.
    fn all(&self) -> impl Iterator<Item = Arc<Room>> {
        self.shards.iter().flat_map(|shard| shard.rooms.lock().values().cloned().collect::<Vec<_>>())
    }

    fn log(&self) -> Option<Arc<dyn RoomLog>> {
        self.log.get().and_then(Weak::upgrade)
    }

    fn shard(&self, room: RoomId) -> &Shard {
        let hash = IdHasher.hash_one(room);
        &self.shards[(hash >> 32) as usize % self.shards.len()]
    }

    /// The room, followed from now on (if only for a while, should nobody join it). It delivers nothing before
    /// [`Self::begin`].
    pub fn open(&self, id: RoomId) -> Arc<Room> {
        let mut rooms = self.shard(id).rooms.lock();
        rooms
            .entry(id)
            .or_insert_with(|| {
                if let Some(log) = self.log() {
                    log.follow(id, true);
                }
                let bus = self.live.news.bus();
                if let Some(bus) = bus {
                    bus.follow(id, true);
                    bus.tell_room(id, RoomNews::WhoIsThere);
                }
                Arc::new(Room::new(id, bus.is_some()))
            })
            .clone()
    }

    /// How often somebody stopped being a member of a room that this node follows: as long as this has not
    /// changed, who was found to be a member still is, or his room was not followed.
    pub fn dismissals(&self) -> u64 {
        self.live.dismissals.load(Ordering::Acquire)
    }

    /// Whether the room is known to begin somewhere.
    pub fn has_begun(&self, room: &Room) -> bool {
        room.delivered().is_some()
    }

    /// The room's log has reached `seq`, read after [`Self::open`]: later events are delivered.
    pub fn begin(self: &Arc<Self>, room: &Arc<Room>, seq: u64) {
        if let Some(gap) = room.begin(seq) {
            self.repair(room.clone(), gap);
        }
    }

    /// The room's log has an event: what this node has not heard of is fetched.
    pub fn reaches(self: &Arc<Self>, room: &Arc<Room>, seq: u64) {
        if let Some(gap) = room.exists(seq) {
            self.repair(room.clone(), gap);
        }
    }

    /// Delivers what an owner of this node has stored, at once and on the caller's thread: no detour by the log or by
    /// another task. Its answers, given next, then share a write with the delivery to the sender himself.
    pub fn stored_here(self: &Arc<Self>, record: &Arc<Record>) {
        let room = self.shard(record.room).rooms.lock().get(&record.room).cloned();
        let Some(room) = room else { return };
        self.live.metrics.records.inc();
        let gap = SCRATCH.with_borrow_mut(|(records, scratch)| {
            records.push(record.clone());
            room.offer(records, scratch, &self.live)
        });
        if let Some(gap) = gap {
            self.repair(room, gap);
        }
    }

    async fn work(self: Arc<Self>, shard: usize) {
        let mut taken = Taken::default();
        let mut scratch = Scratch::default();
        let mut records = Vec::new();
        loop {
            let shard = &self.shards[shard];
            shard.inbox.take(&mut taken).await;
            // Records of one room stand together then, in their order: they go on its tape, and its readers
            // are woken, at once.
            taken.records.sort_by_key(|record| record.room);
            for of_room in taken.records.chunk_by(|a, b| a.room == b.room) {
                let room = shard.rooms.lock().get(&of_room[0].room).cloned();
                let Some(room) = room else { continue };
                records.extend(of_room.iter().filter_map(open));
                self.live.metrics.records.inc_by(of_room.len() as u64);
                if let Some(gap) = room.offer(&mut records, &mut scratch, &self.live) {
                    self.repair(room, gap);
                }
            }
            for lost in taken.lost.drain() {
                let room = shard.rooms.lock().get(&lost).cloned();
                if let Some(room) = room {
                    tokio::spawn(self.clone().look_for_end(room));
                }
            }
            taken.records.clear();
            taken.records.shrink_to(4096);
            tokio::task::yield_now().await;
        }
    }

    /// Records of a room were lost unread: finds out up to where it goes.
    async fn look_for_end(self: Arc<Self>, room: Arc<Room>) {
        let mut pause = REPAIR_PAUSE;
        while let Some(log) = self.log() {
            match log.tail(room.id).await {
                Ok(tail) => {
                    let last = tail.as_ref().and_then(open).map_or(0, |record| record.last_seq());
                    if let Some(gap) = room.exists(last) {
                        self.repair(room, gap);
                    }
                    return;
                }
                Err(error) => tracing::warn!(room = %room.id, %error, "cannot read the end of a room's log"),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(REPAIR_LONGEST_PAUSE);
        }
    }

    /// Fetches what a room misses, in a task of its own.
    fn repair(self: &Arc<Self>, room: Arc<Room>, gap: Gap) {
        self.live.metrics.repairs.inc();
        let hub = self.clone();
        tokio::spawn(async move {
            let mut scratch = Scratch::default();
            let mut pause = REPAIR_PAUSE;
            let mut missing = Some(gap);
            while let (Some(Gap { from, to }), Some(log)) = (missing, hub.log()) {
                let read =
                    Read { from, to, backwards: false, max_records: REPAIR_RECORDS, max_bytes: REPAIR_BYTES };
                match log.read(room.id, read).await {
                    Ok(found) => {
                        let mut records = found.iter().filter_map(open).collect();
                        room.offer(&mut records, &mut scratch, &hub.live);
                    }
                    Err(error) => {
                        tracing::warn!(room = %room.id, %error, "cannot fetch missed events; trying again");
                    }
                }
                missing = room.fetched();
                if missing.is_some_and(|missing| missing.from == from) {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(REPAIR_LONGEST_PAUSE);
                } else {
                    pause = REPAIR_PAUSE;
                }
            }
        });
    }

    async fn tick(self: Arc<Self>) {
        let mut every = tokio::time::interval(Duration::from_secs(1));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let now = Instant::now();
            let (mut count, mut bytes, mut follows) = (0, 0, 0);
            for shard in &self.shards {
                let rooms: Vec<_> = shard.rooms.lock().values().cloned().collect();
                for room in rooms {
                    if room.tick(now, &self.live) {
                        let mut rooms = shard.rooms.lock();
                        rooms.remove(&room.id);
                        if let Some(log) = self.log() {
                            log.follow(room.id, false);
                        }
                        if let Some(bus) = self.live.news.bus() {
                            bus.follow(room.id, false);
                        }
                    } else {
                        let (held, subs) = room.size();
                        count += 1;
                        bytes += held;
                        follows += subs;
                    }
                }
                tokio::task::yield_now().await;
            }
            self.live.metrics.rooms.set(count);
            self.live.metrics.tape_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
            self.live.metrics.follows.set(i64::try_from(follows).unwrap_or(i64::MAX));
        }
    }
}

fn open(committed: &Committed) -> Option<Arc<Record>> {
    match Record::open(&committed.record, committed.room) {
        Ok(opened) => Some(Arc::new(opened.record)),
        Err(error) => {
            tracing::error!(room = %committed.room, at = committed.at.0, %error, "a record cannot be read");
            None
        }
    }
}
