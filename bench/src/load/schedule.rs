//! Open-loop schedules: message `k` is due at `start + k / rate`, whatever became of those before it.
//!
//! A generator that waits for answers before it sends the next message stops asking exactly while the server
//! is slow, and so hides it ("coordinated omission"). Here the time a message was due is fixed beforehand, it is
//! what the message is stamped with, and all latency counts from it.

/// When messages are due.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Schedule {
    /// When the first one is due, nanoseconds of the monotonic clock.
    pub start: u64,
    /// Messages per second; greater than zero.
    pub rate: f64,
    /// How many messages there are.
    pub count: u64,
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
impl Schedule {
    /// `seconds` of messages from `start` on.
    pub fn new(start: u64, rate: f64, seconds: f64) -> Self {
        Self { start, rate, count: (rate * seconds).round().max(1.0) as u64 }
    }

    /// When message `k` is due.
    pub fn due_at(&self, k: u64) -> u64 {
        self.start + (k as f64 * 1e9 / self.rate) as u64
    }

    /// How many messages are due by `now`.
    pub fn due_by(&self, now: u64) -> u64 {
        if now < self.start {
            return 0;
        }
        let mut k = (((now - self.start) as f64 / 1e9 * self.rate) as u64 + 1).min(self.count);
        // Rounding may be off by one either way; `due_at` decides.
        while k > 0 && self.due_at(k - 1) > now {
            k -= 1;
        }
        while k < self.count && self.due_at(k) <= now {
            k += 1;
        }
        k
    }

    /// When the last message has become due and its share of time is over.
    pub fn end(&self) -> u64 {
        self.due_at(self.count)
    }

    /// How many messages are due in `from..to`.
    pub fn due_within(&self, from: u64, to: u64) -> u64 {
        let before = |at: u64| if at == 0 { 0 } else { self.due_by(at - 1) };
        before(to).saturating_sub(before(from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_evenly_and_counted_exactly() {
        for rate in [0.7, 1.0, 3.0, 999.9, 20_000.0, 333_333.3] {
            let schedule = Schedule::new(1_000_000_007, rate, 10.0);
            for k in 0..schedule.count.min(5_000) {
                let at = schedule.due_at(k);
                assert_eq!(schedule.due_by(at), k + 1, "rate {rate}, message {k} at its time");
                assert_eq!(schedule.due_by(at - 1), k, "rate {rate}, message {k} just before");
            }
            assert_eq!(schedule.due_by(u64::MAX / 2), schedule.count);
        }
    }

    #[test]
    fn windows_part_the_messages_among_them() {
        let schedule = Schedule::new(500, 12_345.6, 3.0);
        let (middle, end) = (schedule.due_at(schedule.count / 3), schedule.end());
        assert_eq!(schedule.due_within(0, middle), schedule.count / 3);
        assert_eq!(schedule.due_within(0, middle) + schedule.due_within(middle, end + 1), schedule.count);
        assert_eq!(schedule.due_within(end, middle), 0);
    }
}
