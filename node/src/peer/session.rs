//! One stream to another node, from its first message to its end.
//!
//! A session owns its requests: each ends with exactly one [`Ended`], whatever becomes of the stream. Requests leave in
//! the order in which they came; what waits leaves in one message.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use rookery_core::owner::Legacy;
use rookery_protocol::{
    id::RoomId,
    peer::{Ask, FromOwner, Hello, Ping, ToOwner, answer, ask, calls_client::CallsClient, not_taken::Reason},
};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Streaming, transport::Channel};

use super::{clock, codec, metrics::PeerMetrics, ring::Ring, settings::PeerSettings, stranger};

/// Requests in one message, at most.
const ASKS: usize = 128;
/// Bytes of one message, about, at most: the next request goes into the next message.
const BYTES: usize = 256 << 10;
/// Messages on their way into the stream.
const MESSAGES: usize = 4;
/// Rooms handed over that the other node is yet to be told of, at most: it takes up what it is not told of when somebody asks.
const HAND_OVERS: usize = 16_384;
/// KiB of what is left to it with them, at most: of other rooms it reads the log.
const LEGACIES_KIB: usize = 32 << 10;
/// Pings whose answers are remembered, to learn the other node's clock from the best of them.
const PINGS: usize = 8;
/// A message of the other node is at most so big.
pub(super) const MESSAGE_BYTES: usize = 4 << 20;

/// A request for another node.
pub(crate) struct Request {
    /// Whose.
    pub(crate) room: RoomId,
    /// See `Ask.lane`.
    pub(crate) lane: u64,
    /// See `Ask.instead`.
    pub(crate) instead: bool,
    /// Who asks gives up then.
    pub(crate) deadline: Instant,
    /// What.
    pub(crate) what: ask::What,
    /// Comes back with its end.
    pub(crate) token: u64,
    /// Gets its end. Has place for it: nobody has more requests under way than his channel holds.
    pub(crate) back: mpsc::Sender<(u64, Ended)>,
}

/// How a request ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// It was answered.
    Answered(answer::Outcome),
    /// It was not done, and will not be.
    NotTaken(Reason, String),
    /// The stream ended before it was sent.
    Unsent,
    /// The stream ended after it was sent: whether it was done is not known.
    Lost {
        /// When it was sent.
        sent: Instant,
    },
}

/// How a session is used.
#[derive(Debug, Clone)]
pub(crate) struct Session {
    /// Greater than those of the sessions before it.
    pub(crate) number: u64,
    pub(super) requests: mpsc::Sender<Request>,
    handed_over: mpsc::Sender<HandedOver>,
    legacies_kib: Arc<Semaphore>,
}

/// A room that the other node is yet to be told of.
struct HandedOver {
    room: RoomId,
    /// With its place among what waits.
    legacy: Option<(Legacy, OwnedSemaphorePermit)>,
}

impl Session {
    /// Tells the other node that a room is its own now. Never waits: what there is no place for is not told.
    pub(super) fn hand_over(&self, room: RoomId, legacy: Option<Legacy>) {
        let legacy = legacy.and_then(|legacy| {
            let kib = u32::try_from(legacy.snapshot.len().div_ceil(1024)).ok()?;
            let place = self.legacies_kib.clone().try_acquire_many_owned(kib).ok()?;
            Some((legacy, place))
        });
        let _ = self.handed_over.try_send(HandedOver { room, legacy });
    }

    /// A place for a request. `Err`: there is none now (`true`), or the session ended (`false`).
    pub(crate) fn try_place(&self) -> Result<mpsc::Permit<'_, Request>, bool> {
        self.requests.try_reserve().map_err(|error| matches!(error, mpsc::error::TrySendError::Full(())))
    }

    /// Waits until there may be a place.
    pub(crate) async fn has_place(&self) {
        let _ = self.requests.reserve().await;
    }
}

/// Why there is no session, or no more.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Lost {
    /// Nobody listens there, or somebody else does.
    #[error("it is not there: {0}")]
    Refused(String),
    #[error("it says nothing")]
    Silent,
    #[error("{0}")]
    Ended(String),
}

impl Lost {
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Refused(_) => "refused",
            Self::Silent => "silent",
            Self::Ended(_) => "ended",
        }
    }

    /// What a failed connection or call means.
    pub(super) fn of(error: &(dyn std::error::Error + 'static)) -> Self {
        let mut cause = Some(error);
        let mut text = error.to_string();
        while let Some(error) = cause {
            if let Some(io) = error.downcast_ref::<std::io::Error>()
                && io.kind() == std::io::ErrorKind::ConnectionRefused
            {
                return Self::Refused(io.to_string());
            }
            cause = error.source();
            if cause.is_none() {
                text = error.to_string();
            }
        }
        Self::Ended(text)
    }
}

