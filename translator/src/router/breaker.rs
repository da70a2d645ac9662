//! Leaving an engine alone while it fails.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

const LONGEST: Duration = Duration::from_secs(60);
/// What an engine may ask for itself.
const LONGEST_ASKED: Duration = Duration::from_secs(3600);

/// Shut while an engine works. After failures in a row it opens: the engine is not asked. Then one request tries it, and
/// shuts it again or doubles the time.
pub(super) struct Breaker {
    failures: u32,
    first: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    failed: u32,
    opened: u32,
    until: Option<Instant>,
    trying: bool,
}

impl Breaker {
    pub(super) fn new(failures: u32, first: Duration) -> Self {
        Self { failures, first, state: Mutex::default() }
    }

    /// Whether the engine may be asked; else when it may be.
    pub(super) fn pass(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.state.lock();
        let Some(until) = state.until else { return Ok(()) };
        if now < until {
            return Err(until - now);
        }
        if std::mem::replace(&mut state.trying, true) {
            return Err(Duration::from_millis(500));
        }
        Ok(())
    }

    pub(super) fn worked(&self) {
        *self.state.lock() = State::default();
    }

    /// Nothing is known: whoever passed was not served for a reason that is not the engine's.
    pub(super) fn unknown(&self) {
        self.state.lock().trying = false;
    }

    /// It failed, and perhaps said itself for how long. Whether it is left alone now.
    pub(super) fn failed(&self, now: Instant, asked: Option<Duration>) -> bool {
        let mut state = self.state.lock();
        state.failed += 1;
        let was_trying = std::mem::take(&mut state.trying);
        // Whoever passed before it opened, and fails now, as do all who shared a call, tells nothing new.
        let is_open = state.until.is_some_and(|until| now < until);
        if let Some(asked) = asked {
            let until = now + asked.min(LONGEST_ASKED);
            state.until = Some(state.until.map_or(until, |other| other.max(until)));
        } else if was_trying || (!is_open && state.failed >= self.failures) {
            let time = self.first * 2_u32.saturating_pow(state.opened.min(10));
            state.opened += 1;
            state.until = Some(now + time.min(LONGEST));
        }
        state.until.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_tries_and_shuts() {
        let breaker = Breaker::new(2, Duration::from_secs(1));
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        assert!(!breaker.failed(at(0), None) && breaker.pass(at(0)).is_ok());
        assert!(breaker.failed(at(0), None));
        assert_eq!(breaker.pass(at(400)), Err(Duration::from_millis(600)));
        // One may try; the others wait for what it finds.
        for _ in 0..10 {
            assert!(breaker.failed(at(0), None), "those who shared the call that opened it");
        }
        assert!(breaker.pass(at(1000)).is_ok() && breaker.pass(at(1000)).is_err());
        assert!(breaker.failed(at(1000), None));
        assert_eq!(breaker.pass(at(1000)), Err(Duration::from_secs(2)));
        assert!(breaker.pass(at(3000)).is_ok());
        breaker.worked();
        assert!(breaker.pass(at(3000)).is_ok() && !breaker.failed(at(3000), None));
    }

    #[test]
    fn an_engine_says_itself_when() {
        let breaker = Breaker::new(5, Duration::from_secs(1));
        let now = Instant::now();
        assert!(breaker.failed(now, Some(Duration::from_secs(30))));
        assert_eq!(breaker.pass(now), Err(Duration::from_secs(30)));
        assert!(breaker.failed(now, Some(Duration::MAX)));
        assert_eq!(breaker.pass(now), Err(LONGEST_ASKED));
    }
}
