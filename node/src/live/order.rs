//! The order of one room's events, out of records that may come late, twice or never.
//!
//! Nothing is kept of a record that comes too early: what is missing is read from the log, and it with it.

use rookery_protocol::log;

/// What to do with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Offer {
    /// Deliver its events from index `from` on; the first of them has seq `first`.
    New {
        /// Seq.
        first: u64,
        /// Index into the record's events.
        from: usize,
    },
    /// Nothing in it is new.
    Old,
    /// Events before it are missing: fetch them from the log.
    Missing,
}

/// Which event of a room comes next.
#[derive(Debug, Default)]
pub(super) struct Order {
    /// `None`: where to begin is not known yet.
    next: Option<u64>,
    /// Greatest seq that is known to exist.
    known: u64,
    /// A record was lost unread.
    lost: bool,
}

impl Order {
    /// Events after `seq` are to be delivered.
    pub(super) fn begin(&mut self, seq: u64) {
        self.next.get_or_insert(seq + 1);
    }

    /// Seq of the next event to deliver.
    pub(super) fn next(&self) -> Option<u64> {
        self.next
    }

    /// A record is there; what is [`Offer::New`] counts as delivered.
    pub(super) fn offer(&mut self, record: &log::Record) -> Offer {
        // An epoch record has no events, but says how far the room had come.
        let last = record.first_seq + record.events.len() as u64 - 1;
        self.known = self.known.max(last);
        match self.next {
            None => Offer::Old,
            Some(next) if last < next => Offer::Old,
            Some(next) if record.first_seq > next => Offer::Missing,
            Some(next) => {
                self.next = Some(last + 1);
                Offer::New { first: next, from: (next - record.first_seq) as usize }
            }
        }
    }

    /// A record was lost unread.
    pub(super) fn lose(&mut self) {
        self.lost = true;
    }

    /// The log was read up to its end.
    pub(super) fn fetched(&mut self) {
        self.lost = false;
    }

    /// Whether there are events that came too early or were lost.
    pub(super) fn is_missing(&self) -> bool {
        self.next.is_some_and(|next| self.lost || self.known >= next)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(first_seq: u64, events: usize) -> log::Record {
        log::Record { first_seq, events: vec![log::Event::default(); events], ..Default::default() }
    }

    proptest! {
        /// Records of a log, delivered in any order, any number of times, some never: what is delivered is without
        /// gap or repetition, and as long as the room is behind what was seen, it knows.
        #[test]
        fn delivers_each_event_once_and_in_order(
            sizes in prop::collection::vec(0usize..4, 1..20),
            begin in 0u64..10,
            arrivals in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
        ) {
            let mut first = 1;
            let log: Vec<_> = sizes.iter().map(|&size| {
                let record = record(first, size);
                first += size as u64;
                record
            }).collect();
            let mut order = Order::default();
            order.begin(begin);
            let mut expected = begin + 1;
            let mut seen = 0;
            for arrival in arrivals {
                let record = &log[arrival.index(log.len())];
                let last = record.first_seq + record.events.len() as u64 - 1;
                seen = seen.max(last);
                if let Offer::New { first, from } = order.offer(record) {
                    prop_assert_eq!(first, expected);
                    prop_assert_eq!(record.first_seq + from as u64, first);
                    expected = last + 1;
                }
                prop_assert_eq!(order.next(), Some(expected));
                prop_assert_eq!(order.is_missing(), seen >= expected);
            }
        }
    }

    #[test]
    fn what_came_before_the_beginning_is_remembered() {
        let mut order = Order::default();
        assert_eq!(order.offer(&record(4, 2)), Offer::Old);
        assert!(!order.is_missing());
        order.begin(3);
        assert!(order.is_missing());
        assert_eq!(order.offer(&record(4, 2)), Offer::New { first: 4, from: 0 });
        assert!(!order.is_missing());
    }
}
