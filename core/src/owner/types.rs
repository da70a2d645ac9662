//! What the owner of a room is told and what it wants done.

use std::sync::Arc;

use bytes::Bytes;
use rookery_protocol::id::{RecordId, RoomId, UserId};

use crate::{
    record::{Broken, Record, RecordError},
    room::{Change, Command, Head, Limits, Profile, Refusal, Reply, Role},
};

/// Position of a record in the log below, as the backend counts. 0: the room has no record yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct LogSeq(pub u64);

/// Where a room's last record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// In the log below.
    pub at: LogSeq,
    /// Seq of the record's first event; of one without events, of the next.
    pub first_seq: u64,
}

/// How an append ended; as `backend::Appended`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Appended {
    /// Stored for good, at this position.
    Committed(LogSeq),
    /// The condition did not hold, or not now. This call stored nothing; an earlier one of the same record may have.
    ConditionFailed,
    /// It may or may not have been stored, or may be later.
    Unknown,
}

/// A stored record as the log gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Where it is.
    pub at: LogSeq,
    /// An encoded `SealedRecord`.
    pub bytes: Bytes,
}

/// The backend could not answer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Failed;

/// What an owner is told. Every input comes with `now`: milliseconds of a clock that never goes back.
#[derive(Debug, Clone)]
pub enum Input {
    /// A request. `ticket` comes back in [`Action::Answer`] or [`Action::GiveBack`], exactly once.
    Command {
        /// Chosen by the shell.
        ticket: u64,
        /// What is asked.
        command: Box<Command>,
    },
    /// A look at the members with an id greater than `after`, in order of their ids, at most so many. Answered by
    /// [`Action::Show`], or not at all when the owner stops: then it can be asked again, of the next one.
    Look {
        /// Chosen by the shell; comes back.
        ticket: u64,
        /// After whom.
        after: Option<UserId>,
        /// How many.
        limit: usize,
    },
    /// Answers [`Action::LoadTail`]: the room's last record. `None`: it has none.
    Tail(Result<Option<Stored>, Failed>),
    /// Answers [`Action::LoadSnapshot`]. `None`: there is none.
    Snapshot(Result<Option<Bytes>, Failed>),
    /// Answers [`Action::ReadFrom`]: the next records, oldest first, as many as the shell likes to read at
    /// once. May be empty if the log lags behind its tail: it is asked again then.
    Records(Result<Vec<Stored>, Failed>),
    /// Answers [`Action::LoadHead`]; `None`: the event is no message.
    Head {
        /// As asked.
        seq: u64,
        /// What is known of the message.
        head: Result<Option<Head>, Failed>,
    },
    /// Answers [`Action::Append`].
    AppendDone {
        /// As in the append.
        attempt: u64,
        /// How it ended.
        outcome: Appended,
    },
    /// The time given by [`Owner::wake_at`](super::Owner::wake_at) has come.
    Tick,
    /// Stop gracefully: take nothing more, finish what waits, save a snapshot.
    StepDown,
    /// The room is another owner's now, which waits for it: finish what is in flight, give back what waits, leave it all there
    /// is to know ([`Action::HandOver`]).
    HandOver,
    /// The owner before this one says that the room's last record is here: what this one has read, or proposed after an earlier record, is
    /// of no use. It stops as [`Stopped::Overtaken`], as soon as it is certain that nothing of it is stored, if it has not fenced.
    Behind {
        /// Where, in the log below.
        at: LogSeq,
    },
}

/// What an owner leaves to the next one, so that it need not read the log. Taken on trust and for no more than a guess: the first append of the next
/// owner has the record at [`Self::place`] as its condition, and fails if that is not the last one any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Legacy {
    /// The room as of the last record: an encoded `rookery.rows.v1.SealedSnapshot`, at most [`Settings::max_legacy_bytes`].
    pub snapshot: Bytes,
    /// Where that record is.
    pub place: Place,
    /// Seq of the last event in the snapshot that is stored.
    pub saved_seq: u64,
}

