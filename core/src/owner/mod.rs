//! The owner of a room: gets commands into its log, one append at a time.
//!
//! Here belong takeover, batching, unknown outcomes, deadlines and snapshots: when something is done and when
//! it is answered. What a command means is `room`'s business; reading and writing are the shell's.

mod batch;
mod doubt;
mod flight;
mod takeover;
mod types;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeSet, VecDeque},
    mem,
    sync::Arc,
};

use rookery_protocol::id::{RecordId, UserId};
use xxhash_rust::xxh3::xxh3_128_with_seed;

pub use types::*;

use crate::{
    record::Link,
    room::{Command, Profile, Refusal, Reply, State},
};
use doubt::Doubt;
use flight::Flight;
use takeover::Takeover;

/// Bytes that an entry of the state takes in a snapshot, at least.
const LEGACY_ENTRY: usize = 16;

/// The owner of one room.
///
/// The shell feeds it with [`Self::handle`], carries out the actions in order, and sends [`Input::Tick`] when
/// [`Self::wake_at`] has come; the first input of any kind starts it. It reads the log's tail, snapshot and
/// newest records, and then serves. Its first record, which has an epoch of its own, fences off the owner before it: that of the first
/// commands, or, when none come for [`Settings::fence_after_ms`], or members are looked at, one without events.
///
/// What it never does: append while another append of it is unresolved, answer before a definite commit, call
/// something failed that may be stored by any word but `Unavailable`, propose other bytes under the condition
/// of an append whose outcome is unknown.
///
/// A room without a log is served too: everything but `Create` is answered `RoomNotFound`, after the tail was
/// read once more, for certain. `Create` goes into the first record, which carries epoch 1: its condition is that the log
/// is empty, so it fences by itself.
///
/// Where nothing is stored for an answer, as for a refusal, it is given only after the tail was read again: another owner may
/// have written meanwhile.
///
/// A snapshot is saved after [`Settings::snapshot_every`] events, or after half as many as the state has
/// entries if that is more: so a snapshot costs a bounded amount of work per event, however big the room.
#[derive(Debug)]
pub struct Owner {
    identity: Identity,
    settings: Settings,
    /// What the room is with all that was proposed.
    state: State,
    /// The last committed record.
    link: Link,
    /// Where it is: the condition of the next append.
    place: Place,
    /// Tails in a row that end before what is known of the log.
    stale: u32,
    /// Commands taken so far, and how many of them came before it was asked for certain whether there is a log.
    commands: u64,
    asked_for: u64,
    /// Our epoch, once the takeover has come so far.
    epoch: u64,
    /// Whether a record of ours with this epoch is stored.
    fenced: bool,
    phase: Phase,
    wait: Wait,
    /// Length of the next pause.
    pause: u64,
    queue: VecDeque<Waiting>,
    looks: VecDeque<Look>,
    heads: Heads,
    records: u64,
    attempts: u64,
    /// Seq of the last snapshot.
    snapshot_seq: u64,
    /// When it fences with a record of its own, if no other does before: between takeover and first record.
    fence_at: Option<u64>,
    /// Whether it does so before it takes commands.
    fences_first: bool,
    /// Where the room's last record is by [`Input::Behind`].
    heard: LogSeq,
    /// Asked to stop; when it gives up finishing.
    stop_by: Option<u64>,
    /// It stops because the room is handed over.
    handing_over: bool,
}

/// Heads asked for, and those that could not be read.
#[derive(Debug, Default)]
struct Heads {
    loading: BTreeSet<u64>,
    failed: BTreeSet<u64>,
}

/// What the owner is at. Each phase but the last two has one request out, or pauses before it.
#[derive(Debug)]
enum Phase {
    Takeover(Takeover),
    Flight(Box<Flight>),
    Doubt(Doubt),
    Serving,
    Stopped,
}

/// Whether the request of the phase is out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// It is: the answer comes as an input.
    Answer,
    /// It is made when this time has come.
    Until(u64),
}

/// A command that waits for its turn.
#[derive(Debug)]
struct Waiting {
    ticket: u64,
    command: Box<Command>,
    arrived: u64,
    /// Counted from 1.
    number: u64,
}

/// A look at the members, which waits until nothing is under way.
#[derive(Debug, Clone, Copy)]
struct Look {
    ticket: u64,
    after: Option<UserId>,
    limit: usize,
    arrived: u64,
}

/// An answer that waits for a commit, with the command: it is given back if another owner is faster.
#[derive(Debug)]
struct Answering {
    waiting: Waiting,
    outcome: Result<Reply, Refusal>,
}

