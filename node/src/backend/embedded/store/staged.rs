//! A batch before it is written: what its writes see of each other.
//!
//! Conditions are evaluated in the order of the queue, against what is committed and what the batch will commit.

use std::collections::HashMap;

use bytes::Bytes;
use rookery_protocol::id::RoomId;

use super::{
    engine::{Engine, Tail, Versioned, row_key},
    tails::Tails,
};
use crate::backend::{Append, Appended, Committed, Expect, LogSeq, Row, Written};

/// A record to be written.
pub(super) struct StagedRecord {
    pub(super) committed: Committed,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
}

/// What one batch will write.
pub(super) struct Staged<'a> {
    engine: &'a Engine,
    tails: &'a Tails,
    /// The last position or revision given out.
    pub(super) counter: u64,
    pub(super) records: Vec<StagedRecord>,
    /// By full key; a row written twice is stored as it was last.
    pub(super) rows: HashMap<Bytes, Option<Versioned>>,
    newest: HashMap<RoomId, Tail>,
    /// Keys of records to remove.
    pub(super) gone: Vec<Bytes>,
}

impl<'a> Staged<'a> {
    pub(super) fn new(engine: &'a Engine, tails: &'a Tails, counter: u64) -> Self {
        Self {
            engine,
            tails,
            counter,
            records: Vec::new(),
            rows: HashMap::new(),
            newest: HashMap::new(),
            gone: Vec::new(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.rows.is_empty() && self.gone.is_empty()
    }

    fn next(&mut self) -> u64 {
        self.counter += 1;
        self.counter
    }

    fn tail(&self, room: RoomId) -> fjall::Result<Option<Tail>> {
        if let Some(tail) = self.newest.get(&room) {
            return Ok(Some(tail.clone()));
        }
        match self.tails.get(room) {
            Some(tail) => Ok(Some(tail)),
            None => self.engine.tail(room),
        }
    }

    /// What will become of the append if the batch is stored.
    pub(super) fn append(&mut self, append: Append) -> Appended {
        let Append { room, expected, first_seq, last_seq, record, rows } = append;
        let (at, newest_seq) = match self.tail(room) {
            Ok(tail) => tail.map_or((LogSeq(0), 0), |tail| (tail.at, tail.last_seq)),
            Err(error) => {
                tracing::error!(%room, %error, "cannot read the room's last record");
                return Appended::ConditionFailed;
            }
        };
        if at != expected {
            return Appended::ConditionFailed;
        }
        if first_seq <= newest_seq || last_seq < first_seq - 1 {
            // Reads find events by these numbers: a record that lies about them would hide others.
            tracing::error!(%room, first_seq, last_seq, newest_seq, "refused a record out of order");
            return Appended::ConditionFailed;
        }
        let at = LogSeq(self.next());
        self.newest.insert(room, Tail { at, last_seq, record: record.clone() });
        self.records.push(StagedRecord { committed: Committed { room, at, record }, first_seq, last_seq });
        for row in rows {
            self.put(row);
        }
        Appended::Committed(at)
    }

    /// What will become of the write if the batch is stored.
    pub(super) fn write(&mut self, writes: Vec<(Row, Expect)>) -> fjall::Result<Written> {
        for (index, (row, expect)) in writes.iter().enumerate() {
            let holds = match expect {
                Expect::Any => true,
                Expect::Absent => self.revision(row)?.is_none(),
                Expect::Revision(wanted) => self.revision(row)? == Some(*wanted),
            };
            if !holds {
                return Ok(Written::Conflict(index));
            }
        }
        for (row, _) in writes {
            self.put(row);
        }
        Ok(Written::Done)
    }

    fn revision(&self, row: &Row) -> fjall::Result<Option<u64>> {
        let key = row_key(row.table, &row.key);
        match self.rows.get(&key) {
            Some(row) => Ok(row.as_ref().map(|(revision, _)| *revision)),
            None => Ok(self.engine.row(&key)?.map(|(revision, _)| revision)),
        }
    }

    fn put(&mut self, row: Row) {
        let revision = self.next();
        self.rows.insert(row_key(row.table, &row.key), row.value.map(|value| (revision, value)));
    }

    /// The rooms' newest records, once the batch is stored.
    pub(super) fn into_tails(self) -> impl Iterator<Item = (RoomId, Tail)> {
        self.newest.into_iter()
    }
}
