//! Clients: they send, lose connections, resume, and send again what was not answered.

use std::collections::BTreeMap;

use rookery_core::room::{Kind, Profile, Refusal, Reply, Role, Visibility, What};
use rookery_protocol::id::{RoomId, UserId};

use super::{ClientId, ConnectionId, Event, Inside, NodeId, World, edges::EdgeInput};
use crate::history::{Digest, Entry, Operation, Subscription};

/// Requests of a client that may be unanswered at a time.
const MAX_PENDING: usize = 4;
/// A request without an answer is sent again after this, virtual milliseconds.
const RESEND_AFTER: u64 = 6_000;

/// What a node sends to a client.
#[derive(Debug, Clone)]
pub(super) enum Frame {
    /// Answers a request.
    Answer { operation: Operation, outcome: Result<Reply, Refusal> },
    /// A durable event.
    Event { room: RoomId, seq: u64, digest: Digest },
    /// The replay is over.
    CaughtUp { room: RoomId, last_seq: u64 },
    /// More was missed than is replayed.
    Resync { room: RoomId, from: u64, last_seq: u64 },
}

/// What a client sends to its node.
#[derive(Debug, Clone)]
pub(super) enum Request {
    /// Follow a room.
    Subscribe { room: RoomId, after: u64 },
    /// A command.
    Command { operation: Operation, room: RoomId, what: What },
}

#[derive(Debug)]
struct Pending {
    room: RoomId,
    what: What,
    /// When it is sent (again), if it is not answered before.
    due: u64,
    /// Sent at least once.
    sent: bool,
}

/// A user with one device.
#[derive(Debug)]
pub(super) struct Client {
    at: ClientId,
    pub(super) profile: Profile,
    /// The last seq it has of each room.
    seen: BTreeMap<RoomId, u64>,
    connection: Option<(ConnectionId, NodeId)>,
    subscriptions: BTreeMap<RoomId, Subscription>,
    pending: BTreeMap<Operation, Pending>,
    /// Messages it knows of, for edits and reactions: room, seq, own.
    messages: Vec<(RoomId, u64, bool)>,
    created: bool,
    /// When its newest frame arrives at the node: frames of a connection arrive in order.
    arrival: u64,
}

impl Client {
    pub(super) fn new(at: ClientId, user: UserId, rooms: &[RoomId]) -> Self {
        let profile = Profile { id: user, username: format!("user{at}"), display_name: format!("User {at}") };
        Self {
            at,
            profile,
            seen: rooms.iter().map(|&room| (room, 0)).collect(),
            connection: None,
            subscriptions: BTreeMap::new(),
            pending: BTreeMap::new(),
            messages: Vec::new(),
            created: false,
            arrival: 0,
        }
    }

    /// Its connection, if that is one to `node`.
    pub(super) fn connected_to(&self, node: NodeId) -> Option<ConnectionId> {
        self.connection.filter(|(_, to)| *to == node).map(|(connection, _)| connection)
    }

    /// What it still waits for at the end of the run.
    pub(super) fn unfinished(&self, tails: &BTreeMap<RoomId, u64>) -> Vec<String> {
        let unanswered = self.pending.iter().map(|(operation, pending)| {
            format!("operation {operation} of client {} has no answer: {:?}", self.at, pending.what)
        });
        let behind = self.seen.iter().filter_map(|(room, seen)| {
            let tail = tails.get(room).copied().unwrap_or(0);
            (*seen != tail)
                .then(|| format!("client {} has {room} up to {seen}, and the log up to {tail}", self.at))
        });
        unanswered.chain(behind).collect()
    }
}

