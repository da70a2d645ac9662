//! The generator's sockets: thousands of WebSocket connections in one thread.
//!
//! One thread, so that it can be pinned to one core while the server has the other; one big buffer that every
//! read goes through; and no parsing beyond frame headers and stamps. The generator must cost far less than the
//! server, or it measures itself.

mod fleet;
pub mod frame;
mod poller;
mod wire;

pub use fleet::{Fleet, FleetSettings, Sink};
pub use poller::{Poller, Ready};
pub use wire::{SendTemplate, Wire};
