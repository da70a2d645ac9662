//! Edges: who is connected, what each room's feed and subscriptions want, and reading for them from the log.

use std::{collections::BTreeMap, sync::Arc};

use rookery_core::{
    feed::{Feed, Gap, Ready},
    record::Record,
    room::Profile,
    session::{Joined, Offer, Step, Subscription},
};
use rookery_protocol::id::RoomId;

use super::{
    ClientId, ConnectionId, Event, Inside, NodeId, World,
    calls::Calls,
    clients::{Frame, Request},
};
use crate::{check, history::Digest, log::Stored, plan::Mutation};

/// Records that a feed keeps behind a gap; few, so that it has to fetch some twice.
const MAX_BEHIND: usize = 4;
/// An edge asks how far a room has come so often, virtual milliseconds: what was lost last has nothing after it.
const POLL_EVERY: u64 = 2_000;
/// A read that brought nothing is repeated after this.
const READ_AGAIN: u64 = 50;

/// A record's events.
type Payload = Arc<[(u64, Digest)]>;

/// The edge of a node.
#[derive(Debug, Default)]
pub(super) struct Edge {
    pub(super) calls: Calls,
    connections: BTreeMap<ConnectionId, Connection>,
    rooms: BTreeMap<RoomId, Followed>,
}

#[derive(Debug)]
struct Connection {
    client: ClientId,
    profile: Profile,
    /// When its newest frame arrives at the client: frames of a connection arrive in order.
    arrival: u64,
}

/// A room that connections of this node follow.
#[derive(Debug, Default)]
struct Followed {
    /// Known once the log's tail was read.
    feed: Option<Feed<Payload>>,
    /// Tells the polls of this following from those of one before.
    polls: u64,
    subscriptions: BTreeMap<ConnectionId, Subscription>,
    /// Subscribers that wait for that, with what they have.
    waiting: Vec<(ConnectionId, u64)>,
}

/// Something for an edge.
#[derive(Debug)]
pub(super) enum EdgeInput {
    /// A client is there.
    Opened { connection: ConnectionId, client: ClientId, profile: Profile },
    /// A connection is gone.
    Closed { connection: ConnectionId },
    /// A client asks for something.
    Request { connection: ConnectionId, request: Request },
    /// It is time to ask how far a room has come.
    Poll { room: RoomId, polls: u64 },
    /// It is time to ask once more, because the log did not answer.
    AskAgain { room: RoomId },
    /// How far it has come; `None`: the log does not answer.
    Tail { room: RoomId, last_seq: Option<u64> },
    /// It is time to read what the feed lacks.
    Fetch { room: RoomId, gap: Gap },
    /// What was read for the feed.
    Fetched { room: RoomId, records: Vec<Stored> },
    /// It is time to read a page for a subscription.
    Page { room: RoomId, connection: ConnectionId, generation: u64, from: u64, to: u64 },
    /// What was read for a subscription.
    Paged {
        room: RoomId,
        connection: ConnectionId,
        generation: u64,
        from: u64,
        to: u64,
        records: Vec<Stored>,
    },
}

impl Edge {
    /// Who is at the other end of a connection.
    pub(super) fn profile(&self, connection: ConnectionId) -> Option<Profile> {
        self.connections.get(&connection).map(|connection| connection.profile.clone())
    }
}

