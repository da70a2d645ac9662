//! Live delivery: committed records of followed rooms, as JetStream republishes them.
//!
//! Core NATS may lose messages. A lost record is noticed by the next one; a lost newest record by the *end*, a small
//! message that a room's owner publishes a while after a burst of records. After a loss of the connection, the ends of
//! all followed rooms are looked up.

use std::{
    collections::{HashMap, hash_map::Entry},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use async_nats::{HeaderMap, Message, Subscriber};
use bytes::Bytes;
use futures_util::{FutureExt as _, StreamExt as _};
use parking_lot::Mutex;
use rookery_protocol::id::RoomId;
use tokio::task::AbortHandle;

use super::{
    NatsMetrics,
    item::{END, number},
    layout::Layout,
    link::Link,
};
use crate::backend::{CommitSink, Committed, LogSeq};

/// The end is told so long after a burst's last record, and once more.
const ENDS: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(5)];
/// How often is looked who needs that.
const TICK: Duration = Duration::from_millis(250);
/// Rooms that are looked up at once after a loss, and the pause before the next.
const AT_ONCE: usize = 64;
const PAUSE: Duration = Duration::from_millis(10);

/// A room that is followed.
struct Followed {
    /// Stream sequence of the newest record handed on.
    newest: Arc<AtomicU64>,
    task: AbortHandle,
}

/// Records that this node appended a moment ago.
struct Burst {
    last: Instant,
    /// The newest that is stored for certain; 0: none is known.
    at: LogSeq,
    /// There may be a newer one.
    doubt: bool,
    /// How often the end was told.
    told: usize,
}

pub(super) struct Live {
    layout: Layout,
    metrics: NatsMetrics,
    sink: OnceLock<Arc<dyn CommitSink>>,
    rooms: Mutex<HashMap<RoomId, Followed>>,
    bursts: Mutex<HashMap<RoomId, Burst>>,
}

impl Live {
    pub(super) fn new(layout: Layout, metrics: NatsMetrics) -> Self {
        Self { layout, metrics, sink: OnceLock::new(), rooms: Mutex::default(), bursts: Mutex::default() }
    }

    pub(super) fn set_sink(&self, sink: Arc<dyn CommitSink>) {
        if self.sink.set(sink).is_err() {
            tracing::warn!("the log has a sink already");
        }
    }

    pub(super) fn follow(self: &Arc<Self>, link: &Link, room: RoomId) {
        let mut rooms = self.rooms.lock();
        let Entry::Vacant(place) = rooms.entry(room) else { return };
        let subject = self.layout.live(room);
        let newest = Arc::new(AtomicU64::new(0));
        // At once if there is room for the command: what the caller asks next is then behind it on the wire, so a
        // record that its answer does not show is heard.
        let task = match link.client.subscribe(subject.clone()).now_or_never() {
            Some(Ok(heard)) => tokio::spawn(self.clone().hear(room, newest.clone(), heard)),
            _ => {
                let (live, client, newest) = (self.clone(), link.client.clone(), newest.clone());
                tokio::spawn(async move {
                    match client.subscribe(subject).await {
                        Ok(heard) => {
                            live.missed(room);
                            live.hear(room, newest, heard).await;
                        }
                        Err(error) => tracing::error!(%room, %error, "cannot follow a room"),
                    }
                })
            }
        };
        place.insert(Followed { newest, task: task.abort_handle() });
        self.metrics.followed.set(i64::try_from(rooms.len()).unwrap_or(i64::MAX));
    }

    pub(super) fn unfollow(&self, room: RoomId) {
        let mut rooms = self.rooms.lock();
        if let Some(followed) = rooms.remove(&room) {
            followed.task.abort();
        }
        self.metrics.followed.set(i64::try_from(rooms.len()).unwrap_or(i64::MAX));
    }

    /// Stops following: the tasks that hear hold this.
    pub(super) fn close(&self) {
        self.rooms.lock().drain().for_each(|(_, followed)| followed.task.abort());
    }

    async fn hear(self: Arc<Self>, room: RoomId, newest: Arc<AtomicU64>, mut heard: Subscriber) {
        while let Some(message) = heard.next().await {
            self.heard(room, &newest, message);
        }
    }

    fn heard(&self, room: RoomId, newest: &AtomicU64, message: Message) {
        let Some(headers) = &message.headers else { return };
        if headers.get(END).is_some() {
            let end = number(headers, END).unwrap_or(0);
            if end == 0 || newest.fetch_max(end, Ordering::AcqRel) < end {
                self.missed(room);
            }
            return;
        }
        let Some(at) = number(headers, "Nats-Sequence") else { return };
        self.hand_on(newest, &Committed { room, at: LogSeq(at), record: message.payload });
    }

