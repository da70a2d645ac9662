//! Owners of rooms in their nodes, and their way to the log and back.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use bytes::Bytes;
use rookery_core::{
    owner::{self, Action, Appended, Identity, Input, Legacy, LogSeq, Owner, Settings, Stopped},
    record::{Body, Record},
    room::{Amendment, Change, Command, Head, Limits},
};
use rookery_protocol::id::RoomId;

use super::{CallId, Changes, Event, Inside, NodeId, World, calls};
use crate::{
    check::Broken,
    log::{Fate, Stored},
    plan::Mutation,
};

/// An owner in a node.
#[derive(Debug)]
pub(super) struct Hosted {
    owner: Owner,
    generation: u64,
    /// The earliest wake-up that is scheduled.
    wake: Option<u64>,
    /// Who waits for which answer: the edge (node, incarnation) and its call.
    callers: BTreeMap<u64, ((NodeId, u64), CallId)>,
    /// The record that overtook it, if it goes on nevertheless; 0: none.
    overtaken: LogSeq,
}

impl Hosted {
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }
}

/// Rows that are stored with records.
#[derive(Debug, Default)]
pub(super) struct Rows {
    /// All that were ever stored, with the place of their records.
    amendments: HashMap<(RoomId, u64), Vec<(u64, Amendment)>>,
    /// All snapshots ever saved: an older one may be read.
    snapshots: HashMap<RoomId, Vec<Bytes>>,
}

/// An append on its way.
#[derive(Debug)]
pub(super) struct Travelling {
    from: (NodeId, u64),
    room: RoomId,
    generation: u64,
    append: owner::Append,
    /// Whether and when the owner hears how it ended.
    answer: Option<u64>,
}

impl World {
    fn owner_settings(&self, node: NodeId, generation: u64) -> Settings {
        let limits = Limits {
            dedupe_window_ms: if self.plan.mutation == Some(Mutation::DedupeOff) { 0 } else { 3_600_000 },
            // Few, so that heads are loaded and evicted.
            heads: 4,
            ..Limits::default()
        };
        Settings {
            // No two owners have one name, so that what one wrote can be told from what another did.
            owner: format!("node-{node}/{generation}"),
            limits: Arc::new(limits),
            snapshot_every: 40,
            deadline_ms: calls::OWNER_DEADLINE,
            fence_after_ms: self.plan.fence_after,
            epoch_step: u64::from(self.plan.mutation != Some(Mutation::EpochOff)),
            ..Settings::default()
        }
    }

    /// A call of an edge arrives; the node takes the room over if it does not own it: the log makes that safe.
    pub(super) fn called(
        &mut self,
        node: NodeId,
        from: (NodeId, u64),
        call: CallId,
        room: RoomId,
        mut command: Box<Command>,
    ) {
        if !self.nodes[node].owners.contains_key(&room) {
            let identity = Identity { room, seed: self.rng.wide() };
            let generation = self.fresh();
            let settings = self.owner_settings(node, generation);
            let legacy = self.nodes[node].legacies.remove(&room);
            let overtaken = self.nodes[node].overtaken.remove(&room);
            let now = self.queue.now();
            let owner = match legacy.and_then(|legacy| Owner::heir(identity, settings.clone(), legacy, now)) {
                Some(heir) => heir,
                None if overtaken => Owner::new(identity, settings).fencing_first(),
                None => Owner::new(identity, settings),
            };
            self.say(|| format!("node {node} hosts {room} (generation {generation})"));
            let (callers, overtaken) = (BTreeMap::new(), LogSeq(0));
            let hosted = Hosted { owner, generation, wake: None, callers, overtaken };
            self.nodes[node].owners.insert(room, hosted);
        }
        command.now = self.wall(node);
        command.random = self.rng.wide();
        let ticket = self.fresh();
        let Some(hosted) = self.nodes[node].owners.get_mut(&room) else { return };
        hosted.callers.insert(ticket, (from, call));
        let generation = hosted.generation;
        self.owner_input(node, room, generation, Input::Command { ticket, command });
    }

    pub(super) fn owner_input(&mut self, node: NodeId, room: RoomId, generation: u64, input: Input) {
        let now = self.queue.now();
        let Some(hosted) = self.nodes[node].owners.get_mut(&room) else { return };
        if hosted.generation != generation {
            return;
        }
        let mut actions = Vec::new();
        hosted.owner.handle(input, now, &mut actions);
        self.act(node, room, generation, actions);
    }

    pub(super) fn owner_wakes(&mut self, node: NodeId, room: RoomId, generation: u64) {
        if let Some(hosted) = self.nodes[node].owners.get_mut(&room)
            && hosted.generation == generation
        {
            hosted.wake = None;
            self.owner_input(node, room, generation, Input::Tick);
        }
    }

