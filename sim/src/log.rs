//! The log below the rooms, as a replicated JetStream stream behaves, with the answers that have cost others data.
//!
//! What is stored is decided here, under the conditions of the appends; what a caller is told about it, and when, is
//! the network's doing: see [`Fate`].

use std::collections::BTreeMap;

use bytes::Bytes;
use rookery_protocol::id::RoomId;

use crate::rng::Rng;

/// A record that is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// Position in the log.
    pub at: u64,
    /// Seq of its first event.
    pub first_seq: u64,
    /// Seq of its last event; less than `first_seq`: it has none.
    pub last_seq: u64,
    /// Virtual milliseconds when it was stored.
    pub when: u64,
    /// The encoded record.
    pub record: Bytes,
}

/// The stored records of all rooms.
#[derive(Debug, Default)]
pub struct Log {
    rooms: BTreeMap<RoomId, Vec<Stored>>,
    last: u64,
    /// Mutation: store whatever comes, as a log without conditions would.
    pub ignore_conditions: bool,
}

impl Log {
    /// Stores the record if the room's last one is at `expected`; says where.
    pub fn append(&mut self, room: RoomId, expected: u64, record: Stored) -> Option<u64> {
        let records = self.rooms.entry(room).or_default();
        let last = records.last().map_or(0, |last| last.at);
        if last != expected && !self.ignore_conditions {
            return None;
        }
        self.last += 1;
        records.push(Stored { at: self.last, ..record });
        Some(self.last)
    }

    /// All records of a room, oldest first.
    pub fn records(&self, room: RoomId) -> &[Stored] {
        self.rooms.get(&room).map_or(&[], Vec::as_slice)
    }

    /// The newest record of a room.
    pub fn tail(&self, room: RoomId) -> Option<&Stored> {
        self.records(room).last()
    }

    /// Which rooms have records.
    pub fn rooms(&self) -> impl Iterator<Item = RoomId> {
        self.rooms.keys().copied()
    }
}

/// What becomes of one append on its way to the log and back. Times are virtual milliseconds from now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It arrives after `there`, and its answer after `back` more.
    Plain {
        /// To the log.
        there: u64,
        /// Back to the owner.
        back: u64,
    },
    /// It is stored, if its condition holds, but the answer is lost: the owner learns nothing after `timeout`.
    AckLost {
        /// To the log.
        there: u64,
        /// When the owner gives up.
        timeout: u64,
    },
    /// The owner gives up after `timeout`; the append arrives `late` after that, when anything may have happened.
    Late {
        /// When the owner gives up.
        timeout: u64,
        /// How much later it arrives.
        late: u64,
    },
    /// Never arrives; the owner gives up after `timeout`.
    Lost {
        /// When the owner gives up.
        timeout: u64,
    },
    /// Refused for now, as with error 10164, though its condition holds: nothing is stored.
    NotNow {
        /// When the owner hears.
        back: u64,
    },
    /// Acknowledged as a duplicate at sequence 0 with nothing stored. The backend must call that unknown, and the owner must not
    /// believe one that does not.
    SequenceZero {
        /// When the owner hears.
        back: u64,
        /// Whether the owner is told of a commit at position 0.
        passed_on: bool,
    },
}

impl Fate {
    /// Draws one. `trouble`, per mille, is how often it is not `Plain`; `gap` is how long the log has no leader, if it has none.
    pub fn draw(rng: &mut Rng, trouble: u64, gap: Option<u64>) -> Self {
        if let Some(gap) = gap {
            let timeout = rng.between(200, 1000);
            return if rng.per_mille(300) {
                Self::Late { timeout, late: gap }
            } else {
                Self::Lost { timeout }
            };
        }
        if !rng.per_mille(trouble) {
            return Self::Plain { there: rng.between(1, 4), back: rng.between(1, 4) };
        }
        match rng.below(5) {
            0 => Self::AckLost { there: rng.between(1, 20), timeout: rng.between(50, 1000) },
            1 => Self::Late { timeout: rng.between(50, 1000), late: rng.between(1, 4000) },
            2 => Self::Lost { timeout: rng.between(50, 1000) },
            3 => Self::NotNow { back: rng.between(1, 10) },
            _ => Self::SequenceZero { back: rng.between(1, 10), passed_on: rng.per_mille(500) },
        }
    }
}
