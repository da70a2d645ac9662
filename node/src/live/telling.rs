//! Telling a translation to those of a room who read its language.
//!
//! It is encoded once, for all of them. They are told a part at a time, so that nobody waits long for the room; and under its lock,
//! so that nobody is told who was removed, and nothing of a message that was changed.

use std::sync::{Arc, atomic::Ordering};

use rookery_protocol::{Subprotocol, client};

use super::{
    link::{Sub, put_message},
    room::{Inner, PROTOCOLS, lane},
};
use crate::translation::Lang;

/// Readers that are told at once.
const PART: usize = 64;

/// A translation on its way to its readers.
#[derive(Debug)]
pub struct Telling {
    frame: client::ServerFrame,
    encoded: [Option<Arc<[u8]>>; PROTOCOLS],
    message: u64,
    revision: u64,
    language: Lang,
    /// The first reader that was not looked at yet.
    place: usize,
    /// Readers to look at again, and those of them who have yet to be written the message itself.
    again: Vec<Arc<Sub>>,
    behind: Vec<Arc<Sub>>,
}

/// How far it has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Told {
    /// All who read its language.
    All,
    /// Some; the others are to be told at once.
    Some,
    /// All but those who have yet to be written the message itself: they are to be told in a moment.
    Behind,
    /// Nobody any more: the message says something else by now, or nothing, or the room forbids it.
    Outdated,
}

impl Telling {
    /// `frame`, the translation into `language` of message `message` as of event `revision`.
    pub fn new(frame: client::ServerFrame, message: u64, revision: u64, language: Lang) -> Self {
        let (again, behind) = (Vec::new(), Vec::new());
        Self { frame, encoded: [None, None], message, revision, language, place: 0, again, behind }
    }

    pub(super) fn go_on(&mut self, room: &Inner) -> Told {
        if !room.may_translate(self.message, self.revision) {
            return Told::Outdated;
        }
        // Where the message ends on each tape. What a tape no longer has, all have read or will never.
        let ends = room.lanes.each_ref().map(|lane| {
            let end = lane.as_ref().and_then(|lane| lane.tape.position_after(self.revision));
            end.unwrap_or_default()
        });
        for _ in 0..PART {
            if let Some(sub) = self.again.pop() {
                self.tell(sub, &ends);
                continue;
            }
            match room.readers.at(self.language, self.place) {
                Some(reader) => {
                    self.place += 1;
                    if let Some(sub) = reader {
                        self.tell(sub.clone(), &ends);
                    }
                }
                None if self.behind.is_empty() => return Told::All,
                None => {
                    self.again = std::mem::take(&mut self.behind);
                    return Told::Behind;
                }
            }
        }
        Told::Some
    }

    fn tell(&mut self, sub: Arc<Sub>, ends: &[u64; PROTOCOLS]) {
        let reads = sub.reading.lock().is_some_and(|(language, _)| language == self.language);
        // One who was removed meanwhile is told nothing of the room any more.
        if !reads || sub.link.is_closed() || sub.until.load(Ordering::Acquire) != u64::MAX {
            return;
        }
        let protocol = sub.link.protocol;
        let lane = lane(protocol);
        if sub.cursor.load(Ordering::Acquire) < ends[lane] {
            self.behind.push(sub);
            return;
        }
        let bytes = self.encoded[lane].get_or_insert_with(|| {
            let mut bytes = Vec::new();
            put_message(&mut bytes, protocol, &self.frame);
            bytes.into()
        });
        sub.link.post_shared(bytes);
    }
}

const _: () = assert!(Subprotocol::ALL.len() == PROTOCOLS);