impl World {
    pub(super) fn client_steps(&mut self, at: ClientId) {
        let now = self.queue.now();
        if self.clients[at].connection.is_none() {
            self.connect(at);
        } else if !self.healed() && self.rng.per_mille(15) {
            // Walks out of the network's reach: what was on its way is lost.
            if let Some((connection, node)) = self.clients[at].connection {
                self.say(|| format!("client {at} drops connection {connection}"));
                self.inside_now(node, 1, Inside::Edge(EdgeInput::Closed { connection }));
                self.client_disconnected(at, connection);
            }
        }
        if !self.healed() && self.clients[at].pending.len() < MAX_PENDING {
            self.invoke(at);
        }
        self.send_due(at);
        let busy =
            !self.healed() || !self.clients[at].pending.is_empty() || self.clients[at].connection.is_none();
        let every = if self.healed() { 200 } else { self.plan.request_every };
        if busy || now < self.plan.heal_at + 5_000 {
            let pause = self.rng.between(1, 2 * every);
            self.queue.after(pause, Event::Step { client: at });
        }
    }

    fn connect(&mut self, at: ClientId) {
        let node = usize::try_from(self.rng.below(self.nodes.len() as u64)).unwrap_or(0);
        if !self.nodes[node].up {
            return;
        }
        let connection = self.fresh();
        self.say(|| format!("client {at} connects to node {node} as {connection}"));
        let now = self.queue.now();
        self.clients[at].connection = Some((connection, node));
        self.clients[at].arrival = now;
        let profile = self.clients[at].profile.clone();
        self.to_edge(at, EdgeInput::Opened { connection, client: at, profile });
        let rooms: Vec<(RoomId, u64)> =
            self.clients[at].seen.iter().map(|(room, seen)| (*room, *seen)).collect();
        for (room, after) in rooms {
            let subscription = self.fresh();
            self.clients[at].subscriptions.insert(room, subscription);
            self.record(Entry::Subscribed { subscription, room, after });
            self.to_edge(at, EdgeInput::Request { connection, request: Request::Subscribe { room, after } });
        }
        // What was not answered is sent again at once, in order.
        for pending in self.clients[at].pending.values_mut() {
            pending.due = now;
        }
    }

    /// Frames of a connection arrive in the order in which they were sent.
    fn to_edge(&mut self, at: ClientId, input: EdgeInput) {
        let Some((_, node)) = self.clients[at].connection else { return };
        let delay = self.rng.between(1, 5);
        let now = self.queue.now();
        let arrival = (now + delay).max(self.clients[at].arrival);
        self.clients[at].arrival = arrival;
        self.inside_now(node, arrival - now, Inside::Edge(input));
    }

    fn invoke(&mut self, at: ClientId) {
        let room = *self.rng.pick(&self.rooms);
        let what = if at == 0 && !self.clients[at].created {
            self.clients[at].created = true;
            let rooms = self.rooms.clone();
            for room in rooms {
                let what = self.creation();
                self.invoke_in(at, room, what, None);
            }
            return;
        } else {
            self.choose(at, room)
        };
        let id = match &what {
            What::Post { client_msg_id, .. } => Some(client_msg_id.clone()),
            _ => None,
        };
        self.invoke_in(at, room, what, id);
    }

    fn creation(&self) -> What {
        let members = self
            .clients
            .iter()
            .map(|client| (client.profile.clone(), if client.at == 0 { Role::Owner } else { Role::Member }))
            .collect();
        What::Create {
            name: "Room".to_owned(),
            kind: Kind::Group,
            visibility: Visibility::Private,
            topic: None,
            members,
        }
    }

    fn choose(&mut self, at: ClientId, room: RoomId) -> What {
        let known: Vec<(u64, bool)> = self.clients[at]
            .messages
            .iter()
            .filter(|(of, ..)| *of == room)
            .map(|(_, seq, own)| (*seq, *own))
            .collect();
        let other = if known.is_empty() { 0 } else { self.rng.below(10) };
        if other < 7 {
            let number = self.fresh();
            return What::Post {
                text: format!("message {number} for @user0"),
                client_msg_id: format!("m{number}"),
                reply_to: None,
            };
        }
        let (seq, own) = *self.rng.pick(&known);
        let emoji = (*self.rng.pick(&["👍", "🎉"])).to_owned();
        match self.rng.below(4) {
            0 if own => What::Edit { seq, text: format!("edited {}", self.fresh()) },
            1 if own => What::Delete { seq },
            2 => What::Unreact { seq, emoji },
            _ => What::React { seq, emoji },
        }
    }