impl World {
    pub(super) fn edge_input(&mut self, node: NodeId, input: EdgeInput) {
        match input {
            EdgeInput::Opened { connection, client, profile } => {
                let arrival = self.queue.now();
                let opened = Connection { client, profile, arrival };
                self.nodes[node].edge.connections.insert(connection, opened);
            }
            EdgeInput::Closed { connection } => self.forget(node, connection),
            EdgeInput::Request { connection, request } => {
                if !self.nodes[node].edge.connections.contains_key(&connection) {
                    return;
                }
                match request {
                    Request::Subscribe { room, after } => self.subscribe(node, connection, room, after),
                    Request::Command { operation, room, what } => {
                        self.edge_commands(node, connection, operation, room, what);
                    }
                }
            }
            EdgeInput::Poll { room, polls } => {
                if self.nodes[node].edge.rooms.get(&room).is_some_and(|followed| followed.polls == polls) {
                    self.read_tail(node, room);
                    self.later(node, POLL_EVERY, EdgeInput::Poll { room, polls });
                }
            }
            EdgeInput::AskAgain { room } => {
                let unknown = |followed: &Followed| followed.feed.is_none();
                if self.nodes[node].edge.rooms.get(&room).is_some_and(unknown) {
                    self.read_tail(node, room);
                }
            }
            EdgeInput::Tail { room, last_seq } => self.tail_read(node, room, last_seq),
            EdgeInput::Fetch { room, gap } => {
                let records = self.read(room, gap.from, gap.to);
                let delay = self.rng.between(1, 5);
                self.later(node, delay, EdgeInput::Fetched { room, records });
            }
            EdgeInput::Fetched { room, records } => self.fetched(node, room, &records),
            EdgeInput::Page { room, connection, generation, from, to } => {
                let records = self.read(room, from, to);
                let delay = self.rng.between(1, 5);
                self.later(node, delay, EdgeInput::Paged { room, connection, generation, from, to, records });
            }
            EdgeInput::Paged { room, connection, generation, from, to, records } => {
                self.paged(node, room, connection, (generation, from, to), &records);
            }
        }
    }

    fn later(&mut self, node: NodeId, delay: u64, input: EdgeInput) {
        self.inside_now(node, delay, Inside::Edge(input));
    }

    fn forget(&mut self, node: NodeId, connection: ConnectionId) {
        let edge = &mut self.nodes[node].edge;
        edge.connections.remove(&connection);
        edge.calls.closed(connection);
        for room in edge.rooms.values_mut() {
            room.subscriptions.remove(&connection);
            room.waiting.retain(|(of, _)| *of != connection);
        }
        // A room that nobody follows is not followed: what comes next finds the feed behind.
        edge.rooms.retain(|_, room| !room.subscriptions.is_empty() || !room.waiting.is_empty());
    }

    /// All connections of a node break: clients notice soon, what was on its way may be lost.
    pub(super) fn drop_connections(&mut self, node: NodeId) {
        self.say(|| format!("node {node} loses its connections"));
        let lost: Vec<(ClientId, ConnectionId)> = self
            .clients
            .iter()
            .enumerate()
            .filter_map(|(client, of)| of.connected_to(node).map(|connection| (client, connection)))
            .collect();
        for (client, connection) in lost {
            let delay = self.rng.between(1, 200);
            self.queue.after(delay, Event::Broken { client, connection });
            self.forget(node, connection);
        }
    }

    /// Sends a frame. Frames of a connection arrive in order.
    pub(super) fn send_to_client(&mut self, node: NodeId, connection: ConnectionId, frame: Frame) {
        let (now, delay) = (self.queue.now(), self.rng.between(1, 5));
        let Some(to) = self.nodes[node].edge.connections.get_mut(&connection) else { return };
        to.arrival = to.arrival.max(now + delay);
        let (client, arrival) = (to.client, to.arrival);
        self.queue.at(arrival, Event::ToClient { client, connection, frame });
    }

    fn subscribe(&mut self, node: NodeId, connection: ConnectionId, room: RoomId, after: u64) {
        let first = !self.nodes[node].edge.rooms.contains_key(&room);
        let followed = self.nodes[node].edge.rooms.entry(room).or_default();
        if let Some(feed) = &followed.feed {
            let tail = feed.delivered();
            self.start(node, room, connection, after, tail);
            return;
        }
        followed.waiting.push((connection, after));
        if first {
            let polls = self.fresh();
            self.nodes[node].edge.rooms.entry(room).or_default().polls = polls;
            self.later(node, 0, EdgeInput::Poll { room, polls });
        }
    }

