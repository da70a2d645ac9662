//! A room: what may be done in it, and what its durable events make of it.
//!
//! Here belong commands, rules (roles, bans, mutes, slow mode, duplicates) and the state that events build.
//! How events get into the log is `owner`'s business; who reads them live is `feed`'s and `session`'s.

mod command;

pub use command::*;
