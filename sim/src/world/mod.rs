//! The simulated world: nodes, clients, the log and what happens between them, in virtual time.
//!
//! Here belongs the shell that production has in `node/`: it carries the core's actions out against a log and a
//! network that misbehave. No rule of a room, an owner or a subscription is written here a second time.

mod calls;
mod clients;
mod edges;
mod faults;
mod owners;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use rookery_core::{
    owner::{self, Legacy},
    ring::View,
    room::{Change, Command, Refusal, Reply},
};
use rookery_protocol::id::{RoomId, UserId};

use crate::{
    check::{self, Broken},
    history::{Entry, History},
    log::{Log, Stored},
    plan::{Mutation, Plan},
    queue::Queue,
    rng::Rng,
};
use clients::Client;
use edges::Edge;
use owners::{Hosted, Rows};

/// Index of a node.
type NodeId = usize;
/// Index of a client.
type ClientId = usize;
/// One connection of a client to a node. Never used again.
type ConnectionId = u64;
/// One call of an edge to an owner. Never used again.
type CallId = u64;

/// Unix milliseconds at the start of each run.
const EPOCH: i64 = 1_790_000_000_000;

/// What can happen. What happens in a node carries that node's incarnation, and is dropped if the node crashed since.
#[derive(Debug)]
enum Event {
    /// In a node that has not crashed since this was scheduled.
    Inside { node: NodeId, incarnation: u64, what: Inside },
    /// A call arrives at a node, whichever incarnation of it that is.
    Call { to: NodeId, from: (NodeId, u64), call: CallId, room: RoomId, command: Box<Command>, expires: i64 },
    /// An append arrives at the log.
    Arrive { append: Box<owners::Travelling> },
    /// A frame arrives at a client.
    ToClient { client: ClientId, connection: ConnectionId, frame: clients::Frame },
    /// A client notices that its connection is gone.
    Broken { client: ClientId, connection: ConnectionId },
    /// A client does something.
    Step { client: ClientId },
    /// A node's pause may be over.
    Resume { node: NodeId },
    /// Something fails, or heals.
    Fault(faults::Fault),
}

/// What can happen inside a node.
#[derive(Debug)]
enum Inside {
    /// An input for a hosted owner; dropped if that owner is gone.
    Owner { room: RoomId, generation: u64, input: Box<owner::Input> },
    /// The owner asked to be woken.
    Wake { room: RoomId, generation: u64 },
    /// An answer of an owner arrives at the edge that called.
    Answered { call: CallId, outcome: Result<Reply, Refusal> },
    /// An owner did not take a call, because another one has the room.
    GivenBack { call: CallId },
    /// A call found nobody, or nobody answered in time.
    CallFailed { call: CallId, candidate: usize },
    /// A record is republished to this node.
    Republished { room: RoomId, stored: Box<Stored> },
    /// Something for the edge.
    Edge(edges::EdgeInput),
    /// The node hears of a view of the membership.
    View(Box<View>),
    /// An owner elsewhere leaves a room to this node.
    Left { room: RoomId, legacy: Box<Legacy> },
}

#[derive(Debug)]
struct Node {
    up: bool,
    incarnation: u64,
    /// Stopped until then, as by SIGSTOP: everything waits.
    paused_until: u64,
    /// What came since.
    inbox: VecDeque<Event>,
    /// How far its wall clock is from the true one, milliseconds.
    skew: i64,
    view: View,
    owners: BTreeMap<RoomId, Hosted>,
    /// What owners elsewhere have left to this node: believed once, however old it is by then.
    legacies: BTreeMap<RoomId, Legacy>,
    /// Rooms whose owner here was overtaken: the next one fences first.
    overtaken: BTreeSet<RoomId>,
    edge: Edge,
}

/// How a run ended.
#[derive(Debug)]
pub struct Outcome {
    /// Promises that were not kept; none: a good run.
    pub broken: Vec<Broken>,
    /// What happened, a line each, if it was asked for.
    pub trace: Vec<String>,
    /// Events stored.
    pub stored: u64,
    /// Events delivered, over all subscriptions.
    pub delivered: u64,
    /// Faults of nodes, log and membership.
    pub faults: u64,
}

/// One run.
pub(crate) struct World {
    plan: Plan,
    rng: Rng,
    queue: Queue<Event>,
    nodes: Vec<Node>,
    clients: Vec<Client>,
    rooms: Vec<RoomId>,
    log: Log,
    rows: Rows,
    /// Appends and reads of the tail fail until then: the log has no leader.
    leaderless_until: u64,
    /// The membership as it is; nodes hear of it late, twice or never.
    view: View,
    history: History,
    broken: Vec<Broken>,
    trace: Option<Vec<String>>,
    next: u64,
    faults: u64,
}

impl World {
    /// Prepares the run of a seed.
    pub(crate) fn new(seed: u64, mutation: Option<Mutation>, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let plan = Plan::draw(&mut rng, mutation);
        let rooms: Vec<RoomId> = (0..plan.rooms).map(|_| RoomId(rng.wide())).collect();
        let view = faults::view_of(&plan, 1, |_| true);
        let nodes = (0..plan.nodes)
            .map(|_| Node {
                up: true,
                incarnation: 0,
                paused_until: 0,
                inbox: VecDeque::new(),
                skew: i64::try_from(rng.below(400)).unwrap_or(0) - 200,
                view: view.clone(),
                owners: BTreeMap::new(),
                legacies: BTreeMap::new(),
                overtaken: BTreeSet::new(),
                edge: Edge::default(),
            })
            .collect();
        let clients = (0..plan.clients).map(|at| Client::new(at, UserId(rng.wide()), &rooms)).collect();
        let mut log = Log::default();
        log.ignore_conditions = mutation == Some(Mutation::ConditionOff);
        Self {
            plan,
            rng,
            queue: Queue::default(),
            nodes,
            clients,
            rooms,
            log,
            rows: Rows::default(),
            leaderless_until: 0,
            view,
            history: History::default(),
            broken: Vec::new(),
            trace: trace.then(Vec::new),
            next: 0,
            faults: 0,
        }
    }

