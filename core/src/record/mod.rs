//! Records and events: what a room's log holds, as typed values.
//!
//! Here belong the domain's types, their encoding (`rookery.log.v1`) and the checks that a record read from
//! the log is whole. What an event does to a room is `room`'s business.

mod codec;
mod event;

pub use codec::*;
pub use event::*;
