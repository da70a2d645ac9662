//! How many mails per second go out, in all and to one domain: receivers slow down or block who sends faster.
//!
//! What has no place now is told when it will, once: its turn in a queue, behind those who were told before. Codes, which somebody waits
//! for, have a queue of their own and pass all others. Who waits for one domain takes no turn from the others.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::SmtpSettings;

/// Domains remembered at most, of those that have been written to lately.
const DOMAINS: usize = 100_000;
/// A mail with so many domains before it comes again.
const FULL: Duration = Duration::from_secs(1);
/// Who comes in his turn, or with a code, and is too early by no more than this, waits where he is.
const IN_PLACE: Duration = Duration::from_secs(1);

/// What the rates say to a mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// It may be sent after this time, and is counted.
    Go(Duration),
    /// It is to come again after this time.
    Later(Duration),
}

/// How a mail stands to others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Somebody waits for it.
    pub urgent: bool,
    /// It comes in its turn, or for other reasons not for the first time.
    pub waited: bool,
}

/// A mail every so often.
struct Pace {
    period: Duration,
    /// So far ahead of that a burst may be: up to a second's worth at once.
    burst: Duration,
    /// The next one's time, without a burst.
    next: Instant,
    /// Where the queues end: of codes, of others.
    ends: [Instant; 2],
}

impl Pace {
    fn new(per_second: f64, now: Instant) -> Self {
        let period = Duration::from_secs_f64(1.0 / per_second);
        let burst = period.mul_f64(per_second.ceil() - 1.0);
        Self { period, burst, next: now, ends: [now; 2] }
    }

    fn wait(&self, now: Instant) -> Duration {
        self.next.saturating_duration_since(now + self.burst)
    }

    fn take(&mut self, now: Instant) {
        self.next = self.next.max(now) + self.period;
    }

    /// Whether others wait who came before a mail that is no code.
    fn is_crowded(&self, now: Instant) -> bool {
        self.ends[1] > now
    }

    /// When the next turn is.
    fn turn(&self, urgent: bool, now: Instant) -> Instant {
        let first = (now + self.wait(now)).max(self.ends[0]);
        if urgent { first } else { first.max(self.ends[1]) }
    }

    fn give(&mut self, turn: Instant, urgent: bool) {
        self.ends[usize::from(!urgent)] = turn + self.period;
    }

    /// Whether it says the same as a new one.
    fn is_idle(&self, now: Instant) -> bool {
        self.next <= now && self.ends.iter().all(|end| *end <= now)
    }
}

struct Paces {
    all: Option<Pace>,
    domains: HashMap<String, Pace>,
}

/// The limits in force in this process.
pub struct Rates {
    per_domain: f64,
    paces: Mutex<Paces>,
}

impl Rates {
    /// As the settings say; 0 stands for no limit.
    pub fn new(settings: &SmtpSettings) -> Self {
        let all = (settings.per_second > 0.0).then(|| Pace::new(settings.per_second, Instant::now()));
        let paces = Mutex::new(Paces { all, domains: HashMap::new() });
        Self { per_domain: settings.per_domain_per_second, paces }
    }

    /// Takes a mail to this domain from the limits, or says when it is to come again.
    pub fn admit(&self, domain: &str, standing: Standing) -> Admission {
        self.admit_at(domain, standing, Instant::now())
    }

