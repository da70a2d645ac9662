//! A bounded map whose entries end.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound,
    sync::Arc,
};

/// All places are taken by entries that still live.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Full;

/// Entries by key, each with the time at which it ends (Unix milliseconds). An ended entry is never seen.
pub(super) struct Expiring<V> {
    entries: BTreeMap<Arc<str>, (u64, V)>,
    ends: BTreeSet<(u64, Arc<str>)>,
    limit: usize,
}

impl<V> Expiring<V> {
    pub(super) fn new(limit: usize) -> Self {
        Self { entries: BTreeMap::new(), ends: BTreeSet::new(), limit }
    }

    pub(super) fn get(&self, now: u64, key: &str) -> Option<&V> {
        self.entries.get(key).filter(|(ends, _)| *ends > now).map(|(_, value)| value)
    }

    /// The value, and when it ends.
    pub(super) fn get_mut(&mut self, now: u64, key: &str) -> Option<&mut V> {
        self.entries.get_mut(key).filter(|(ends, _)| *ends > now).map(|(_, value)| value)
    }

    /// Sets a value; sweep first.
    pub(super) fn set(&mut self, key: &str, value: V, ends: u64) -> Result<(), Full> {
        if let Some(entry) = self.entries.get_mut(key) {
            let old = std::mem::replace(entry, (ends, value)).0;
            if let Some((_, key)) = self.ends.take(&(old, Arc::from(key))) {
                self.ends.insert((ends, key));
            }
            return Ok(());
        }
        if self.entries.len() >= self.limit {
            return Err(Full);
        }
        let key: Arc<str> = key.into();
        self.ends.insert((ends, Arc::clone(&key)));
        self.entries.insert(key, (ends, value));
        Ok(())
    }

    /// Removes an entry, ended or not; returns its value if it had not ended.
    pub(super) fn remove(&mut self, now: u64, key: &str) -> Option<V> {
        let (key, (ends, value)) = self.entries.remove_entry(key)?;
        self.ends.remove(&(ends, key));
        (ends > now).then_some(value)
    }

    /// Removes at most `limit` ended entries and returns their keys. Called with each new entry and a limit greater
    /// than one, it keeps up with all that ends.
    pub(super) fn sweep(&mut self, now: u64, limit: usize) -> Vec<Arc<str>> {
        let mut swept = Vec::new();
        while swept.len() < limit
            && let Some((ends, _)) = self.ends.first()
            && *ends <= now
            && let Some((_, key)) = self.ends.pop_first()
        {
            self.entries.remove(&key);
            swept.push(key);
        }
        swept
    }

    /// Keys that start with `prefix`, in order, at most `limit`.
    pub(super) fn keys(&self, now: u64, prefix: &str, limit: usize) -> Vec<String> {
        let from = (Bound::Included(prefix), Bound::Unbounded);
        let entries = self.entries.range::<str, _>(from).take_while(|(key, _)| key.starts_with(prefix));
        let living = entries.filter(|(_, (ends, _))| *ends > now);
        living.map(|(key, _)| key.as_ref().to_owned()).take(limit).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ended_entries_are_not_seen_and_make_room() {
        let mut map = Expiring::new(2);
        map.set("a", 1, 10).unwrap();
        map.set("b", 2, 20).unwrap();
        assert_eq!(map.set("c", 3, 30), Err(Full));
        assert_eq!((map.get(9, "a"), map.get(10, "a")), (Some(&1), None));
        assert_eq!(map.sweep(10, 8), [Arc::from("a")]);
        map.set("c", 3, 30).unwrap();
        assert_eq!(map.keys(10, "", 8), ["b", "c"]);
        assert_eq!(map.keys(20, "", 8), ["c"]);
        assert_eq!((map.remove(20, "b"), map.remove(20, "c")), (None, Some(3)));
        assert!(map.entries.is_empty() && map.ends.is_empty());
    }

    #[test]
    fn a_value_set_again_ends_later() {
        let mut map = Expiring::new(1);
        map.set("a", 1, 10).unwrap();
        map.set("a", 2, 30).unwrap();
        assert!(map.sweep(20, 8).is_empty());
        assert_eq!(map.get(20, "a"), Some(&2));
    }
}
