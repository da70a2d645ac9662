//! Live delivery: what is committed goes to every connection that follows its room.
//!
//! Here belong the order of each room's events (and the repair of gaps), the tape that all of a room's connections
//! read from, who follows what, who is present. Nothing here knows sockets; nothing is delivered that is not stored.

pub mod frame;
mod hub;
mod ids;
mod inbox;
pub mod link;
mod metrics;
mod pacer;
mod presence;
mod readers;
mod room;
mod settings;
mod tape;
mod telling;
#[cfg(test)]
mod tests;

pub use hub::{Hub, Live};
pub use ids::IdHasher;
pub use metrics::LiveMetrics;
pub use room::{Following, Joined, Room};
pub use settings::LiveSettings;
pub use tape::{Chunk, NotHeld, Tape};
pub use telling::{Telling, Told};
