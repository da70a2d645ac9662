//! Keys, values and reads of the engine (fjall).
//!
//! Records: `room ‖ first seq ‖ position ‖ last seq` → the record as it was given. The key says all that is needed to
//! find an event, so that looking for one reads no values.
//! Rows: `table ‖ key` → `revision ‖ value`. All integers are big endian, so that bytes sort as they do.

use std::path::Path;

use bytes::Bytes;
use fjall::{Database, KvSeparationOptions, OwnedWriteBatch, PersistMode, Slice};
use rookery_protocol::id::RoomId;

use super::{super::StoreSettings, background, tables::MemoryTable};
use crate::backend::{Committed, Entry, LogSeq, Read, Table};

/// Version of the keys and values above. A store of another version is refused.
pub(super) const FORMAT: u64 = 1;
/// Values from this size on are stored once, apart from the sorted tables, and never rewritten with them.
const RECORD_APART: u32 = 128;
const ROW_APART: u32 = 4_096;
/// Smaller values are copied out of the block they were read with, which would stay in memory with them.
const COPY_BELOW: usize = 2_048;

const ROOM: usize = 16;
const RECORD_KEY: usize = ROOM + 24;
const REVISION: usize = 8;

/// The newest record of a room.
#[derive(Debug, Clone)]
pub(super) struct Tail {
    /// Where it is.
    pub(super) at: LogSeq,
    /// The last seq of the room's events up to it.
    pub(super) last_seq: u64,
    /// The record.
    pub(super) record: Bytes,
}

/// A value with its revision.
pub(super) type Versioned = (u64, Bytes);

/// The engine, opened.
pub(super) struct Engine {
    db: Database,
    records: MemoryTable,
    rows: MemoryTable,
}

/// The key of a row.
pub(super) fn row_key(table: Table, key: &[u8]) -> Bytes {
    let mut full = Vec::with_capacity(1 + key.len());
    full.push(table as u8);
    full.extend_from_slice(key);
    full.into()
}

fn record_key(room: RoomId, first: u64, at: u64, last: u64) -> [u8; RECORD_KEY] {
    let mut key = [0; RECORD_KEY];
    key[..ROOM].copy_from_slice(&room.to_bytes());
    for (place, value) in [first, at, last].into_iter().enumerate() {
        let start = ROOM + 8 * place;
        key[start..start + 8].copy_from_slice(&value.to_be_bytes());
    }
    key
}

/// Where a record is and what it holds.
#[derive(Debug, Clone, Copy)]
struct Span {
    first: u64,
    at: u64,
    last: u64,
}

impl Span {
    fn of(key: &[u8]) -> fjall::Result<Self> {
        let number = |place: usize| {
            let start = ROOM + 8 * place;
            Some(u64::from_be_bytes(key.get(start..start + 8)?.try_into().ok()?))
        };
        match (number(0), number(1), number(2)) {
            (Some(first), Some(at), Some(last)) => Ok(Self { first, at, last }),
            _ => Err(malformed("a record's key")),
        }
    }

    /// Epoch records hold no events.
    fn is_empty(self) -> bool {
        self.last < self.first
    }
}

fn malformed(what: &str) -> fjall::Error {
    fjall::Error::Io(std::io::Error::new(std::io::ErrorKind::InvalidData, format!("{what} is malformed")))
}

fn versioned(value: Slice) -> fjall::Result<Versioned> {
    let revision = value.get(..REVISION).and_then(|bytes| bytes.try_into().ok()).map(u64::from_be_bytes);
    let revision = revision.ok_or_else(|| malformed("a row"))?;
    let value = if value.len() < COPY_BELOW {
        Bytes::copy_from_slice(&value[REVISION..])
    } else {
        Bytes::from(value).slice(REVISION..)
    };
    Ok((revision, value))
}

impl Engine {
    pub(super) fn open(dir: &Path, settings: &StoreSettings) -> fjall::Result<Self> {
        let mib = |n: u64| n << 20;
        let builder = Database::builder(dir)
            .manual_journal_persist(true)
            .cache_size(mib(settings.block_cache_mib))
            .max_journaling_size(mib(settings.journal_mib))
            // A second one would spin while the first merges tables: it is kept for flushes and puts each merge that
            // it is asked for back into the queue (`fjall::worker_pool`).
            .worker_threads(1);
        let db = background::run(|| builder.open())?;
        let table = |name: &str, apart: u32| {
            let options = MemoryTable::options(mib(settings.write_buffer_mib))
                .with_kv_separation(Some(KvSeparationOptions::default().separation_threshold(apart)));
            Ok::<_, fjall::Error>(MemoryTable::new(
                db.keyspace(name, || options)?,
                mib(settings.write_buffer_mib),
                // What is in memory after a start may be all of it in this one.
                db.write_buffer_size(),
            ))
        };
        let (records, rows) = (table("records", RECORD_APART)?, table("rows", ROW_APART)?);
        Ok(Self { db, records, rows })
    }

    /// After each commit: hands memory tables that are full to the engine's thread.
    pub(super) fn seal_full(&self) -> fjall::Result<()> {
        self.records.seal_if_full()?;
        self.rows.seal_if_full()
    }

