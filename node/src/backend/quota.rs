//! Counting by quotas, in memory: the generic cell rate algorithm, <https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm>.

use std::time::Duration;

use crate::backend::{Quota, Rate};

/// Takes one from a quota. `due` is the theoretical arrival time, in nanoseconds, as the last call left it.
pub(crate) fn take(due: &mut u64, now: u64, quota: Quota) -> Rate {
    let per = u64::try_from(quota.per.as_nanos()).unwrap_or(u64::MAX);
    let Some(each) = per.checked_div(quota.burst.into()) else { return Rate::RetryAfter(quota.per) };
    let start = (*due).max(now);
    let ahead = start - now;
    let allowed = per - each;
    if ahead > allowed {
        return Rate::RetryAfter(Duration::from_nanos(ahead - allowed));
    }
    *due = start.saturating_add(each);
    Rate::Allowed
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_then_an_even_flow() {
        let quota = Quota { burst: 5, per: Duration::from_secs(10) };
        let mut due = 0;
        let now = 1_000 * SECOND;
        for _ in 0..5 {
            assert_eq!(take(&mut due, now, quota), Rate::Allowed);
        }
        assert_eq!(take(&mut due, now, quota), Rate::RetryAfter(Duration::from_secs(2)));
        assert_eq!(take(&mut due, now + 2 * SECOND, quota), Rate::Allowed);
        assert_eq!(take(&mut due, now + 3 * SECOND, quota), Rate::RetryAfter(Duration::from_secs(1)));
        let rested = now + 60 * SECOND;
        let again = (0..6).filter(|_| take(&mut due, rested, quota) == Rate::Allowed).count();
        assert_eq!(again, 5);
    }

    #[test]
    fn nothing_is_allowed_of_nothing() {
        let quota = Quota { burst: 0, per: Duration::from_secs(1) };
        assert_eq!(take(&mut 0, 0, quota), Rate::RetryAfter(Duration::from_secs(1)));
    }
}
