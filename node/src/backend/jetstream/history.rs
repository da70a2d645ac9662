//! Records read before: they never change, and the newest page of a room is asked for again and again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use quick_cache::{Weighter, sync::Cache};
use rookery_protocol::id::RoomId;

use super::item::Item;

/// What an entry needs in memory besides its records' bytes, and each record, about.
const ENTRY_BYTES: usize = 200;
const RECORD_BYTES: usize = 80;

/// What was read so long ago is read again: it may have been forgotten meanwhile, by another node.
pub(super) const KEPT: Duration = Duration::from_secs(3600);

/// A record and its events.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) first: u64,
    pub(super) last: u64,
    pub(super) at: u64,
    pub(super) record: Bytes,
}

impl Found {
    /// `None`: no record of ours.
    pub(super) fn of(item: &Item) -> Option<Self> {
        let (first, last) = item.span()?;
        // A copy: the bytes as they came are part of all that was received with them.
        Some(Self { first, last, at: item.at, record: Bytes::copy_from_slice(&item.payload) })
    }
}

#[derive(Clone)]
struct Bytewise;

impl Weighter<(RoomId, u64), Known> for Bytewise {
    fn weight(&self, _: &(RoomId, u64), known: &Known) -> u64 {
        let bytes: usize = known.records.iter().map(|found| found.record.len() + RECORD_BYTES).sum();
        (bytes + ENTRY_BYTES) as u64
    }
}

/// Records, and when they were read.
#[derive(Clone)]
struct Known {
    at: Instant,
    records: Arc<Vec<Found>>,
}

/// Records by room and subject: each entry has the first ones of its subject, in order and without a gap, since a
/// replica that lags has the beginning of a stream.
pub(super) struct History(Cache<(RoomId, u64), Known, Bytewise>);

impl History {
    pub(super) fn new(mib: u64) -> Self {
        let bytes = mib << 20;
        let entries = usize::try_from(bytes / 16_384).unwrap_or(usize::MAX).max(16);
        Self(Cache::with_weighter(entries, bytes, Bytewise))
    }

    pub(super) fn get(&self, room: RoomId, chunk: u64) -> Arc<Vec<Found>> {
        let known = self.0.get(&(room, chunk)).filter(|known| known.at.elapsed() < KEPT);
        known.map(|known| known.records).unwrap_or_default()
    }

    pub(super) fn put(&self, room: RoomId, chunk: u64, records: Arc<Vec<Found>>) {
        self.0.insert((room, chunk), Known { at: Instant::now(), records });
    }

    pub(super) fn remove(&self, room: RoomId, chunk: u64) {
        self.0.remove(&(room, chunk));
    }
}
