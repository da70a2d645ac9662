//! The bus on core NATS.
//!
//! All go through one worker: what is told leaves in the order in which it was told, and what is told while a message is on
//! its way shares the next one. Subjects, with the cluster's name before them: `bus.all`, and `bus.room.<room>`.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{Client, connection::State};
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use rookery_protocol::id::RoomId;
use tokio::{
    sync::{Notify, mpsc},
    task::AbortHandle,
    time::MissedTickBehavior,
};

use super::{
    Bus, BusMetrics, Listener, News, NodeRun, RoomNews,
    peers::{Heard, Peers},
    wire::{ToAll, ToRoom, decode, encode},
};

/// News that wait to be sent, or for NATS to come back.
const QUEUE: usize = 8_192;
/// News in one message.
const BATCH: usize = 512;
/// Each node says something so often.
const BEAT: Duration = Duration::from_secs(1);
/// A try to subscribe or publish takes no longer than this: behind it wait all others.
const PATIENCE: Duration = Duration::from_secs(5);
/// A subscription that failed is tried again after this time.
const AGAIN: Duration = Duration::from_secs(1);

enum Said {
    All(News),
    Room(RoomId, RoomNews),
}

pub(super) struct Shared {
    client: Client,
    pub(super) me: NodeRun,
    all: String,
    room: String,
    metrics: BusMetrics,
    listener: OnceLock<Arc<dyn Listener>>,
    /// Rooms to follow.
    wanted: Mutex<HashSet<RoomId>>,
    /// Rooms of which that has changed.
    changed: Mutex<HashSet<RoomId>>,
    look: Notify,
    /// News for all were dropped: the others must learn that they missed some.
    lost: AtomicBool,
}

/// See the module's text.
pub struct NatsBus {
    pub(super) shared: Arc<Shared>,
    queue: mpsc::Sender<Said>,
    waiting: Mutex<Option<mpsc::Receiver<Said>>>,
    tasks: Mutex<Vec<AbortHandle>>,
}

impl NatsBus {
    /// A bus for the cluster of this name, over a connection that may be shared. It sends and hears nothing before
    /// [`Bus::listen`].
    pub fn new(client: Client, cluster: &str, metrics: BusMetrics) -> Arc<Self> {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let shared = Shared {
            client,
            me: NodeRun::draw(),
            all: format!("{cluster}.bus.all"),
            room: format!("{cluster}.bus.room."),
            metrics,
            listener: OnceLock::new(),
            wanted: Mutex::default(),
            changed: Mutex::default(),
            look: Notify::new(),
            lost: AtomicBool::new(false),
        };
        Arc::new(Self {
            shared: Arc::new(shared),
            queue,
            waiting: Mutex::new(Some(waiting)),
            tasks: Mutex::default(),
        })
    }

    fn say(&self, said: Said) {
        if let Err(error) = self.queue.try_send(said) {
            self.shared.metrics.dropped.inc();
            let (mpsc::error::TrySendError::Full(said) | mpsc::error::TrySendError::Closed(said)) = error;
            if matches!(said, Said::All(_)) {
                self.shared.lost.store(true, Ordering::Release);
            }
        }
    }
}

impl Bus for NatsBus {
    fn tell(&self, news: News) {
        self.say(Said::All(news));
    }

    fn tell_room(&self, room: RoomId, news: RoomNews) {
        self.say(Said::Room(room, news));
    }

    fn follow(&self, room: RoomId, on: bool) {
        let mut wanted = self.shared.wanted.lock();
        if on {
            wanted.insert(room);
        } else {
            wanted.remove(&room);
        }
        self.shared.metrics.rooms.set(i64::try_from(wanted.len()).unwrap_or(i64::MAX));
        drop(wanted);
        self.shared.changed.lock().insert(room);
        self.shared.look.notify_one();
    }

    fn listen(&self, listener: Arc<dyn Listener>) {
        let Some(waiting) = self.waiting.lock().take() else { return };
        let _ = self.shared.listener.set(listener);
        let hearing = tokio::spawn(hear_all(self.shared.clone()));
        let telling = tokio::spawn(work(self.shared.clone(), waiting));
        self.tasks.lock().extend([hearing.abort_handle(), telling.abort_handle()]);
    }
}

impl Drop for NatsBus {
    fn drop(&mut self) {
        for task in self.tasks.lock().drain(..) {
            task.abort();
        }
    }
}

/// Subscriptions, each with its task, ended with this.
#[derive(Default)]
struct Followed(HashMap<RoomId, AbortHandle>);

impl Drop for Followed {
    fn drop(&mut self) {
        self.0.values().for_each(AbortHandle::abort);
    }
}