    fn start(&mut self, node: NodeId, room: RoomId, connection: ConnectionId, after: u64, tail: u64) {
        let generation = self.fresh();
        let (subscription, step) = Subscription::start(Some(after), tail, self.plan.replay_limit, generation);
        let Some(followed) = self.nodes[node].edge.rooms.get_mut(&room) else { return };
        followed.subscriptions.insert(connection, subscription);
        self.take(node, room, connection, step, 0);
    }

    /// Does what a subscription wants next.
    fn take(&mut self, node: NodeId, room: RoomId, connection: ConnectionId, mut step: Step, pause: u64) {
        loop {
            let Some(followed) = self.nodes[node].edge.rooms.get_mut(&room) else { return };
            let Some(subscription) = followed.subscriptions.get_mut(&connection) else { return };
            let head = followed.feed.as_ref().map_or(0, Feed::delivered);
            let resync = match step {
                Step::Read { from, to } => {
                    let generation = subscription.generation;
                    self.later(node, pause, EdgeInput::Page { room, connection, generation, from, to });
                    return;
                }
                Step::Resync { from, last_seq } => Some(Frame::Resync { room, from, last_seq }),
                Step::Join => None,
            };
            let joined = subscription.join(head);
            if let Some(frame) = resync {
                self.send_to_client(node, connection, frame);
            }
            match joined {
                Joined::Live { last_seq } => {
                    self.send_to_client(node, connection, Frame::CaughtUp { room, last_seq });
                    return;
                }
                Joined::Behind(next) => step = next,
            }
        }
    }

    fn paged(
        &mut self,
        node: NodeId,
        room: RoomId,
        connection: ConnectionId,
        (generation, from, to): (u64, u64, u64),
        records: &[Stored],
    ) {
        let events: Vec<(u64, Digest)> = records
            .iter()
            .flat_map(|stored| payload(room, stored).to_vec())
            .filter(|(seq, _)| (from..=to).contains(seq))
            .collect();
        let last = events.last().map_or(from - 1, |(seq, _)| *seq);
        let Some(followed) = self.nodes[node].edge.rooms.get_mut(&room) else { return };
        let Some(subscription) = followed.subscriptions.get_mut(&connection) else { return };
        let Some(step) = subscription.sent(generation, last) else { return };
        for &(seq, digest) in &events {
            self.send_to_client(node, connection, Frame::Event { room, seq, digest });
        }
        let pause = if events.is_empty() { READ_AGAIN } else { 0 };
        self.take(node, room, connection, step, pause);
    }

    fn read_tail(&mut self, node: NodeId, room: RoomId) {
        let last_seq = (!self.leaderless()).then(|| self.log.tail(room).map_or(0, |tail| tail.last_seq));
        let delay = self.rng.between(1, 5);
        self.later(node, delay, EdgeInput::Tail { room, last_seq });
    }

    fn tail_read(&mut self, node: NodeId, room: RoomId, last_seq: Option<u64>) {
        let Some(followed) = self.nodes[node].edge.rooms.get_mut(&room) else { return };
        let Some(last_seq) = last_seq else {
            if followed.feed.is_none() {
                self.later(node, READ_AGAIN, EdgeInput::AskAgain { room });
            }
            return;
        };
        if let Some(feed) = &mut followed.feed {
            let gap = feed.exists(last_seq);
            self.fetch(node, room, gap, 0);
            return;
        }
        followed.feed = Some(Feed::new(last_seq, MAX_BEHIND));
        for (connection, after) in std::mem::take(&mut followed.waiting) {
            self.start(node, room, connection, after, last_seq);
        }
    }

    fn fetch(&mut self, node: NodeId, room: RoomId, gap: Option<Gap>, pause: u64) {
        if let Some(gap) = gap {
            self.later(node, pause, EdgeInput::Fetch { room, gap });
        }
    }

