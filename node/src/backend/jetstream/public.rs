//! The public rooms, in memory, in order of their ids: subjects have no order, so a page of them would cost the whole table.
//!
//! Each stream's part is read once and from then on followed by sequence, at each question: the leader says where the newest
//! row is, and what lies between is read. So nothing written before a question is missed, and a page costs one short answer
//! of each stream, and what has changed. A row that is gone leaves a message that says so for [`GONE_HOURS`]; what was not
//! looked at for half of that is read anew.

use std::{
    collections::BTreeMap,
    ops::Bound,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{sync::Mutex, time::timeout};

use super::JetStream;
use crate::backend::{Entry, Table, Unavailable};

/// How long deleted rows of this table are remembered.
pub(super) const GONE_HOURS: u64 = 24;
const FRESH: Duration = Duration::from_secs(GONE_HOURS * 3600 / 2);
/// What an entry needs in memory besides its value, about.
const ENTRY_BYTES: usize = 160;
/// With more than this the table is not kept: each page is read from the streams then.
const MOST_BYTES: usize = 64 << 20;

/// What is known of the table.
#[derive(Default)]
struct Known {
    rows: BTreeMap<Bytes, (Bytes, u64)>,
    bytes: usize,
    /// By stream, up to which sequence; empty: nothing is known.
    up_to: Vec<u64>,
    /// When the newest look at the streams began.
    looked: Option<Instant>,
    /// It was too large at the newest look.
    too_large: bool,
}

impl Known {
    fn put(&mut self, key: Bytes, value: Bytes, at: u64) {
        if self.rows.get(&key).is_some_and(|(_, known)| *known >= at) {
            return;
        }
        self.bytes += value.len() + ENTRY_BYTES;
        if let Some((before, _)) = self.rows.insert(key, (value, at)) {
            self.bytes -= before.len() + ENTRY_BYTES;
        }
    }

    fn remove(&mut self, key: &[u8], at: u64) {
        if self.rows.get(key).is_some_and(|(_, known)| *known < at)
            && let Some((before, _)) = self.rows.remove(key)
        {
            self.bytes -= before.len() + ENTRY_BYTES;
        }
    }
}

/// The table, as far as this node has read it.
#[derive(Default)]
pub(super) struct PublicRooms(Mutex<Known>);

impl JetStream {
    /// Rows of the table after one, in order. `None`: there are too many to keep.
    pub(super) async fn public_rooms(
        &self,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Option<Vec<Entry>>, Unavailable> {
        let asked = Instant::now();
        let Ok(mut known) = timeout(self.link.read_timeout, self.public.0.lock()).await else {
            return Err(Unavailable("The list of public rooms could not be read in time.".into()));
        };
        let is_fresh = known.looked.is_some_and(|looked| asked.saturating_duration_since(looked) < FRESH);
        if known.too_large && is_fresh {
            return Ok(None);
        }
        // Who waited while another looked, and asked before that, has his answer.
        if known.looked.is_none_or(|looked| looked < asked) {
            self.look(&mut known).await?;
        }
        if known.too_large {
            return Ok(None);
        }
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let rows = known.rows.range::<[u8], _>((from, Bound::Unbounded)).take(limit);
        let entry = |(key, (value, at)): (&Bytes, &(Bytes, u64))| Entry {
            key: key.clone(),
            value: value.clone(),
            revision: *at,
        };
        Ok(Some(rows.map(entry).collect()))
    }

    async fn look(&self, known: &mut Known) -> Result<(), Unavailable> {
        let began = Instant::now();
        if known.looked.is_none_or(|looked| began.duration_since(looked) > FRESH) {
            *known = Known::default();
        }
        let places = self.layout.filters(Table::PublicRooms, &[]).unwrap_or_default();
        known.up_to.resize(places.len(), 0);
        let news = places.iter().zip(&known.up_to).map(|(place, &up_to)| async move {
            let Some(last) = self.link.last(&place.stream, &place.subject).await? else {
                return Ok::<_, Unavailable>((Vec::new(), up_to));
            };
            let news = match up_to {
                0 => self.all(place).await?,
                up_to if up_to < last.at => self.walk(place, up_to + 1, last.at).await?,
                _ => return Ok((Vec::new(), up_to)),
            };
            Ok((news, last.at))
        });
        // All or nothing: a stream that cannot be read leaves what was known.
        let news = futures_util::future::try_join_all(news).await?;
        for (part, (items, up_to)) in news.into_iter().enumerate() {
            known.up_to[part] = up_to;
            for item in items {
                let Some(key) = self.layout.key(Table::PublicRooms, &item.subject) else { continue };
                if item.gone {
                    known.remove(&key, item.at);
                } else {
                    // A copy: the bytes as they came are part of all that was received with them.
                    known.put(key, Bytes::copy_from_slice(&item.payload), item.at);
                }
            }
        }
        known.looked = Some(began);
        if known.bytes > MOST_BYTES {
            tracing::warn!(
                rooms = known.rows.len(),
                "there are too many public rooms to keep a list of them in memory: finding rooms is slow"
            );
            *known = Known { looked: Some(began), too_large: true, ..Known::default() };
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_older_than_what_is_known_changes_nothing() {
        let mut known = Known::default();
        let (key, text) = (Bytes::from_static(b"k"), Bytes::from_static);
        known.put(key.clone(), text(b"12345"), 7);
        known.put(key.clone(), text(b"1"), 6);
        known.remove(&key, 7);
        assert_eq!((known.rows.len(), known.bytes), (1, ENTRY_BYTES + 5));
        known.put(key.clone(), text(b"12"), 8);
        assert_eq!(known.bytes, ENTRY_BYTES + 2);
        known.remove(&key, 9);
        known.remove(&key, 10);
        assert_eq!((known.rows.len(), known.bytes), (0, 0));
    }
}
