//! What clients did and saw, and whether a service that keeps its promises could have answered so.
//!
//! Here belong the records that clients keep while they talk to a node that is being killed, and the rules that
//! they are checked by; no sockets and no clock. Times are durations since the test began, by one monotonic clock.

mod accounts;
mod check;
mod event;
mod evidence;
mod fault;
mod fold;
mod log;
#[cfg(test)]
mod tests;

use std::{collections::BTreeMap, time::Duration};

pub use accounts::{Accounts, Deed, StoredAccount, check_accounts};
pub use check::{check, excused};
pub use event::Body;
pub use evidence::evidence;
pub use fault::Fault;
pub use fold::fold;
pub use log::check_log;

/// All durable events of each room as they are in the end: `room → [(seq, event)]`, in the order they were read.
pub type Truth = BTreeMap<String, Vec<(u64, Body)>>;

/// One thing that one client did or saw. Connections are numbered over all clients.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// A request was about to be written.
    Asked {
        /// Its number over all clients and requests; a repeat of a send keeps the number of the first try.
        op: u64,
        /// Over which connection; each HTTP client counts as one, as it waits for its answers.
        connection: u64,
        /// In which room.
        room: String,
        /// The event that it asks for.
        wanted: Body,
    },
    /// It was answered: done.
    Acked {
        /// Which.
        op: u64,
        /// With this seq, if the answer says one.
        seq: Option<u64>,
    },
    /// It was answered: refused.
    Refused {
        /// Which.
        op: u64,
        /// Why.
        code: String,
    },
    /// Its connection ended before it was answered.
    Unheard {
        /// Which.
        op: u64,
        /// Another request on the connection had been refused because the service was away: its own refusal may have been
        /// on the way.
        away: bool,
    },
    /// A connection follows a room: what comes has seqs from `after + 1`.
    Attached {
        /// Which.
        connection: u64,
        /// Which.
        room: String,
        /// The last seq that the client has.
        after: u64,
    },
    /// A durable event came.
    Delivered {
        /// Over which connection.
        connection: u64,
        /// In which room.
        room: String,
        /// Its number.
        seq: u64,
        /// What it says.
        body: Body,
    },
    /// `caught_up` came.
    CaughtUp {
        /// Over which connection.
        connection: u64,
        /// For which room.
        room: String,
        /// With this number.
        last_seq: u64,
    },
    /// A connection was there in the end, and reading, until it had all or for long after the last request was answered.
    Stayed {
        /// Which.
        connection: u64,
        /// In which room.
        room: String,
        /// The room's newest event by then; there may be later ones.
        last_seq: u64,
    },
    /// `resync` came: the client was told that it lost its place.
    Resync {
        /// Over which connection.
        connection: u64,
        /// For which room.
        room: String,
    },
}

/// A [`What`] with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When: before the request was written, or after the frame was read.
    pub at: Duration,
    /// What.
    pub what: What,
}

/// What all clients did and saw. Entries of one connection are in order; others may be interleaved anyhow.
#[derive(Debug, Clone, Default)]
pub struct History {
    /// All of it.
    pub entries: Vec<Entry>,
}

impl History {
    /// Adds an entry.
    pub fn add(&mut self, at: Duration, what: What) {
        self.entries.push(Entry { at, what });
    }
}
