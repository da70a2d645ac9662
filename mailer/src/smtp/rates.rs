//! How many mails per second go out, in all and to one domain: receivers slow down or block who sends faster.

use std::{num::NonZeroU32, time::Duration};

use governor::{
    DefaultDirectRateLimiter, DefaultKeyedRateLimiter, Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
};

use super::SmtpSettings;

/// Domains remembered at most, before those that have not been written to lately are forgotten.
const DOMAINS: usize = 10_000;

/// The limits in force in this process.
pub struct Rates {
    all: Option<DefaultDirectRateLimiter>,
    domains: Option<DefaultKeyedRateLimiter<String>>,
    clock: DefaultClock,
}

fn quota(per_second: f64) -> Option<Quota> {
    let period = (per_second > 0.0).then(|| Duration::from_secs_f64(1.0 / per_second))?;
    // Up to a second's worth at once.
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let burst = NonZeroU32::new(per_second.ceil() as u32).unwrap_or(NonZeroU32::MIN);
    Quota::with_period(period).map(|quota| quota.allow_burst(burst))
}

impl Rates {
    /// As the settings say; 0 stands for no limit.
    pub fn new(settings: &SmtpSettings) -> Self {
        Self {
            all: quota(settings.per_second).map(RateLimiter::direct),
            domains: quota(settings.per_domain_per_second).map(RateLimiter::dashmap),
            clock: DefaultClock::default(),
        }
    }

    /// Takes a mail to this domain from the limits, or says how long to wait.
    ///
    /// # Errors
    /// The time after which another try may succeed.
    pub fn take(&self, domain: &str) -> Result<(), Duration> {
        if let Some(domains) = &self.domains {
            if domains.len() > DOMAINS {
                domains.retain_recent();
            }
            let taken = domains.check_key(&domain.to_ascii_lowercase());
            taken.map_err(|until| until.wait_time_from(self.clock.now()))?;
        }
        if let Some(all) = &self.all {
            all.check().map_err(|until| until.wait_time_from(self.clock.now()))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_domain_and_all_together_are_bounded() {
        let none = Rates::new(&SmtpSettings::default());
        assert!((0..1000).all(|_| none.take("a.org").is_ok()));
        let settings =
            SmtpSettings { per_second: 3.0, per_domain_per_second: 0.5, ..SmtpSettings::default() };
        let rates = Rates::new(&settings);
        assert!(rates.take("a.org").is_ok());
        let wait = rates.take("A.org").unwrap_err();
        assert!(wait > Duration::from_secs(1) && wait <= Duration::from_secs(2), "{wait:?}");
        assert!(rates.take("b.org").is_ok() && rates.take("c.org").is_ok());
        assert!(rates.take("d.org").unwrap_err() < Duration::from_secs(1));
    }
}
