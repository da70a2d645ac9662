//! A room's committed records as an edge gets them live: possibly late, repeated, out of order, or never.
//!
//! Here belongs putting them in order and saying what is missing. Fetching it from the log is the shell's
//! business, sending events to connections `session`'s.

use std::{collections::BTreeMap, ops::Bound};

/// Puts the records of a room in order. `T` is whatever stands for a record's events, shared and cheap to move.
#[derive(Debug)]
pub struct Feed<T> {
    /// Seq of the next event to deliver.
    next: u64,
    /// Records behind a gap, by first seq: last seq and payload.
    behind: BTreeMap<u64, (u64, T)>,
    /// The newest event known to exist.
    known: u64,
    fetching: bool,
    max_behind: usize,
}

/// A record whose turn has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready<T> {
    /// First event to deliver; those of the record before it were delivered already.
    pub from: u64,
    /// Last event.
    pub last: u64,
    /// As offered.
    pub payload: T,
}

/// Events to fetch from the log: `from ≤ seq ≤ to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gap {
    /// First one missing.
    pub from: u64,
    /// Last one missing.
    pub to: u64,
}

impl<T> Feed<T> {
    /// A feed that delivers events after `after`. Holds at most `max_behind` records behind a gap; what comes
    /// on top of those is fetched later.
    pub fn new(after: u64, max_behind: usize) -> Self {
        Self { next: after + 1, behind: BTreeMap::new(), known: after, fetching: false, max_behind }
    }

    /// Seq of the newest event delivered.
    pub fn delivered(&self) -> u64 {
        self.next - 1
    }

    /// Whether something is known to be missing.
    pub fn has_gap(&self) -> bool {
        self.next <= self.known
    }

    /// Takes a record with the events `first..=last`, live or fetched; adds what can be delivered to `ready`,
    /// in order. Returns a gap that has to be fetched now: at most one at a time, so none while
    /// another is being fetched.
    pub fn offer(&mut self, first: u64, last: u64, payload: T, ready: &mut Vec<Ready<T>>) -> Option<Gap> {
        // Epoch records have no events; what is delivered comes again after a pause.
        if last < first || last < self.next {
            return None;
        }
        self.known = self.known.max(last);
        if first > self.next {
            self.hold(first, last, payload);
            return self.gap();
        }
        self.deliver(last, payload, ready);
        while let Some(entry) = self.behind.first_entry().filter(|entry| *entry.key() <= self.next) {
            let (last, payload) = entry.remove();
            if last >= self.next {
                self.deliver(last, payload, ready);
            }
        }
        self.gap()
    }

    /// Says that the room has events up to `last`: finds what was lost when nothing comes after it.
    pub fn exists(&mut self, last: u64) -> Option<Gap> {
        self.known = self.known.max(last);
        self.gap()
    }

    /// The fetch that was asked for has ended, well or not; what it brought was offered. Returns what is
    /// missing still: to be asked for again, after a pause if nothing came.
    pub fn fetched(&mut self) -> Option<Gap> {
        self.fetching = false;
        self.gap()
    }

    fn deliver(&mut self, last: u64, payload: T, ready: &mut Vec<Ready<T>>) {
        ready.push(Ready { from: self.next, last, payload });
        self.next = last + 1;
    }

    /// Keeps what comes first: the rest will be fetched when its turn comes.
    fn hold(&mut self, first: u64, last: u64, payload: T) {
        if self.behind.get(&first).is_none_or(|(known, _)| *known < last) {
            self.behind.insert(first, (last, payload));
        }
        if self.behind.len() > self.max_behind {
            self.behind.pop_last();
        }
    }

    fn gap(&mut self) -> Option<Gap> {
        if self.fetching || !self.has_gap() {
            return None;
        }
        self.fetching = true;
        let held = self.behind.range((Bound::Excluded(self.next), Bound::Unbounded)).next();
        Some(Gap { from: self.next, to: held.map_or(self.known, |(first, _)| first - 1) })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However records are reordered, repeated and lost, and however little a fetch brings, every
        /// event is delivered once and in order.
        #[test]
        fn exactly_once_in_order(
            sizes in prop::collection::vec(0u64..4, 1..40),
            arrivals in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>(), 0usize..4), 0..120),
            after in 0u64..5,
            max_behind in 1usize..6,
        ) {
            let mut records = Vec::new();
            let mut next = 1;
            for size in sizes {
                records.push((next, next + size - 1));
                next += size;
            }
            let last = next - 1;
            prop_assume!(last >= after);
            let mut feed = Feed::new(after, max_behind);
            let mut ready = Vec::new();
            let mut gap: Option<Gap> = None;
            let note = |asked: Option<Gap>, gap: &mut Option<Gap>| {
                if asked.is_some() {
                    assert!(gap.is_none(), "one fetch at a time");
                    *gap = asked;
                }
            };
            for (which, fetch, brings) in arrivals {
                let (first, to) = *which.get(&records);
                note(feed.offer(first, to, (first, to), &mut ready), &mut gap);
                if fetch && let Some(Gap { from, to }) = gap {
                    let found = records.iter().filter(|r| r.0 <= to && r.1 >= from).take(brings);
                    for (first, to) in found.copied().collect::<Vec<_>>() {
                        prop_assert!(feed.offer(first, to, (first, to), &mut ready).is_none());
                    }
                    gap = feed.fetched();
                }
                prop_assert!(feed.behind.len() <= max_behind);
            }
            note(feed.exists(last), &mut gap);
            while let Some(Gap { from, to }) = gap {
                prop_assert!(from <= to);
                for (first, to) in records.iter().filter(|r| r.0 <= to && r.1 >= from) {
                    feed.offer(*first, *to, (*first, *to), &mut ready);
                }
                gap = feed.fetched();
            }
            let delivered: Vec<u64> = ready.iter().flat_map(|r| r.from..=r.last).collect();
            prop_assert_eq!(delivered, (after + 1..=last).collect::<Vec<_>>());
            prop_assert!(ready.iter().all(|r| r.payload.0 <= r.from && r.payload.1 == r.last));
            prop_assert!(feed.behind.is_empty());
        }
    }
}