    /// Carries out what an owner wants.
    fn act(&mut self, node: NodeId, room: RoomId, generation: u64, actions: Vec<Action>) {
        for action in actions {
            match action {
                Action::LoadTail { sure } => {
                    let mut tail = self.tail(room, sure).map(|tail| tail.as_ref().map(owner_view));
                    if self.plan.mutation == Some(Mutation::FenceOff)
                        && let Ok(Some(tail)) = &mut tail
                    {
                        self.overlook(node, room, tail);
                    }
                    self.answer_owner(node, room, generation, Input::Tail(tail));
                }
                Action::LoadSnapshot => {
                    let saved = self.rows.snapshots.get(&room).map_or(&[][..], Vec::as_slice);
                    // The newest, an older one, or none: all must do.
                    let snapshot = match self.rng.below(4) {
                        0 => None,
                        1 if !saved.is_empty() => Some(self.rng.pick(saved).clone()),
                        _ => saved.last().cloned(),
                    };
                    self.answer_owner(node, room, generation, Input::Snapshot(Ok(snapshot)));
                }
                Action::ReadFrom { from, to } => {
                    let records = self.read(room, from, to);
                    self.answer_owner(
                        node,
                        room,
                        generation,
                        Input::Records(Ok(records.iter().map(owner_view).collect())),
                    );
                }
                Action::LoadHead { seq, seen } => {
                    let head = self.head_as_of(room, seq, seen.at.0);
                    self.answer_owner(node, room, generation, Input::Head { seq, head });
                }
                Action::Append(append) => self.append(node, room, generation, append),
                // Edges hear of commits from the log alone here.
                Action::Committed { .. } => {}
                Action::Answer { ticket, outcome } => {
                    let caller = self.nodes[node]
                        .owners
                        .get_mut(&room)
                        .and_then(|hosted| hosted.callers.remove(&ticket));
                    if let Some(((edge, incarnation), call)) = caller
                        && !self.call_lost()
                    {
                        let delay = self.rng.between(1, 3);
                        self.inside_after(edge, incarnation, delay, Inside::Answered { call, outcome });
                    }
                }
                // Nobody looks.
                Action::Show { .. } => {}
                Action::GiveBack { ticket, .. } => {
                    let hosted = self.nodes[node].owners.get_mut(&room);
                    let caller = hosted.and_then(|hosted| hosted.callers.remove(&ticket));
                    if let Some(((edge, incarnation), call)) = caller
                        && !self.call_lost()
                    {
                        let delay = self.rng.between(1, 3);
                        self.inside_after(edge, incarnation, delay, Inside::GivenBack { call });
                    }
                }
                Action::SaveSnapshot { bytes, .. } => {
                    if !self.rng.per_mille(200) {
                        self.rows.snapshots.entry(room).or_default().push(bytes);
                    }
                }
                Action::HandOver(legacy) => self.leave(node, room, legacy),
                Action::Stopped { why } => self.owner_stopped(node, room, &why),
            }
        }
        let now = self.queue.now();
        if let Some(hosted) = self.nodes[node].owners.get_mut(&room)
            && hosted.generation == generation
            && let Some(at) = hosted.owner.wake_at()
            && hosted.wake.is_none_or(|scheduled| at < scheduled)
        {
            let at = at.max(now + 1);
            hosted.wake = Some(at);
            self.inside_now(node, at - now, Inside::Wake { room, generation });
        }
    }

    /// Leaves a room to the node that it belongs to, or to one that has nothing to do with it.
    fn leave(&mut self, node: NodeId, room: RoomId, legacy: Legacy) {
        let first = self.candidates(node, room).first().copied().filter(|first| *first != node);
        let to = match first {
            Some(first) if !self.rng.per_mille(100) => first,
            _ => usize::try_from(self.rng.below(self.nodes.len() as u64)).unwrap_or(0),
        };
        if !self.call_lost() {
            let delay =
                if self.rng.per_mille(100) { self.rng.between(1, 3_000) } else { self.rng.between(1, 5) };
            self.say(|| format!("node {node} leaves {room} to node {to}, as of {}", legacy.place.at.0));
            self.inside_now(to, delay, Inside::Left { room, legacy: Box::new(legacy) });
        }
    }

    /// A node is left a room: its owner there hears of it, and the next one begins with it.
    pub(super) fn is_left(&mut self, node: NodeId, room: RoomId, legacy: Legacy) {
        let at = legacy.place.at;
        self.nodes[node].legacies.insert(room, legacy);
        if let Some(hosted) = self.nodes[node].owners.get(&room) {
            let generation = hosted.generation;
            self.owner_input(node, room, generation, Input::Behind { at });
        }
    }

