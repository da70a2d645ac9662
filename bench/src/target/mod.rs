//! What is measured: a Rookery node, a cluster or a raw server, as processes that we start (or are told of).

pub mod api;
mod cluster;
mod http;
pub mod metrics;
mod node;
mod raw;
mod usage;

pub use cluster::{Cluster, ClusterSettings};
pub use http::Http;
pub use node::{Node, NodeSettings};
pub use raw::Raw;
pub use usage::{Memory, Part, Usage, own_cpu_seconds};