    /// A batch that becomes durable as one.
    pub(super) fn batch(&self) -> OwnedWriteBatch {
        self.db.batch().durability(Some(PersistMode::SyncData))
    }

    /// Bytes in memory that are not in tables on disk yet.
    #[cfg(test)]
    pub(super) fn unwritten(&self) -> u64 {
        self.db.write_buffer_size()
    }

    pub(super) fn put_record(&self, batch: &mut OwnedWriteBatch, record: &Committed, first: u64, last: u64) {
        let key = record_key(record.room, first, record.at.0, last);
        self.records.insert(batch, Slice::from(key), Slice::from(record.record.clone()));
    }

    /// Keys of a room's oldest records all of whose events are before `before`, at most `limit`.
    pub(super) fn records_before(
        &self,
        room: RoomId,
        before: u64,
        limit: usize,
    ) -> fjall::Result<Vec<Bytes>> {
        let mut keys = Vec::new();
        for item in self.records.keyspace().prefix(room.to_bytes()).take(limit) {
            let key = item.key()?;
            if Span::of(&key)?.last >= before {
                break;
            }
            keys.push(Bytes::copy_from_slice(&key));
        }
        Ok(keys)
    }

    pub(super) fn remove_record(&self, batch: &mut OwnedWriteBatch, key: Bytes) {
        self.records.remove(batch, Slice::from(key));
    }

    pub(super) fn put_row(&self, batch: &mut OwnedWriteBatch, key: &Bytes, row: Option<&Versioned>) {
        let key = Slice::from(key.clone());
        match row {
            None => self.rows.remove(batch, key),
            Some((revision, value)) => {
                let mut stored = Vec::with_capacity(REVISION + value.len());
                stored.extend_from_slice(&revision.to_be_bytes());
                stored.extend_from_slice(value);
                self.rows.insert(batch, key, Slice::from(stored));
            }
        }
    }

    pub(super) fn tail(&self, room: RoomId) -> fjall::Result<Option<Tail>> {
        let Some(newest) = self.records.keyspace().prefix(room.to_bytes()).next_back() else {
            return Ok(None);
        };
        let (key, record) = newest.into_inner()?;
        let span = Span::of(&key)?;
        Ok(Some(Tail { at: LogSeq(span.at), last_seq: span.last, record: record.into() }))
    }

    pub(super) fn read(&self, room: RoomId, read: Read) -> fjall::Result<Vec<Committed>> {
        let mut page = Page { room, read, records: Vec::new(), bytes: 0 };
        if read.from > read.to {
            return Ok(page.records);
        }
        let end = record_key(room, read.to, u64::MAX, u64::MAX);
        if read.backwards {
            for item in self.records.keyspace().range(record_key(room, 0, 0, 0)..=end).rev() {
                let (key, record) = item.into_inner()?;
                let span = Span::of(&key)?;
                if span.last < read.from {
                    break;
                }
                if !page.take(span, record) {
                    break;
                }
            }
        } else {
            let start = self.start(room, read.from)?;
            for item in self.records.keyspace().range(start..=end) {
                let (key, record) = item.into_inner()?;
                if !page.take(Span::of(&key)?, record) {
                    break;
                }
            }
        }
        Ok(page.records)
    }

    /// The key of the record that holds `seq`, or where it would be.
    fn start(&self, room: RoomId, seq: u64) -> fjall::Result<[u8; RECORD_KEY]> {
        let upto = record_key(room, seq, u64::MAX, u64::MAX);
        for item in self.records.keyspace().range(record_key(room, 0, 0, 0)..=upto).rev() {
            let span = Span::of(&item.key()?)?;
            if !span.is_empty() {
                if span.last >= seq {
                    return Ok(record_key(room, span.first, span.at, span.last));
                }
                break;
            }
        }
        Ok(record_key(room, seq, 0, 0))
    }

    pub(super) fn row(&self, key: &[u8]) -> fjall::Result<Option<Versioned>> {
        self.rows.keyspace().get(key)?.map(versioned).transpose()
    }

    pub(super) fn scan(
        &self,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> fjall::Result<Vec<Entry>> {
        use std::ops::Bound;
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            _ => Bound::Included(prefix),
        };
        let mut rows = Vec::new();
        for item in self.rows.keyspace().range::<&[u8], _>((from, Bound::Unbounded)).take(limit) {
            let (key, value) = item.into_inner()?;
            if !key.starts_with(prefix) {
                break;
            }
            let (revision, value) = versioned(value)?;
            rows.push(Entry { key: Bytes::copy_from_slice(&key[1..]), value, revision });
        }
        Ok(rows)
    }
}

/// Records as they are collected for one read.
struct Page {
    room: RoomId,
    read: Read,
    records: Vec<Committed>,
    bytes: usize,
}

impl Page {
    /// Says whether more may be taken.
    fn take(&mut self, span: Span, record: Slice) -> bool {
        if span.is_empty() || span.last < self.read.from {
            return true;
        }
        self.bytes += record.len();
        self.records.push(Committed { room: self.room, at: LogSeq(span.at), record: record.into() });
        self.records.len() < self.read.max_records && self.bytes < self.read.max_bytes
    }
}