    fn invoke_in(&mut self, at: ClientId, room: RoomId, what: What, client_msg_id: Option<String>) {
        let Some((connection, _)) = self.clients[at].connection else { return };
        let operation = self.fresh();
        let user = self.clients[at].profile.id;
        let now = self.queue.now();
        self.record(Entry::Invoked { operation, user, connection, room, client_msg_id });
        self.clients[at].pending.insert(operation, Pending { room, what, due: now, sent: false });
    }

    /// Sends what is due, oldest first.
    fn send_due(&mut self, at: ClientId) {
        let Some((connection, _)) = self.clients[at].connection else { return };
        let now = self.queue.now();
        let due: Vec<Operation> = self.clients[at]
            .pending
            .iter()
            .filter(|(_, p)| p.due <= now)
            .map(|(operation, _)| *operation)
            .collect();
        for operation in due {
            let Some(pending) = self.clients[at].pending.get_mut(&operation) else { continue };
            pending.due = now + RESEND_AFTER;
            let again = std::mem::replace(&mut pending.sent, true);
            let request = Request::Command { operation, room: pending.room, what: pending.what.clone() };
            if again {
                self.record(Entry::Retried { operation, connection });
            }
            self.to_edge(at, EdgeInput::Request { connection, request });
        }
    }

    pub(super) fn client_receives(&mut self, at: ClientId, connection: ConnectionId, frame: Frame) {
        if self.clients[at].connection.is_none_or(|(current, _)| current != connection) {
            return;
        }
        match frame {
            Frame::Answer { operation, outcome } => self.client_answered(at, operation, outcome),
            Frame::Event { room, seq, digest } => {
                let Some(&subscription) = self.clients[at].subscriptions.get(&room) else { return };
                self.record(Entry::Delivered { subscription, seq, digest });
                self.clients[at].seen.insert(room, seq);
            }
            Frame::CaughtUp { room, last_seq } => {
                let Some(&subscription) = self.clients[at].subscriptions.get(&room) else { return };
                self.record(Entry::CaughtUp { subscription, last_seq });
            }
            Frame::Resync { room, from, last_seq } => {
                let Some(&subscription) = self.clients[at].subscriptions.get(&room) else { return };
                self.record(Entry::Resync { subscription, from, last_seq });
                // It pages the history now; the simulator takes that as done.
                self.clients[at].seen.insert(room, last_seq);
            }
        }
    }

    fn client_answered(&mut self, at: ClientId, operation: Operation, outcome: Result<Reply, Refusal>) {
        let now = self.queue.now();
        let pause = self.rng.between(50, 500);
        let Some(pending) = self.clients[at].pending.get_mut(&operation) else { return };
        match outcome {
            Ok(reply) => {
                let room = pending.room;
                self.clients[at].pending.remove(&operation);
                let seq = match reply {
                    Reply::Posted { seq, .. } => {
                        self.clients[at].messages.push((room, seq, true));
                        for other in &mut self.clients {
                            if other.at != at {
                                other.messages.push((room, seq, false));
                            }
                        }
                        Some(seq)
                    }
                    Reply::Done { seq } => seq,
                };
                self.record(Entry::Acknowledged { operation, seq });
            }
            Err(Refusal::Unavailable) => pending.due = now + pause,
            Err(refusal) => {
                self.clients[at].pending.remove(&operation);
                self.record(Entry::Refused { operation, why: refusal.to_string() });
            }
        }
    }

    pub(super) fn client_disconnected(&mut self, at: ClientId, connection: ConnectionId) {
        if self.clients[at].connection.is_some_and(|(current, _)| current == connection) {
            self.clients[at].connection = None;
            self.clients[at].subscriptions.clear();
        }
    }
}
