//! Answers that nothing is stored for: a refusal, or that nothing is left to do.
//!
//! An owner that was replaced may not know it: nothing tells it before its next append fails. What it says of a message
//! that the next owner stored ("there is none") would be wrong, and believed for good. So the log's tail is read first, once for all
//! that wait; if it is another owner's, they are given back. An answer that comes with a commit needs no look: the commit says the same.
//!
//! The tail is as fresh as the log's leader has it: only an owner that was replaced *and* a leader that was, at the same
//! moment, are believed.

use std::{collections::VecDeque, mem};

use super::{Action, Answering, Owner, Phase, Stopped, Stored, answer};

/// Answers that wait for the tail.
#[derive(Debug)]
pub(super) struct Doubt {
    pub(super) answers: VecDeque<Answering>,
}

impl Owner {
    /// The tail says whether we are the last one that wrote.
    pub(super) fn doubt_tail(&mut self, tail: Option<Stored>, now: u64, out: &mut Vec<Action>) {
        let Some(tail) = tail.filter(|tail| tail.at >= self.place.at) else {
            return self.doubt_again(now);
        };
        if tail.at == self.place.at {
            let Phase::Doubt(doubt) = mem::replace(&mut self.phase, Phase::Serving) else { return };
            for Answering { waiting, outcome } in doubt.answers {
                answer(waiting.ticket, outcome, out);
            }
            return;
        }
        let epoch = match self.open(&tail) {
            Ok(opened) => opened.record.epoch,
            Err(why) => return self.stop(why, out),
        };
        let why = if epoch > self.epoch || (epoch == self.epoch && !self.fenced) {
            Stopped::Fenced { epoch }
        } else if !self.fenced {
            Stopped::Overtaken
        } else {
            Stopped::Contradiction("a record was appended by an owner that was fenced off")
        };
        self.stop(why, out);
    }

    /// Nobody knows, or whoever answered is late: asked again, as long as somebody waits for it.
    pub(super) fn doubt_again(&mut self, now: u64) {
        match &self.phase {
            Phase::Doubt(doubt) if doubt.answers.is_empty() => self.phase = Phase::Serving,
            _ => self.back_off(now),
        }
    }
}
