//! The pure core: what a room, a session and the ring decide, as state machines.
//!
//! `(state, event, now) → actions`. Nothing here does I/O, reads a clock or draws a random number: time and
//! randomness come in as arguments, effects go out as values. The node runs this core against real logs
//! and sockets, the simulator (`sim/`) against every nasty answer they are known to give.

pub mod feed;
pub mod owner;
pub mod record;
pub mod ring;
pub mod room;
pub mod session;
