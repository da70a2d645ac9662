//! What all clients share: the rooms, the clock, and the history that they write.

use std::{
    collections::BTreeMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU8, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rand::{RngExt as _, rngs::StdRng};
use rookery_e2e::{
    history::{Body, History, What},
    service::Service,
    unique,
    user::User,
};
use serde_json::{Value, json};

/// How far the test is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Stage {
    Load = 0,
    /// Nothing new is asked for; what is unanswered is asked again until it is answered.
    Finish = 1,
}

pub(crate) struct Load {
    pub(crate) founder: User,
    pub(crate) rooms: Vec<String>,
    pub(crate) stage: AtomicU8,
    began: Instant,
    operations: AtomicU64,
    connections: AtomicU64,
    history: Mutex<History>,
}

impl Load {
    pub(crate) async fn new(service: &Service, rooms: usize) -> Self {
        let founder = User::register(service, "founder").await;
        let mut made = Vec::new();
        for _ in 0..rooms {
            made.push(founder.room_with(&[]).await);
        }
        Self {
            founder,
            rooms: made,
            stage: AtomicU8::new(Stage::Load as u8),
            began: Instant::now(),
            operations: AtomicU64::new(1),
            connections: AtomicU64::new(1),
            history: Mutex::default(),
        }
    }

    /// Registers somebody who is in all rooms.
    pub(crate) async fn member(&self, service: &Service, hint: &str) -> User {
        let user = User::register(service, hint).await;
        for room in &self.rooms {
            user.join(room).await;
        }
        user
    }

    pub(crate) fn is_finishing(&self) -> bool {
        self.stage.load(Ordering::Acquire) == Stage::Finish as u8
    }

    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn note(&self, what: What) {
        // The time is taken under the lock, so that the order of entries is that of their times.
        let mut history = self.history.lock().unwrap_or_else(PoisonError::into_inner);
        history.add(self.began.elapsed(), what);
    }

    pub(crate) fn history(&self) -> History {
        self.history.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The next thing that a client asks for: mostly messages, else a change of one of his own, each once.
    pub(crate) fn next_request(
        &self,
        random: &mut StdRng,
        user: &User,
        own: &mut Vec<(String, u64)>,
    ) -> Request {
        let op = self.operations.fetch_add(1, Ordering::Relaxed);
        if own.is_empty() || random.random_bool(0.75) {
            let room = self.rooms[random.random_range(0..self.rooms.len())].clone();
            let client_msg_id = unique("m");
            let text = format!("text of {client_msg_id}");
            let wanted = Body::Message { user: user.id.clone(), client_msg_id, text: Some(text) };
            return Request { op, room, wanted };
        }
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
#[derive(Clone)]
pub(crate) struct Request {
    pub(crate) op: u64,
    pub(crate) room: String,
    pub(crate) wanted: Body,
}

impl Request {
    /// Only messages have a name that makes repeating them safe.
    pub(crate) fn may_be_repeated(&self) -> bool {
        matches!(self.wanted, Body::Message { .. })
    }

    pub(crate) fn asked(&self, connection: u64) -> What {
        What::Asked { op: self.op, connection, room: self.room.clone(), wanted: self.wanted.clone() }
    }

    /// The frame that asks for it.
    pub(crate) fn frame(&self) -> Value {
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
pub(crate) fn summary(history: &History) -> String {
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    for entry in &history.entries {
        let kind = match &entry.what {
            What::Asked { .. } => "asked",
            What::Acked { .. } => "acknowledged",
            What::Refused { .. } => "refused",
            What::Attached { .. } => "attached",
            What::Delivered { .. } => "delivered",
            What::CaughtUp { .. } => "caught up",
            What::Resync { .. } => "resync",
        };
        *counts.entry(kind).or_default() += 1;
    }
    let length = history.entries.last().map_or(Duration::ZERO, |entry| entry.at);
    format!("{counts:?} in {length:.1?}")
}

/// Whether clients got so much done that a fault would have shown.
pub(crate) fn is_worth_something(history: &History, kills: u64) -> bool {
    let count = |wanted: fn(&What) -> bool| history.entries.iter().filter(|e| wanted(&e.what)).count() as u64;
    count(|what| matches!(what, What::Acked { .. })) > kills * 10
        && count(|what| matches!(what, What::Delivered { .. })) > kills * 40
        && count(|what| matches!(what, What::Attached { .. })) > kills * 4
}
