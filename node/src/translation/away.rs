//! Translators that do not answer are asked by one message at a time, and not by each.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

/// Between two requests that only find out whether somebody is there again.
const ASK_AGAIN: Duration = Duration::from_secs(1);

/// Whether anybody answered the last time.
pub(super) struct Away {
    began: Instant,
    /// When one may ask, in milliseconds since then; 0: everybody may.
    next: AtomicU64,
}

impl Away {
    /// Nobody was away yet.
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), next: AtomicU64::new(0) }
    }

    /// Whether one may ask now. Of those who ask while nobody answers, one may each second.
    pub(super) fn may_ask(&self, now: Instant) -> bool {
        let next = self.next.load(Ordering::Relaxed);
        let later = self.at(now + ASK_AGAIN);
        next == 0
            || (self.at(now) >= next
                && self.next.compare_exchange(next, later, Ordering::Relaxed, Ordering::Relaxed).is_ok())
    }

    /// Somebody answered.
    pub(super) fn is_over(&self) {
        self.next.store(0, Ordering::Relaxed);
    }

    /// Nobody answered.
    pub(super) fn goes_on(&self, now: Instant) {
        self.next.store(self.at(now + ASK_AGAIN), Ordering::Relaxed);
    }

    fn at(&self, when: Instant) -> u64 {
        let since = when.saturating_duration_since(self.began).as_millis();
        // Not 0, which says something else.
        u64::try_from(since).unwrap_or(u64::MAX).max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn while_nobody_answers_one_may_ask_each_second() {
        let away = Away::new();
        let at = |ms| away.began + Duration::from_millis(ms);
        assert!((0..10).all(|_| away.may_ask(at(0))), "nobody is known to be away");
        away.goes_on(at(0));
        let asked = (0..5_000).filter(|&ms| away.may_ask(at(ms))).count();
        assert_eq!(asked, 4, "at 1, 2, 3 and 4 seconds");
        // The one who asked was not answered, and that took its time.
        away.goes_on(at(10_000));
        assert!(!away.may_ask(at(10_999)));
        assert!(away.may_ask(at(11_000)));
        away.is_over();
        assert!((0..10).all(|_| away.may_ask(at(11_001))));
    }
}