/// Who opens a session to whom.
pub(super) struct Opening<'a> {
    pub(super) cluster: &'a str,
    pub(super) from: &'a str,
    pub(super) to: &'a str,
    pub(super) process: u64,
    /// What the asking node speaks.
    pub(super) version: u32,
    pub(super) number: u64,
    pub(super) ring: Arc<Ring>,
}

/// A session as its own task drives it.
pub(super) struct Driver {
    outgoing: mpsc::Sender<ToOwner>,
    incoming: Streaming<FromOwner>,
    requests: mpsc::Receiver<Request>,
    handed_over: mpsc::Receiver<HandedOver>,
    pending: HashMap<u64, Pending>,
    /// Taken from `requests`, not sent.
    waiting: VecDeque<Request>,
    next: u64,
    /// By how much the other's clock is ahead of ours at least, by the newest pings.
    ahead: VecDeque<i64>,
    heard: Instant,
    ring: Arc<Ring>,
    metrics: PeerMetrics,
    late: Duration,
    silent: Duration,
    most: usize,
}

struct Pending {
    token: u64,
    back: mpsc::Sender<(u64, Ended)>,
    sent: Instant,
}

impl Driver {
    /// Opens the stream, and waits until the other node has said who it is and what its clock says.
    pub(super) async fn open(
        channel: Channel,
        opening: &Opening<'_>,
        settings: &PeerSettings,
        metrics: PeerMetrics,
    ) -> Result<(Self, Session), Lost> {
        let (outgoing, stream) = mpsc::channel(MESSAGES);
        let hello = Hello {
            version: opening.version,
            cluster: opening.cluster.to_owned(),
            from: opening.from.to_owned(),
            to: opening.to.to_owned(),
            process: opening.process,
            number: opening.number,
        };
        let first = ToOwner {
            revision: opening.ring.revision(),
            hello: Some(hello),
            ping: Some(Ping { sent: clock::now() }),
            ..ToOwner::default()
        };
        // There is place for it.
        let _ = outgoing.try_send(first);
        let mut client = CallsClient::new(channel).max_decoding_message_size(MESSAGE_BYTES);
        let refused = |status: tonic::Status| match status.code() {
            tonic::Code::FailedPrecondition | tonic::Code::PermissionDenied => {
                Lost::Refused(status.message().to_owned())
            }
            _ => Lost::of(&status),
        };
        let incoming = client.open(ReceiverStream::new(stream)).await.map_err(refused)?.into_inner();
        let (requests_to, requests) = mpsc::channel(settings.in_flight);
        let (handed_over_to, handed_over) = mpsc::channel(HAND_OVERS);
        let mut driver = Self {
            outgoing,
            incoming,
            requests,
            handed_over,
            pending: HashMap::new(),
            waiting: VecDeque::new(),
            next: 0,
            ahead: VecDeque::new(),
            heard: Instant::now(),
            ring: opening.ring.clone(),
            metrics,
            late: settings.late(),
            silent: settings.silent(),
            most: settings.in_flight,
        };
        let mut welcome = None;
        while welcome.is_none() || driver.ahead.is_empty() {
            let message = driver.incoming.message().await.map_err(refused)?;
            let mut message = message.ok_or_else(|| Lost::Ended("it ended the stream".to_owned()))?;
            if let Some(said) = message.welcome.take() {
                if let Some(why) = stranger(opening.version, said.version) {
                    return Err(Lost::Refused(why));
                }
                welcome = Some(said);
            }
            driver.received(message);
        }
        let session = Session {
            number: opening.number,
            requests: requests_to,
            handed_over: handed_over_to,
            legacies_kib: Arc::new(Semaphore::new(LEGACIES_KIB)),
        };
        Ok((driver, session))
    }

    /// Serves the session until it ends.
    pub(super) async fn run(mut self) -> Lost {
        let why = self.serve().await;
        for (_, Pending { token, back, sent }) in self.pending.drain() {
            let _ = back.try_send((token, Ended::Lost { sent }));
        }
        self.requests.close();
        while let Some(request) = self.waiting.pop_front().or_else(|| self.requests.try_recv().ok()) {
            let _ = request.back.try_send((request.token, Ended::Unsent));
        }
        why
    }

