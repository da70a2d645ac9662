//! The clock by which nodes give each other times: milliseconds since this process first looked.
//!
//! It never goes back, and means nothing to others but by what `session.rs` learns of it from pings.

use std::{
    sync::LazyLock,
    time::{Duration, Instant},
};

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Now, in milliseconds.
pub(super) fn now() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The instant of a time by this clock.
pub(super) fn at(millis: u64) -> Instant {
    // What is far away is as good as never.
    *START + Duration::from_millis(millis.min(1 << 42))
}