impl Owner {
    /// An owner that has not started.
    pub fn new(identity: Identity, settings: Settings) -> Self {
        let pause = settings.backoff_ms;
        Self {
            identity,
            state: State::new(Arc::clone(&settings.limits)),
            settings,
            link: Link::default(),
            place: Place::default(),
            stale: 0,
            commands: 0,
            asked_for: 0,
            epoch: 0,
            fenced: false,
            phase: Phase::Takeover(Takeover::Tail { sure: false }),
            wait: Wait::Until(0),
            pause,
            queue: VecDeque::new(),
            looks: VecDeque::new(),
            heads: Heads::default(),
            records: 0,
            attempts: 0,
            snapshot_seq: 0,
            fence_at: None,
            fences_first: false,
            heard: LogSeq::default(),
            stop_by: None,
            handing_over: false,
        }
    }

    /// An owner that begins with what the one before has left to it. `None`: that is no state of this room; the log has it. `now`: as
    /// for [`Self::handle`].
    pub fn heir(identity: Identity, settings: Settings, legacy: Legacy, now: u64) -> Option<Self> {
        let Legacy { snapshot, place, saved_seq } = legacy;
        let anchor = State::restore(snapshot, identity.room, Arc::clone(&settings.limits)).ok()?;
        if anchor.link.last_seq == 0 || place.at == LogSeq(0) || place.first_seq > anchor.link.last_seq + 1 {
            return None;
        }
        let mut heir = Self::new(identity, settings);
        heir.state = anchor.state;
        heir.link = anchor.link;
        heir.place = place;
        heir.snapshot_seq = saved_seq.min(heir.link.last_seq);
        heir.epoch = heir.link.epoch + heir.settings.epoch_step;
        heir.phase = Phase::Serving;
        heir.fence_soon(now);
        Some(heir)
    }

    /// Fences before it takes commands, as whoever was [overtaken](Stopped::Overtaken) should: that is tried again sooner.
    #[must_use]
    pub fn fencing_first(mut self) -> Self {
        self.fences_first = true;
        self
    }

    /// What the room is with all that was proposed: may be ahead of what is committed by one record.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// Seq of the newest committed event.
    pub fn committed_seq(&self) -> u64 {
        self.link.last_seq
    }

    /// How many messages the committed events hold.
    pub fn committed_messages(&self) -> u64 {
        self.link.messages
    }

    /// The last committed record.
    pub fn link(&self) -> Link {
        self.link
    }

    /// Where that is.
    pub fn place(&self) -> Place {
        self.place
    }

    /// Whether the takeover is over: [`Self::state`] says what the room is. Not before, and not after a stop.
    pub fn serves(&self) -> bool {
        match &self.phase {
            Phase::Serving | Phase::Doubt(_) => true,
            Phase::Flight(flight) => flight.has_events(),
            Phase::Takeover(_) | Phase::Stopped => false,
        }
    }

    /// Whether it stopped.
    pub fn stopped(&self) -> bool {
        matches!(self.phase, Phase::Stopped)
    }

    /// Whether a record of this owner is stored: those before it write no more.
    pub fn fenced(&self) -> bool {
        self.fenced
    }

    /// Our epoch: the fencing token. 0: none yet.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Commands that wait for an answer.
    pub fn waiting(&self) -> usize {
        self.queue.len() + self.answering().map_or(0, VecDeque::len)
    }

    /// Answers that wait for what is under way.
    fn answering(&self) -> Option<&VecDeque<Answering>> {
        match &self.phase {
            Phase::Flight(flight) => Some(&flight.answers),
            Phase::Doubt(doubt) => Some(&doubt.answers),
            Phase::Takeover(_) | Phase::Serving | Phase::Stopped => None,
        }
    }

    /// When the next [`Input::Tick`] is due, by the clock of `now`.
    pub fn wake_at(&self) -> Option<u64> {
        if self.stopped() {
            return None;
        }
        let retry = match (&self.phase, self.wait) {
            (Phase::Serving, _) => self.fence_at,
            (_, Wait::Answer) => None,
            (_, Wait::Until(at)) => Some(at),
        };
        let answering = self.answering().and_then(VecDeque::front).map(|a| a.waiting.arrived);
        let waiting = self.queue.front().map(|w| w.arrived);
        let looking = self.looks.front().map(|look| look.arrived);
        let deadline = [answering, waiting, looking]
            .into_iter()
            .flatten()
            .min()
            .map(|at| at + self.settings.deadline_ms);
        [retry, deadline, self.stop_by].into_iter().flatten().min()
    }

    /// Takes an input and adds what is to be done to `out`, in this order.
    ///
    /// `now`: milliseconds of a clock that never goes back.
    pub fn handle(&mut self, input: Input, now: u64, out: &mut Vec<Action>) {
        self.handle_all([input], now, out);
    }