    fn fetched(&mut self, node: NodeId, room: RoomId, records: &[Stored]) {
        let mut ready = Vec::new();
        let Some(followed) = self.nodes[node].edge.rooms.get_mut(&room) else { return };
        let Some(feed) = &mut followed.feed else { return };
        for stored in records {
            feed.offer(stored.first_seq, stored.last_seq, payload(room, stored), &mut ready);
        }
        let gap = feed.fetched();
        let pause = if records.is_empty() { READ_AGAIN } else { 0 };
        self.deliver(node, room, &ready);
        self.fetch(node, room, gap, pause);
    }

    /// Sends a stored record on its way to all nodes: it may be lost, repeated, or late.
    pub(super) fn republish(&mut self, room: RoomId, stored: &Stored) {
        let trouble = if self.healed() { 0 } else { self.plan.republish_trouble };
        for node in 0..self.nodes.len() {
            let mut copies = 1;
            let mut slowest = 4;
            if self.rng.per_mille(trouble) {
                match self.rng.below(3) {
                    0 => copies = 0,
                    1 => copies = 2,
                    _ => slowest = 500,
                }
            }
            for _ in 0..copies {
                let delay = self.rng.between(1, slowest);
                let stored = Box::new(stored.clone());
                self.inside_now(node, delay, Inside::Republished { room, stored });
            }
        }
    }

    pub(super) fn edge_republished(&mut self, node: NodeId, room: RoomId, stored: &Stored) {
        let events = payload(room, stored);
        if self.plan.mutation == Some(Mutation::GapRepairOff) {
            self.deliver_anyhow(node, room, &events);
            return;
        }
        let Some(followed) = self.nodes[node].edge.rooms.get_mut(&room) else { return };
        let Some(feed) = &mut followed.feed else { return };
        let mut ready = Vec::new();
        let gap = feed.offer(stored.first_seq, stored.last_seq, events, &mut ready);
        self.deliver(node, room, &ready);
        self.fetch(node, room, gap, 0);
    }

    fn deliver(&mut self, node: NodeId, room: RoomId, ready: &[Ready<Payload>]) {
        for Ready { from, last, payload } in ready {
            let Some(followed) = self.nodes[node].edge.rooms.get_mut(&room) else { return };
            let offers: Vec<(ConnectionId, Offer)> = followed
                .subscriptions
                .iter_mut()
                .map(|(connection, subscription)| (*connection, subscription.offer(*from, *last)))
                .collect();
            for (connection, offer) in offers {
                match offer {
                    Offer::Skip => {}
                    Offer::Send { from } => {
                        for &(seq, digest) in payload.iter().filter(|(seq, _)| *seq >= from) {
                            self.send_to_client(node, connection, Frame::Event { room, seq, digest });
                        }
                    }
                    Offer::Missed(step) => self.take(node, room, connection, step, 0),
                }
            }
        }
    }

    /// What an edge without gap repair does.
    fn deliver_anyhow(&mut self, node: NodeId, room: RoomId, events: &Payload) {
        let Some(followed) = self.nodes[node].edge.rooms.get(&room) else { return };
        let live = followed.subscriptions.iter().filter(|(_, subscription)| subscription.live());
        for connection in live.map(|(connection, _)| *connection).collect::<Vec<_>>() {
            for &(seq, digest) in events.iter() {
                self.send_to_client(node, connection, Frame::Event { room, seq, digest });
            }
        }
    }
}

/// The events of a record, as clients tell them apart. What cannot be read has none: the checks of the log say so.
fn payload(room: RoomId, stored: &Stored) -> Payload {
    Record::open(&stored.record, room)
        .map(|opened| opened.record.numbered().map(|(seq, event)| (seq, check::digest(seq, event))).collect())
        .unwrap_or_default()
}
