//! An append on its way, until it is known for certain how it ended.

use std::{collections::VecDeque, sync::Arc};

use bytes::Bytes;
use rookery_protocol::id::RecordId;

use super::{
    Action, Answering, Append, Appended, LogSeq, Owner, Phase, Place, Stopped, Stored, takeover::Takeover,
};
use crate::{
    record::{Event, Link, Record},
    room::{Change, changes},
};

/// Tails that end before what is stored for certain: so many are taken for late news (a JetStream leader that was paused answers
/// for a moment as if it still led), with growing pauses of some ten seconds in all; then the log has lost something.
pub(super) const STALE_TAILS: u32 = 16;

/// An append that is not resolved.
#[derive(Debug)]
pub(super) struct Flight {
    attempt: u64,
    expected: LogSeq,
    id: RecordId,
    bytes: Bytes,
    changes: Arc<[Change]>,
    record: Arc<Record>,
    first_seq: u64,
    /// The room's last record, once this is stored.
    link: Link,
    pub(super) answers: VecDeque<Answering>,
    /// Whether an attempt ended in an unknown way: the record may be stored, or may be yet.
    unknown: bool,
    /// Tails read that were too old to be true.
    stale: u32,
    pub(super) step: Step,
}

/// What a flight waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    /// The append.
    Append,
    /// The log's tail, to learn why the condition failed.
    Tail,
    /// The record that is stored where ours was to be; another owner has this epoch.
    Beneath { epoch: u64 },
}

impl Flight {
    pub(super) fn has_events(&self) -> bool {
        self.link.last_seq >= self.first_seq
    }

    /// Whether it is certain that nothing of it is stored, nor will be, now that a later record is known to be here. Not while an attempt is out.
    pub(super) fn is_dead(&self, heard: LogSeq) -> bool {
        !self.unknown && self.expected < heard
    }

    pub(super) fn request(&mut self, attempts: &mut u64) -> Action {
        match self.step {
            Step::Append => {
                *attempts += 1;
                self.attempt = *attempts;
                Action::Append(Append {
                    attempt: self.attempt,
                    expected: self.expected,
                    first_seq: self.first_seq,
                    last_seq: self.link.last_seq,
                    id: self.id,
                    sealed: self.bytes.clone(),
                    record: Arc::clone(&self.record),
                    changes: Arc::clone(&self.changes),
                })
            }
            Step::Tail => Action::LoadTail { sure: false },
            Step::Beneath { .. } => Action::ReadFrom { from: self.first_seq, to: self.first_seq },
        }
    }
}

impl Owner {
    /// Proposes a record that fences off the owner before, and does nothing else.
    pub(super) fn fence(&mut self) {
        self.propose(Vec::new(), VecDeque::new());
    }

    /// Proposes a record of events that the state has applied.
    pub(super) fn propose(&mut self, events: Vec<Event>, answers: VecDeque<Answering>) {
        let first_seq = self.link.last_seq + 1;
        let changes = changes(&self.state, first_seq, &events).into();
        let mut link = Link {
            epoch: self.epoch,
            checksum: 0,
            last_seq: self.link.last_seq + events.len() as u64,
            messages: self.state.messages(),
        };
        let id = self.record_id();
        let record = Record {
            room: self.identity.room,
            epoch: self.epoch,
            id,
            first_seq,
            messages_before: self.link.messages,
            previous_checksum: self.link.checksum,
            events,
            owner: owner_name(&self.settings.owner).to_owned(),
        };
        let sealed = record.seal();
        let record = Arc::new(record);
        link.checksum = sealed.checksum;
        self.enter(Phase::Flight(Box::new(Flight {
            attempt: 0,
            expected: self.place.at,
            id,
            bytes: sealed.bytes,
            changes,
            record,
            first_seq,
            link,
            answers,
            unknown: false,
            stale: 0,
            step: Step::Append,
        })));
    }

    pub(super) fn append_done(&mut self, attempt: u64, outcome: Appended, now: u64, out: &mut Vec<Action>) {
        let asked = self.asked();
        let Phase::Flight(flight) = &mut self.phase else { return };
        if !asked || flight.step != Step::Append || flight.attempt != attempt {
            return;
        }
        match outcome {
            Appended::Committed(at) if at > flight.expected => self.committed(at, out),
            // A commit that is not after the record before it is none (JetStream: an ack with sequence 0).
            Appended::Committed(_) | Appended::Unknown => {
                flight.unknown = true;
                self.back_off(now);
            }
            Appended::ConditionFailed if !self.fenced && flight.is_dead(self.heard) => {
                self.stop(Stopped::Overtaken, out);
            }
            Appended::ConditionFailed => self.take_step(Step::Tail),
        }
    }

