//! Live delivery: what is committed goes to every connection that follows its room.
//!
//! Here belong the feed of each room (order and gap repair, by `rookery-core`), the tape that all of a room's
//! connections read from, and who follows what. Nothing here knows sockets; nothing is delivered that is not stored.

/// Live delivery of this node. One per node.
#[derive(Default)]
pub struct Hub {}
