//! Commands in, one record out: everything that waits goes into the next record, nothing waits for company.

use std::collections::VecDeque;

use super::{Action, Answering, Failed, Owner, Phase, Waiting, answer, doubt::Doubt, takeover::Takeover};
use crate::{
    record::{Event, RECORD_OVERHEAD},
    room::{Command, Decision, Head, Refusal, Reply, What},
};

/// Heads loaded ahead of need at the same time, at most.
const PREFETCH: usize = 64;

impl Owner {
    /// Starts to load what a command that has to wait will need.
    pub(super) fn prefetch(&mut self, command: &Command, out: &mut Vec<Action>) {
        if !self.serves() || self.heads.loading.len() >= PREFETCH {
            return;
        }
        if let Some(seq) = self.state.missing_head(&command.what) {
            self.load_head(seq, out);
        }
    }

    fn load_head(&mut self, seq: u64, out: &mut Vec<Action>) {
        if self.heads.loading.insert(seq) {
            out.push(Action::LoadHead { seq, seen: self.place });
        }
    }

    /// Whether somebody would be told that there is no room though another owner may have made it since that was asked.
    fn is_in_doubt(&self, waiting: &Waiting) -> bool {
        let creates = matches!(waiting.command.what, What::Create { .. } | What::Declare(_));
        self.state.last_seq() == 0 && !creates && waiting.number > self.asked_for
    }

    pub(super) fn head(&mut self, seq: u64, head: Result<Option<Head>, Failed>) {
        if self.heads.loading.remove(&seq) {
            match head {
                Ok(head) => self.state.provide_head(seq, head),
                Err(Failed) => {
                    self.heads.failed.insert(seq);
                }
            }
        }
    }

    /// Decides what waits, if nothing is in flight, and proposes what comes of it as one record.
    ///
    /// A command is decided on a state that the ones before it in the record have changed already, so its
    /// answer, a refusal too, waits for the commit of that record. Where no record comes of all that waits, what may be
    /// wrong by now waits for a look at the tail.
    pub(super) fn serve(&mut self, out: &mut Vec<Action>) {
        if !matches!(self.phase, Phase::Serving) || self.handing_over {
            return;
        }
        let mut batch = Batch::default();
        while let Some(waiting) = self.queue.pop_front() {
            if self.is_in_doubt(&waiting) {
                self.queue.push_front(waiting);
                self.enter(Phase::Takeover(Takeover::Tail { sure: true }));
                return;
            }
            match self.state.decide(&waiting.command) {
                Ok(Decision::NeedHead(seq)) => {
                    if self.heads.failed.contains(&seq) {
                        batch.answer(waiting, Err(Refusal::Unavailable), true, out);
                        continue;
                    }
                    // The ones behind wait too: each sender's messages keep their order.
                    self.queue.push_front(waiting);
                    self.load_head(seq, out);
                    break;
                }
                Ok(Decision::Already(reply)) => {
                    // What was stored once stays so.
                    let certain = matches!(reply, Reply::Posted { .. });
                    batch.answer(waiting, Ok(reply), certain, out);
                }
                Err(refusal) => {
                    let certain = refusal == Refusal::ClientMsgIdConflict || self.state.last_seq() == 0;
                    batch.answer(waiting, Err(refusal), certain, out);
                }
                Ok(Decision::Append { events, reply }) => {
                    let bytes = events.iter().map(Event::size).sum::<usize>();
                    if !batch.takes(events.len(), bytes, &self.settings) {
                        self.queue.push_front(waiting);
                        break;
                    }
                    for event in &events {
                        self.state.apply(event);
                    }
                    batch.add(events, bytes);
                    batch.answer(waiting, Ok(reply), true, out);
                }
            }
        }
        // A failed load is known to those that waited for it; the next one tries again.
        self.heads.failed.clear();
        if !batch.events.is_empty() {
            self.propose(batch.events, batch.answers);
        } else if !batch.answers.is_empty() {
            self.enter(Phase::Doubt(Doubt { answers: batch.answers }));
        }
    }
}

/// A record in the making.
#[derive(Default)]
struct Batch {
    events: Vec<Event>,
    bytes: usize,
    answers: VecDeque<Answering>,
}

impl Batch {
    /// Whether so much more fits. The first always does.
    fn takes(&self, events: usize, bytes: usize, settings: &super::Settings) -> bool {
        self.events.is_empty()
            || (self.events.len() + events <= settings.batch_events
                && RECORD_OVERHEAD + self.bytes + bytes <= settings.batch_bytes)
    }

    fn add(&mut self, events: Vec<Event>, bytes: usize) {
        self.bytes += bytes;
        if self.events.is_empty() {
            self.events = events;
        } else {
            self.events.extend(events);
        }
    }

    /// Answers now if that is certain, whoever wrote meanwhile, and nothing was proposed yet; or else in its turn.
    fn answer(
        &mut self,
        waiting: Waiting,
        outcome: Result<Reply, Refusal>,
        certain: bool,
        out: &mut Vec<Action>,
    ) {
        if self.events.is_empty() && self.answers.is_empty() && certain {
            answer(waiting.ticket, outcome, out);
        } else {
            self.answers.push_back(Answering { waiting, outcome });
        }
    }
}
