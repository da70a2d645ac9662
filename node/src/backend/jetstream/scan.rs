//! Lists of rows, in order of their keys: one Direct Get for each stream, checked against the leader. That of the public
//! rooms, which is long, is kept in `public`.

use std::{collections::HashMap, time::Duration};

use super::{JetStream, gets::Newest, item::Item, layout::Place};
use crate::backend::{Entry, Table, Unavailable};

/// How often a replica is asked again, and the first pause before that; it doubles.
const TRIES: u32 = 8;
const PAUSE: Duration = Duration::from_millis(2);
/// Bytes asked for at once.
const BYTES: usize = 8 << 20;

impl JetStream {
    pub(super) async fn scan_rows(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, Unavailable> {
        let places = self.layout.filters(table, prefix).ok_or_else(|| {
            Unavailable(format!("{table:?} cannot be listed by a prefix of {} bytes.", prefix.len()).into())
        })?;
        if limit == 0 {
            return Ok(Vec::new());
        }
        if table == Table::PublicRooms
            && prefix.is_empty()
            && let Some(entries) = self.public_rooms(after, limit).await?
        {
            return Ok(entries);
        }
        let found = futures_util::future::try_join_all(places.iter().map(|place| self.all(place))).await?;
        let mut entries: Vec<Entry> = found
            .into_iter()
            .flatten()
            .filter(|item| !item.gone)
            .filter_map(|item| {
                let key = self.layout.key(table, &item.subject)?;
                let wanted = key.starts_with(prefix) && after.is_none_or(|after| &key[..] > after);
                wanted.then_some(Entry { key, value: item.payload, revision: item.at })
            })
            .collect();
        entries.sort_by(|a, b| a.key.cmp(&b.key));
        entries.truncate(limit);
        Ok(entries)
    }

    /// The newest message of each subject that matches; sees all that was written before it was called.
    pub(super) async fn all(&self, place: &Place) -> Result<Vec<Item>, Unavailable> {
        let filters = [&*place.subject];
        let (last, mut newest) = tokio::try_join!(
            self.link.last(&place.stream, &place.subject),
            self.link.newest(&place.stream, &filters)
        )?;
        let Some(last) = last else { return Ok(Vec::new()) };
        for attempt in 0..TRIES {
            match newest {
                Newest::All(items, up_to) if up_to >= last.at => return Ok(items),
                Newest::All(..) => {}
                Newest::TooMany => return self.walk(place, 1, last.at).await,
            }
            self.link.metrics.stale.inc();
            tokio::time::sleep(PAUSE * 2_u32.pow(attempt)).await;
            newest = self.link.newest(&place.stream, &filters).await?;
        }
        // The leader, one by one.
        let (mut items, mut from) = (HashMap::new(), 1);
        while let Some(item) = self.link.next(&place.stream, &place.subject, from).await? {
            from = item.at + 1;
            items.insert(item.subject.clone(), item);
        }
        Ok(items.into_values().collect())
    }

    /// More than one answer can hold: all messages in their order, from a sequence on, up to one that the leader has.
    pub(super) async fn walk(
        &self,
        place: &Place,
        mut from: u64,
        up_to: u64,
    ) -> Result<Vec<Item>, Unavailable> {
        let (mut items, mut lags) = (HashMap::new(), 0);
        loop {
            let (some, left) = self.link.some(&place.stream, &place.subject, from, BYTES).await?;
            if let Some(last) = some.last() {
                from = last.at + 1;
            }
            items.extend(some.into_iter().map(|item| (item.subject.clone(), item)));
            if from > up_to {
                return Ok(items.into_values().collect());
            }
            if left == 0 {
                lags += 1;
                if lags > TRIES {
                    // What was the newest may have been replaced, or removed: then there is a newer one, or none.
                    let newest = self.link.last(&place.stream, &place.subject).await?;
                    if newest.is_none_or(|newest| newest.at < from) {
                        return Ok(items.into_values().collect());
                    }
                    return Err(Unavailable("A server of the log lags far behind.".into()));
                }
                self.link.metrics.stale.inc();
                tokio::time::sleep(PAUSE * 2_u32.pow(lags)).await;
            }
        }
    }
}
