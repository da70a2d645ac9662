//! Reading records: a page is one Direct Get of a subject, or a few.
//!
//! Any replica answers, and may lag behind. What it gives is checked: records follow each other without a gap, and go
//! as far as was asked for. What falls short is asked again, and in the end the leader is asked, message by message.

use std::time::Duration;

use parking_lot::Mutex;
use rookery_protocol::id::RoomId;

use super::{
    JetStream,
    item::Item,
    layout::{CHUNK, chunk_of},
};
use crate::backend::{Committed, LogSeq, Read, Unavailable};

/// How often a replica is asked again, and the first pause before that; it doubles.
const TRIES: u32 = 7;
const PAUSE: Duration = Duration::from_millis(2);
/// Bytes of a subject's records asked for at once.
const CHUNK_BYTES: usize = 4 << 20;
/// Rooms whose last read is remembered.
const KEPT: usize = 50_000;
/// A page that begins so near to the start of a subject needs the one before too, most likely.
const NEAR: u64 = 64;

/// Where the next read of a room goes on, most likely: stream sequence of the record before a seq.
#[derive(Default)]
pub(super) struct Hints(Mutex<std::collections::HashMap<RoomId, (u64, u64)>>);

impl Hints {
    fn get(&self, room: RoomId, from: u64) -> Option<u64> {
        self.0.lock().get(&room).filter(|(next, _)| *next == from).map(|(_, at)| *at)
    }

    fn set(&self, room: RoomId, next: u64, at: u64) {
        let mut hints = self.0.lock();
        if hints.len() >= KEPT {
            hints.clear();
        }
        hints.insert(room, (next, at));
    }
}

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Source {
    Replica,
    /// What it does not have does not exist.
    Leader,
}

/// A record and its events.
struct Found {
    first: u64,
    last: u64,
    at: u64,
    record: bytes::Bytes,
}

impl Found {
    fn of(item: Item) -> Option<Self> {
        let (first, last) = item.span()?;
        Some(Self { first, last, at: item.at, record: item.payload })
    }
}

/// What is collected for one read.
struct Page {
    room: RoomId,
    read: Read,
    records: Vec<Committed>,
    bytes: usize,
}

impl Page {
    fn take(&mut self, found: Found) {
        self.bytes += found.record.len();
        self.records.push(Committed { room: self.room, at: LogSeq(found.at), record: found.record });
    }

    fn full(&self) -> bool {
        self.records.len() >= self.read.max_records || self.bytes >= self.read.max_bytes
    }
}

impl JetStream {
    pub(super) async fn read_records(
        &self,
        room: RoomId,
        mut read: Read,
    ) -> Result<Vec<Committed>, Unavailable> {
        read.from = read.from.max(1);
        if read.from > read.to {
            return Ok(Vec::new());
        }
        let mut end = None;
        for attempt in 0..=TRIES {
            let source = if attempt == TRIES { Source::Leader } else { Source::Replica };
            let page = if read.backwards {
                self.backwards(room, read, source).await?
            } else {
                self.forwards(room, read, source).await?
            };
            if let Some(page) = page {
                return Ok(page);
            }
            // It falls short: of what the log has, or of what it will have?
            if end.is_none() {
                let tail = self.last_record(room).await?;
                let last = tail.and_then(|tail| tail.span()).map_or(0, |(_, last)| last);
                end = Some(last);
                let wanted = read.to;
                read.to = read.to.min(last);
                if read.from > read.to {
                    return Ok(Vec::new());
                }
                if wanted > read.to {
                    continue;
                }
            }
            self.link.metrics.stale.inc();
            tokio::time::sleep(PAUSE * 2_u32.pow(attempt)).await;
        }
        // The leader's word was taken for the whole.
        Err(Unavailable("The log could not be read as a whole.".into()))
    }

    /// Records of one subject from a stream sequence on, in order; those without events are left out.
    async fn chunk(
        &self,
        room: RoomId,
        chunk: u64,
        from: u64,
        source: Source,
    ) -> Result<Vec<Found>, Unavailable> {
        let (stream, subject) =
            (self.layout.log_stream(self.layout.part(room)), self.layout.chunk(room, chunk));
        let mut found = Vec::new();
        let mut from = from;
        loop {
            let (items, left) = match source {
                Source::Replica => self.link.some(&stream, &subject, from, CHUNK_BYTES).await?,
                Source::Leader => {
                    let item = self.link.next(&stream, &subject, from).await?;
                    let left = u64::from(item.is_some());
                    (item.into_iter().collect(), left)
                }
            };
            let Some(last) = items.last() else { return Ok(found) };
            from = last.at + 1;
            found.extend(items.into_iter().filter_map(Found::of).filter(|found| found.first <= found.last));
            if left == 0 {
                return Ok(found);
            }
        }
    }

