//! The translator with its real engines. What is not installed is said loudly and passed over.

#![allow(
    clippy::cast_precision_loss,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a test fails by a panic, and figures are for people"
)]

mod faults;
mod figures;
mod local;
mod refusals;
mod remembered;
mod remote;
mod router;
mod serve;
mod services;
mod support;
