//! Clients that keep a service busy while faults are done to it, and write down what they ask, are answered and are sent.
//!
//! Here belong the clients, what they share (the rooms, the clock, the history), and reading what is stored in the end. Which
//! faults happen when is for tests; what the history must be like is [`crate::history`]'s.

mod http;
mod log;
mod meter;
mod registrar;
mod rows;
mod socket;
mod truth;

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{RngExt as _, rngs::StdRng};
use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    history::{Body, Deed, History, What},
    service::Service,
    unique,
    user::User,
};
pub use http::{log_in_again, post, run as run_http};
pub use log::{LOG_STREAMS, owners, read as read_log, stream_of};
pub use meter::Meter;
pub use registrar::run as run_registrar;
pub use rows::read as read_accounts;
pub use socket::run as run_socket;
pub use truth::{compare_with_pages, read as read_truth};

/// How clients behave.
#[derive(Debug, Clone)]
pub struct Manners {
    /// Nodes that they choose from at each connection: `http://host:port`.
    pub urls: Vec<String>,
    /// How long they wait for an answer before they try elsewhere.
    pub give_up: Duration,
    /// Longest pause between requests.
    pub pause: Duration,
}

impl Manners {
    fn any_url(&self, random: &mut StdRng) -> String {
        self.urls[random.random_range(0..self.urls.len())].clone()
    }
}

/// The way back of a client whose node was drained, by the clock of the history.
#[derive(Debug, Clone, Copy)]
pub struct Return {
    /// The end of the delay that it was told.
    pub due: Duration,
    /// It has caught up with all rooms.
    pub live: Duration,
}

/// What clients share.
pub struct Load {
    /// Made the rooms.
    pub founder: User,
    /// Ids of the rooms.
    pub rooms: Vec<String>,
    finishing: AtomicBool,
    /// Clients over WebSocket, and those of them that have all their answers.
    sockets: AtomicUsize,
    answered: AtomicUsize,
    /// Newest events of the rooms when all were answered.
    ends: OnceLock<BTreeMap<String, u64>>,
    returns: Mutex<Vec<Return>>,
    /// When a request over a socket was answered `unavailable`, and at which URL.
    refusals: Mutex<Vec<(Duration, String)>>,
    /// What was asked of accounts.
    deeds: Mutex<Vec<Deed>>,
    began: Instant,
    operations: AtomicU64,
    connections: AtomicU64,
    history: Mutex<History>,
}

impl Load {
    /// Makes so many rooms.
    pub async fn new(service: &Service, rooms: usize) -> Self {
        let founder = User::register(service, "founder").await;
        let mut made = Vec::new();
        for _ in 0..rooms {
            made.push(founder.room_with(&[]).await);
        }
        Self {
            founder,
            rooms: made,
            finishing: AtomicBool::new(false),
            sockets: AtomicUsize::new(0),
            answered: AtomicUsize::new(0),
            ends: OnceLock::new(),
            returns: Mutex::default(),
            refusals: Mutex::default(),
            deeds: Mutex::default(),
            began: Instant::now(),
            operations: AtomicU64::new(1),
            connections: AtomicU64::new(1),
            history: Mutex::default(),
        }
    }

    /// Registers somebody who is in all rooms.
    pub async fn member(&self, service: &Service, hint: &str) -> User {
        let user = User::register(service, hint).await;
        for room in &self.rooms {
            user.join(room).await;
        }
        user
    }

