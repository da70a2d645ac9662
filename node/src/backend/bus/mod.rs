//! What nodes tell each other beside the log: news that may be lost.
//!
//! Here belong the messages and the ways they travel: core NATS in a cluster, memory between the parts of one process in
//! tests. Standalone has no other node and no bus. What a message changes is the business of who hears it; nothing may depend on
//! a message's coming: each is a hint to look, or has a time after which the truth is looked up anyhow.

#[cfg(test)]
pub(crate) mod local;
mod metrics;
mod nats;
mod peers;
#[cfg(test)]
mod tests;
mod wire;

use std::sync::{Arc, OnceLock};

use rookery_protocol::id::{RoomId, SessionId, UserId};
use serde::{Deserialize, Serialize};

pub use metrics::BusMetrics;
pub use nats::NatsBus;

/// One run of a node's process. Drawn by lot, so that a node that comes back is another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct NodeRun(pub u64);

impl NodeRun {
    /// A new one.
    pub fn draw() -> Self {
        Self(rand::random())
    }
}

/// News for all nodes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum News {
    /// A login has ended.
    SessionEnded {
        /// Which.
        session: SessionId,
    },
    /// All logins of a user that began before now have ended.
    UserLoggedOut {
        /// Who.
        user: UserId,
    },
    /// What is stored of a user has changed, or is gone.
    UserChanged {
        /// Who.
        user: UserId,
    },
    /// There is a new key that signs access tokens.
    KeysChanged,
    /// A user has become a member of a room.
    Newcomer {
        /// Who.
        user: UserId,
        /// Where.
        room: RoomId,
        /// The event that says so.
        seq: u64,
    },
    /// A user has moved his read mark.
    Read {
        /// Who.
        user: UserId,
        /// Where.
        room: RoomId,
        /// The newest event that he has read.
        seq: u64,
        /// Messages up to there.
        messages: u64,
    },
    /// Of a later version.
    #[serde(other)]
    Unknown,
}

/// Whether somebody is there. In order: of several, the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// No connection.
    Offline,
    /// All connections are away.
    Away,
    /// One is not.
    Online,
}

/// News for the nodes that follow a room.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum RoomNews {
    /// Somebody is typing.
    Typing {
        /// Who.
        user: UserId,
    },
    /// A node begins to follow the room: who is there?
    WhoIsThere,
    /// Who is there by way of this node.
    Present {
        /// These are all; otherwise only they have changed.
        all: bool,
        /// How many more there are, where they are too many to name.
        more: u32,
        /// Who, and how.
        users: Vec<(UserId, Status)>,
    },
    /// Of a later version.
    #[serde(other)]
    Unknown,
}

/// A way to tell other nodes something. Nothing here waits: what cannot be sent is lost.
pub trait Bus: Send + Sync {
    /// Tells all other nodes.
    fn tell(&self, news: News);
    /// Tells the other nodes that follow a room.
    fn tell_room(&self, room: RoomId, news: RoomNews);
    /// Follows a room from now on, or no more.
    fn follow(&self, room: RoomId, on: bool);
    /// Says who listens; once.
    fn listen(&self, listener: Arc<dyn Listener>);
}

/// Hears what other nodes tell. Must not block.
pub trait Listener: Send + Sync {
    /// News for all.
    fn heard(&self, news: News);
    /// News of a room that is followed.
    fn heard_in(&self, room: RoomId, from: NodeRun, news: RoomNews);
    /// Nothing was heard of a node for some seconds: it is gone, or cut off.
    fn silent(&self, node: NodeRun);
    /// News were lost; which, is not known.
    fn missed(&self);
}

/// Where a part of the node keeps its bus. Empty in standalone.
#[derive(Default)]
pub struct Tell(OnceLock<Arc<dyn Bus>>);

impl std::fmt::Debug for Tell {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.get().is_some() { "Tell(bus)" } else { "Tell(nobody)" })
    }
}

impl Tell {
    /// There are other nodes. Once, at the start.
    pub fn join(&self, bus: Arc<dyn Bus>) {
        let _ = self.0.set(bus);
    }

    /// The bus, if there are other nodes.
    pub fn bus(&self) -> Option<&Arc<dyn Bus>> {
        self.0.get()
    }

    /// Tells all other nodes.
    pub fn tell(&self, news: News) {
        if let Some(bus) = self.0.get() {
            bus.tell(news);
        }
    }

    /// Tells the other nodes that follow a room.
    pub fn tell_room(&self, room: RoomId, news: RoomNews) {
        if let Some(bus) = self.0.get() {
            bus.tell_room(room, news);
        }
    }
}
