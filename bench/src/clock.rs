//! Time, as both sides of a measurement see it: `CLOCK_MONOTONIC` is the same in every process of a machine,
//! so a stamp written by one process can be read by another.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`.
pub fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // Monotonic time starts near boot and is never negative.
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// A duration in nanoseconds; at most 584 years.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// Nanoseconds as seconds.
#[allow(clippy::cast_precision_loss)] // Below 2^53 ns, 104 days, it is exact.
pub fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