    /// Oldest first; `None`: not all of it is there.
    async fn forwards(
        &self,
        room: RoomId,
        read: Read,
        source: Source,
    ) -> Result<Option<Vec<Committed>>, Unavailable> {
        let mut page = Page { room, read, records: Vec::new(), bytes: 0 };
        let (mut next, mut at) = (read.from, 0);
        let mut begun = false;
        if let Some(hint) = self.hints.get(room, read.from) {
            (at, begun) = (hint, true);
        }
        while next <= read.to && !page.full() {
            let chunk = chunk_of(next);
            let found = self.chunk(room, chunk, at + 1, source).await?;
            let mut found: std::collections::VecDeque<_> =
                found.into_iter().filter(|found| found.last >= next).collect();
            if !begun && found.front().is_none_or(|found| found.first > next) && chunk > 0 {
                // A record that begins on an earlier subject may reach into this one.
                match self.before(room, chunk, source).await? {
                    Some(earlier) if earlier.last >= next => found.push_front(earlier),
                    _ => {}
                }
            }
            begun = true;
            let before = next;
            for found in found {
                if found.first > next && source == Source::Replica {
                    return Ok(None);
                }
                if found.first > read.to || page.full() {
                    break;
                }
                (next, at) = (found.last + 1, found.at);
                page.take(found);
            }
            if next == before && next <= read.to {
                if source == Source::Replica {
                    return Ok(None);
                }
                // Nothing of this subject is left; the leader has no more either, or only later ones.
                let later = (chunk + 1) * CHUNK + 1;
                if later > read.to {
                    break;
                }
                next = later;
            }
        }
        if at > 0 && !page.records.is_empty() {
            self.hints.set(room, next, at);
        }
        Ok(Some(page.records))
    }

    /// Newest first; `None`: not all of it is there.
    async fn backwards(
        &self,
        room: RoomId,
        read: Read,
        source: Source,
    ) -> Result<Option<Vec<Committed>>, Unavailable> {
        let mut page = Page { room, read, records: Vec::new(), bytes: 0 };
        // The next record must hold this.
        let mut wanted = read.to;
        let mut chunk = chunk_of(wanted);
        let mut ahead = None;
        loop {
            let mut found = match ahead.take() {
                Some(found) => found,
                None if source == Source::Replica
                    && chunk > 0
                    && page.records.len() + (usize::try_from((wanted - 1) % CHUNK).unwrap_or(0))
                        < read.max_records.min(usize::try_from(NEAR).unwrap_or(0))
                    && chunk * CHUNK >= read.from =>
                {
                    let (here, before) = tokio::try_join!(
                        self.chunk(room, chunk, 1, source),
                        self.chunk(room, chunk - 1, 1, source)
                    )?;
                    ahead = Some(before);
                    here
                }
                None => self.chunk(room, chunk, 1, source).await?,
            };
            while let Some(newest) = found.pop() {
                if newest.first > wanted {
                    continue;
                }
                if newest.last < wanted && source == Source::Replica {
                    return Ok(None);
                }
                if newest.last < read.from {
                    return Ok(Some(page.records));
                }
                wanted = newest.first - 1;
                page.take(newest);
                if page.full() || wanted < read.from {
                    return Ok(Some(page.records));
                }
            }
            if chunk == 0 {
                // Even the first subject has nothing before it.
                return Ok((source == Source::Leader).then_some(page.records));
            }
            chunk -= 1;
        }
    }

    /// The newest record of the subjects before one.
    async fn before(&self, room: RoomId, chunk: u64, source: Source) -> Result<Option<Found>, Unavailable> {
        for chunk in (0..chunk).rev() {
            if let Some(found) = self.chunk(room, chunk, 1, source).await?.pop() {
                return Ok(Some(found));
            }
            if source == Source::Replica && chunk == 0 {
                break;
            }
        }
        Ok(None)
    }
}
