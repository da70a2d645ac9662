//! Reading records: a page is one Direct Get of a subject, or a few.
//!
//! Any replica answers, and may lag behind. What it gives is checked: records follow each other without a gap, and go
//! as far as was asked for. What falls short is asked again, and in the end the leader is asked, message by message.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use rookery_protocol::id::RoomId;

use super::{
    JetStream,
    history::Found,
    layout::{CHUNK, chunk_of},
};
use crate::backend::{Committed, LogSeq, Read, Unavailable};

/// How often a replica is asked again, and the first pause before that; it doubles.
const TRIES: u32 = 7;
const PAUSE: Duration = Duration::from_millis(2);
/// Bytes of a subject's records asked for at once.
const CHUNK_BYTES: usize = 4 << 20;
/// Subjects on which a record may begin that reaches into another: it has 256 events at most.
const REACH: u64 = 2;
/// A page that begins so near to the start of a subject needs the one before too, most likely.
const NEAR: u64 = 64;

/// Who is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    Replica,
    /// What it does not have does not exist.
    Leader,
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
                let wanted = (read.from, read.to);
                read.to = read.to.min(last);
                read.from = read.from.max(self.first(room).await?);
                if read.from > read.to {
                    return Ok(Vec::new());
                }
                if wanted != (read.from, read.to) {
                    continue;
                }
            }
            self.link.metrics.stale.inc();
            tokio::time::sleep(PAUSE * 2_u32.pow(attempt)).await;
        }
        // The leader's word was taken for the whole.
        Err(Unavailable("The log could not be read as a whole.".into()))
    }

    /// Records of one subject, in order, up to one that holds `to` if there is one, or more of them. Those without
    /// events are left out.
    pub(super) async fn chunk(
        &self,
        room: RoomId,
        chunk: u64,
        to: u64,
        source: Source,
    ) -> Result<Arc<Vec<Found>>, Unavailable> {
        let known = match source {
            Source::Replica => self.history.get(room, chunk),
            Source::Leader => Arc::default(),
        };
        if known.last().is_some_and(|last| last.last >= to.min((chunk + 1) * CHUNK)) {
            return Ok(known);
        }
        let (stream, subject) =
            (self.layout.log_stream(self.layout.part(room)), self.layout.chunk(room, chunk));
        let mut from = known.last().map_or(1, |last| last.at + 1);
        let mut found: Vec<Found> = Vec::clone(&known);
        loop {
            let (items, left) = match source {
                Source::Replica => self.link.some(&stream, &subject, from, CHUNK_BYTES).await?,
                Source::Leader => {
                    let item = self.link.next(&stream, &subject, from).await?;
                    let left = u64::from(item.is_some());
                    (item.into_iter().collect(), left)
                }
            };
            if let Some(last) = items.last() {
                from = last.at + 1;
            }
            let ended = items.is_empty() || left == 0;
            found.extend(
                items
                    .into_iter()
                    .filter_map(|item| Found::of(&item))
                    .filter(|found| found.first <= found.last),
            );
            if ended {
                break;
            }
        }
        let found = Arc::new(found);
        if source == Source::Replica && found.len() > known.len() {
            self.history.put(room, chunk, found.clone());
        }
        Ok(found)
    }

    /// Oldest first; `None`: not all of it is there.
    async fn forwards(
        &self,
        room: RoomId,
        read: Read,
        source: Source,
    ) -> Result<Option<Vec<Committed>>, Unavailable> {
        let mut page = Page { room, read, records: Vec::new(), bytes: 0 };
        let mut next = read.from;
        let mut begun = false;
        while next <= read.to && !page.full() {
            let chunk = chunk_of(next);
            let found = self.chunk(room, chunk, read.to, source).await?;
            let mut found: VecDeque<_> = found.iter().filter(|found| found.last >= next).cloned().collect();
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
                next = found.last + 1;
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
            let found = match ahead.take() {
                Some(found) => found,
                None if source == Source::Replica
                    && chunk > 0
                    && page.records.len() + (usize::try_from((wanted - 1) % CHUNK).unwrap_or(0))
                        < read.max_records.min(usize::try_from(NEAR).unwrap_or(0))
                    && chunk * CHUNK >= read.from =>
                {
                    let (here, before) = tokio::try_join!(
                        self.chunk(room, chunk, wanted, source),
                        self.chunk(room, chunk - 1, wanted, source)
                    )?;
                    ahead = Some(before);
                    here
                }
                None => self.chunk(room, chunk, wanted, source).await?,
            };
            for newest in found.iter().rev() {
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
                page.take(newest.clone());
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
        for chunk in (chunk.saturating_sub(REACH)..chunk).rev() {
            if let Some(found) = self.chunk(room, chunk, u64::MAX, source).await?.last() {
                return Ok(Some(found.clone()));
            }
        }
        Ok(None)
    }
}