    /// Once per record; one that comes after a later one was fetched from the log already.
    fn hand_on(&self, newest: &AtomicU64, record: &Committed) {
        if newest.fetch_max(record.at.0, Ordering::AcqRel) < record.at.0 {
            self.metrics.heard.inc();
            if let Some(sink) = self.sink.get() {
                sink.committed(record);
            }
        }
    }

    fn missed(&self, room: RoomId) {
        self.metrics.missed.inc();
        if let Some(sink) = self.sink.get() {
            sink.missed(room);
        }
    }

    /// This node's own record is stored: nobody here waits for it to come around.
    pub(super) fn committed(&self, room: RoomId, at: LogSeq, record: Bytes) {
        let newest = self.rooms.lock().get(&room).map(|followed| followed.newest.clone());
        if let Some(newest) = newest {
            self.hand_on(&newest, &Committed { room, at, record });
        }
        self.burst(room, at, false);
    }

    /// The newest record of a room that this node knows to be stored; 0: it knows of none. It knows of rooms that it
    /// follows, and for a while of those that it appended to.
    pub(super) fn seen(&self, room: RoomId) -> LogSeq {
        let heard =
            self.rooms.lock().get(&room).map_or(0, |followed| followed.newest.load(Ordering::Acquire));
        let appended = self.bursts.lock().get(&room).map_or(0, |burst| burst.at.0);
        LogSeq(heard.max(appended))
    }

    /// This node's record may be stored.
    pub(super) fn in_doubt(&self, room: RoomId) {
        self.burst(room, LogSeq(0), true);
    }

    fn burst(&self, room: RoomId, at: LogSeq, doubt: bool) {
        let mut bursts = self.bursts.lock();
        // What was known for certain still is.
        let at = bursts.get(&room).map_or(at, |before| before.at.max(at));
        bursts.insert(room, Burst { last: Instant::now(), at, doubt, told: 0 });
    }

    /// Tells the ends of bursts, for as long as the node runs.
    pub(super) async fn tell_ends(self: Arc<Self>, link: Arc<Link>) {
        let mut every = tokio::time::interval(TICK);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut due = Vec::new();
        loop {
            every.tick().await;
            let now = Instant::now();
            self.bursts.lock().retain(|room, burst| {
                if now.duration_since(burst.last) >= ENDS[burst.told] {
                    due.push((*room, if burst.doubt { LogSeq(0) } else { burst.at }));
                    burst.told += 1;
                }
                burst.told < ENDS.len()
            });
            for (room, at) in due.drain(..) {
                let mut headers = HeaderMap::new();
                headers.insert(END, at.0.to_string());
                // Who misses it too is told by the next record.
                let _ = link.send(self.layout.live(room), headers, Bytes::new()).await;
            }
        }
    }

    /// Has all followed rooms looked up whenever messages may have been lost, for as long as the node runs.
    pub(super) async fn look_after_losses(self: Arc<Self>, link: Arc<Link>) {
        let mut losses = link.signals.losses.subscribe();
        while losses.changed().await.is_ok() {
            let rooms: Vec<_> = self.rooms.lock().keys().copied().collect();
            tracing::info!(rooms = rooms.len(), "looking up what was missed while NATS was away");
            for some in rooms.chunks(AT_ONCE) {
                some.iter().for_each(|room| self.missed(*room));
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn a_doubt_about_the_newest_record_takes_nothing_back_of_what_is_certain() {
        let layout = Layout { cluster: "c".into(), log_streams: 2 };
        let live = Live::new(layout, NatsMetrics::register(&mut Registry::default()));
        let room = RoomId(1);
        assert_eq!(live.seen(room), LogSeq(0));
        live.committed(room, LogSeq(9), Bytes::new());
        live.in_doubt(room);
        assert_eq!(live.seen(room), LogSeq(9));
        let told = |live: &Live| live.bursts.lock().get(&room).map(|burst| (burst.at, burst.doubt));
        assert_eq!(told(&live), Some((LogSeq(9), true)), "the end is told as one that is not certain");
        live.committed(room, LogSeq(12), Bytes::new());
        assert_eq!((live.seen(room), told(&live)), (LogSeq(12), Some((LogSeq(12), false))));
    }
}