    fn owner_stopped(&mut self, node: NodeId, room: RoomId, why: &Stopped) {
        self.say(|| format!("node {node} lets {room} go: {why}"));
        self.nodes[node].owners.remove(&room);
        if *why == Stopped::Overtaken {
            self.nodes[node].overtaken.insert(room);
        }
        if !matches!(why, Stopped::SteppedDown | Stopped::Fenced { .. } | Stopped::Overtaken) {
            let how = format!("node {node} stopped owning {room}: {why}");
            self.broken.push(Broken { promise: "owners never find the log broken", how });
        }
    }

    fn answer_owner(&mut self, node: NodeId, room: RoomId, generation: u64, input: Input) {
        let delay = self.rng.between(1, 5);
        self.inside_now(node, delay, Inside::Owner { room, generation, input: Box::new(input) });
    }

    /// Records with events of `from..=to`, a few at once. May lag behind the tail, as Direct Get does.
    pub(super) fn read(&mut self, room: RoomId, from: u64, to: u64) -> Vec<Stored> {
        let stale = if !self.healed() && self.rng.per_mille(200) { self.rng.between(1, 20) } else { 0 };
        let limit = usize::try_from(self.rng.between(1, 8)).unwrap_or(1);
        let seen_until = self.queue.now().saturating_sub(stale);
        self.log
            .records(room)
            .iter()
            .filter(|stored| {
                stored.last_seq >= from && stored.first_seq <= to && stored.last_seq >= stored.first_seq
            })
            .take_while(|stored| stale == 0 || stored.when <= seen_until)
            .take(limit)
            .cloned()
            .collect()
    }

    /// The last record, as the log's leader has it: or as one that stood still had it, which does not know yet that it leads no more.
    /// When it must be sure, such a one says nothing of a record that it does not know.
    fn tail(&mut self, room: RoomId, sure: bool) -> Result<Option<Stored>, owner::Failed> {
        if self.leaderless() {
            return Err(owner::Failed);
        }
        let records = self.log.records(room).len();
        let known = self.known_by_a_leader(records);
        let tail = self.log.records(room)[..known].last().cloned();
        if sure && tail.is_none() && records > 0 { Err(owner::Failed) } else { Ok(tail) }
    }

    /// Of another owner's record with a higher epoch, an owner that serves is told that its own is still the last one. What it
    /// appends from now on has that record as its condition.
    fn overlook(&mut self, node: NodeId, room: RoomId, tail: &mut owner::Stored) {
        let Some(hosted) = self.nodes[node].owners.get_mut(&room) else { return };
        let epoch = Record::open(&tail.bytes, room).map_or(0, |opened| opened.record.epoch);
        if hosted.owner.serves() && epoch > hosted.owner.epoch() {
            hosted.overtaken = tail.at;
            tail.at = hosted.owner.place().at;
        }
    }

    /// How many of so many records who answers as the log's leader has.
    fn known_by_a_leader(&mut self, all: usize) -> usize {
        if self.healed() || !self.rng.per_mille(self.plan.stale_leader) {
            return all;
        }
        let lacks = self.rng.between(1, 30).min(all as u64);
        // Now and then it knows of nothing.
        let lacks = if self.rng.per_mille(200) { all as u64 } else { lacks };
        all - usize::try_from(lacks).unwrap_or(all)
    }

    /// What is known of a message: from who has at least the record at `seen`, or nobody.
    fn head_as_of(&mut self, room: RoomId, seq: u64, seen: u64) -> Result<Option<Head>, owner::Failed> {
        if !self.healed() && self.rng.per_mille(50) {
            return Err(owner::Failed);
        }
        let known = self.known_by_a_leader(self.log.records(room).len());
        let upto = self.log.records(room)[..known].last().map_or(0, |last| last.at);
        let believed = self.plan.mutation == Some(Mutation::OldHeads);
        if upto < seen && !believed { Err(owner::Failed) } else { Ok(self.head(room, seq, upto)) }
    }

    /// What was known of a message when the log ended with a record: its own, and its amendment.
    fn head(&self, room: RoomId, seq: u64, upto: u64) -> Option<Head> {
        let stored = self
            .log
            .records(room)
            .iter()
            .take_while(|stored| stored.at <= upto)
            .find(|stored| (stored.first_seq..=stored.last_seq).contains(&seq))?;
        let opened = Record::open(&stored.record, room).ok()?;
        let (_, event) = opened.record.numbered().find(|(at, _)| *at == seq)?;
        match &event.body {
            Body::Posted(posted) => {
                let amendments = self.rows.amendments.get(&(room, seq)).map_or(&[][..], Vec::as_slice);
                let newest = amendments.iter().rfind(|(at, _)| *at <= upto);
                let amendment = newest.map(|(_, amendment)| amendment.clone()).unwrap_or_default();
                Some(Head { sender: posted.sender.id, amendment })
            }
            _ => None,
        }
    }

