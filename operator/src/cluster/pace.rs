//! How often what does not help is tried again: an object that the API server refuses, and one that somebody else changes back each
//! time. Kept in memory alone: another operator begins anew.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::Problem;

/// What was refused once is tried again after so long, and then after twice as long each time.
const FIRST: Duration = Duration::from_secs(5);
/// But not later than this.
const LONGEST: Duration = Duration::from_secs(300);
/// What was not done again for so long is forgotten.
const FORGET: Duration = Duration::from_secs(600);
/// An object that was repaired more often than this, without having been forgotten, is contested.
const REPAIRS: u32 = 5;

/// An object: uid of its ChatCluster, kind, name.
type Key = (String, &'static str, String);

/// What is known of an object.
#[derive(Debug)]
struct Tried {
    /// Of this manifest.
    manifest: String,
    tries: u32,
    repairs: u32,
    last: Instant,
    next: Instant,
    /// What is told of it meanwhile.
    problem: Option<Problem>,
}

/// What was tried.
#[derive(Debug, Default)]
pub(super) struct Pace(Mutex<HashMap<Key, Tried>>);

fn pause(tries: u32) -> Duration {
    FIRST.saturating_mul(1 << tries.min(10)).min(LONGEST)
}

impl Pace {
    /// Whether an object may be written now; otherwise what is told of it.
    pub(super) fn may(
        &self,
        uid: &str,
        kind: &'static str,
        name: &str,
        manifest: &str,
    ) -> Result<(), Option<Problem>> {
        let now = Instant::now();
        let mut all = self.0.lock();
        let key = (uid.to_owned(), kind, name.to_owned());
        let Some(tried) = all.get(&key) else { return Ok(()) };
        if tried.manifest != manifest || now - tried.last > FORGET {
            all.remove(&key);
            return Ok(());
        }
        if now < tried.next { Err(tried.problem.clone()) } else { Ok(()) }
    }

    /// What is to be told of an object that is as it is to be at the moment.
    pub(super) fn contested(&self, uid: &str) -> Vec<Problem> {
        let all = self.0.lock();
        let of = all.iter().filter(|((own, ..), tried)| own == uid && tried.last.elapsed() < FORGET);
        let problems = of.filter_map(|(_, tried)| tried.problem.clone());
        let mut contested: Vec<_> = problems.filter(|problem| problem.reason == "Contested").collect();
        contested.sort_by(|a, b| a.message.cmp(&b.message));
        contested
    }

    fn tried(
        &self,
        uid: &str,
        kind: &'static str,
        name: &str,
        manifest: &str,
        note: impl FnOnce(&mut Tried),
    ) {
        let now = Instant::now();
        let mut all = self.0.lock();
        all.retain(|_, tried| now - tried.last < FORGET);
        let new = || Tried {
            manifest: manifest.to_owned(),
            tries: 0,
            repairs: 0,
            last: now,
            next: now,
            problem: None,
        };
        let tried = all.entry((uid.to_owned(), kind, name.to_owned())).or_insert_with(new);
        if tried.manifest != manifest {
            *tried = new();
        }
        tried.last = now;
        note(tried);
    }

    /// Notes that an object cannot be made so.
    pub(super) fn failed(
        &self,
        uid: &str,
        kind: &'static str,
        name: &str,
        manifest: &str,
        problem: &Problem,
    ) {
        self.tried(uid, kind, name, manifest, |tried| {
            tried.next = tried.last + pause(tried.tries);
            tried.tries = tried.tries.saturating_add(1);
            tried.problem = Some(problem.clone());
        });
    }

    /// Notes that an object is so now.
    pub(super) fn done(&self, uid: &str, kind: &'static str, name: &str) {
        self.0.lock().retain(|key, tried| {
            let this = key.0 == uid && key.1 == kind && key.2 == name;
            // How often it was repaired is not forgotten by that.
            !this || tried.repairs > 0
        });
    }

    /// Notes that an object was made again what it was to be before, and says so when that is too often. `by`: who changes it.
    pub(super) fn repaired(&self, uid: &str, kind: &'static str, name: &str, manifest: &str, by: &str) {
        self.tried(uid, kind, name, manifest, |tried| {
            tried.repairs = tried.repairs.saturating_add(1);
            if tried.repairs <= REPAIRS {
                return;
            }
            tried.next = tried.last + pause(tried.repairs - REPAIRS - 1);
            let message = format!(
                "{kind} {name} is changed again and again by {by}; what is declared is put back, at most every {} s",
                LONGEST.as_secs()
            );
            tried.problem = Some(Problem::new("Contested", message));
        });
    }

    /// When something of a cluster may be tried again.
    pub(super) fn next(&self, uid: &str) -> Option<Duration> {
        let now = Instant::now();
        let all = self.0.lock();
        let of =
            all.iter().filter(|((own, ..), tried)| own == uid && tried.problem.is_some() && tried.next > now);
        of.map(|(_, tried)| tried.next - now).min()
    }
}

/// Tries of a whole look, by the ChatCluster's uid.
#[derive(Debug, Default)]
pub(super) struct Failures(Mutex<HashMap<String, u32>>);

impl Failures {
    /// Notes that a look failed; says after how long to look again.
    pub(super) fn failed(&self, uid: &str) -> Duration {
        let mut all = self.0.lock();
        let tries = all.entry(uid.to_owned()).or_default();
        *tries = tries.saturating_add(1);
        // Not all at the same time when the API server is back.
        let jitter = Duration::from_millis(rand::random_range(0..1000));
        Duration::from_secs(1 << tries.saturating_sub(1).min(6)).min(Duration::from_secs(60)) + jitter
    }

    /// Notes that a look did not fail.
    pub(super) fn succeeded(&self, uid: &str) {
        self.0.lock().remove(uid);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OBJECT: (&str, &str, &str) = ("u", "Service", "a");

    fn may(pace: &Pace, manifest: &str) -> Result<(), Option<Problem>> {
        pace.may(OBJECT.0, OBJECT.1, OBJECT.2, manifest)
    }

    #[test]
    fn what_is_refused_is_told_and_waits_until_something_else_is_declared() {
        let pace = Pace::default();
        assert_eq!(may(&pace, "1"), Ok(()));
        let problem = Problem::new("ApplyRefused", "no".into());
        pace.failed(OBJECT.0, OBJECT.1, OBJECT.2, "1", &problem);
        assert_eq!(may(&pace, "1"), Err(Some(problem)));
        assert!(pace.next("u").is_some_and(|next| next <= FIRST));
        assert_eq!(pace.next("other"), None);
        assert_eq!(may(&pace, "2"), Ok(()));
        assert_eq!(may(&pace, "1"), Ok(()), "it is forgotten");
    }

    #[test]
    fn pauses_grow_and_have_an_end() {
        assert_eq!((pause(0), pause(1), pause(5), pause(100)), (FIRST, FIRST * 2, FIRST * 32, LONGEST));
        let failures = Failures::default();
        let first = failures.failed("u");
        assert!(first >= Duration::from_secs(1) && first <= Duration::from_secs(2));
        for _ in 0..100 {
            assert!(failures.failed("u") <= Duration::from_secs(61));
        }
        failures.succeeded("u");
        assert!(failures.failed("u") <= Duration::from_secs(2));
    }

    #[test]
    fn who_is_repaired_again_and_again_is_contested() {
        let pace = Pace::default();
        for _ in 0..REPAIRS {
            pace.repaired(OBJECT.0, OBJECT.1, OBJECT.2, "1", "somebody");
            assert_eq!((may(&pace, "1"), pace.contested("u").len()), (Ok(()), 0));
        }
        pace.repaired(OBJECT.0, OBJECT.1, OBJECT.2, "1", "somebody");
        let told = pace.contested("u");
        assert!(told.len() == 1 && told[0].message.contains("by somebody"), "{told:?}");
        assert_eq!(may(&pace, "1"), Err(Some(told[0].clone())));
        // Also while it is as it is to be.
        pace.done(OBJECT.0, OBJECT.1, OBJECT.2);
        assert_eq!(pace.contested("u"), told);
        assert_eq!(pace.contested("other"), []);
    }
}
