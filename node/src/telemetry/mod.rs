//! What the process says about itself: logs and metrics.
//!
//! Here belongs the set-up; each part of the node counts its own events in its `metrics.rs`.

mod log;
mod metrics;
mod process;

pub use log::{LogFormat, LogSettings, start_logging};
pub use metrics::Metrics;