    pub(super) fn leaderless(&self) -> bool {
        self.leaderless_until > self.queue.now()
    }

    /// Sends an append on its way.
    fn append(&mut self, node: NodeId, room: RoomId, generation: u64, mut append: owner::Append) {
        if let Some(hosted) = self.nodes[node].owners.get(&room) {
            append.expected = append.expected.max(hosted.overtaken);
        }
        let now = self.queue.now();
        let gap = self.leaderless().then(|| self.leaderless_until - now + self.rng.below(50));
        let trouble = if self.healed() { 0 } else { self.plan.append_trouble };
        let fate = Fate::draw(&mut self.rng, trouble, gap);
        self.say(|| {
            format!(
                "node {node} appends {:?} to {room}, seqs {}..={}, after {}: {fate:?}",
                append.id, append.first_seq, append.last_seq, append.expected.0
            )
        });
        let done = |outcome| Inside::Owner {
            room,
            generation,
            input: Box::new(Input::AppendDone { attempt: append.attempt, outcome }),
        };
        match self.plan.mutation {
            Some(Mutation::DeliverBeforeCommit) => {
                let stored = self.to_store(&append);
                self.republish(room, &stored);
            }
            Some(Mutation::AckBeforeCommit) => {
                // The owner believes that it got the next place; the append goes its way unheard.
                let next = self.log.tail(room).map_or(0, |tail| tail.at) + 1;
                self.inside_now(node, 1, done(Appended::Committed(LogSeq(next))));
                self.travel(node, room, generation, append, fate, false);
                return;
            }
            _ => {}
        }
        match fate {
            Fate::NotNow { back } => self.inside_now(node, back, done(Appended::ConditionFailed)),
            Fate::SequenceZero { back, passed_on } => {
                let outcome = if passed_on { Appended::Committed(LogSeq(0)) } else { Appended::Unknown };
                self.inside_now(node, back, done(outcome));
            }
            Fate::Lost { timeout } | Fate::AckLost { timeout, .. } | Fate::Late { timeout, .. } => {
                self.inside_now(node, timeout, done(Appended::Unknown));
                self.travel(node, room, generation, append, fate, false);
            }
            Fate::Plain { .. } => self.travel(node, room, generation, append, fate, true),
        }
    }

    fn travel(
        &mut self,
        node: NodeId,
        room: RoomId,
        generation: u64,
        append: owner::Append,
        fate: Fate,
        heard: bool,
    ) {
        let (there, back) = match fate {
            Fate::Plain { there, back } => (there, back),
            Fate::AckLost { there, .. } => (there, 0),
            Fate::Late { timeout, late } => (timeout + late, 0),
            Fate::Lost { .. } | Fate::NotNow { .. } | Fate::SequenceZero { .. } => return,
        };
        let from = (node, self.nodes[node].incarnation);
        let append = Travelling { from, room, generation, append, answer: heard.then_some(back) };
        self.queue.after(there, Event::Arrive { append: Box::new(append) });
    }

    fn to_store(&self, append: &owner::Append) -> Stored {
        Stored {
            at: 0,
            first_seq: append.first_seq,
            last_seq: append.last_seq,
            when: self.queue.now(),
            record: append.sealed.clone(),
        }
    }

    /// An append arrives at the log.
    pub(super) fn arrive(&mut self, travelling: Travelling) {
        let Travelling { from: (node, incarnation), room, generation, append, answer } = travelling;
        let stored = self.to_store(&append);
        let at = self.log.append(room, append.expected.0, stored.clone());
        self.say(|| {
            format!(
                "log of {room}: {:?} {}",
                append.id,
                at.map_or("refused".to_owned(), |at| format!("stored at {at}"))
            )
        });
        if let Some(at) = at {
            self.store_rows(room, at, &append.changes);
            if self.plan.mutation != Some(Mutation::DeliverBeforeCommit) {
                self.republish(room, &Stored { at, ..stored });
            }
        }
        if let Some(back) = answer {
            let outcome = at.map_or(Appended::ConditionFailed, |at| Appended::Committed(LogSeq(at)));
            let input = Box::new(Input::AppendDone { attempt: append.attempt, outcome });
            self.inside_after(node, incarnation, back, Inside::Owner { room, generation, input });
        }
    }

    fn store_rows(&mut self, room: RoomId, at: u64, changes: &Changes) {
        for change in changes.iter() {
            if let Change::Amended { seq, amendment } = change {
                self.rows.amendments.entry((room, *seq)).or_default().push((at, amendment.clone()));
            }
        }
    }
}

fn owner_view(stored: &Stored) -> owner::Stored {
    owner::Stored { at: LogSeq(stored.at), bytes: stored.record.clone() }
}
