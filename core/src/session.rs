//! A connection's subscription to a room: replay, then live, every event once and in order.
//!
//! Here belongs what is sent next and what is not. Reading pages and writing frames are the shell's business. So is, in the node, going
//! on live: a room's frames are on a tape there, and who joins it behind [`Subscription::last_seq`] reads what follows, each once.

/// What a subscription wants done next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Read the events `from ≤ seq ≤ to` and send them; report with [`Subscription::sent`].
    Read {
        /// First one.
        from: u64,
        /// Last one.
        to: u64,
    },
    /// Tell the client by `resync` that it must page the history from `from`; then [`Subscription::join`].
    Resync {
        /// First event that is not replayed.
        from: u64,
        /// Last event that is not replayed.
        last_seq: u64,
    },
    /// All that was to be read is sent: [`Subscription::join`] the live events.
    Join,
}

/// What joining came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Joined {
    /// Send `caught_up` with this `last_seq`, then live events as [`Subscription::offer`] says.
    Live {
        /// The newest event that the client has.
        last_seq: u64,
    },
    /// More was committed meanwhile: do this first, then join again.
    Behind(Step),
}

/// What to do with live events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offer {
    /// The client has all of them.
    Skip,
    /// Send those with `seq ≥ from`.
    Send {
        /// First one to send.
        from: u64,
    },
    /// Some before them were not offered: read and send them first, then join again.
    Missed(Step),
}

/// One subscription. Make a new one for each `subscribe`, and drop it at `unsubscribe`: `generation` tells a
/// page that was asked for before from one that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Subscription {
    /// Chosen by the shell, another one for each subscription of a connection.
    pub generation: u64,
    /// Seq of the next event to send.
    next: u64,
    /// Last event of the read that is under way.
    reading_to: u64,
    replay_limit: u64,
    live: bool,
}

impl Subscription {
    /// Starts after `after` (`None`: with live events) in a room whose newest event is `tail`. At most
    /// `replay_limit` events are replayed.
    ///
    /// An `after` beyond `tail` is taken as it is: another node may have committed more than this one heard of.
    pub fn start(after: Option<u64>, tail: u64, replay_limit: u64, generation: u64) -> (Self, Step) {
        let next = after.unwrap_or(tail).saturating_add(1);
        let mut this = Self { generation, next, reading_to: 0, replay_limit, live: false };
        let step = this.reach(tail);
        (this, step)
    }

    /// The newest event that the client has, or was told to page for.
    pub fn last_seq(&self) -> u64 {
        self.next - 1
    }

    /// Whether it gets live events.
    pub fn live(&self) -> bool {
        self.live
    }

    /// Events up to `last` were sent from a page asked for by `generation`. An empty page says the last one before it.
    /// `None`: the page was not of this subscription, or not asked for: it must not be sent.
    pub fn sent(&mut self, generation: u64, last: u64) -> Option<Step> {
        if generation != self.generation || self.live || last >= self.next.max(self.reading_to + 1) {
            return None;
        }
        self.next = self.next.max(last + 1);
        Some(self.step())
    }

    /// Joins the live events, of which `head` was the last one: the next ones offered must follow it.
    pub fn join(&mut self, head: u64) -> Joined {
        match self.reach(head) {
            Step::Join => {
                self.live = true;
                Joined::Live { last_seq: self.last_seq() }
            }
            step => Joined::Behind(step),
        }
    }

    /// Judges the live events `first..=last`; what is to be sent counts as sent.
    pub fn offer(&mut self, first: u64, last: u64) -> Offer {
        if !self.live || last < self.next {
            return Offer::Skip;
        }
        if first > self.next {
            self.live = false;
            return Offer::Missed(self.reach(last));
        }
        let from = self.next;
        self.next = last + 1;
        Offer::Send { from }
    }

    /// The room's newest event is `to` by now: what it takes to have everything up to there.
    pub fn reach(&mut self, to: u64) -> Step {
        self.reading_to = to;
        if to.saturating_sub(self.last_seq()) > self.replay_limit {
            let from = self.next;
            self.next = to + 1;
            return Step::Resync { from, last_seq: to };
        }
        self.step()
    }

    fn step(&self) -> Step {
        if self.next <= self.reading_to {
            Step::Read { from: self.next, to: self.reading_to }
        } else {
            Step::Join
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// While the room goes on, pages are short and the live stream breaks off: what is sent is exactly
        /// what comes after `after`, except what a `resync` names.
        #[test]
        fn everything_once_in_order_or_named(
            after in prop::option::of(0u64..30),
            tail in 0u64..40,
            limit in 1u64..20,
            moves in prop::collection::vec((0u64..4, 1u64..5, 0u8..8), 1..80),
        ) {
            let (mut subscription, mut step) = Subscription::start(after, tail, limit, 7);
            let start = after.unwrap_or(tail);
            let mut newest = tail.max(start);
            let mut got: Vec<u64> = Vec::new();
            let mut caught_up = false;
            for (grows, page, what) in moves {
                let first = newest + 1;
                newest += grows;
                if subscription.live() {
                    // Live events are lost now and then, repeated, or overlap.
                    let first = if what == 1 { first.saturating_sub(2).max(1) } else { first };
                    if what == 0 || newest < first {
                        continue;
                    }
                    match subscription.offer(first, newest) {
                        Offer::Skip => {}
                        Offer::Send { from } => got.extend(from..=newest),
                        Offer::Missed(next) => step = next,
                    }
                    continue;
                }
                prop_assert_eq!(subscription.offer(first, newest), Offer::Skip);
                match step {
                    Step::Read { from, to } => {
                        prop_assert!(subscription.sent(6, to).is_none());
                        let last = to.min(from + page - 1);
                        got.extend(from..=last);
                        step = subscription.sent(7, last).expect("it is wanted");
                    }
                    Step::Resync { from, last_seq } => {
                        prop_assert!(last_seq + 1 - from > limit);
                        got.extend(from..=last_seq);
                        step = Step::Join;
                    }
                    Step::Join => match subscription.join(newest) {
                        Joined::Live { last_seq } => {
                            prop_assert_eq!(last_seq, subscription.last_seq());
                            caught_up = true;
                        }
                        Joined::Behind(next) => step = next,
                    },
                }
            }
            let expected: Vec<u64> = (start + 1..).take(got.len()).collect();
            prop_assert_eq!(got, expected);
            prop_assert!(caught_up || !subscription.live());
        }
    }

    #[test]
    fn says_what_it_does_not_replay() {
        let (mut subscription, step) = Subscription::start(Some(5), 20_000, 10_000, 1);
        assert_eq!(step, Step::Resync { from: 6, last_seq: 20_000 });
        assert_eq!(subscription.join(20_000), Joined::Live { last_seq: 20_000 });
        let (_, step) = Subscription::start(Some(5), 10_005, 10_000, 1);
        assert_eq!(step, Step::Read { from: 6, to: 10_005 });
    }

    #[test]
    fn a_client_that_knows_more_than_this_node() {
        let (mut subscription, step) = Subscription::start(Some(9), 5, 100, 1);
        assert_eq!(step, Step::Join);
        assert_eq!(subscription.join(5), Joined::Live { last_seq: 9 });
        assert_eq!(subscription.offer(6, 9), Offer::Skip);
        assert_eq!(subscription.offer(8, 11), Offer::Send { from: 10 });
        assert_eq!(subscription.offer(13, 13), Offer::Missed(Step::Read { from: 12, to: 13 }));
    }
}
