//! The types of Rookery's custom resources, group `rookery.chat`: what an SRE declares, and what the operator tells of it.
//!
//! Here belong types, their limits and defaults, and the rules by which the API server refuses what cannot work, each with a
//! sentence that says what to do instead. No behaviour: that is the operator's. Every field is one that the programs
//! really follow; what is to come is listed in this crate's README, not accepted and ignored.
//!
//! `cargo run -p rookery-crds` writes their YAML; a test says when it is not current.

// The macro of schemas writes helpers of its own.
#![allow(unreachable_pub)]

pub mod cluster;
pub mod condition;
pub mod room;
pub mod yaml;

pub use cluster::{ChatCluster, ChatClusterSpec, ChatClusterStatus};
pub use condition::Condition;
pub use room::{ChatRoom, ChatRoomSpec, ChatRoomStatus};

/// Group of all of them.
pub const GROUP: &str = "rookery.chat";
