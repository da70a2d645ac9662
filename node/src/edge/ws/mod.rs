//! WebSocket: handshake, frames, one task per connection.
//!
//! Here belongs the protocol of `client-api.md` as far as a connection goes: `hello`, requests and their answers,
//! following rooms, limits, closing. What rooms decide and what they send live is `rooms/` and `live/`.

mod answer;
mod bucket;
mod codec;
mod connection;
mod follow;
mod handshake;
mod hello;
mod node;
mod registry;
mod requests;
mod sweep;

pub(super) use bucket::Bucket;
pub(super) use handshake::handshake;
pub use node::Edge;
pub use registry::Registry;
#[cfg(test)]
pub(super) mod tests;
