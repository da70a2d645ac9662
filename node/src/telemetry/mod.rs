//! What the process says about itself: logs and metrics.
//!
//! Here belongs which metrics there are; each part of the node counts its own events in its `metrics.rs`.

mod metrics;

pub use metrics::Metrics;
pub use rookery_service::{LogFormat, LogSettings, start_logging};