impl Shared {
    pub(super) fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    async fn publish(&self, subject: String, payload: bytes::Bytes, news: usize) -> bool {
        match tokio::time::timeout(PATIENCE, self.client.publish(subject, payload)).await {
            Ok(Ok(())) => {
                self.metrics.told.inc();
                true
            }
            _ => {
                self.metrics.dropped.inc_by(news as u64);
                false
            }
        }
    }

    /// Subscribes to rooms that are followed anew, and leaves those that are no more.
    async fn follow(self: &Arc<Self>, followed: &mut Followed) {
        let changed = std::mem::take(&mut *self.changed.lock());
        for room in changed {
            if !self.wanted.lock().contains(&room) {
                if let Some(task) = followed.0.remove(&room) {
                    task.abort();
                }
                continue;
            }
            let Entry::Vacant(place) = followed.0.entry(room) else { continue };
            let subscribed = self.client.subscribe(format!("{}{room}", self.room));
            match tokio::time::timeout(PATIENCE, subscribed).await {
                Ok(Ok(subscriber)) => {
                    let task = tokio::spawn(hear_room(self.clone(), room, subscriber));
                    place.insert(task.abort_handle());
                }
                // With the next heartbeat.
                _ => drop(self.changed.lock().insert(room)),
            }
        }
    }
}

/// Sends what is told, and once a second that this node lives.
async fn work(shared: Arc<Shared>, mut waiting: mpsc::Receiver<Said>) {
    let mut followed = Followed::default();
    let mut said = Vec::with_capacity(BATCH);
    let mut held: Vec<News> = Vec::new();
    let mut number = 0_u64;
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let mut beats = false;
        tokio::select! {
            count = waiting.recv_many(&mut said, BATCH) => if count == 0 { return },
            () = shared.look.notified() => {}
            _ = beat.tick() => beats = true,
        }
        // First: what was followed before something was said is heard before its answer.
        shared.follow(&mut followed).await;
        let connected = shared.is_connected();
        for one in said.drain(..) {
            match one {
                Said::All(news) if held.len() < QUEUE => held.push(news),
                // After a while nobody wants to know who was typing.
                Said::Room(room, news) if connected => {
                    let message = encode(&ToRoom { from: shared.me, news });
                    shared.publish(format!("{}{room}", shared.room), message, 1).await;
                }
                Said::All(_) => {
                    shared.lost.store(true, Ordering::Release);
                    shared.metrics.dropped.inc();
                }
                Said::Room(..) => drop(shared.metrics.dropped.inc()),
            }
        }
        if !connected {
            continue;
        }
        while !held.is_empty() || beats {
            beats = false;
            // A number that is left out tells the others that something was.
            number += 1 + u64::from(shared.lost.swap(false, Ordering::AcqRel));
            let news: Vec<_> = held.drain(..held.len().min(BATCH)).collect();
            let count = news.len();
            let message = encode(&ToAll { from: shared.me, number, news });
            shared.publish(shared.all.clone(), message, count).await;
        }
    }
}

async fn hear_all(shared: Arc<Shared>) {
    let Some(listener) = shared.listener.get().cloned() else { return };
    let mut peers = Peers::new(shared.me, Instant::now());
    let mut look = tokio::time::interval(BEAT / 2);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let Ok(mut subscriber) = shared.client.subscribe(shared.all.clone()).await else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        loop {
            tokio::select! {
                message = subscriber.next() => {
                    let Some(message) = message else { break };
                    let Some(ToAll { from, number, news }) = decode(&message.payload) else {
                        shared.metrics.unreadable.inc();
                        continue;
                    };
                    let heard = peers.heard(from, number, Instant::now());
                    if heard == Heard::Own {
                        continue;
                    }
                    shared.metrics.heard.inc();
                    if heard == Heard::AfterGap {
                        shared.metrics.missed.inc();
                        listener.missed();
                    }
                    news.into_iter().for_each(|news| listener.heard(news));
                }
                _ = look.tick() => {
                    for node in peers.silent(Instant::now()) {
                        listener.silent(node);
                    }
                    shared.metrics.nodes.set(i64::try_from(peers.count()).unwrap_or(i64::MAX));
                }
            }
        }
        // The client has given up, or the subscription was taken away.
        tokio::time::sleep(AGAIN).await;
    }
}

async fn hear_room(shared: Arc<Shared>, room: RoomId, mut subscriber: async_nats::Subscriber) {
    let Some(listener) = shared.listener.get().cloned() else { return };
    while let Some(message) = subscriber.next().await {
        match decode::<ToRoom>(&message.payload) {
            Some(ToRoom { from, .. }) if from == shared.me => {}
            Some(ToRoom { from, news }) => {
                shared.metrics.heard.inc();
                listener.heard_in(room, from, news);
            }
            None => drop(shared.metrics.unreadable.inc()),
        }
    }
}
