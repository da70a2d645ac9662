//! What goes wrong with nodes, the log's leader and the membership.

use rookery_core::{
    owner::Input,
    ring::{LEVEL, Member, MemberState, View},
};

use super::{Event, Inside, NodeId, World};
use crate::plan::Plan;

/// How long a node stays a member after its last sign of life, virtual milliseconds.
const LEASE: u64 = 3_000;

/// Something that goes wrong, or gets right again.
#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    /// Draws the next one.
    Draw,
    /// A crashed node starts again, with empty memory.
    Restart { node: NodeId },
    /// The membership notices which nodes live.
    Notice,
    /// Nodes read the whole membership, as they do every few seconds whatever the watch says.
    Relist,
}

/// A view of the nodes that `up` says are members.
pub(super) fn view_of(plan: &Plan, revision: u64, up: impl Fn(NodeId) -> bool) -> View {
    let members = (0..plan.nodes)
        .filter(|&node| up(node))
        .map(|node| Member {
            name: format!("node-{node}"),
            address: format!("node-{node}"),
            shard: "main".to_owned(),
            weight: 100,
            shard_weight: 1,
            level: LEVEL,
            state: MemberState::Active,
            incarnation: 1,
        })
        .collect();
    View::new(revision, members)
}

impl World {
    pub(super) fn schedule_fault(&mut self) {
        if self.plan.fault_every > 0 {
            let pause = self.rng.between(1, 2 * self.plan.fault_every);
            self.queue.after(pause, Event::Fault(Fault::Draw));
        }
        self.queue.after(2_000, Event::Fault(Fault::Relist));
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Draw => {
                if !self.healed() {
                    self.faults += 1;
                    self.draw_fault();
                    let pause = self.rng.between(1, 2 * self.plan.fault_every);
                    self.queue.after(pause, Event::Fault(Fault::Draw));
                }
            }
            Fault::Restart { node } => {
                self.say(|| format!("node {node} starts again"));
                self.nodes[node].up = true;
                self.nodes[node].view = self.view.clone();
                self.notice();
            }
            Fault::Notice => self.notice(),
            Fault::Relist => {
                for node in 0..self.nodes.len() {
                    let delay = self.rng.between(1, 100);
                    let view = Box::new(self.view.clone());
                    self.inside_now(node, delay, Inside::View(view));
                }
                self.queue.after(2_000, Event::Fault(Fault::Relist));
            }
        }
    }

    fn draw_fault(&mut self) {
        let node = usize::try_from(self.rng.below(self.nodes.len() as u64)).unwrap_or(0);
        let room = *self.rng.pick(&self.rooms);
        match self.rng.below(7) {
            0 | 1 => self.crash(node),
            2 => {
                // Long enough to outlive the lease, or just a hiccup; the node does not notice either.
                let pause = self.rng.between(20, 8_000);
                self.say(|| format!("node {node} pauses for {pause} ms"));
                // A second pause does not end the first: what waits keeps its order.
                let until = self.queue.now() + pause;
                self.nodes[node].paused_until = self.nodes[node].paused_until.max(until);
                self.queue.after(LEASE, Event::Fault(Fault::Notice));
                self.queue.after(pause, Event::Fault(Fault::Notice));
            }
            3 => {
                let gap = self.rng.between(100, 9_000);
                self.say(|| format!("the log has no leader for {gap} ms"));
                self.leaderless_until = self.queue.now() + gap;
            }
            4 => {
                // A view that is not true: a lease lost unnoticed, a member that is there and believed gone.
                let view = view_of(&self.plan, self.view.revision(), |other| other != node);
                let other = usize::try_from(self.rng.below(self.nodes.len() as u64)).unwrap_or(0);
                self.say(|| format!("node {other} believes that node {node} is gone"));
                self.nodes[other].view = view;
            }
            5 => {
                if let Some(hosted) = self.nodes[node].owners.get(&room) {
                    let generation = hosted.generation();
                    self.say(|| format!("node {node} is asked to let {room} go"));
                    let how = self.how_to_let_go();
                    self.owner_input(node, room, generation, how);
                }
            }
            _ => self.drop_connections(node),
        }
    }

    fn crash(&mut self, node: NodeId) {
        if !self.nodes[node].up {
            return;
        }
        let down = self.rng.between(10, 4_000);
        self.say(|| format!("node {node} crashes, for {down} ms"));
        self.drop_connections(node);
        let host = &mut self.nodes[node];
        host.up = false;
        host.incarnation += 1;
        host.paused_until = 0;
        host.inbox.clear();
        host.owners.clear();
        host.legacies.clear();
        host.overtaken.clear();
        host.edge = Default::default();
        self.queue.after(down, Event::Fault(Fault::Restart { node }));
        self.queue.after(LEASE, Event::Fault(Fault::Notice));
    }

    /// The membership follows the truth, and tells the nodes: late, in any order, or not at all.
    fn notice(&mut self) {
        let now = self.queue.now();
        let alive = |node: NodeId| self.nodes[node].up && self.nodes[node].paused_until <= now;
        let view = view_of(&self.plan, self.view.revision() + 1, alive);
        self.view = view;
        for node in 0..self.nodes.len() {
            if self.healed() || !self.rng.per_mille(200) {
                let delay = self.rng.between(1, 1_500);
                let view = Box::new(self.view.clone());
                self.inside_now(node, delay, Inside::View(view));
            }
        }
    }

    /// A node hears of a view; an older one than it has changes nothing. Owners of rooms that are another's now step
    /// down, most of the time.
    pub(super) fn node_hears(&mut self, node: NodeId, view: View) {
        if view.revision() < self.nodes[node].view.revision() {
            return;
        }
        self.nodes[node].view = view;
        let rooms: Vec<_> = self.nodes[node].owners.keys().copied().collect();
        for room in rooms {
            if self.candidates(node, room).first() != Some(&node)
                && !self.rng.per_mille(300)
                && let Some(hosted) = self.nodes[node].owners.get(&room)
            {
                let generation = hosted.generation();
                let how = self.how_to_let_go();
                self.owner_input(node, room, generation, how);
            }
        }
    }

    /// What an owner is told that is to let its room go.
    fn how_to_let_go(&mut self) -> Input {
        if self.rng.per_mille(700) { Input::HandOver } else { Input::StepDown }
    }

    /// Whether a message between nodes is lost.
    pub(super) fn call_lost(&mut self) -> bool {
        !self.healed() && self.rng.per_mille(self.plan.call_trouble)
    }
}
