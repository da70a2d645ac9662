//! The operator: makes of each ChatCluster and ChatRoom what it declares, keeps it so, and says how it is.
//!
//! `build/` says what a cluster consists of, `roll/` when a node may be replaced: both are pure. `cluster/` looks, asks them, and
//! does what they say. `rooms/` has nodes make the rooms that ChatRooms declare; `status` is what both tell by. The rest is the process: settings, leadership, watches, metrics.

pub mod build;
pub mod cli;
pub mod client;
pub mod cluster;
pub mod lease;
pub mod metrics;
pub mod program;
pub mod roll;
pub mod rooms;
pub mod settings;
mod status;
pub mod watches;
