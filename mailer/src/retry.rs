//! How often a mail is tried, and when again.

use std::time::Duration;

use rookery_service::settings::Wrong;
use serde::{Deserialize, Serialize};

/// No job is tried again when it is older than that; all of its tries must fit into it.
pub const LIFE: Duration = Duration::from_secs(24 * 3600);

/// `[retry]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RetrySettings {
    /// Tries of one mail, the first among them. 1 to 100.
    pub tries: u32,
    /// After the first failure: so many seconds; each further time three times as long. 1 to 3,600.
    pub first_seconds: u64,
    /// But at most so many seconds. 1 to 86,400. All waits together must fit into a day.
    pub longest_seconds: u64,
}

impl Default for RetrySettings {
    fn default() -> Self {
        Self { tries: 10, first_seconds: 5, longest_seconds: 1800 }
    }
}

impl RetrySettings {
    /// What cannot work.
    pub fn check(&self) -> Vec<Wrong> {
        let rules = [
            ("tries", (1..=100).contains(&self.tries), "must be 1 to 100"),
            ("first_seconds", (1..=3600).contains(&self.first_seconds), "must be 1 to 3600"),
            ("longest_seconds", (1..=86_400).contains(&self.longest_seconds), "must be 1 to 86400"),
        ];
        let fits = self.longest() <= LIFE;
        let rules = rules.into_iter().chain([(
            "tries",
            fits,
            "must fit into 24 hours with first_seconds and longest_seconds: fewer tries, or shorter waits",
        )]);
        let wrong = rules.filter(|(_, good, _)| !good);
        wrong.map(|(key, _, why)| Wrong { key: format!("retry.{key}"), why: why.to_owned() }).collect()
    }

    /// The longest wait after so many failures.
    fn wait(&self, failures: u32) -> Duration {
        let factor = 3_u64.saturating_pow(failures.saturating_sub(1));
        Duration::from_secs(self.first_seconds.saturating_mul(factor).min(self.longest_seconds))
    }

    /// All waits together, at most.
    fn longest(&self) -> Duration {
        (1..self.tries).map(|failures| self.wait(failures)).sum()
    }

    /// How long to wait after this many failures; `None`: no further try. Spread, so that what failed together does not come back
    /// together.
    pub fn after(&self, failures: u32) -> Option<Duration> {
        if failures >= self.tries {
            return None;
        }
        Some(self.wait(failures).mul_f64(rand::random_range(0.75..=1.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_are_bounded_and_end() {
        let settings = RetrySettings { tries: 5, first_seconds: 4, longest_seconds: 30 };
        let within = |failures, low: u64, high: u64| {
            let after = settings.after(failures).unwrap();
            assert!(after >= Duration::from_secs(low) && after <= Duration::from_secs(high), "{after:?}");
        };
        within(1, 3, 4);
        within(2, 9, 12);
        within(3, 22, 30);
        within(4, 22, 30);
        assert_eq!(settings.after(5), None);
        assert!(RetrySettings { tries: 100, ..RetrySettings::default() }.after(99).is_some());
    }

    #[test]
    fn what_takes_longer_than_a_job_lives_is_refused() {
        let keys = |settings: RetrySettings| -> Vec<_> {
            settings.check().into_iter().map(|wrong| wrong.key).collect()
        };
        let good = RetrySettings::default();
        assert!(keys(good.clone()).is_empty());
        assert!(good.longest() < Duration::from_secs(3 * 3600), "{:?}", good.longest());
        assert_eq!(
            keys(RetrySettings { tries: 100, longest_seconds: 86_400, ..good.clone() }),
            ["retry.tries"]
        );
        assert_eq!(keys(RetrySettings { tries: 60, ..good.clone() }), ["retry.tries"]);
        assert!(keys(RetrySettings { tries: 50, ..good.clone() }).is_empty());
        assert_eq!(keys(RetrySettings { tries: 0, longest_seconds: u64::MAX, ..good }).len(), 2);
    }
}