    fn admit_at(&self, domain: &str, Standing { urgent, waited }: Standing, now: Instant) -> Admission {
        let mut paces = self.paces.lock();
        let Paces { all, domains } = &mut *paces;
        let domain = if self.per_domain > 0.0 {
            let name = domain.to_ascii_lowercase();
            if domains.len() >= DOMAINS && !domains.contains_key(&name) {
                domains.retain(|_, pace| !pace.is_idle(now));
                if domains.len() >= DOMAINS {
                    return Admission::Later(FULL);
                }
            }
            Some(domains.entry(name).or_insert_with(|| Pace::new(self.per_domain, now)))
        } else {
            None
        };
        let mut both: Vec<&mut Pace> = all.as_mut().into_iter().chain(domain).collect();
        let wait = both.iter().map(|pace| pace.wait(now)).max().unwrap_or_default();
        let may_wait = if urgent || waited { IN_PLACE } else { Duration::ZERO };
        let crowded = !urgent && !waited && both.iter().any(|pace| pace.is_crowded(now));
        if wait <= may_wait && !crowded {
            both.iter_mut().for_each(|pace| pace.take(now));
            return Admission::Go(wait);
        }
        // Only that which holds it back: the other has no less to give for it.
        let Some(slowest) = both.into_iter().max_by_key(|pace| pace.turn(urgent, now)) else {
            return Admission::Go(Duration::ZERO);
        };
        let turn = slowest.turn(urgent, now);
        slowest.give(turn, urgent);
        Admission::Later(turn - now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTICE: Standing = Standing { urgent: false, waited: false };
    const DUE: Standing = Standing { urgent: false, waited: true };
    const CODE: Standing = Standing { urgent: true, waited: false };
    const GO: Admission = Admission::Go(Duration::ZERO);

    fn rates(per_second: f64, per_domain_per_second: f64) -> (Rates, Instant) {
        let settings = SmtpSettings { per_second, per_domain_per_second, ..SmtpSettings::default() };
        (Rates::new(&settings), Instant::now())
    }

    fn later(seconds: f64) -> Admission {
        Admission::Later(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn each_domain_and_all_together_are_bounded() {
        let (none, now) = rates(0.0, 0.0);
        assert!((0..1000).all(|_| none.admit_at("a.org", NOTICE, now) == GO));
        let (rates, now) = rates(4.0, 0.5);
        assert_eq!(rates.admit_at("a.org", NOTICE, now), GO);
        assert_eq!(rates.admit_at("A.org", NOTICE, now), later(2.0));
        for domain in ["b.org", "c.org", "d.org"] {
            assert_eq!(rates.admit_at(domain, NOTICE, now), GO);
        }
        assert_eq!(rates.admit_at("e.org", NOTICE, now), later(0.25));
        // What all together held back was not taken from the domain.
        assert_eq!(rates.admit_at("e.org", DUE, now + Duration::from_secs(1)), GO);
    }

    #[test]
    fn each_is_told_its_own_turn_and_goes_in_it() {
        let (rates, now) = rates(0.0, 1.0);
        assert_eq!(rates.admit_at("a.org", NOTICE, now), GO);
        for turn in 1..1000 {
            assert_eq!(rates.admit_at("a.org", NOTICE, now), later(f64::from(turn)));
        }
        // Others are not held back by that.
        assert_eq!(rates.admit_at("b.org", NOTICE, now), GO);
        for turn in 1..1000 {
            assert_eq!(rates.admit_at("a.org", DUE, now + Duration::from_secs(turn)), GO);
            // Who comes between them goes to the end.
            let then = now + Duration::from_millis(turn * 1000 + 500);
            let Admission::Later(after) = rates.admit_at("a.org", NOTICE, then) else { panic!("it passes") };
            assert!(then + after >= now + Duration::from_secs(1000), "{after:?}");
        }
    }

    #[test]
    fn codes_pass_notices_and_are_bounded_all_the_same() {
        let (rates, now) = rates(2.0, 0.0);
        for _ in 0..1000 {
            rates.admit_at("a.org", NOTICE, now);
        }
        let millis = |millis| Admission::Go(Duration::from_millis(millis));
        assert_eq!(rates.admit_at("a.org", CODE, now), millis(500));
        assert_eq!(rates.admit_at("a.org", CODE, now), millis(1000));
        assert_eq!(rates.admit_at("a.org", CODE, now), later(1.5));
        assert_eq!(rates.admit_at("a.org", CODE, now), later(2.0));
        // Those whose turn they took wait a little more.
        assert_eq!(rates.admit_at("a.org", DUE, now + Duration::from_millis(500)), millis(1000));
    }

    #[test]
    fn who_waits_for_one_domain_takes_no_turn_from_all() {
        let (rates, now) = rates(10.0, 1.0);
        for _ in 0..100 {
            rates.admit_at("slow.org", NOTICE, now);
        }
        for domain in 0..9 {
            assert_eq!(rates.admit_at(&format!("{domain}.org"), NOTICE, now), GO);
        }
    }

    #[test]
    fn domains_that_nobody_writes_to_are_forgotten() {
        let (rates, now) = rates(0.0, 1000.0);
        for n in 0..DOMAINS {
            assert_eq!(rates.admit_at(&format!("{n}.org"), NOTICE, now), GO);
        }
        assert_eq!(rates.admit_at("one-more.org", NOTICE, now), Admission::Later(FULL));
        let then = now + Duration::from_secs(1);
        assert_eq!(rates.admit_at("one-more.org", NOTICE, then), GO);
        assert_eq!(rates.paces.lock().domains.len(), 1);
    }
}
