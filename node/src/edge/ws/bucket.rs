//! Counting, in eight bytes each: a token bucket, a rate with bursts; and how often something happens in a minute.

/// Bursts are so many seconds' worth of the rate.
const BURST_SECONDS: f32 = 10.0;

/// See the module's text. Begins full.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Bucket {
    /// How much of the burst is used up.
    used: f32,
    /// Node time of the last use, in milliseconds. Wraps after 49 days.
    at: u32,
}

impl Bucket {
    /// Takes one at a rate of `per_second` (0: no limit).
    ///
    /// # Errors
    /// Milliseconds until there is one.
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(crate) fn take(&mut self, now_ms: u32, per_second: u32) -> Result<(), u64> {
        if per_second == 0 {
            return Ok(());
        }
        let rate = per_second as f32;
        let passed = now_ms.wrapping_sub(self.at) as f32 / 1000.0;
        self.at = now_ms;
        self.used = (self.used - passed * rate).max(0.0);
        let over = self.used + 1.0 - rate * BURST_SECONDS;
        if over > 0.0 {
            return Err(((over / rate * 1000.0).ceil() as u64).max(1));
        }
        self.used += 1.0;
        Ok(())
    }
}

/// How often something has happened in the present minute.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PerMinute {
    count: u32,
    /// Of node time.
    minute: u32,
}

impl PerMinute {
    /// It has happened once more: how often in this minute.
    pub(crate) fn add(&mut self, now_seconds: u32) -> u32 {
        let minute = now_seconds / 60;
        if self.minute != minute {
            *self = Self { count: 0, minute };
        }
        self.count = self.count.saturating_add(1);
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_minute_begins_anew() {
        let mut count = PerMinute::default();
        assert_eq!([0, 1, 59].map(|now| count.add(now)), [1, 2, 3]);
        assert_eq!([60, 119, 7_200].map(|now| count.add(now)), [1, 2, 1]);
    }

    #[test]
    fn allows_a_burst_and_then_the_rate() {
        let mut bucket = Bucket::default();
        for _ in 0..100 {
            assert_eq!(bucket.take(5_000, 10), Ok(()));
        }
        assert_eq!(bucket.take(5_000, 10), Err(100));
        assert_eq!(bucket.take(5_100, 10), Ok(()));
        assert_eq!(bucket.take(5_100, 10), Err(100));
        assert_eq!((0..1000).filter(|_| bucket.take(60_000, 10).is_ok()).count(), 100);
        assert!((0..1000).all(|_| bucket.take(60_000, 0).is_ok()));
    }
}