    /// Goes on with the flight by another request, at once. Pauses keep growing.
    fn take_step(&mut self, step: Step) {
        if let Phase::Flight(flight) = &mut self.phase {
            flight.step = step;
            self.wait = super::Wait::Until(0);
        }
    }

    /// The record is stored for certain.
    fn committed(&mut self, at: LogSeq, out: &mut Vec<Action>) {
        let Phase::Flight(flight) = std::mem::replace(&mut self.phase, Phase::Serving) else { return };
        self.place = Place { at, first_seq: flight.first_seq };
        self.link = flight.link;
        self.fenced = true;
        self.fence_at = None;
        self.pause = self.settings.backoff_ms;
        self.state.committed(self.link.last_seq);
        if !flight.record.events.is_empty() {
            out.push(Action::Committed { at, record: flight.record });
        }
        for Answering { waiting, outcome } in flight.answers {
            super::answer(waiting.ticket, outcome, out);
        }
        let entries = self.state.size() as u64 / 2;
        if self.link.last_seq - self.snapshot_seq >= self.settings.snapshot_every.max(entries) {
            self.save_snapshot(out);
        }
    }

    /// The condition failed: the tail says why.
    pub(super) fn flight_tail(&mut self, tail: Option<Stored>, now: u64, out: &mut Vec<Action>) {
        let Phase::Flight(flight) = &mut self.phase else { return };
        let (expected, id) = (flight.expected, flight.id);
        let at = tail.as_ref().map_or(LogSeq(0), |tail| tail.at);
        if at == expected {
            // The condition could not be evaluated then, or an earlier try is not there yet. The same record
            // again: whichever try comes first is stored, and the others fail by their condition.
            self.take_step(Step::Append);
            return self.back_off(now);
        }
        if at < expected && flight.stale < STALE_TAILS {
            flight.stale += 1;
            return self.back_off(now);
        }
        let Some(tail) = tail.filter(|_| at > expected) else {
            return self.stop(Stopped::Contradiction("it ends before what was known of it"), out);
        };
        let record = match self.open(&tail) {
            Ok(opened) => opened.record,
            Err(why) => return self.stop(why, out),
        };
        if record.id == id {
            return self.committed(at, out);
        }
        self.overtaken(&record, out);
    }

    /// Another owner's record is the last one.
    fn overtaken(&mut self, tail: &Record, out: &mut Vec<Action>) {
        let Phase::Flight(flight) = &self.phase else { return };
        if tail.epoch < self.epoch && !self.fenced {
            // The owner before us went on while we took over.
            if flight.has_events() {
                // The state has them; the room does not.
                return self.stop(Stopped::Overtaken, out);
            }
            self.fence_at = None;
            self.fences_first = true;
            return self.enter(Phase::Takeover(Takeover::Tail { sure: false }));
        }
        if tail.epoch < self.epoch || (tail.epoch == self.epoch && self.fenced) {
            let what = "a record was appended by an owner that was fenced off";
            return self.stop(Stopped::Contradiction(what), out);
        }
        let beneath = flight.unknown && flight.has_events() && tail.first_seq > flight.first_seq;
        if beneath {
            self.take_step(Step::Beneath { epoch: tail.epoch });
        } else {
            self.stop(Stopped::Fenced { epoch: tail.epoch }, out);
        }
    }

    /// The record stored where ours was to be: is it ours?
    pub(super) fn flight_records(&mut self, records: &[Stored], now: u64, out: &mut Vec<Action>) {
        let Phase::Flight(flight) = &self.phase else { return };
        let Step::Beneath { epoch } = flight.step else { return };
        let (first_seq, id) = (flight.first_seq, flight.id);
        for stored in records {
            let record = match self.open(stored) {
                Ok(opened) => opened.record,
                Err(why) => return self.stop(why, out),
            };
            if record.first_seq > first_seq || record.last_seq() < first_seq {
                continue;
            }
            if record.id == id {
                self.committed(stored.at, out);
            }
            return self.stop(Stopped::Fenced { epoch }, out);
        }
        self.back_off(now);
    }
}

/// As much of the name as a record carries.
fn owner_name(name: &str) -> &str {
    &name[..name.floor_char_boundary(64)]
}