    /// The same for what came at the same time: commands among it travel together.
    pub fn handle_all(&mut self, inputs: impl IntoIterator<Item = Input>, now: u64, out: &mut Vec<Action>) {
        for input in inputs {
            self.take(input, now, out);
        }
        self.expire(now, out);
        self.show(out);
        self.serve(out);
        self.finish(now, out);
        self.fence_if_due(now);
        self.request(now, out);
    }

    fn take(&mut self, input: Input, now: u64, out: &mut Vec<Action>) {
        match input {
            Input::Command { ticket, command } => {
                self.commands += 1;
                self.command(Waiting { ticket, command, arrived: now, number: self.commands }, out);
            }
            Input::Look { ticket, after, limit } => {
                self.look(Look { ticket, after, limit, arrived: now }, out);
            }
            Input::Tail(tail) => self.tail(tail, now, out),
            Input::Snapshot(snapshot) => self.snapshot(snapshot, now, out),
            Input::Records(records) => self.records(records, now, out),
            Input::Head { seq, head } => self.head(seq, head),
            Input::AppendDone { attempt, outcome } => self.append_done(attempt, outcome, now, out),
            Input::Tick => {}
            Input::StepDown => self.step_down(now, out),
            Input::HandOver => {
                self.handing_over = self.stop_by.is_none();
                self.step_down(now, out);
            }
            Input::Behind { at } => self.behind(at, out),
        }
    }

    fn command(&mut self, waiting: Waiting, out: &mut Vec<Action>) {
        let closed = self.stopped() || self.stop_by.is_some();
        if closed || self.waiting() >= self.settings.max_waiting {
            answer(waiting.ticket, Err(Refusal::Unavailable), out);
            return;
        }
        self.prefetch(&waiting.command, out);
        self.queue.push_back(waiting);
    }

    fn look(&mut self, look: Look, out: &mut Vec<Action>) {
        if self.stopped() || self.looks.len() >= self.settings.max_waiting {
            out.push(Action::Show { ticket: look.ticket, members: Err(Refusal::Unavailable) });
        } else {
            self.looks.push_back(look);
        }
    }

