//! Reading records of a room's log.

use rookery_core::record::{Body, Event, Opened, Record, RoomChanged};
use rookery_protocol::id::RoomId;

use crate::{
    backend::{Committed, Read, RoomLog, Unavailable},
    problem::Problem,
};

/// Records asked for at once.
const RECORDS: usize = 64;
/// Bytes asked for at once.
const BYTES: usize = 256 * 1024;

/// Where a log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct End {
    /// Seq of the newest event; 0: the room was never made.
    pub(super) last_seq: u64,
    /// Messages up to there.
    pub(super) messages: u64,
    /// The room was removed.
    pub(super) removed: bool,
    /// Of the last record.
    pub(super) epoch: u64,
}

impl End {
    /// The end of a log whose last record this is.
    pub(super) fn of(record: &Record) -> Self {
        Self {
            last_seq: record.last_seq(),
            messages: record.messages_up_to(u64::MAX),
            removed: record.events.last().is_some_and(is_removal),
            epoch: record.epoch,
        }
    }
}

fn is_removal(event: &Event) -> bool {
    matches!(&event.body, Body::Room(changed) if matches!(**changed, RoomChanged::Removed))
}

/// The store cannot answer now.
pub(super) fn unavailable(why: &Unavailable) -> Problem {
    tracing::warn!(%why, "the store did not answer");
    Problem::unavailable("The store does not answer now; try again.")
}

fn open(room: RoomId, bytes: &[u8]) -> Result<Record, Problem> {
    Record::open(bytes, room).map(|Opened { record, .. }| record).map_err(|error| {
        tracing::error!(%room, %error, "a record of the log cannot be read");
        Problem::internal()
    })
}

/// Where a log ends whose last record is `tail`.
pub(super) async fn end(log: &dyn RoomLog, tail: &Committed) -> Result<End, Problem> {
    let room = tail.room;
    let record = open(room, &tail.record)?;
    if !record.events.is_empty() || record.first_seq == 1 {
        return Ok(End::of(&record));
    }
    // An epoch record does not say whether the last event before it removed the room.
    let last = record.first_seq - 1;
    let removed =
        records(log, room, last, last, true).await?.first().is_some_and(|record| End::of(record).removed);
    Ok(End { last_seq: last, messages: record.messages_before, removed, epoch: record.epoch })
}

/// Some records with events of `from ≤ seq ≤ to`, in the order asked for; none when there are no more.
pub(super) async fn records(
    log: &dyn RoomLog,
    room: RoomId,
    from: u64,
    to: u64,
    backwards: bool,
) -> Result<Vec<Record>, Problem> {
    if from > to {
        return Ok(Vec::new());
    }
    let read = Read { from, to, backwards, max_records: RECORDS, max_bytes: BYTES };
    let found = log.read(room, read).await.map_err(|why| unavailable(&why))?;
    let mut records = Vec::with_capacity(found.len());
    for committed in found {
        let record = open(room, &committed.record)?;
        if !record.events.is_empty() {
            records.push(record);
        }
    }
    Ok(records)
}

/// The first record that is still there of those with events from `seq` on.
pub(super) async fn first_from(log: &dyn RoomLog, room: RoomId, seq: u64) -> Result<Option<Record>, Problem> {
    let read = Read { from: seq, to: u64::MAX, backwards: false, max_records: 1, max_bytes: 1 };
    let found = log.read(room, read).await.map_err(|why| unavailable(&why))?;
    found.first().map(|committed| open(room, &committed.record)).transpose()
}

/// The record that holds the event `seq`.
pub(super) async fn record_with(
    log: &dyn RoomLog,
    room: RoomId,
    seq: u64,
) -> Result<Option<Record>, Problem> {
    let found = records(log, room, seq, seq, false).await?;
    Ok(found.into_iter().find(|record| (record.first_seq..=record.last_seq()).contains(&seq)))
}
