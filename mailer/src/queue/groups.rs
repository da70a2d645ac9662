//! Groups of what a mailer tells NATS: those that come within a period leave together, as one.
//!
//! What leaves together NATS stores together: several servers agree on it and sync it once, and not once for each. A mail is two messages that say how
//! far it is, and an acknowledgement, by which it is taken out of its stream. Who comes alone does not wait. What chat notices is how often a group
//! leaves, and that one of dozens is long (docs/benchmarks.md).

use std::{mem, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

#[derive(Debug)]
pub(super) struct Groups<T> {
    period: Duration,
    next: Mutex<Next<T>>,
}

#[derive(Debug)]
struct Next<T> {
    /// Of the group that leaves next. With none, that group is not there yet.
    members: Vec<T>,
    /// When the last one has left, or leaves.
    last: Option<Instant>,
}

impl<T> Groups<T> {
    /// Of which one leaves each `period`, at most.
    pub(super) fn new(period: Duration) -> Arc<Self> {
        Arc::new(Self { period, next: Mutex::new(Next { members: Vec::new(), last: None }) })
    }

    /// Adds one to the group that leaves next. `Some`: it is the first, and who has added it sees to it that the group leaves.
    pub(super) fn join(self: &Arc<Self>, member: T) -> Option<Group<T>> {
        let mut next = self.next.lock();
        next.members.push(member);
        if next.members.len() > 1 {
            return None;
        }
        let now = Instant::now();
        let at = next.last.map_or(now, |last| now.max(last + self.period));
        next.last = Some(at);
        Some(Group { groups: self.clone(), at })
    }
}

/// A group that is to leave.
#[derive(Debug)]
#[must_use = "its members wait"]
pub(super) struct Group<T> {
    groups: Arc<Groups<T>>,
    at: Instant,
}

impl<T> Group<T> {
    /// Its members, once it is time: after a period at most. There is one, at least.
    pub(super) async fn leave(self) -> Vec<T> {
        sleep_until(self.at).await;
        mem::take(&mut self.groups.next.lock().members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(20);

    #[tokio::test(start_paused = true)]
    async fn who_comes_alone_does_not_wait() {
        let groups = Groups::new(PERIOD);
        for n in 0..3 {
            let begun = Instant::now();
            assert_eq!(groups.join(n).unwrap().leave().await, [n]);
            assert!(begun.elapsed() < Duration::from_millis(2), "{:?}", begun.elapsed());
            tokio::time::sleep(PERIOD).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_come_within_a_period_leave_together() {
        let groups = Groups::new(PERIOD);
        let begun = Instant::now();
        let mut leaving = Vec::new();
        // One each 3 ms, for a while.
        for n in 0..100 {
            let come = Instant::now();
            if let Some(group) = groups.join((n, come)) {
                leaving.push(tokio::spawn(async move { (group.leave().await, Instant::now()) }));
            }
            tokio::time::sleep(Duration::from_millis(3)).await;
        }
        assert_eq!(leaving.len(), 16, "groups in 300 ms");
        let mut all = Vec::new();
        let mut last = None;
        for group in leaving {
            let (members, at) = group.await.unwrap();
            assert!(last.is_none_or(|last| at >= last + PERIOD), "a group leaves after {:?}", at - begun);
            last = Some(at);
            for (n, come) in members {
                assert!(at - come <= PERIOD + Duration::from_millis(2), "{n} waits for {:?}", at - come);
                all.push(n);
            }
        }
        assert!(all.iter().copied().eq(0..100), "{all:?}");
        assert!(last.unwrap() - begun < Duration::from_millis(330));
    }
}
