//! What is tried so often at most in some time.

use std::time::{Duration, Instant};

/// Tries, counted anew when the time since the first of them is over.
pub(super) struct Tries {
    most: u32,
    within: Duration,
    since: Option<Instant>,
    times: u32,
}

impl Tries {
    /// `most` of them `within` such a time.
    pub(super) const fn new((most, within): (u32, Duration)) -> Self {
        Self { most, within, since: None, times: 0 }
    }

    /// Takes one, if there is one left.
    pub(super) fn once_more(&mut self) -> bool {
        if self.since.is_none_or(|since| since.elapsed() >= self.within) {
            (self.since, self.times) = (Some(Instant::now()), 0);
        }
        self.times = self.times.saturating_add(1);
        self.times <= self.most
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_are_counted_and_come_back() {
        let mut tries = Tries::new((2, Duration::from_secs(600)));
        assert_eq!([tries.once_more(), tries.once_more(), tries.once_more()], [true, true, false]);
        tries.within = Duration::ZERO;
        assert!(tries.once_more());
    }
}
