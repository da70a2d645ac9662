//! The chat node, as a library so that its parts can be tested; `main.rs` is the program.

pub use rookery_service::{secret, settings};

pub mod accounts;
pub mod admin;
pub mod backend;
pub mod cli;
pub mod cluster;
pub mod config;
pub mod dead_mails;
pub mod departures;
pub mod edge;
pub mod live;
pub mod membership;
pub mod neighbours;
pub mod notices;
pub mod peer;
pub mod problem;
pub mod rooms;
pub mod serve;
pub mod server;
pub mod standalone;
pub mod telemetry;
pub mod translation;
pub mod workers;
