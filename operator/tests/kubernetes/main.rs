//! The operator on a real API server with Kubernetes' own controllers. All tests share one, each has a namespace of its own.
//!
//! Skipped, loudly, where there is no API server to start.

// What is not as it must be ends a test, in helpers, too.
#![allow(clippy::unwrap_used)]

mod creation;
mod faults;
mod leadership;
mod meddler;
mod refusals;
mod rolling;
mod rooms;
mod servers;
mod takeover;
mod town;
mod updates;
mod watching;
mod working;
mod world;
