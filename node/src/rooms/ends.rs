//! Where the logs of rooms end, without decoding their last records again and again.

use std::collections::HashMap;

use parking_lot::Mutex;
use rookery_protocol::id::RoomId;

use super::log::{self, End, unavailable};
use crate::{
    backend::{Committed, LogSeq, RoomLog},
    problem::Problem,
};

/// Rooms remembered; about 60 bytes each.
const KEPT: usize = 100_000;

/// What the newest records of logs say, by their place in the log.
///
/// Only the log knows which record is the newest: an event can be heard live a moment before its owner has
/// remembered it here, and what is heard must be found in the history.
#[derive(Default)]
pub(super) struct Ends(Mutex<HashMap<RoomId, (LogSeq, End)>>);

impl Ends {
    /// Where a log ends.
    pub(super) async fn get(&self, log: &dyn RoomLog, room: RoomId) -> Result<End, Problem> {
        let tail = log.tail(room).await.map_err(|why| unavailable(&why))?;
        self.end(log, room, tail).await
    }

    /// Where a log ends, for certain: what was stored before the call is seen. Costs a write.
    pub(super) async fn certain(&self, log: &dyn RoomLog, room: RoomId) -> Result<End, Problem> {
        let tail = log.certain_tail(room).await.map_err(|why| unavailable(&why))?;
        self.end(log, room, tail).await
    }

    async fn end(&self, log: &dyn RoomLog, room: RoomId, tail: Option<Committed>) -> Result<End, Problem> {
        let at = tail.as_ref().map_or(LogSeq(0), |tail| tail.at);
        // What was newer once still is there, whatever a leader says that stood still.
        let known = self.0.lock().get(&room).filter(|(known, _)| *known >= at).map(|(_, end)| *end);
        if let Some(end) = known {
            return Ok(end);
        }
        // A room that was never made is not remembered: there is no end of ids that somebody may ask for.
        let Some(tail) = tail else { return Ok(End::default()) };
        let end = log::end(log, &tail).await?;
        self.moved(room, tail.at, end);
        Ok(end)
    }

    /// Whether the room is known to have been made.
    pub(super) fn knows(&self, room: RoomId) -> bool {
        self.0.lock().get(&room).is_some_and(|(_, end)| end.last_seq > 0)
    }

    /// Remembers what the record at a place says.
    pub(super) fn moved(&self, room: RoomId, at: LogSeq, end: End) {
        let mut known = self.0.lock();
        if known.len() >= KEPT {
            known.clear();
        }
        let newest = known.entry(room).or_insert((at, end));
        if at > newest.0 {
            *newest = (at, end);
        }
    }
}
