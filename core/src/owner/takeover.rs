//! Taking a room over: its tail, its snapshot, the records between, and when to fence.

use bytes::Bytes;

use super::{
    Action, Failed, LogSeq, Owner, Phase, Place, Stopped, Stored, Wait,
    flight::{STALE_TAILS, Step},
};
use crate::{
    record::{Link, Opened, Record, RecordError},
    room::State,
};

/// How far a takeover is.
#[derive(Debug)]
pub(super) enum Takeover {
    /// Reading the last record.
    Tail {
        /// That there is none must be certain.
        sure: bool,
    },
    /// Reading the snapshot.
    Snapshot(Box<Tail>),
    /// Reading the records between the two.
    Replay(Box<Tail>),
}

/// The log's last record.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) at: LogSeq,
    pub(super) opened: Opened,
}

impl Takeover {
    pub(super) fn request(&self, link: Link) -> Action {
        match self {
            Self::Tail { sure } => Action::LoadTail { sure: *sure },
            Self::Snapshot(_) => Action::LoadSnapshot,
            Self::Replay(tail) => {
                Action::ReadFrom { from: link.last_seq + 1, to: tail.opened.record.first_seq - 1 }
            }
        }
    }
}

impl Owner {
    /// Whether an answer to a request of the phase is expected at all.
    pub(super) fn asked(&self) -> bool {
        self.wait == Wait::Answer
    }

    pub(super) fn open(&self, stored: &Stored) -> Result<Opened, Stopped> {
        Record::open(&stored.bytes, self.identity.room).map_err(|error| self.unreadable(error))
    }

    fn unreadable(&self, error: RecordError) -> Stopped {
        Stopped::Unreadable { seq: self.link.last_seq + 1, error }
    }

    pub(super) fn tail(&mut self, tail: Result<Option<Stored>, Failed>, now: u64, out: &mut Vec<Action>) {
        if !self.asked() {
            return;
        }
        let Ok(tail) = tail else {
            match self.phase {
                Phase::Doubt(_) => self.doubt_again(now),
                _ => self.back_off(now),
            }
            return;
        };
        let done = match &self.phase {
            Phase::Doubt(_) => return self.doubt_tail(tail, now, out),
            Phase::Takeover(Takeover::Tail { .. }) => self.tail_read(tail, now),
            Phase::Flight(flight) if flight.step == Step::Tail => {
                return self.flight_tail(tail, now, out);
            }
            _ => Ok(()),
        };
        if let Err(why) = done {
            self.stop(why, out);
        }
    }

    fn tail_read(&mut self, tail: Option<Stored>, now: u64) -> Result<(), Stopped> {
        let Some(tail) = tail else {
            if self.link != Link::default() {
                return self.stale_tail(now);
            }
            self.place = Place::default();
            self.epoch = 1;
            self.phase = Phase::Serving;
            return Ok(());
        };
        let opened = self.open(&tail)?;
        let tail = Box::new(Tail { at: tail.at, opened });
        if self.link == Link::default() {
            self.enter(Phase::Takeover(Takeover::Snapshot(tail)));
            return Ok(());
        }
        self.replay_on(tail, now)
    }

    /// The tail ends before what is known of the log: it is read again, since it may be late news. When it stays so, the log has
    /// lost something.
    fn stale_tail(&mut self, now: u64) -> Result<(), Stopped> {
        if self.stale >= STALE_TAILS {
            return Err(Stopped::Contradiction("it ends before what was known of it"));
        }
        self.stale += 1;
        self.phase = Phase::Takeover(Takeover::Tail { sure: false });
        self.back_off(now);
        Ok(())
    }

    pub(super) fn snapshot(
        &mut self,
        snapshot: Result<Option<Bytes>, Failed>,
        now: u64,
        out: &mut Vec<Action>,
    ) {
        if !self.asked() || !matches!(self.phase, Phase::Takeover(Takeover::Snapshot(_))) {
            return;
        }
        let Ok(snapshot) = snapshot else { return self.back_off(now) };
        let phase = std::mem::replace(&mut self.phase, Phase::Serving);
        let Phase::Takeover(Takeover::Snapshot(tail)) = phase else { return };
        let limits = std::sync::Arc::clone(&self.settings.limits);
        // One that cannot be read is passed over: the log has all of it.
        let anchor = snapshot.and_then(|bytes| State::restore(bytes, self.identity.room, limits).ok());
        if let Some(anchor) = anchor {
            self.state = anchor.state;
            self.link = anchor.link;
            self.snapshot_seq = self.link.last_seq;
        }
        if self.is_past(&tail) {
            // The owner before went on since the tail was read, and saved this: as it does when it hands over.
            return self.enter(Phase::Takeover(Takeover::Tail { sure: false }));
        }
        if let Err(why) = self.replay_on(tail, now) {
            self.stop(why, out);
        }
    }

