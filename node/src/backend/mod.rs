//! What the node needs from the systems below it, as traits.
//!
//! Each trait is implemented twice: by `embedded/` for `standalone` (one process, a store on disk) and by
//! the cluster's backends (NATS JetStream, etcd, Redis). Here belong the traits and the types they speak;
//! no policy: what to do with an answer is the core's business.

pub mod bus;
pub mod embedded;
#[cfg(test)]
mod ephemeral_tests;
pub mod jetstream;
pub(crate) mod quota;
pub mod redis;
mod reminders;
#[cfg(test)]
mod reminders_tests;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use rookery_protocol::id::RoomId;
pub use rookery_protocol::outbox::{Mail, MailJob, UnreadRoom};

pub use reminders::{Due, Reminders};

/// Position of a record in the log below the rooms, as the backend counts (JetStream: the stream sequence).
/// Grows within a room, with gaps. 0 stands for "no record yet".
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogSeq(pub u64);

/// A record that is stored for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Committed {
    /// Whose log.
    pub room: RoomId,
    /// Where in the log.
    pub at: LogSeq,
    /// An encoded `rookery.log.v1.SealedRecord`.
    pub record: Bytes,
}

/// How an append ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Stored on stable storage (of a quorum), at this position.
    Committed(LogSeq),
    /// The condition did not hold, or could not be evaluated now: nothing was stored by this call.
    /// An earlier try of the same record may still have been.
    ConditionFailed,
    /// It may or may not have been stored, or may be later.
    Unknown,
}

/// A table of rows that are stored in the same atomic step as a record, or by themselves.
///
/// Rows make reading cheap (who is in which room, what became of a message). They follow from the records:
/// an owner writes them, with the record that causes them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Table {
    /// Users by id.
    Users = 1,
    /// User id by canonical e-mail.
    UsersByEmail = 2,
    /// User id by the skeleton of the username.
    UsersByName = 3,
    /// `user id ‖ room id` → role: a user's rooms.
    Memberships = 4,
    /// `room id` → name, topic: what `discover` lists.
    PublicRooms = 5,
    /// `room id ‖ message seq (u64, big endian)` → what edits, deletion and reactions made of a message.
    Amendments = 6,
    /// `user id ‖ room id` → read mark.
    ReadMarks = 7,
    /// `room id` → snapshot of the room's state.
    Snapshots = 8,
    /// Keys that sign access tokens, and other secrets of the service.
    Secrets = 9,
    /// What the TTL store keeps over a restart.
    Ephemeral = 10,
    /// The mails of the local mailbox.
    Mailbox = 11,
    /// Facts about the store itself, such as its version.
    Meta = 12,
    /// `user id` → when to look whether he has something unread to be told of.
    Reminders = 13,
    /// Mails to send, where this process sends them.
    Outbox = 14,
    /// `user id` → who has deleted his account, and may still be in rooms.
    Departures = 15,
    /// Hash of an identity at an external issuer → user id.
    Identities = 16,
}

/// One write of a row. `value: None` deletes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// Which table.
    pub table: Table,
    /// At most 512 bytes.
    pub key: Bytes,
    /// At most 1 MiB (snapshots: 64 MiB).
    pub value: Option<Bytes>,
}

/// The backend could not do it now; the outcome of a write is unknown.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct Unavailable(pub Arc<str>);

/// Gets the committed records of the rooms that this node follows, live: those of other nodes' owners. (This node's own have theirs
/// delivered by the rooms' `on_committed`; to hear of those twice does no harm.)
///
/// May miss, repeat and reorder (core NATS may): the receiver repairs gaps from the log.
/// Called from the backend's own thread: must return quickly and must not block.
pub trait CommitSink: Send + Sync {
    /// A record is stored.
    fn committed(&self, record: &Committed);

    /// Records of a room may have been lost on their way, the newest too: the receiver looks up where the log ends.
    fn missed(&self, room: RoomId);
}

