//! Groups of what a mailer has NATS store: those that come within a period leave together.
//!
//! What leaves together NATS stores together: several servers sync it once, and not once for each. A mail is two messages that say how far it is, and
//! an acknowledgement, by which it is taken out of its stream. One by one they cost chat's NATS 4.2 ms of CPU a mail; in groups, and with the consumers in
//! memory, 1.3 (docs/benchmarks.md). Who comes alone does not wait. Larger groups cost less still, and have chat wait for longer: p99 was
//! 6.6 ms in place of 5.0 where acknowledgements and claims waited for a note to leave with.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};

#[derive(Debug)]
pub(super) struct Groups {
    period: Duration,
    /// When the last one leaves, or has left.
    last: Mutex<Option<Instant>>,
}

impl Groups {
    /// Of which one leaves each `period`, at most.
    pub(super) fn new(period: Duration) -> Self {
        Self { period, last: Mutex::new(None) }
    }

    /// Waits until the next one leaves: for a period at most.
    pub(super) async fn leave(&self) {
        let at = self.next(Instant::now());
        sleep_until(at).await;
    }

    fn next(&self, now: Instant) -> Instant {
        let mut last = self.last.lock();
        let at = match *last {
            Some(at) if at > now => at,
            Some(at) => now.max(at + self.period),
            None => now,
        };
        *last = Some(at);
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PERIOD: Duration = Duration::from_millis(20);

    #[tokio::test(start_paused = true)]
    async fn who_comes_alone_does_not_wait() {
        let groups = Groups::new(PERIOD);
        for _ in 0..3 {
            let begun = Instant::now();
            groups.leave().await;
            assert!(begun.elapsed() < Duration::from_millis(2), "{:?}", begun.elapsed());
            tokio::time::sleep(PERIOD).await;
        }
    }

    #[test]
    fn those_that_come_within_a_period_leave_together() {
        let (groups, begun) = (Groups::new(PERIOD), Instant::now());
        let mut left: Vec<Instant> = Vec::new();
        // One each 3 ms, for a while.
        for n in 0..100 {
            let now = begun + Duration::from_millis(3) * n;
            let at = groups.next(now);
            assert!(at >= now && at <= now + PERIOD, "{n} waits for {:?}", at - now);
            assert!(left.last().is_none_or(|last| at == *last || at >= *last + PERIOD), "{n} leaves alone");
            left.push(at);
        }
        left.dedup();
        assert_eq!(left.len(), 16, "groups in 300 ms");
    }
}
