//! An edge's calls to owners: who is asked, who is asked next, and when it gives up.
//!
//! Commands of one connection to one room are sent one after another, so that they keep their order whatever fails.
//! An attempt has an end: a node that was stuck must not carry out what the edge has asked another node for since, or
//! a refusal would not be definite and a sender's order not kept. So `LATENESS`, the difference of two clocks and
//! `OWNER_DEADLINE` are together less than `PATIENCE`.

use std::collections::{BTreeMap, VecDeque};

use rookery_core::{
    ring,
    room::{Command, DECLARER, Refusal, Reply, What},
};
use rookery_protocol::id::RoomId;

use super::{CallId, ConnectionId, Event, Inside, NodeId, World, clients::Frame};
use crate::history::Operation;

/// An edge asks the next node if it hears nothing for so long, virtual milliseconds.
const PATIENCE: u64 = 2_500;
/// A call that arrives later than this, by the clock of the node it arrives at, is not taken.
const LATENESS: i64 = 500;
/// How long an owner may take until it proposes a command, virtual milliseconds.
pub(super) const OWNER_DEADLINE: u64 = 1_500;
/// It answers `unavailable` after so long.
const DEADLINE: u64 = 6_000;

/// A command that waits for its turn, or for its answer.
#[derive(Debug)]
struct Waiting {
    operation: Operation,
    command: Box<Command>,
}

/// A call under way.
#[derive(Debug)]
struct Call {
    connection: ConnectionId,
    room: RoomId,
    waiting: Waiting,
    /// How many nodes were asked before.
    tried: usize,
    asked: NodeId,
    deadline: u64,
}

/// The calls of an edge.
#[derive(Debug, Default)]
pub(super) struct Calls {
    under_way: BTreeMap<CallId, Call>,
    queues: BTreeMap<(ConnectionId, RoomId), VecDeque<Waiting>>,
}

impl Calls {
    /// Forgets what waits for its turn: its connection is gone. What is under way goes on.
    pub(super) fn closed(&mut self, connection: ConnectionId) {
        self.queues.retain(|(of, _), _| *of != connection);
    }

    fn busy(&self, connection: ConnectionId, room: RoomId) -> bool {
        self.under_way.values().any(|call| call.connection == connection && call.room == room)
    }
}

impl World {
    /// Which nodes a node asks for a room, in order, by the view that it has.
    pub(super) fn candidates(&self, node: NodeId, room: RoomId) -> Vec<NodeId> {
        let view = &self.nodes[node].view;
        view.order(ring::slot_of(room), None)
            .into_iter()
            .filter_map(|member| member.name.strip_prefix("node-").and_then(|at| at.parse().ok()))
            .collect()
    }

    /// A command arrives over a connection.
    pub(super) fn edge_commands(
        &mut self,
        node: NodeId,
        connection: ConnectionId,
        operation: Operation,
        room: RoomId,
        what: What,
    ) {
        let Some(mut actor) = self.nodes[node].edge.profile(connection) else { return };
        if let What::Declare(_) = what {
            // As if somebody outside the chat had asked.
            actor.id = DECLARER;
        }
        // The owner sets time and randomness.
        let command = Box::new(Command { actor, what, now: 0, random: 0 });
        let waiting = Waiting { operation, command };
        let calls = &mut self.nodes[node].edge.calls;
        calls.queues.entry((connection, room)).or_default().push_back(waiting);
        self.call_next(node, connection, room);
    }

    fn call_next(&mut self, node: NodeId, connection: ConnectionId, room: RoomId) {
        if self.nodes[node].edge.calls.busy(connection, room) {
            return;
        }
        let queue = self.nodes[node].edge.calls.queues.get_mut(&(connection, room));
        let Some(waiting) = queue.and_then(VecDeque::pop_front) else { return };
        let deadline = self.queue.now() + DEADLINE;
        self.call(node, Call { connection, room, waiting, tried: 0, asked: node, deadline });
    }

    /// Asks the next candidate.
    fn call(&mut self, node: NodeId, mut call: Call) {
        let candidates = self.candidates(node, call.room);
        let Some(&to) = candidates.get(call.tried % candidates.len().max(1)) else {
            self.finish(node, &call, Err(Refusal::Unavailable));
            return;
        };
        call.asked = to;
        let id = self.fresh();
        let from = (node, self.nodes[node].incarnation);
        if !self.call_lost() {
            let delay = if to == node { 0 } else { self.rng.between(1, 3) };
            let command = call.waiting.command.clone();
            let expires = self.wall(node) + LATENESS;
            self.queue.after(delay, Event::Call { to, from, call: id, room: call.room, command, expires });
        }
        self.inside_now(node, PATIENCE, Inside::CallFailed { call: id, candidate: to });
        self.nodes[node].edge.calls.under_way.insert(id, call);
    }

    pub(super) fn edge_answered(&mut self, node: NodeId, id: CallId, outcome: Result<Reply, Refusal>) {
        if let Some(call) = self.nodes[node].edge.calls.under_way.remove(&id) {
            self.finish(node, &call, outcome);
        }
    }

    /// Nothing of it is stored: whatever it is, another owner can be asked.
    pub(super) fn edge_given_back(&mut self, node: NodeId, id: CallId) {
        let Some(mut call) = self.nodes[node].edge.calls.under_way.remove(&id) else { return };
        if self.queue.now() < call.deadline {
            call.tried += 1;
            self.call(node, call);
        } else {
            self.finish(node, &call, Err(Refusal::Unavailable));
        }
    }

    /// Nobody was there, or nobody answered: it may have been stored all the same. A post can be sent to another owner,
    /// because its `client_msg_id` is stored once; of other commands the client is told that nothing is known.
    pub(super) fn edge_call_failed(&mut self, node: NodeId, id: CallId, candidate: NodeId) {
        let Some(mut call) = self.nodes[node].edge.calls.under_way.remove(&id) else { return };
        debug_assert_eq!(call.asked, candidate);
        let again = matches!(call.waiting.command.what, What::Post { .. } | What::Create { .. });
        if again && self.queue.now() < call.deadline {
            call.tried += 1;
            self.call(node, call);
        } else {
            self.finish(node, &call, Err(Refusal::Unavailable));
        }
    }

    fn finish(&mut self, node: NodeId, call: &Call, outcome: Result<Reply, Refusal>) {
        let frame = Frame::Answer { operation: call.waiting.operation, outcome };
        self.send_to_client(node, call.connection, frame);
        self.call_next(node, call.connection, call.room);
    }
}
