//! Short-lived values in memory, the lasting ones also on disk.
//!
//! Values are stored in `Table::Ephemeral` before the call returns, so that a restart ends no session and no
//! registration; counters and rate limits live in memory alone. Nothing is dropped to make room: while all places are
//! taken by what still lives, calls are refused.

mod expiring;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;

use self::expiring::{Expiring, Full};
use super::{
    Clock, Store, StoreSettings,
    store::{Pending, Place},
};
use crate::backend::{Ephemeral, Expect, Quota, Rate, Row, Rows as _, Table, Unavailable};

/// Ended entries that one call cleans up at most.
const SWEEP: usize = 16;
/// Rows read at once when the store is opened.
const PAGE: usize = 4_096;
/// Bytes of the time at which a value ends, before it in its row.
const ENDS: usize = 8;
/// Longest key, bytes.
const KEY_BYTES: usize = 512;
/// Longest value, bytes.
const VALUE_BYTES: usize = 64 << 10;

/// The embedded [`Ephemeral`].
pub struct Ttl {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    values: Mutex<Expiring<Bytes>>,
    counters: Mutex<Expiring<u64>>,
    rates: Mutex<Expiring<u64>>,
}

fn full(_: Full) -> Unavailable {
    Unavailable("Too many short-lived values are held; some must end first.".into())
}

fn row(key: &str, value: Option<Bytes>) -> (Row, Expect) {
    (Row { table: Table::Ephemeral, key: Bytes::copy_from_slice(key.as_bytes()), value }, Expect::Any)
}

fn stored(ends: u64, value: &[u8]) -> Bytes {
    let mut bytes = Vec::with_capacity(ENDS + value.len());
    bytes.extend_from_slice(&ends.to_be_bytes());
    bytes.extend_from_slice(value);
    bytes.into()
}

/// Key of a value that stands for an item of a list: a list is what has the same beginning.
fn listed(list: &str, item: &str) -> String {
    format!("{list}:{item}")
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX)
}

impl Ttl {
    /// Reads what a former run kept.
    ///
    /// # Errors
    /// The store cannot be read, or holds more than `settings` allow.
    pub async fn open(
        store: Arc<Store>,
        settings: &StoreSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Unavailable> {
        let limit = settings.ephemeral_entries;
        let mut values = Expiring::new(limit);
        let now = clock.now_ms();
        let mut after: Option<Bytes> = None;
        loop {
            let page = store.scan(Table::Ephemeral, b"", after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            let mut ended = Vec::new();
            for entry in page {
                let ends = entry.value.get(..ENDS).and_then(|bytes| bytes.try_into().ok());
                let ends = ends.map_or(0, u64::from_be_bytes);
                match std::str::from_utf8(&entry.key) {
                    Ok(key) if ends > now => {
                        values.set(key, Bytes::copy_from_slice(&entry.value[ENDS..]), ends).map_err(full)?;
                    }
                    _ => ended
                        .push((Row { table: Table::Ephemeral, key: entry.key, value: None }, Expect::Any)),
                }
            }
            store.write(ended).await?;
        }
        Ok(Self {
            store,
            clock,
            values: Mutex::new(values),
            counters: Mutex::new(Expiring::new(limit)),
            rates: Mutex::new(Expiring::new(limit)),
        })
    }

    /// A place in the store's queue. It is taken before the value changes in memory and used while the lock is held:
    /// so writes of one key reach the disk in the order in which they happened.
    async fn place(&self, key: &str, value: usize) -> Result<Place<'_>, Unavailable> {
        if key.len() > KEY_BYTES || value > VALUE_BYTES {
            return Err(Unavailable("A short-lived value is too large.".into()));
        }
        self.store.place(key.len() + value + (SWEEP + 1) * KEY_BYTES).await
    }

    fn set(
        &self,
        values: &mut Expiring<Bytes>,
        place: Place<'_>,
        key: &str,
        value: &Bytes,
        ttl: Duration,
    ) -> Result<Pending, Unavailable> {
        let now = self.clock.now_ms();
        let ends = now.saturating_add(millis(ttl));
        let mut rows: Vec<_> = values.sweep(now, SWEEP).iter().map(|key| row(key, None)).collect();
        // Also when there is no room: what was swept must leave the disk too.
        let set = values.set(key, value.clone(), ends);
        if set.is_ok() {
            rows.push(row(key, Some(stored(ends, value))));
        }
        let pending = place.write(rows);
        set.map_err(full)?;
        Ok(pending)
    }
}

#[async_trait]
impl Ephemeral for Ttl {
    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), Unavailable> {
        let place = self.place(key, value.len()).await?;
        let pending = self.set(&mut self.values.lock(), place, key, &value, ttl)?;
        pending.done().await.map(drop)
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, Unavailable> {
        Ok(self.values.lock().get(self.clock.now_ms(), key).cloned())
    }

    async fn take(&self, key: &str) -> Result<Option<Bytes>, Unavailable> {
        let place = self.place(key, 0).await?;
        let (value, pending) = {
            let mut values = self.values.lock();
            let Some(value) = values.remove(self.clock.now_ms(), key) else { return Ok(None) };
            (value, place.write(vec![row(key, None)]))
        };
        pending.done().await?;
        Ok(Some(value))
    }

    async fn swap(
        &self,
        key: &str,
        old: Option<Bytes>,
        new: Bytes,
        ttl: Duration,
    ) -> Result<bool, Unavailable> {
        let place = self.place(key, new.len()).await?;
        let pending = {
            let mut values = self.values.lock();
            if values.get(self.clock.now_ms(), key) != old.as_ref() {
                return Ok(false);
            }
            self.set(&mut values, place, key, &new, ttl)?
        };
        pending.done().await.map(|_| true)
    }

    async fn delete(&self, key: &str) -> Result<(), Unavailable> {
        self.take(key).await.map(drop)
    }

    async fn count(&self, key: &str, ttl: Duration) -> Result<u64, Unavailable> {
        let now = self.clock.now_ms();
        let mut counters = self.counters.lock();
        if let Some(count) = counters.get_mut(now, key) {
            *count = count.saturating_add(1);
            return Ok(*count);
        }
        counters.sweep(now, SWEEP);
        counters.set(key, 1, now.saturating_add(millis(ttl))).map_err(full)?;
        Ok(1)
    }

    async fn rate(&self, key: &str, quota: Quota) -> Result<Rate, Unavailable> {
        let now = self.clock.now_ms();
        let mut rates = self.rates.lock();
        rates.sweep(now, SWEEP);
        let mut due = rates.get(now, key).copied().unwrap_or(0);
        let rate = crate::backend::quota::take(&mut due, now.saturating_mul(1_000_000), quota);
        if rate == Rate::Allowed {
            // Once the time due has passed, the quota is whole again and needs no memory.
            rates.set(key, due, due.div_ceil(1_000_000)).map_err(full)?;
        }
        Ok(rate)
    }

    async fn enlist(&self, list: &str, item: &str, ttl: Duration) -> Result<(), Unavailable> {
        self.put(&listed(list, item), Bytes::new(), ttl).await
    }

    async fn unlist(&self, list: &str, item: &str) -> Result<(), Unavailable> {
        self.delete(&listed(list, item)).await
    }

    async fn listed(&self, list: &str, limit: usize) -> Result<Vec<String>, Unavailable> {
        let prefix = listed(list, "");
        let keys = self.values.lock().keys(self.clock.now_ms(), &prefix, limit);
        Ok(keys.iter().filter_map(|key| key.strip_prefix(&prefix)).map(str::to_owned).collect())
    }
}
