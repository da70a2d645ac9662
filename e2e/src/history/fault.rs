//! Broken promises, each with what proves it.

use super::{Body, StoredAccount};

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "the fields of each are the same few: where, which, what")]
pub enum Fault {
    /// Promise 1: the log of a room is not 1, 2, 3, ...
    HoleInRoom { room: String, expected: u64, found: u64 },
    /// Promise 2: an acknowledged request has no event (at the seq that was answered).
    LostAck { op: u64, room: String, seq: Option<u64>, wanted: Body },
    /// A request that nothing speaks against was refused, and not because the service was away.
    WronglyRefused { op: u64, room: String, code: String, wanted: Body },
    /// Promise 3: a message is stored twice.
    StoredTwice { room: String, client_msg_id: String, seqs: (u64, u64) },
    /// Promise 3: one request was answered with different seqs.
    AnswersDiffer { op: u64, seqs: (u64, u64) },
    /// A request that was made once has several events.
    DoneTwice { op: u64, room: String, seqs: (u64, u64) },
    /// Promise 4: a connection skipped an event.
    Gap { connection: u64, room: String, expected: u64, got: u64 },
    /// Promise 4: a connection got an event again.
    Duplicate { connection: u64, room: String, seq: u64 },
    /// Promise 4: a connection got an event out of order.
    Reordered { connection: u64, room: String, seq: u64, after: u64 },
    /// Promise 4: `caught_up` said a seq that the connection had not reached.
    CaughtUpEarly { connection: u64, room: String, last_seq: u64, had: u64 },
    /// Promise 4: a connection that stayed never got a room's last events.
    Behind { connection: u64, room: String, last_seq: u64, had: u64 },
    /// Promise 4: a connection was told to page the history although it had missed little.
    LostPlace { connection: u64, room: String },
    /// Events for a room that the connection did not follow.
    Unasked { connection: u64, room: String, seq: u64 },
    /// Promise 5: somebody saw an event that is not in the history.
    Phantom { connection: u64, room: String, seq: u64, saw: Body, is: Option<Body> },
    /// Promise 6: a sender's messages changed places.
    SenderOrder { connection: u64, room: String, first: (u64, u64), second: (u64, u64) },
    /// Promise 1: a request that began after an event was known is in the order before it.
    BackInTime { op: u64, room: String, seq: u64, known: u64 },
    /// The log of a room is not one: an epoch is less than that of a record before it, a seq is missing or there twice, or a record
    /// does not name the one before it.
    BrokenLog { room: String, why: String },
    /// Two owners wrote under one epoch.
    SharedEpoch { room: String, epoch: u64, owners: (String, String) },
    /// Nodes tell other events than the log holds; `told` or `stored` is absent where only one of them has it.
    LogDiffers { room: String, seq: u64, stored: Option<Body>, told: Option<Body> },
    /// An event that nobody asked for.
    Invented { room: String, seq: u64, body: Body },
    /// An account and its address and name do not belong to each other, one to one.
    HalfAccount { id: String, why: String },
    /// An account that was acknowledged is not there, or is another one, and nobody asked for its deletion.
    LostAccount { id: String, username: String, is: Option<StoredAccount> },
    /// An account is there whose deletion was acknowledged.
    UndeadAccount { id: String },
}
