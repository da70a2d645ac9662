//! The judgement: given what is seen of the nodes' pods, what is to be done next. Pure: no clock, no API server, no randomness.
//!
//! What it keeps to, whatever it sees (the tests' simulator tries):
//! - One healthy node at a time is taken out, in the whole cluster, and only when all others are ready.
//! - A healthy node is cordoned, hands its rooms over and tells its clients to go before its pod is deleted; so does one that
//!   leaves for good, and only then the shard becomes smaller.
//! - What is broken and not what is wanted any more goes first and at once: a bad revision never blocks the good one after it. Of those
//!   that have taken clients one at a time goes, and only while nothing else is on its way.
//! - Every wait has an end. A drain that takes too long is ended (the log makes that safe) and told, one at a time and while no other
//!   node stops; a node that does not become ready, or does not stop, stops the rollout and is told.
//! - It remembers nothing: whoever asks again after a crash gets the same answer. When a drain began is noted on the pod.

mod judge;
#[cfg(test)]
mod simulation;

use std::collections::BTreeMap;

pub use judge::{judge, overstays};

/// Times, in milliseconds since the epoch, by the operator's clock.
pub type Millis = i64;

/// What a node says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// Whether it is on its way out.
    pub draining: bool,
    /// Rooms that it still has.
    pub rooms: u64,
    /// Clients that are still connected.
    pub connections: u64,
    /// Commands that wait for an answer.
    pub unacked: u64,
}

impl Told {
    /// Whether nobody needs it any more.
    pub fn is_drained(&self) -> bool {
        self.draining && self.rooms == 0 && self.connections == 0 && self.unacked == 0
    }
}

/// A node's pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its number in the StatefulSet.
    pub ordinal: i32,
    /// Whether it runs what is wanted now; `None`: not known yet, since Kubernetes has not looked at the newest template.
    pub updated: Option<bool>,
    /// Whether it takes clients.
    pub ready: bool,
    /// Whether its process runs.
    pub running: bool,
    /// It is being stopped, and is to have stopped by then.
    pub stop_by: Option<Millis>,
    /// Why it cannot run.
    pub broken: Option<String>,
    /// Whether it takes clients, or ever did.
    pub served: bool,
    /// Since when it does not take clients.
    pub unready_since: Millis,
    /// When it was asked to drain.
    pub draining_since: Option<Millis>,
    /// What it said; `None`: it was not asked, or did not answer.
    pub told: Option<Told>,
}

impl Node {
    /// Whether it is being stopped.
    pub fn terminating(&self) -> bool {
        self.stop_by.is_some()
    }
}

/// A shard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shard {
    /// Its name.
    pub name: String,
    /// Name of its StatefulSet: what its nodes are called before their number.
    pub set: String,
    /// Nodes that are declared; 0: the shard was taken out.
    pub desired: i32,
    /// Nodes that its StatefulSet is to have; `None`: there is no StatefulSet yet.
    pub current: Option<i32>,
    /// Pods that there are.
    pub nodes: Vec<Node>,
}

/// What is seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Now.
    pub now: Millis,
    /// Shards, with those that were taken out.
    pub shards: Vec<Shard>,
    /// A drain may take so long.
    pub drain_deadline: Millis,
    /// A node may take so long to become ready.
    pub ready_deadline: Millis,
}

/// Something to be done now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Note that this node drains, and ask it to.
    Drain {
        /// Its pod.
        node: String,
        /// Why.
        why: Why,
    },
    /// Delete this pod; its StatefulSet makes another.
    Delete {
        /// Its pod.
        node: String,
        /// Why.
        why: Why,
    },
}

/// Why a node is taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// It cannot run, and is not what is wanted any more.
    Broken,
    /// It is not what is wanted any more.
    Stale,
    /// There are to be fewer.
    Leaving,
    /// It has drained.
    Drained,
    /// It did not drain in time.
    Overdue,
}

/// What keeps the next step from being done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Waiting {
    /// A node hands over its rooms and clients.
    Drains {
        /// Which.
        node: String,
    },
    /// A node is not ready yet, or is being stopped.
    Starts {
        /// Which.
        node: String,
    },
    /// A node's pod is not there yet.
    Missing {
        /// Which.
        node: String,
        /// The StatefulSet that is to make it.
        set: String,
    },
    /// A node is to leave, and no other takes clients.
    Others {
        /// Which.
        node: String,
    },
    /// Kubernetes has not looked at the newest template yet.
    Kubernetes {
        /// Of which shard.
        shard: String,
    },
}

/// A node that needs a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// Which.
    pub node: String,
    /// Why, as Kubernetes says it.
    pub why: String,
}

/// The answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// What is to be done now, in this order.
    pub steps: Vec<Step>,
    /// Nodes that each shard's StatefulSet is to have now.
    pub replicas: BTreeMap<String, i32>,
    /// Nodes that leave now although they have not drained in time.
    pub overdue: Vec<String>,
    /// Shards that are empty and were taken out.
    pub gone: Vec<String>,
    /// What is waited for.
    pub waiting: Option<Waiting>,
    /// Nodes that need a person.
    pub stuck: Vec<Stuck>,
    /// Whether nodes are being replaced or taken out.
    pub moving: bool,
}
