//! What the charts promise, seen in what Helm makes of them. Without Helm these tests are skipped, and say so.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod alerts;
mod crds;
mod golden;
mod operator;
mod schema;
mod server;
mod support;
