//! Clients: they send, lose connections, resume, and send again what was not answered.

use std::collections::BTreeMap;

use rookery_core::room::{Declaration, Kind, Profile, Refusal, Reply, Role, Update, Visibility, What};
use rookery_protocol::id::{MessageId, RoomId, UserId};

use super::{ClientId, ConnectionId, EPOCH, Event, Inside, NodeId, World, edges::EdgeInput};
use crate::{
    check::{self, Broken},
    history::{Digest, Entry, Operation, Subscription},
};

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
    /// The same id with another text, or an id that is too old: must never be accepted.
    forbidden: bool,
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
    /// Ids of its messages that are stored, for using one of them a second time.
    used: Vec<(RoomId, String)>,
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
            used: Vec::new(),
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
        self.send_to_edge(at, EdgeInput::Opened { connection, client: at, profile });
        let rooms: Vec<(RoomId, u64)> =
            self.clients[at].seen.iter().map(|(room, seen)| (*room, *seen)).collect();
        for (room, after) in rooms {
            let subscription = self.fresh();
            self.clients[at].subscriptions.insert(room, subscription);
            self.record(Entry::Subscribed { subscription, room, after });
            self.send_to_edge(
                at,
                EdgeInput::Request { connection, request: Request::Subscribe { room, after } },
            );
        }
        // What was not answered is sent again at once, in order.
        for pending in self.clients[at].pending.values_mut() {
            pending.due = now;
        }
    }

    /// Frames of a connection arrive in the order in which they were sent.
    fn send_to_edge(&mut self, at: ClientId, input: EdgeInput) {
        let Some((_, node)) = self.clients[at].connection else { return };
        let delay = self.rng.between(1, 5);
        let now = self.queue.now();
        let arrival = (now + delay).max(self.clients[at].arrival);
        self.clients[at].arrival = arrival;
        self.inside_now(node, arrival - now, Inside::Edge(input));
    }

    fn invoke(&mut self, at: ClientId) {
        if at == 0 && !self.clients[at].created {
            self.clients[at].created = true;
            for room in self.rooms.clone() {
                let what = self.creation();
                self.invoke_in(at, room, what, false);
            }
            return;
        }
        let room = *self.rng.pick(&self.rooms);
        match self.rng.below(20) {
            0 => {
                let what = self.forbidden(at, room);
                self.invoke_in(at, room, what, true);
            }
            1 | 2 if at == 0 => {
                let what = self.moderation();
                self.invoke_in(at, room, what, false);
            }
            _ => {
                let what = self.choose(at, room);
                self.invoke_in(at, room, what, false);
            }
        }
    }

    /// A message that a room must not take, whatever has happened to its owners since.
    fn forbidden(&mut self, at: ClientId, room: RoomId) -> What {
        let used = self.clients[at].used.iter().find(|(of, _)| *of == room).map(|(_, id)| id.clone());
        let stale = || {
            let two_hours_ago = EPOCH.unsigned_abs() - 7_200_000;
            MessageId::from_parts(two_hours_ago, 0).to_string()
        };
        let client_msg_id = used.filter(|_| self.rng.per_mille(500)).unwrap_or_else(stale);
        What::Post { text: "something else".to_owned(), client_msg_id, reply_to: None }
    }

    /// What becomes of guests, who have no clients, and of the room.
    fn moderation(&mut self) -> What {
        let number = self.rng.between(1, 3);
        let user = UserId(u128::from(number));
        let guest =
            Profile { id: user, username: format!("guest{number}"), display_name: format!("Guest {number}") };
        match self.rng.below(10) {
            0 | 1 => What::Add { user: guest, role: Role::Member },
            2 => What::SetRole { user, role: *self.rng.pick(&[Role::Member, Role::Moderator]) },
            3 => What::Kick { user },
            4 => What::Ban { user: guest, until: None },
            5 => What::Unban { user },
            6 => What::Mute { user, until: Some(EPOCH + 20_000) },
            7 => What::Unmute { user },
            8 => What::Declare(self.declaration().into()),
            _ => What::Update(Update { topic: Some(format!("topic {number}")), ..Update::default() }),
        }
    }

    /// The room as somebody outside may declare it: with all clients, so that they go on talking, and with a guest or without.
    fn declaration(&mut self) -> Declaration {
        let role = |client: &Client| if client.at == 0 { Role::Owner } else { Role::Moderator };
        let mut members: Vec<_> =
            self.clients.iter().map(|client| (client.profile.clone(), role(client))).collect();
        let number = self.rng.between(1, 6);
        if number <= 3 {
            let (username, display_name) = (format!("guest{number}"), format!("Guest {number}"));
            let id = UserId(u128::from(number));
            members.push((Profile { id, username, display_name }, Role::Member));
        }
        Declaration {
            name: "Room".to_owned(),
            kind: Kind::Group,
            visibility: Visibility::Private,
            topic: Some(format!("topic {number}")),
            slow_mode_seconds: 0,
            translation: number.is_multiple_of(2),
            max_members: None,
            retention_days: None,
            members,
        }
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

    fn invoke_in(&mut self, at: ClientId, room: RoomId, what: What, forbidden: bool) {
        let Some((connection, _)) = self.clients[at].connection else { return };
        let operation = self.fresh();
        let user = self.clients[at].profile.id;
        let now = self.queue.now();
        // A second message under an id is not the one that the checks look for.
        let client_msg_id = match &what {
            What::Post { client_msg_id, .. } if !forbidden => Some(client_msg_id.clone()),
            _ => None,
        };
        self.record(Entry::Invoked { operation, user, connection, room, client_msg_id });
        let pending = Pending { room, what, due: now, sent: false, forbidden };
        self.clients[at].pending.insert(operation, pending);
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
            self.send_to_edge(at, EdgeInput::Request { connection, request });
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
                let (room, forbidden) = (pending.room, pending.forbidden);
                let answered = self.clients[at].pending.remove(&operation);
                if forbidden {
                    let how =
                        format!("operation {operation} was accepted: its client_msg_id is used or stale");
                    self.broken.push(Broken { promise: check::ONCE, how });
                }
                if let Some(Pending { what: What::Post { client_msg_id, .. }, .. }) = answered {
                    self.clients[at].used.push((room, client_msg_id));
                }
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
                    Reply::Edited { seq, .. } | Reply::Done { seq } => seq,
                };
                self.record(Entry::Acknowledged { operation, seq });
            }
            Err(Refusal::Unavailable) => pending.due = now + pause,
            Err(refusal) => {
                // It asks only for messages that were acknowledged. An owner that was replaced does not know the newest; a
                // leader of the log that was replaced at the same time may tell it that it does.
                if refusal == Refusal::MessageNotFound && self.plan.stale_leader == 0 {
                    let how = format!("operation {operation} was refused: {:?}", pending.what);
                    self.broken.push(Broken { promise: check::FOUND, how });
                }
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
