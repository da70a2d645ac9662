//! A bounded cache.

use std::{collections::HashMap, hash::Hash};

use parking_lot::Mutex;

/// Keeps what was used recently, in two generations: when the young one is full it becomes the old one, and what was
/// the old one is dropped. What is used moves to the young one. All steps take constant time.
pub(super) struct Recent<K, V> {
    generations: Mutex<Generations<K, V>>,
    half: usize,
}

struct Generations<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
}

impl<K: Hash + Eq + Clone, V: Clone> Recent<K, V> {
    /// Holds at most `capacity` entries.
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            generations: Mutex::new(Generations { young: HashMap::new(), old: HashMap::new() }),
            half: (capacity / 2).max(1),
        }
    }

    pub(super) fn get(&self, key: &K) -> Option<V> {
        let mut all = self.generations.lock();
        if let Some(value) = all.young.get(key) {
            return Some(value.clone());
        }
        let value = all.old.remove(key)?;
        self.put(&mut all, key.clone(), value.clone());
        Some(value)
    }

    pub(super) fn insert(&self, key: K, value: V) {
        self.update(key, |_| Some(value));
    }

    /// Decides in one step what follows an entry: `None` leaves it as it is.
    pub(super) fn update(&self, key: K, decide: impl FnOnce(Option<&V>) -> Option<V>) {
        let mut all = self.generations.lock();
        let now = all.young.get(&key).or_else(|| all.old.get(&key));
        if let Some(value) = decide(now) {
            all.old.remove(&key);
            self.put(&mut all, key, value);
        }
    }

    fn put(&self, all: &mut Generations<K, V>, key: K, value: V) {
        if all.young.len() >= self.half && !all.young.contains_key(&key) {
            all.old = std::mem::take(&mut all.young);
        }
        all.young.insert(key, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_what_is_used_and_stays_bounded() {
        let cache = Recent::new(10);
        for n in 0..1000 {
            cache.insert(n, n);
            cache.get(&0);
        }
        assert_eq!(cache.get(&0), Some(0));
        assert_eq!(cache.get(&999), Some(999));
        assert_eq!(cache.get(&500), None);
        let all = cache.generations.lock();
        assert!(all.young.len() + all.old.len() <= 10);
    }

    #[test]
    fn update_sees_the_entry() {
        let cache = Recent::new(10);
        cache.update(1, |now| now.is_none().then_some("first"));
        cache.update(1, |now| now.is_none().then_some("second"));
        assert_eq!(cache.get(&1), Some("first"));
    }
}