    /// Nothing new is asked for from now on. What is unanswered is asked again until it is answered; then clients stay until they
    /// have all that the rooms hold, as `reader` is told it, and end.
    ///
    /// # Errors
    /// Some were not answered in time, or the rooms cannot be read.
    pub async fn finish(&self, reader: &User, patience: Duration) -> Result<(), String> {
        self.finishing.store(true, Ordering::Release);
        let until = Instant::now() + patience;
        while self.answered.load(Ordering::Acquire) < self.sockets.load(Ordering::Acquire) {
            if Instant::now() > until {
                return Err("a client was not answered in the end".to_owned());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let listed = loop {
            match reader.api.try_call(Method::GET, "/v1/rooms", None).await {
                Ok(answer) if answer.status == 200 => break answer.body,
                other if Instant::now() > until => {
                    return Err(format!("the rooms cannot be read: {other:?}"));
                }
                _ => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let ends = listed["rooms"].as_array().into_iter().flatten().filter_map(|room| {
            let id = room["id"].as_str().filter(|id| self.rooms.iter().any(|known| known == id))?;
            Some((id.to_owned(), room["last_seq"].as_u64()?))
        });
        let ends: BTreeMap<_, _> = ends.collect();
        if ends.len() != self.rooms.len() {
            return Err(format!("the list of rooms lacks some: {listed}"));
        }
        self.ends.get_or_init(|| ends);
        Ok(())
    }

    /// Whether that is so.
    pub fn is_finishing(&self) -> bool {
        self.finishing.load(Ordering::Acquire)
    }

    /// When clients of draining nodes were live again.
    pub fn returns(&self) -> Vec<Return> {
        self.returns.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn returned(&self, due: Instant) {
        let live = self.now();
        let due = due.saturating_duration_since(self.began);
        self.returns.lock().unwrap_or_else(PoisonError::into_inner).push(Return { due, live });
    }

    fn refused(&self, url: &str) {
        let refusal = (self.now(), url.to_owned());
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner).push(refusal);
    }

    /// How many requests over sockets to the node at `url` were answered `unavailable` from `from` to `to`.
    pub fn refusals_of(&self, url: &str, from: Duration, to: Duration) -> usize {
        let refusals = self.refusals.lock().unwrap_or_else(PoisonError::into_inner);
        refusals.iter().filter(|(at, of)| of == url && (from..=to).contains(at)).count()
    }

    fn deed(&self, deed: Deed) {
        self.deeds.lock().unwrap_or_else(PoisonError::into_inner).push(deed);
    }

    /// What was asked of accounts, in order.
    pub fn deeds(&self) -> Vec<Deed> {
        self.deeds.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// By the clock of the history.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    /// A number that no other connection has.
    pub fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    /// Adds to the history.
    pub fn note(&self, what: What) {
        // The time is taken under the lock, so that the order of entries is that of their times.
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.add(self.began.elapsed(), what);
    }

    /// All that was noted.
    pub fn history(&self) -> History {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn next_op(&self) -> u64 {
        self.operations.fetch_add(1, Ordering::Relaxed)
    }

    /// A new message of somebody.
    pub fn message(&self, user: &User, room: &str) -> Request {
        let client_msg_id = unique("m");
        let text = format!("text of {client_msg_id}");
        let wanted = Body::Message { user: user.id.clone(), client_msg_id, text: Some(text) };
        Request { op: self.next_op(), room: room.to_owned(), wanted }
    }

    /// The next thing that a client asks for: mostly messages, else a change of one of his own, each once.
    fn next_request(&self, random: &mut StdRng, user: &User, own: &mut Vec<(String, u64)>) -> Request {
        if own.is_empty() || random.random_bool(0.75) {
            return self.message(user, &self.rooms[random.random_range(0..self.rooms.len())]);
        }
        let op = self.next_op();
        let (room, message_seq) = own.swap_remove(random.random_range(0..own.len()));
        let user = user.id.clone();
        let wanted = match random.random_range(0..3) {
            0 => Body::Edited { user, message_seq, text: unique("edited ") },
            1 => Body::Deleted { user, message_seq },
            _ => Body::Reaction { user, message_seq, emoji: "👍".into(), op: "add".into() },
        };
        Request { op, room, wanted }
    }
}

/// Something that a client wants.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its number.
    pub op: u64,
    /// In which room.
    pub room: String,
    /// What it is to become.
    pub wanted: Body,
}

impl Request {
    /// Only messages have a name that makes repeating them safe.
    pub fn may_be_repeated(&self) -> bool {
        matches!(self.wanted, Body::Message { .. })
    }

    /// As the history says it.
    pub fn asked(&self, connection: u64) -> What {
        What::Asked { op: self.op, connection, room: self.room.clone(), wanted: self.wanted.clone() }
    }

    /// The frame that asks for it.
    fn frame(&self) -> Value {
        let room = &self.room;
        match &self.wanted {
            Body::Message { client_msg_id, text, .. } => {
                json!({"t": "send", "room": room, "text": text, "client_msg_id": client_msg_id})
            }
            Body::Edited { message_seq, text, .. } => {
                json!({"t": "edit", "room": room, "seq": message_seq, "text": text})
            }
            Body::Deleted { message_seq, .. } => json!({"t": "delete", "room": room, "seq": message_seq}),
            Body::Reaction { message_seq, emoji, .. } => {
                json!({"t": "react", "room": room, "seq": message_seq, "emoji": emoji})
            }
            Body::Other(..) => unreachable!("nobody asks for that here"),
        }
    }
}

/// What a history holds, for people.
pub fn summary(history: &History) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in &history.entries {
        let kind = match &entry.what {
            What::Asked { .. } => "asked",
            What::Acked { .. } => "acknowledged",
            What::Refused { .. } => "refused",
            What::Unheard { .. } => "unheard",
            What::Attached { .. } => "attached",
            What::Delivered { .. } => "delivered",
            What::CaughtUp { .. } => "caught up",
            What::Stayed { .. } => "stayed",
            What::Resync { .. } => "resync",
        };
        *counts.entry(kind).or_default() += 1;
    }
    let length = history.entries.last().map_or(Duration::ZERO, |entry| entry.at);
    format!("{counts:?} in {length:.1?}")
}

/// Whether clients got so much done that a broken promise would have shown, if there were so many faults.
pub fn is_worth_something(history: &History, faults: u64) -> bool {
    let count = |wanted: fn(&What) -> bool| history.entries.iter().filter(|e| wanted(&e.what)).count() as u64;
    count(|what| matches!(what, What::Acked { .. })) > faults * 10
        && count(|what| matches!(what, What::Delivered { .. })) > faults * 40
        && count(|what| matches!(what, What::Attached { .. })) > faults * 4
}