/// The rooms' logs.
#[async_trait]
pub trait RoomLog: Send + Sync {
    /// Appends `record` if the room's last record is at `expected` (0: it has none), together with `rows`
    /// in one atomic step. Returns only once that is known or given up.
    ///
    /// `first_seq` and `last_seq` are the events that the record holds (`last_seq < first_seq`: none), for the index.
    async fn append(&self, append: Append) -> Appended;

    /// The room's last record: what a new owner reads first. `None`: the room has none.
    ///
    /// As fresh as the log's leader has it. One that stood still and does not know yet that it leads no more answers with what
    /// is old: who acts on it does so under a condition, and nobody is told that something is not there on the strength of it.
    async fn tail(&self, room: RoomId) -> Result<Option<Committed>, Unavailable>;

    /// [`Self::tail`], and what was stored before the call is seen for certain. Costs a write where [`Self::tail`] is not
    /// certain by itself: asked before somebody is told that there is no such room, or no such event.
    async fn certain_tail(&self, room: RoomId) -> Result<Option<Committed>, Unavailable> {
        self.tail(room).await
    }

    /// Records that hold events of `range`, oldest first (newest first if `backwards`), until all are read or
    /// `max_bytes` or `max_records` is passed (one record comes at least). May lag behind the tail in a cluster.
    /// What was forgotten is passed over: only at its beginning can a log have such a gap.
    async fn read(&self, room: RoomId, read: Read) -> Result<Vec<Committed>, Unavailable>;

    /// Removes records all of whose events are before seq `before`, and what became of their messages: the oldest first, in
    /// whatever portions it stores them, so that some may stay. Never the room's newest record.
    ///
    /// Only for what a stored snapshot has: nobody could take the room over otherwise.
    async fn forget(&self, room: RoomId, before: u64) -> Result<(), Unavailable>;

    /// Starts or stops following a room's committed records with the sink given at construction.
    fn follow(&self, room: RoomId, on: bool);
}

/// Arguments of [`RoomLog::append`].
#[derive(Debug, Clone)]
pub struct Append {
    /// Whose log.
    pub room: RoomId,
    /// The condition.
    pub expected: LogSeq,
    /// Seq of the record's first event.
    pub first_seq: u64,
    /// Seq of its last event; `first_seq - 1` for an epoch record.
    pub last_seq: u64,
    /// An encoded `SealedRecord`.
    pub record: Bytes,
    /// Stored in the same step.
    pub rows: Vec<Row>,
}

/// Arguments of [`RoomLog::read`].
#[derive(Debug, Clone, Copy)]
pub struct Read {
    /// First seq wanted.
    pub from: u64,
    /// Last seq wanted; backwards, where the reading begins: not far beyond the end.
    pub to: u64,
    /// Newest first.
    pub backwards: bool,
    /// Stop after this many records.
    pub max_records: usize,
    /// Stop after this many bytes.
    pub max_bytes: usize,
}

/// What a row must be for a write to happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expect {
    /// Anything.
    Any,
    /// No such row.
    Absent,
    /// This revision.
    Revision(u64),
}

/// A row as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The table's key.
    pub key: Bytes,
    /// Its value.
    pub value: Bytes,
    /// Grows with every write of the row.
    pub revision: u64,
}

/// A record that whoever reads knows to be stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Of which room.
    pub room: RoomId,
    /// Where it is.
    pub at: LogSeq,
    /// Seq of its first event; of one without events, of the next.
    pub first_seq: u64,
}

/// How a conditional write of rows ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Written {
    /// All of it is on stable storage.
    Done,
    /// The condition of the write at this index did not hold; nothing was written.
    Conflict(usize),
}

