//! Virtual time: what happens next.

use std::{cmp::Reverse, collections::BinaryHeap};

/// Something that will happen at a time. Things of the same time happen in the order in which they were scheduled.
#[derive(Debug)]
struct Scheduled<E> {
    at: u64,
    order: u64,
    event: E,
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.order) == (other.at, other.order)
    }
}
impl<E> Eq for Scheduled<E> {}
impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<E> Ord for Scheduled<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.order).cmp(&(other.at, other.order))
    }
}

/// Events to come, and the virtual time.
#[derive(Debug)]
pub struct Queue<E> {
    heap: BinaryHeap<Reverse<Scheduled<E>>>,
    orders: u64,
    now: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self { heap: BinaryHeap::new(), orders: 0, now: 0 }
    }
}

impl<E> Queue<E> {
    /// Virtual milliseconds since the start.
    pub fn now(&self) -> u64 {
        self.now
    }

    /// Lets `event` happen `delay` milliseconds from now.
    pub fn after(&mut self, delay: u64, event: E) {
        self.at(self.now + delay, event);
    }

    /// Lets `event` happen at `at`, or now if that is past.
    pub fn at(&mut self, at: u64, event: E) {
        self.orders += 1;
        self.heap.push(Reverse(Scheduled { at: at.max(self.now), order: self.orders, event }));
    }

    /// Goes on to the next event; `None`: nothing will happen any more, or not before `end`.
    pub fn next(&mut self, end: u64) -> Option<E> {
        if self.heap.peek().is_none_or(|Reverse(next)| next.at > end) {
            return None;
        }
        let Reverse(next) = self.heap.pop()?;
        self.now = next.at;
        Some(next.event)
    }
}
