//! The load: when each message is due, how it is stamped, and how late it came.
//!
//! Pure code: no sockets here.

mod latency;
mod schedule;
mod search;
pub mod stamp;

pub use latency::{Latency, Percentiles};
pub use schedule::Schedule;
pub use search::{Search, Verdict};
