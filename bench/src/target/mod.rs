//! What is measured: a Rookery node or a raw server, as a process that we start (or are told of).

pub mod api;
mod http;
mod node;
mod raw;
mod usage;

pub use http::Http;
pub use node::{Node, NodeSettings};
pub use raw::Raw;
pub use usage::{Memory, Usage, own_cpu_seconds};
