//! Rooms against the embedded store, in directories of their own.

pub(in crate::rooms) mod house;
mod levels;
mod lists;
mod load;
mod marks;
mod messages;
mod restart;
mod retention;
mod stale;