/// Rows: users, indexes, read marks.
#[async_trait]
pub trait Rows: Send + Sync {
    /// One row.
    async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, Unavailable>;
    /// [`Self::get`], and what was written before the call is seen for certain: see [`RoomLog::certain_tail`].
    async fn certain(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, Unavailable> {
        self.get(table, key).await
    }

    /// [`Self::get`] of a row of a room, and what was stored with the record at `seen`, or before, is seen for certain.
    async fn get_as_of(&self, table: Table, key: &[u8], seen: Seen) -> Result<Option<Entry>, Unavailable> {
        let _ = seen;
        self.get(table, key).await
    }

    /// Writes one row, which may be a large one, if its condition holds; its new revision, or `None` if it does not.
    async fn replace(&self, row: Row, expect: Expect) -> Result<Option<u64>, Unavailable> {
        let (table, key) = (row.table, row.key.clone());
        match self.write(vec![(row, expect)]).await? {
            Written::Done => Ok(Some(self.get(table, &key).await?.map_or(0, |entry| entry.revision))),
            Written::Conflict(_) => Ok(None),
        }
    }

    /// Rows whose key starts with `prefix` and is greater than `after`, in order of keys, at most `limit`.
    async fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, Unavailable>;
    /// Writes all rows or none, each under its condition, durably before it returns.
    async fn write(&self, writes: Vec<(Row, Expect)>) -> Result<Written, Unavailable>;
}

/// So much of something per time: `burst` at once, refilled evenly over `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Quota {
    /// How many at once.
    pub burst: u32,
    /// Time in which a used-up burst is whole again.
    pub per: Duration,
}

/// What a rate limit says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rate {
    /// Go on.
    Allowed,
    /// Not before this time has passed.
    RetryAfter(Duration),
}

/// Short-lived values with a time to live: codes, challenges, sessions, tickets, rate limits, presence.
///
/// In a cluster this is Redis, and each call one atomic script of one key. What it holds may be lost as a whole.
/// Keys have at most 512 bytes, values 64 KiB. Values, counters, quotas and lists do not share their names.
#[async_trait]
pub trait Ephemeral: Send + Sync {
    /// Sets a value.
    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), Unavailable>;
    /// Reads a value.
    async fn get(&self, key: &str) -> Result<Option<Bytes>, Unavailable>;
    /// Reads and removes a value: only one of several callers gets it.
    async fn take(&self, key: &str) -> Result<Option<Bytes>, Unavailable>;
    /// Sets `new` if the value is now `old` (`None`: absent); says whether it was.
    async fn swap(
        &self,
        key: &str,
        old: Option<Bytes>,
        new: Bytes,
        ttl: Duration,
    ) -> Result<bool, Unavailable>;
    /// Removes a value.
    async fn delete(&self, key: &str) -> Result<(), Unavailable>;
    /// Adds one to a counter that lives for `ttl` from its first use, and returns it.
    async fn count(&self, key: &str, ttl: Duration) -> Result<u64, Unavailable>;
    /// Takes one from a quota.
    async fn rate(&self, key: &str, quota: Quota) -> Result<Rate, Unavailable>;
    /// Puts an item on a list for `ttl` from now; if it is there already, it stays for so long. A list is short: a
    /// user's logins, say, not all users'.
    async fn enlist(&self, list: &str, item: &str, ttl: Duration) -> Result<(), Unavailable>;
    /// Takes an item off a list.
    async fn unlist(&self, list: &str, item: &str) -> Result<(), Unavailable>;
    /// Items of a list, in order, at most `limit`.
    async fn listed(&self, list: &str, limit: usize) -> Result<Vec<String>, Unavailable>;
}

/// A mail as it would have been sent. Has no `Debug`: it holds codes.
#[derive(Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct StoredMail {
    /// Address.
    pub to: String,
    /// Subject, without a code.
    pub subject: String,
    /// Plain text.
    pub text: String,
    /// The same as HTML.
    pub html: String,
    /// When it was enqueued, Unix milliseconds.
    pub ts: i64,
}

/// Mails that can be read instead of being sent: what `/dev/mailbox` shows.
#[async_trait]
pub trait Mails: Send + Sync {
    /// The newest mails, newest first; to one address (compared without case) or to all.
    async fn list(&self, to: Option<&str>) -> Result<Vec<StoredMail>, Unavailable>;
}

/// Where mails go: the outbox stream in a cluster, the local mailbox in `standalone`.
#[async_trait]
pub trait Outbox: Send + Sync {
    /// Returns once the job is stored.
    async fn enqueue(&self, job: MailJob) -> Result<(), Unavailable>;
}