    pub(super) fn records(&mut self, records: Result<Vec<Stored>, Failed>, now: u64, out: &mut Vec<Action>) {
        if !self.asked() {
            return;
        }
        let Ok(records) = records else { return self.back_off(now) };
        match std::mem::replace(&mut self.phase, Phase::Serving) {
            Phase::Takeover(Takeover::Replay(tail)) => {
                let before = self.link;
                let done = match self.replay(&records, &tail) {
                    // The log lags behind its tail: it is asked again.
                    Ok(()) if self.link == before => {
                        self.phase = Phase::Takeover(Takeover::Replay(tail));
                        self.back_off(now);
                        Ok(())
                    }
                    Ok(()) => self.replay_on(tail, now),
                    Err(why) => Err(why),
                };
                if let Err(why) = done {
                    self.stop(why, out);
                }
            }
            phase => {
                self.phase = phase;
                self.flight_records(&records, now, out);
            }
        }
    }

    fn replay(&mut self, records: &[Stored], tail: &Tail) -> Result<(), Stopped> {
        for stored in records.iter().take_while(|stored| stored.at < tail.at) {
            let opened = self.open(stored)?;
            let record = &opened.record;
            let known = if record.events.is_empty() {
                record.epoch <= self.link.epoch
            } else {
                record.last_seq() <= self.link.last_seq
            };
            if !known {
                self.follow(&opened)?;
            }
        }
        Ok(())
    }

    fn follow(&mut self, opened: &Opened) -> Result<(), Stopped> {
        self.link.follow(opened).map_err(Stopped::Broken)?;
        for event in &opened.record.events {
            self.state.apply(event);
        }
        self.state.committed(self.link.last_seq);
        Ok(())
    }

    /// Whether more is known of the log than up to this tail.
    fn is_past(&self, tail: &Tail) -> bool {
        let record = &tail.opened.record;
        self.link.last_seq > record.last_seq() || self.link.epoch > record.epoch
    }

    /// Reads more, or goes on to fence if the tail is reached.
    fn replay_on(&mut self, tail: Box<Tail>, now: u64) -> Result<(), Stopped> {
        let Tail { at, opened } = &*tail;
        let first = opened.record.first_seq;
        if self.is_past(&tail) {
            return self.stale_tail(now);
        }
        if self.link.last_seq + 1 < first {
            self.enter(Phase::Takeover(Takeover::Replay(tail)));
            return Ok(());
        }
        if self.link.checksum != opened.checksum {
            self.follow(opened)?;
        }
        self.stale = 0;
        self.place = Place { at: *at, first_seq: first };
        self.epoch = opened.record.epoch + self.settings.epoch_step;
        self.fenced = false;
        self.phase = Phase::Serving;
        if self.fences_first {
            self.fence();
        } else {
            self.fence_soon(now);
        }
        Ok(())
    }

    /// From here on the first record fences, whatever is in it; one comes soon.
    pub(super) fn fence_soon(&mut self, now: u64) {
        self.fence_at = Some(now.saturating_add(self.settings.fence_after_ms));
    }

    /// Proposes a record that fences and does nothing else, when no command has come for long enough, or somebody waits to see members.
    pub(super) fn fence_if_due(&mut self, now: u64) {
        if matches!(self.phase, Phase::Serving)
            && let Some(at) = self.fence_at
            && (now >= at || !self.looks.is_empty())
        {
            self.fence();
        }
    }

    /// The owner before has stored a record here.
    pub(super) fn behind(&mut self, at: LogSeq, out: &mut Vec<Action>) {
        self.heard = self.heard.max(at);
        let behind = match &self.phase {
            Phase::Takeover(_) => true,
            Phase::Serving | Phase::Doubt(_) => self.place.at < self.heard,
            Phase::Flight(flight) => {
                let out = flight.step == Step::Append && self.wait == Wait::Answer;
                !out && flight.is_dead(self.heard)
            }
            Phase::Stopped => false,
        };
        if behind && !self.fenced {
            self.stop(Stopped::Overtaken, out);
        }
    }
}