/// What an owner wants done. Each `Load…`/`Read…`/`Append` is answered by one input.
#[derive(Debug, Clone, PartialEq)]
pub enum Action {
    /// Read the room's last record. The answer may be out of date, as a leader gives it that stood still and does not know yet that
    /// it leads no more: who acts on it does so under a condition.
    LoadTail {
        /// Only that there is none must be certain: nothing was stored before this was asked. Somebody is told so.
        sure: bool,
    },
    /// Read the room's snapshot.
    LoadSnapshot,
    /// Read records with events of `from ≤ seq ≤ to`, oldest first. Records without events may be left out.
    ReadFrom {
        /// First seq wanted.
        from: u64,
        /// Last seq wanted.
        to: u64,
    },
    /// Append a record.
    Append(Append),
    /// Read what is known of the message `seq`: its record in the log, and its amendment. Any number may be asked at once.
    LoadHead {
        /// Which.
        seq: u64,
        /// What is read must have at least the record there, and what was stored with it and before.
        seen: Place,
    },
    /// A record is stored for certain. Comes before the answers to its commands; once for each record that has events.
    Committed {
        /// Where it is.
        at: LogSeq,
        /// The record, as in the append.
        record: Arc<Record>,
    },
    /// Tell the caller.
    Answer {
        /// Whose.
        ticket: u64,
        /// What.
        outcome: Result<Reply, Refusal>,
    },
    /// Answers [`Input::Look`]: members as of what is committed, and of nothing else.
    Show {
        /// Whose look.
        ticket: u64,
        /// Whom it shows; `Unavailable` when something was under way for too long.
        members: Result<Vec<(Profile, Role)>, Refusal>,
    },
    /// This owner is done for. Nothing of this command is stored, nor will be by this owner: it can be asked again, of
    /// the next one. In place of an answer; those given back come in the order in which they were asked.
    GiveBack {
        /// Whose.
        ticket: u64,
        /// What was asked.
        command: Box<Command>,
    },
    /// Replace the room's snapshot. Not answered; losing one costs time only.
    SaveSnapshot {
        /// An encoded `rookery.rows.v1.SealedSnapshot`, at most [`Settings::max_snapshot_bytes`].
        bytes: Bytes,
        /// For how many days the room wants its events kept, as the snapshot says; `None`: as long as the service keeps them.
        retention_days: Option<u32>,
    },
    /// Leave this to the owner that the room is handed over to. Comes at most once, before [`Action::Stopped`]. Not answered; losing it costs
    /// time only.
    HandOver(Legacy),
    /// This owner is done for and answers nothing more; all its tickets are answered or given back. Drop it.
    Stopped {
        /// Why.
        why: Stopped,
    },
}

/// A conditional append.
#[derive(Debug, Clone, PartialEq)]
pub struct Append {
    /// Comes back in [`Input::AppendDone`].
    pub attempt: u64,
    /// The condition: the room's last record is here.
    pub expected: LogSeq,
    /// Seq of the first event.
    pub first_seq: u64,
    /// Seq of the last event; `first_seq - 1`: none.
    pub last_seq: u64,
    /// Its id.
    pub id: RecordId,
    /// The encoded `SealedRecord`. The same bytes at every attempt.
    pub sealed: Bytes,
    /// What is in there, so that nobody has to decode it.
    pub record: Arc<Record>,
    /// Rows that follow from it, to be stored in the same atomic step. The same at every attempt.
    pub changes: Arc<[Change]>,
}

/// Why an owner stopped.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Stopped {
    /// It was asked to.
    #[error("stepped down")]
    SteppedDown,
    /// Another owner took the room over. A new owner may be started; the room is in order.
    #[error("another owner took the room over with epoch {epoch}")]
    Fenced {
        /// Epoch of the other owner.
        epoch: u64,
    },
    /// The owner before it wrote something while this one took the room over: nothing of this one is stored. Another one may be
    /// started at once, best as [`Owner::fencing_first`](super::Owner::fencing_first).
    #[error("the owner before went on while the room was taken over")]
    Overtaken,
    /// A record of the log cannot be read.
    #[error("the room's log cannot be read at event {seq}: {error}")]
    Unreadable {
        /// The event that was to come.
        seq: u64,
        /// What is wrong.
        error: RecordError,
    },
    /// A record of the log does not continue it.
    #[error("the room's log is not in order: {0}")]
    Broken(Broken),
    /// The log says something that no owner can have written: not to be repaired by guessing.
    #[error("the room's log contradicts itself: {0}")]
    Contradiction(&'static str),
}

/// How an owner works. Times in milliseconds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Named in records, for people; at most 64 bytes are used.
    pub owner: String,
    /// What rooms accept.
    pub limits: Arc<Limits>,
    /// Events in a record, at most.
    pub batch_events: usize,
    /// Bytes of a record, about, at most.
    pub batch_bytes: usize,
    /// Commands that wait or are in flight, at most; more are answered `Unavailable` at once.
    pub max_waiting: usize,
    /// A command is answered `Unavailable` after this time if nothing definite is known.
    pub deadline_ms: u64,
    /// First pause before an unknown outcome or a failed load is tried again; doubles up to `max_backoff_ms`.
    pub backoff_ms: u64,
    /// Longest pause.
    pub max_backoff_ms: u64,
    /// Events between two snapshots, at least. More for large states: see [`Owner`](super::Owner).
    pub snapshot_every: u64,
    /// A greater snapshot is not saved.
    pub max_snapshot_bytes: usize,
    /// A greater state is not left to the next owner as a [`Legacy`], but stored as a snapshot.
    pub max_legacy_bytes: usize,
    /// How long an owner that has taken a room over waits for a command whose record fences, before it fences with a record of no events.
    pub fence_after_ms: u64,
    /// By how much a new owner's epoch exceeds the last one's: 1. The simulator sets 0 to prove that its checks
    /// notice; nothing else may.
    pub epoch_step: u64,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            owner: String::new(),
            limits: Arc::default(),
            batch_events: 256,
            batch_bytes: 256 << 10,
            max_waiting: 4096,
            deadline_ms: 5_000,
            backoff_ms: 20,
            max_backoff_ms: 1_000,
            snapshot_every: 2_000,
            max_snapshot_bytes: 64 << 20,
            max_legacy_bytes: 1 << 20,
            fence_after_ms: 100,
            epoch_step: 1,
        }
    }
}

/// Which room, and what makes its record ids unique.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// The room.
    pub room: RoomId,
    /// Random; another one for each owner ever started, so that no two of them choose the same record id.
    pub seed: u128,
}
