//! Streams of other nodes: what they ask is handed to rooms, in order, and answered as it is done.

use std::{
    collections::HashMap,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rookery_protocol::{
    id::RoomId,
    peer::{
        Answer, Ask, FromOwner, Hello, NotTaken, Pong, Probed, ToOwner, Welcome, answer::Outcome, ask,
        calls_server::Calls, not_taken::Reason,
    },
};
use tokio::sync::{mpsc, watch};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::{
    MOST_IN_FLIGHT,
    caller::{Caller, Lane},
    clock, codec,
    metrics::PeerMetrics,
    ring::Ring,
    stranger,
};
use crate::rooms::{Asked, Rooms};

/// Answers in one message, at most.
const ANSWERS: usize = 256;
/// Bytes of one message, about, at most.
const BYTES: usize = 256 << 10;
/// Messages on their way into the stream.
const MESSAGES: usize = 4;
/// A node that connects says who it is within this time.
const HELLO: Duration = Duration::from_secs(2);
/// Lanes that are remembered before those that nobody uses any more are looked for.
const LANES: usize = 1024;
/// A lane on which nothing came for so long is over: its node has given up long ago what it sent on it.
const LANE_OVER: Duration = Duration::from_secs(10);

/// The newest stream of a node.
struct Newest {
    process: u64,
    number: u64,
    alive: Arc<AtomicBool>,
}

/// What all streams share.
pub(super) struct Shared {
    pub(super) cluster: String,
    pub(super) me: String,
    pub(super) process: u64,
    /// What it speaks.
    pub(super) version: u32,
    pub(super) rooms: Arc<Rooms>,
    pub(super) ring: Arc<Ring>,
    pub(super) metrics: PeerMetrics,
    newest: Mutex<HashMap<String, Newest>>,
    /// Streams end when this says so.
    pub(super) closing: watch::Receiver<bool>,
}

impl Shared {
    pub(super) fn new(
        cluster: String,
        me: String,
        (process, version): (u64, u32),
        rooms: Arc<Rooms>,
        ring: Arc<Ring>,
        metrics: PeerMetrics,
        closing: watch::Receiver<bool>,
    ) -> Self {
        Self { cluster, me, process, version, rooms, ring, metrics, newest: Mutex::default(), closing }
    }

    /// Lets a node in. Of its streams only the newest is in use from then on.
    fn admit(&self, hello: &Hello) -> Result<Arc<AtomicBool>, Status> {
        if hello.cluster != self.cluster {
            return Err(Status::failed_precondition("this is a node of another cluster"));
        }
        if hello.to != self.me {
            return Err(Status::failed_precondition("this is another node"));
        }
        if let Some(why) = stranger(self.version, hello.version) {
            tracing::warn!(node = hello.from, why, "a node is not let in");
            return Err(Status::failed_precondition(format!(
                "{} does not let {} in: {why}",
                self.me, hello.from
            )));
        }
        let alive = Arc::new(AtomicBool::new(true));
        let newest = Newest { process: hello.process, number: hello.number, alive: alive.clone() };
        let mut streams = self.newest.lock();
        streams.retain(|name, stream| *name == hello.from || stream.alive.load(Ordering::Acquire));
        if let Some(before) = streams.get(&hello.from) {
            if before.process == hello.process && before.number > hello.number {
                return Err(Status::aborted("there is a newer stream"));
            }
            before.alive.store(false, Ordering::Release);
        }
        streams.insert(hello.from.clone(), newest);
        Ok(alive)
    }
}

/// The service `Calls`.
#[derive(Clone)]
pub(super) struct Server(pub(super) Arc<Shared>);

type Outgoing = Pin<Box<dyn tokio_stream::Stream<Item = Result<FromOwner, Status>> + Send>>;

#[tonic::async_trait]
impl Calls for Server {
    type OpenStream = Outgoing;

    async fn open(&self, request: Request<Streaming<ToOwner>>) -> Result<Response<Outgoing>, Status> {
        let mut incoming = request.into_inner();
        let first = tokio::time::timeout(HELLO, incoming.message()).await;
        let first = first.map_err(|_| Status::deadline_exceeded("no hello"))??;
        let mut first = first.ok_or_else(|| Status::invalid_argument("no hello"))?;
        let hello = first.hello.take().ok_or_else(|| Status::invalid_argument("no hello"))?;
        let shared = self.0.clone();
        let alive = shared.admit(&hello)?;
        let (messages, outgoing) = mpsc::channel(MESSAGES);
        let (answers, answered) = mpsc::channel(MOST_IN_FLIGHT * 2);
        let (pongs, ponged) = mpsc::channel(MESSAGES);
        let welcome = Welcome { version: shared.version, node: shared.me.clone(), process: shared.process };
        let writer = write(shared.clone(), welcome, messages, answered, ponged);
        let reader = Reader {
            shared: shared.clone(),
            from: hello.from,
            alive: alive.clone(),
            answers,
            pongs,
            lanes: Lanes::default(),
        };
        let mut closing = shared.closing.clone();
        tokio::spawn(async move {
            shared.metrics.callers.inc();
            tokio::select! {
                () = reader.read(first, incoming) => {}
                () = writer => {}
                _ = closing.wait_for(|closing| *closing) => {}
            }
            // Nothing of this stream that is not begun yet is begun any more.
            alive.store(false, Ordering::Release);
            shared.metrics.callers.dec();
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(outgoing))))
    }
}