    async fn serve(&mut self) -> Lost {
        let every = self.silent / 4;
        let mut ticks = tokio::time::interval(every);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let outgoing = self.outgoing.clone();
        let (mut ping, mut ticked) = (false, Instant::now());
        let (mut requests, mut rooms) = (Vec::with_capacity(ASKS), VecDeque::new());
        loop {
            let room = self.most.saturating_sub(self.pending.len() + self.waiting.len()).min(ASKS);
            tokio::select! {
                biased;
                message = self.incoming.message() => match message {
                    Ok(Some(message)) => self.received(message),
                    Ok(None) => return Lost::Ended("it ended the stream".to_owned()),
                    Err(status) => return Lost::of(&status),
                },
                _ = ticks.tick() => {
                    ping = true;
                    let now = Instant::now();
                    // When this process itself stood still, the other one gets time to be heard.
                    if now.duration_since(ticked) > every * 2 {
                        self.heard = now;
                    }
                    ticked = now;
                    if now.duration_since(self.heard) >= self.silent {
                        return Lost::Silent;
                    }
                }
                permit = outgoing.reserve(), if ping || !self.waiting.is_empty() || !rooms.is_empty() => {
                    let Ok(permit) = permit else { return Lost::Ended("the stream is closed".to_owned()) };
                    let mut message = ToOwner { revision: self.ring.revision(), ..ToOwner::default() };
                    if std::mem::take(&mut ping) {
                        message.ping = Some(Ping { sent: clock::now() });
                    }
                    hand_over(&mut message, &mut rooms);
                    Self::fill(&mut message, &mut self.waiting, &mut self.pending, &mut self.next, &self.ahead, self.late);
                    self.metrics.forwarded.inc_by(message.asks.len() as u64);
                    permit.send(message);
                }
                count = self.requests.recv_many(&mut requests, room), if room > 0 && self.waiting.is_empty() => {
                    if count == 0 {
                        return Lost::Ended("it is not needed any more".to_owned());
                    }
                    self.waiting.extend(requests.drain(..));
                }
                Some(room) = self.handed_over.recv(), if rooms.is_empty() => {
                    rooms.push_back(room);
                    while rooms.len() < ASKS && let Ok(room) = self.handed_over.try_recv() {
                        rooms.push_back(room);
                    }
                }
            }
        }
    }

    fn fill(
        message: &mut ToOwner,
        waiting: &mut VecDeque<Request>,
        pending: &mut HashMap<u64, Pending>,
        next: &mut u64,
        ahead: &VecDeque<i64>,
        late: Duration,
    ) {
        let sent = Instant::now();
        // The other's clock shows at least this now: so what is not begun by then is not begun after `sent + late`.
        let theirs = clock::now().saturating_add_signed(ahead.iter().copied().max().unwrap_or_default());
        let late = u64::try_from(late.as_millis()).unwrap_or(u64::MAX);
        let mut bytes = 0;
        while bytes < BYTES {
            let Some(request) = waiting.pop_front() else { return };
            *next += 1;
            let left = request.deadline.saturating_duration_since(sent);
            let left = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
            let ask = Ask {
                id: *next,
                room: codec::of_room(request.room),
                lane: request.lane,
                not_after: theirs.saturating_add(late.min(left)),
                instead: request.instead,
                what: Some(request.what),
            };
            bytes += prost::Message::encoded_len(&ask);
            message.asks.push(ask);
            pending.insert(*next, Pending { token: request.token, back: request.back, sent });
        }
    }

    fn received(&mut self, message: FromOwner) {
        self.heard = Instant::now();
        self.ring.heard(message.revision);
        for answer in message.answers {
            let Some(asked) = self.pending.remove(&answer.id) else { continue };
            self.metrics.answered(self.heard.duration_since(asked.sent));
            let ended = match answer.outcome {
                Some(answer::Outcome::NotTaken(not)) => {
                    Ended::NotTaken(Reason::try_from(not.reason).unwrap_or_default(), not.owner)
                }
                Some(outcome) => Ended::Answered(outcome),
                // A newer node answers what this one does not know: it may have been done.
                None => Ended::Lost { sent: asked.sent },
            };
            let _ = asked.back.try_send((asked.token, ended));
        }
        if let Some(pong) = message.pong {
            let ahead = i64::try_from(pong.clock).unwrap_or(i64::MAX)
                - i64::try_from(clock::now()).unwrap_or(i64::MAX);
            self.ahead.push_back(ahead);
            if self.ahead.len() > PINGS {
                self.ahead.pop_front();
            }
        }
    }
}

/// Puts rooms into a message, until it is big enough.
fn hand_over(message: &mut ToOwner, rooms: &mut VecDeque<HandedOver>) {
    let mut bytes = 0;
    while bytes < BYTES {
        let Some(HandedOver { room, legacy }) = rooms.pop_front() else { return };
        message.handed_over.push(codec::of_room(room));
        if let Some((legacy, _place)) = legacy {
            bytes += legacy.snapshot.len();
            message.left.push(codec::of_legacy(room, legacy));
        }
    }
}
