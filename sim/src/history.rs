//! What clients saw: every invocation, answer and delivery, in the order of virtual time.
//!
//! Checkers read this and the log, and nothing of the program's inner state.

use rookery_protocol::id::{RoomId, UserId};

/// One request of a client. A retry of the same request is the same operation.
pub type Operation = u64;
/// One connection of a client.
pub type Connection = u64;
/// One subscription of one connection to one room, from `subscribe` until it or its connection ends.
pub type Subscription = u64;
/// Hash of an event's bytes: equal for equal events.
pub type Digest = u64;

/// Something a client did or saw.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// Sent a request for the first time (retries are not invocations).
    Invoked {
        /// Which.
        operation: Operation,
        /// Who.
        user: UserId,
        /// Over which connection.
        connection: Connection,
        /// Where.
        room: RoomId,
        /// The id of the message, where it is a send.
        client_msg_id: Option<String>,
    },
    /// Sent it once more, over this connection.
    Retried {
        /// Which.
        operation: Operation,
        /// Over which connection.
        connection: Connection,
    },
    /// Got an answer that says it is stored.
    Acknowledged {
        /// Which.
        operation: Operation,
        /// The event's seq, if one was needed.
        seq: Option<u64>,
    },
    /// Got an answer that says it is not stored.
    Refused {
        /// Which.
        operation: Operation,
        /// In which words.
        why: String,
    },
    /// Subscribed.
    Subscribed {
        /// Which subscription.
        subscription: Subscription,
        /// Where.
        room: RoomId,
        /// The last seq it has.
        after: u64,
    },
    /// Was given an event.
    Delivered {
        /// By which subscription.
        subscription: Subscription,
        /// The event's seq.
        seq: u64,
        /// The event.
        digest: Digest,
    },
    /// Was told that it has everything up to `last_seq`.
    CaughtUp {
        /// Which subscription.
        subscription: Subscription,
        /// Up to there.
        last_seq: u64,
    },
    /// Was told that it missed more than is replayed: what follows comes after `last_seq`.
    Resync {
        /// Which subscription.
        subscription: Subscription,
        /// First seq missed.
        from: u64,
        /// Last seq missed.
        last_seq: u64,
    },
}

/// All entries with their virtual milliseconds.
#[derive(Debug, Default)]
pub struct History {
    /// In order of time.
    pub entries: Vec<(u64, Entry)>,
}

impl History {
    /// Adds one.
    pub fn record(&mut self, now: u64, entry: Entry) {
        self.entries.push((now, entry));
    }
}