    /// Shows the members to those who wait for it. Only while nothing is under way: nobody is shown what may never be
    /// stored, nor, before this owner has fenced, what the one before it may have changed. What waits is proposed after that, so that
    /// there is such a moment however much is written.
    fn show(&mut self, out: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Serving) || self.fence_at.is_some() {
            return;
        }
        for Look { ticket, after, limit, .. } in self.looks.drain(..) {
            let members = self.state.members_after(after).take(limit).map(|member| {
                let (username, display_name) = (member.username.to_owned(), member.display_name.to_owned());
                (Profile { id: member.id, username, display_name }, member.role)
            });
            out.push(Action::Show { ticket, members: Ok(members.collect()) });
        }
    }

    /// Answers what has waited too long: it may still be stored.
    fn expire(&mut self, now: u64, out: &mut Vec<Action>) {
        let deadline = self.settings.deadline_ms;
        let late = |arrived: u64| now.saturating_sub(arrived) >= deadline;
        let answering = match &mut self.phase {
            Phase::Flight(flight) => Some(&mut flight.answers),
            Phase::Doubt(doubt) => Some(&mut doubt.answers),
            Phase::Takeover(_) | Phase::Serving | Phase::Stopped => None,
        };
        if let Some(answers) = answering {
            while answers.front().is_some_and(|a| late(a.waiting.arrived)) {
                if let Some(late) = answers.pop_front() {
                    answer(late.waiting.ticket, Err(Refusal::Unavailable), out);
                }
            }
        }
        while self.queue.front().is_some_and(|w| late(w.arrived)) {
            if let Some(late) = self.queue.pop_front() {
                answer(late.ticket, Err(Refusal::Unavailable), out);
            }
        }
        while self.looks.front().is_some_and(|look| late(look.arrived)) {
            if let Some(Look { ticket, .. }) = self.looks.pop_front() {
                out.push(Action::Show { ticket, members: Err(Refusal::Unavailable) });
            }
        }
    }

    fn step_down(&mut self, now: u64, out: &mut Vec<Action>) {
        if self.stop_by.is_none() && !self.stopped() {
            self.stop_by = Some(now.saturating_add(self.settings.deadline_ms));
            if !self.serves() {
                self.stop(Stopped::SteppedDown, out);
            }
        }
    }

    /// Ends a graceful stop when all is done, or its time is over.
    fn finish(&mut self, now: u64, out: &mut Vec<Action>) {
        let Some(stop_by) = self.stop_by else { return };
        let done = match self.phase {
            Phase::Serving => self.queue.is_empty() || self.handing_over,
            Phase::Doubt(_) => self.handing_over,
            Phase::Takeover(_) | Phase::Flight(_) | Phase::Stopped => false,
        };
        let left = done && self.handing_over && self.leave_legacy(out);
        if done && !left && self.link.last_seq > self.snapshot_seq {
            self.save_snapshot(out);
        }
        if done || (now >= stop_by && !self.stopped()) {
            self.stop(Stopped::SteppedDown, out);
        }
    }

    /// Stops for good. Everybody is answered, or gets his command back.
    ///
    /// When another owner is faster, nothing that is not answered is stored, nor ever will be: its condition
    /// does not hold any more. When it was asked to stop, that is true of what it had not proposed.
    fn stop(&mut self, why: Stopped, out: &mut Vec<Action>) {
        let fenced = matches!(why, Stopped::Fenced { .. } | Stopped::Overtaken);
        let mut end = |Waiting { ticket, command, .. }, give_back| {
            out.push(if give_back {
                Action::GiveBack { ticket, command }
            } else {
                Action::Answer { ticket, outcome: Err(Refusal::Unavailable) }
            });
        };
        let not_proposed = fenced || why == Stopped::SteppedDown;
        match mem::replace(&mut self.phase, Phase::Stopped) {
            Phase::Flight(flight) => flight.answers.into_iter().for_each(|a| end(a.waiting, fenced)),
            Phase::Doubt(doubt) => doubt.answers.into_iter().for_each(|a| end(a.waiting, not_proposed)),
            Phase::Takeover(_) | Phase::Serving | Phase::Stopped => {}
        }
        self.queue.drain(..).for_each(|waiting| end(waiting, not_proposed));
        self.looks.clear();
        self.stop_by = None;
        out.push(Action::Stopped { why });
    }

    /// Makes the request of the phase, if it is time.
    fn request(&mut self, now: u64, out: &mut Vec<Action>) {
        let Wait::Until(at) = self.wait else { return };
        if now < at {
            return;
        }
        let action = match &mut self.phase {
            Phase::Serving | Phase::Stopped => return,
            Phase::Takeover(takeover) => {
                if let Takeover::Tail { sure: true } = takeover {
                    self.asked_for = self.commands;
                }
                takeover.request(self.link)
            }
            Phase::Flight(flight) => flight.request(&mut self.attempts),
            Phase::Doubt(_) => Action::LoadTail { sure: false },
        };
        self.wait = Wait::Answer;
        out.push(action);
    }

    /// Goes on to `phase`, whose request is made at once.
    fn enter(&mut self, phase: Phase) {
        self.phase = phase;
        self.wait = Wait::Until(0);
        self.pause = self.settings.backoff_ms;
    }

    /// Makes the request of the phase again after a pause, each longer than the one before.
    fn back_off(&mut self, now: u64) {
        self.wait = Wait::Until(now.saturating_add(self.pause));
        self.pause = (self.pause.saturating_mul(2)).min(self.settings.max_backoff_ms);
    }

    /// An id that no other record has: seeds differ between owners.
    fn record_id(&mut self) -> RecordId {
        self.records += 1;
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&self.identity.seed.to_be_bytes());
        bytes[16..].copy_from_slice(&self.records.to_be_bytes());
        RecordId(xxh3_128_with_seed(&bytes, 0))
    }

    /// Seq of the last event that the snapshot has which was saved last.
    pub const fn snapshot_seq(&self) -> u64 {
        self.snapshot_seq
    }

    /// Leaves what the room is to the next owner; says whether that is possible.
    fn leave_legacy(&mut self, out: &mut Vec<Action>) -> bool {
        // Not worth encoding to find out: each entry takes some bytes.
        if self.link.last_seq == 0 || self.state.size() > self.settings.max_legacy_bytes / LEGACY_ENTRY {
            return false;
        }
        let snapshot = self.state.snapshot(self.identity.room, self.link);
        let fits = snapshot.len() <= self.settings.max_legacy_bytes;
        if fits {
            let (place, saved_seq) = (self.place, self.snapshot_seq);
            out.push(Action::HandOver(Legacy { snapshot, place, saved_seq }));
        }
        fits
    }

    fn save_snapshot(&mut self, out: &mut Vec<Action>) {
        self.snapshot_seq = self.link.last_seq;
        let bytes = self.state.snapshot(self.identity.room, self.link);
        if bytes.len() <= self.settings.max_snapshot_bytes {
            let retention_days = self.state.facts().and_then(|facts| facts.retention_days);
            out.push(Action::SaveSnapshot { bytes, retention_days });
        }
    }
}

fn answer(ticket: u64, outcome: Result<Reply, Refusal>, out: &mut Vec<Action>) {
    out.push(Action::Answer { ticket, outcome });
}