    /// Runs to the end and checks every promise.
    pub(crate) fn run(mut self) -> Outcome {
        let plan = self.plan.clone();
        self.say(|| format!("{plan:?}"));
        for client in 0..self.plan.clients {
            let start = self.rng.below(50);
            self.queue.after(start, Event::Step { client });
        }
        self.schedule_fault();
        while let Some(event) = self.queue.next(self.plan.end_at) {
            self.dispatch(event);
        }
        self.check_progress();
        let mut broken = std::mem::take(&mut self.broken);
        broken.extend(check::check(&self.log, &self.history));
        let stored = self.log.rooms().filter_map(|room| self.log.tail(room)).map(|tail| tail.last_seq).sum();
        let delivered =
            self.history.entries.iter().filter(|(_, entry)| matches!(entry, Entry::Delivered { .. })).count();
        Outcome {
            broken,
            trace: self.trace.unwrap_or_default(),
            stored,
            delivered: delivered as u64,
            faults: self.faults,
        }
    }

    fn dispatch(&mut self, event: Event) {
        let waits = match &event {
            Event::Inside { node, .. } | Event::Call { to: node, .. } => {
                let host = &self.nodes[*node];
                let waits = host.up && (host.paused_until > self.queue.now() || !host.inbox.is_empty());
                waits.then_some(*node)
            }
            _ => None,
        };
        let Some(node) = waits else { return self.perform(event) };
        let host = &mut self.nodes[node];
        if host.inbox.is_empty() {
            self.queue.at(host.paused_until, Event::Resume { node });
        }
        host.inbox.push_back(event);
    }

    /// A pause is over: what came meanwhile is taken in the order in which it came.
    fn resume(&mut self, node: NodeId) {
        let host = &mut self.nodes[node];
        if host.paused_until > self.queue.now() {
            self.queue.at(host.paused_until, Event::Resume { node });
            return;
        }
        for event in std::mem::take(&mut host.inbox) {
            self.perform(event);
        }
    }

    fn perform(&mut self, event: Event) {
        match event {
            Event::Inside { node, incarnation, what } => {
                let host = &self.nodes[node];
                if host.up && host.incarnation == incarnation {
                    self.inside(node, what);
                }
            }
            Event::Call { to, from, call, room, command, expires } => {
                if !self.nodes[to].up {
                    let refused = Inside::CallFailed { call, candidate: to };
                    self.inside_after(from.0, from.1, 1, refused);
                } else if self.wall(to) > expires {
                    self.say(|| format!("call {call} comes too late to node {to}"));
                } else {
                    self.called(to, from, call, room, command);
                }
            }
            Event::Resume { node } => self.resume(node),
            Event::Arrive { append } => self.arrive(*append),
            Event::ToClient { client, connection, frame } => self.client_receives(client, connection, frame),
            Event::Broken { client, connection } => self.client_disconnected(client, connection),
            Event::Step { client } => self.client_steps(client),
            Event::Fault(fault) => self.fault(fault),
        }
    }

    fn inside(&mut self, node: NodeId, what: Inside) {
        match what {
            Inside::Owner { room, generation, input } => self.owner_input(node, room, generation, *input),
            Inside::Wake { room, generation } => self.owner_wakes(node, room, generation),
            Inside::Answered { call, outcome } => self.edge_answered(node, call, outcome),
            Inside::GivenBack { call } => self.edge_given_back(node, call),
            Inside::CallFailed { call, candidate } => self.edge_call_failed(node, call, candidate),
            Inside::Republished { room, stored } => self.edge_republished(node, room, &stored),
            Inside::Edge(input) => self.edge_input(node, input),
            Inside::View(view) => self.node_hears(node, *view),
            Inside::Left { room, legacy } => self.is_left(node, room, *legacy),
        }
    }

    /// Schedules something inside a node as it is now.
    fn inside_now(&mut self, node: NodeId, delay: u64, what: Inside) {
        let incarnation = self.nodes[node].incarnation;
        self.inside_after(node, incarnation, delay, what);
    }

    fn inside_after(&mut self, node: NodeId, incarnation: u64, delay: u64, what: Inside) {
        self.queue.after(delay, Event::Inside { node, incarnation, what });
    }

    /// A number that was not used before.
    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Unix milliseconds by a node's wall clock.
    fn wall(&self, node: NodeId) -> i64 {
        EPOCH + i64::try_from(self.queue.now()).unwrap_or(i64::MAX) + self.nodes[node].skew
    }

    fn healed(&self) -> bool {
        self.queue.now() >= self.plan.heal_at
    }

    fn say(&mut self, line: impl FnOnce() -> String) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>7} {}", self.queue.now(), line()));
        }
    }

    fn record(&mut self, entry: Entry) {
        if self.trace.is_some() {
            let line = format!("{entry:?}");
            self.say(|| line);
        }
        self.history.record(self.queue.now(), entry);
    }

    /// After the last fault everybody must have got his answers and all events.
    fn check_progress(&mut self) {
        let tails: BTreeMap<RoomId, u64> = self
            .rooms
            .iter()
            .map(|&room| (room, self.log.tail(room).map_or(0, |tail| tail.last_seq)))
            .collect();
        for client in &self.clients {
            for how in client.unfinished(&tails) {
                self.broken.push(Broken { promise: check::PROGRESS, how });
            }
        }
    }
}

/// Changes of a record, as the log stores them with it.
type Changes = std::sync::Arc<[Change]>;