/// Sends what is ready, as much of it in one message as there is.
async fn write(
    shared: Arc<Shared>,
    welcome: Welcome,
    messages: mpsc::Sender<Result<FromOwner, Status>>,
    mut answers: mpsc::Receiver<Answer>,
    mut pongs: mpsc::Receiver<Pong>,
) {
    let mut welcome = Some(welcome);
    let mut ready = Vec::with_capacity(ANSWERS);
    loop {
        let mut pong = None;
        if welcome.is_none() {
            tokio::select! {
                ponged = pongs.recv() => match ponged {
                    Some(ponged) => pong = Some(ponged),
                    None => return,
                },
                _ = answers.recv_many(&mut ready, ANSWERS) => {}
            }
        }
        let mut waiting = std::mem::take(&mut ready).into_iter().peekable();
        loop {
            let mut message = FromOwner {
                revision: shared.rooms.revision(),
                welcome: welcome.take(),
                answers: Vec::new(),
                pong: pong.take(),
            };
            let mut bytes = 0;
            while bytes < BYTES
                && let Some(answer) = waiting.next()
            {
                bytes += prost::Message::encoded_len(&answer);
                message.answers.push(answer);
            }
            if messages.send(Ok(message)).await.is_err() {
                return;
            }
            if waiting.peek().is_none() {
                break;
            }
        }
    }
}

/// Lanes of one stream, by room.
#[derive(Default)]
struct Lanes {
    lanes: HashMap<RoomId, (u64, Arc<Lane>, Instant)>,
    look_at: usize,
}

impl Lanes {
    fn get(&mut self, room: RoomId, number: u64) -> Arc<Lane> {
        let now = Instant::now();
        if self.lanes.len() >= self.look_at.max(LANES) {
            self.lanes.retain(|_, (_, lane, used)| {
                Arc::strong_count(lane) > 1 || now.duration_since(*used) < LANE_OVER
            });
            self.look_at = self.lanes.len() * 2;
        }
        let (known, lane, used) = self.lanes.entry(room).or_insert_with(|| (number, Arc::default(), now));
        if *known != number {
            (*known, *lane) = (number, Arc::default());
        }
        *used = now;
        lane.clone()
    }
}

struct Reader {
    shared: Arc<Shared>,
    from: String,
    alive: Arc<AtomicBool>,
    answers: mpsc::Sender<Answer>,
    pongs: mpsc::Sender<Pong>,
    lanes: Lanes,
}

impl Reader {
    async fn read(mut self, first: ToOwner, mut incoming: Streaming<ToOwner>) {
        let mut next = Some(first);
        while let Some(message) = next {
            self.message(message).await;
            next = match incoming.message().await {
                Ok(next) => next,
                Err(status) => {
                    tracing::debug!(node = self.from, %status, "the stream of a node ended");
                    None
                }
            };
        }
    }

    async fn message(&mut self, message: ToOwner) {
        self.shared.ring.heard(message.revision);
        if let Some(ping) = message.ping {
            // When too many wait the node is not silent for want of this one.
            let _ = self.pongs.try_send(Pong { sent: ping.sent, clock: clock::now() });
        }
        let mut left: HashMap<_, _> =
            message.left.into_iter().filter_map(|left| codec::legacy(left).ok()).collect();
        for room in message.handed_over {
            if let Ok(room) = codec::room_id(&room) {
                self.shared.rooms.handed_over(room, message.revision, left.remove(&room));
            }
        }
        for ask in message.asks {
            // A node has fewer requests under way than there are places.
            let Ok(place) = self.answers.clone().reserve_owned().await else { return };
            self.ask(ask, message.revision, place);
        }
    }

    fn ask(&mut self, ask: Ask, revision: u64, place: mpsc::OwnedPermit<Answer>) {
        let Ask { id, room, lane, not_after, instead, what, .. } = ask;
        let Ok(room) = codec::room_id(&room) else {
            let not_taken = NotTaken { reason: Reason::Unknown.into(), owner: String::new() };
            place.send(Answer { id, outcome: Some(Outcome::NotTaken(not_taken)) });
            return;
        };
        let mut caller = Caller {
            id,
            place: Some(place),
            lane: self.lanes.get(room, lane),
            alive: self.alive.clone(),
            not_after: clock::at(not_after),
            revision,
            instead,
            metrics: self.shared.metrics.clone(),
        };
        let asked = match what {
            Some(ask::What::Probe(_)) => {
                let takes = self.shared.rooms.takes(room);
                return caller.send(Outcome::Probed(Probed { takes }));
            }
            Some(ask::What::Command(command)) => {
                codec::command(command).map(|(actor, what)| Asked::Command { actor, what })
            }
            Some(ask::What::Members(page)) => {
                codec::page(&page).map(|(after, limit)| Asked::Members { after, limit })
            }
            None => return caller.not_taken(Reason::Unknown, None),
        };
        match asked {
            // Whether it may be begun is looked at when it is: in the order of its lane.
            Ok(asked) => self.shared.rooms.take(room, asked, caller),
            Err(error) => {
                tracing::warn!(node = self.from, %error, "a request of a node is not understood");
                caller.not_taken(Reason::Unknown, None);
            }
        }
    }
}

/// Numbers for lanes: no two of a process are the same.
pub(crate) fn lane_number() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}
