//! Where the logs of rooms end, as far as this node knows without reading.

use std::collections::HashMap;

use parking_lot::Mutex;
use rookery_protocol::id::RoomId;

use super::log::{self, End};
use crate::{backend::RoomLog, problem::Problem};

/// Rooms remembered; about 50 bytes each.
const KEPT: usize = 100_000;

/// The ends of logs. This node owns the rooms that it remembers here, so nobody else moves them.
#[derive(Default)]
pub(super) struct Ends(Mutex<HashMap<RoomId, End>>);

impl Ends {
    /// Where a log ends.
    pub(super) async fn get(&self, log: &dyn RoomLog, room: RoomId) -> Result<End, Problem> {
        if let Some(end) = self.0.lock().get(&room) {
            return Ok(*end);
        }
        let end = log::end(log, room).await?;
        // A room that was never made is not remembered: there is no end of ids that somebody may ask for.
        Ok(if end.last_seq == 0 { end } else { self.moved(room, end) })
    }

    /// Remembers a commit; returns the newest end known.
    pub(super) fn moved(&self, room: RoomId, end: End) -> End {
        let mut known = self.0.lock();
        if known.len() >= KEPT {
            known.clear();
        }
        let newest = known.entry(room).or_insert(end);
        if end.last_seq > newest.last_seq {
            *newest = end;
        }
        *newest
    }

    /// Forgets a room whose log may have moved on unseen.
    pub(super) fn forget(&self, room: RoomId) {
        self.0.lock().remove(&room);
    }
}
