//! What a run is made of: how many of everything, how much goes wrong, and what is broken on purpose.

use crate::rng::Rng;

/// A safety check that a run switches off, to see that the checkers notice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum)]
pub enum Mutation {
    /// The log stores records whatever their condition.
    ConditionOff,
    /// Owners take rooms over with the epoch of the owner before.
    EpochOff,
    /// Owners that find a record of a higher epoch do not stop: they append after it.
    FenceOff,
    /// Owners remember no `client_msg_id`.
    DedupeOff,
    /// Owners are told that an append is committed when it is sent.
    AckBeforeCommit,
    /// Edges are given records when they are sent.
    DeliverBeforeCommit,
    /// Edges deliver what comes, gaps or not.
    GapRepairOff,
    /// Owners believe what they read of a message, however old it is.
    OldHeads,
}

/// The make-up of a run; drawn from its seed.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Nodes, each an edge and an owner of rooms.
    pub nodes: usize,
    /// Clients, each a user of his own.
    pub clients: usize,
    /// Rooms; all clients are in all of them.
    pub rooms: usize,
    /// How often an append does not go plainly, per mille.
    pub append_trouble: u64,
    /// How often the log's tail, or a message, is read from a leader that stood still and does not know it, per mille.
    pub stale_leader: u64,
    /// How often a republished record is lost, repeated or late, per mille.
    pub republish_trouble: u64,
    /// How often a message between nodes is lost, per mille.
    pub call_trouble: u64,
    /// Virtual milliseconds between two faults of nodes, log or membership, about; 0: none.
    pub fault_every: u64,
    /// Faults and new requests end here, virtual milliseconds.
    pub heal_at: u64,
    /// By then everything must be answered and delivered.
    pub end_at: u64,
    /// Virtual milliseconds between two requests of a client, about.
    pub request_every: u64,
    /// Virtual milliseconds for which an owner waits for a command before it fences.
    pub fence_after: u64,
    /// More missed events than this are not replayed.
    pub replay_limit: u64,
    /// Broken on purpose.
    pub mutation: Option<Mutation>,
}

impl Plan {
    /// Draws one: from a calm run to a bad day.
    pub fn draw(rng: &mut Rng, mutation: Option<Mutation>) -> Self {
        let heal_at = rng.between(3_000, 12_000);
        Self {
            nodes: usize::try_from(rng.between(2, 4)).unwrap_or(2),
            clients: usize::try_from(rng.between(2, 5)).unwrap_or(2),
            rooms: usize::try_from(rng.between(1, 2)).unwrap_or(1),
            append_trouble: *rng.pick(&[0, 20, 100, 300]),
            stale_leader: *rng.pick(&[0, 50, 300]),
            republish_trouble: *rng.pick(&[0, 20, 100, 400]),
            call_trouble: *rng.pick(&[0, 10, 50]),
            fault_every: *rng.pick(&[0, 300, 1_000, 3_000]),
            heal_at,
            end_at: heal_at + 60_000,
            request_every: *rng.pick(&[20, 60, 200]),
            fence_after: *rng.pick(&[0, 20, 100, 1_000]),
            replay_limit: *rng.pick(&[5, 20, 10_000]),
            mutation,
        }
    }
}
