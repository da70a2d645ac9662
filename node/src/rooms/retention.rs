//! What is older than it has to be kept goes, if the cluster's settings or the room's say so.
//!
//! Only what a stored snapshot has may go: the next owner begins with that. And the newest events of a room stay, however
//! old they are: no room is ever empty.

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rookery_protocol::id::RoomId;

use super::{log, owner::Env};
use crate::{backend::RoomLog, problem::Problem};

/// Rooms that one node works on at once. The others have their turn after their next snapshots.
pub(super) const ROOMS: usize = 4;

/// Newest events of a room that always stay.
pub(super) const STAY: u64 = 256;
/// Looked at one by one, from the oldest on. (JetStream keeps as many on one subject.)
const PART: u64 = 256;
/// Parts looked at at once. The rest has its turn after the next snapshot.
const PARTS: usize = 64;

/// For how long events are kept: the service's time, or the room's own if that is shorter; `None`: for ever.
pub(super) fn shorter(service: Option<Duration>, own_days: Option<u32>) -> Option<Duration> {
    let own = own_days.map(|days| Duration::from_secs(u64::from(days) * 24 * 3600));
    service.into_iter().chain(own).min()
}

/// The room's snapshot is stored, with all events up to `seq`: what is too old may go. That takes its time, and nobody waits for it.
pub(super) fn snapshot_stored(env: &Arc<Env>, room: RoomId, seq: u64, own_days: Option<u32>) {
    let Some(age) = shorter(env.settings.retention(), own_days) else { return };
    let Ok(turn) = env.forgetting.clone().try_acquire_owned() else { return };
    let env = env.clone();
    tokio::spawn(async move {
        let _turn = turn;
        match forget(&*env.log, room, seq, age).await {
            Ok(Some(before)) => {
                env.metrics.forgotten.inc();
                tracing::debug!(%room, before, "events that are older than what is kept were removed");
            }
            Ok(None) => {}
            Err(problem) => {
                tracing::warn!(%room, %problem, "old events could not be removed; they will be later");
            }
        }
    });
}

/// Removes what is older than `age` and not later than the snapshot; says before which seq events were removed.
pub(super) async fn forget(
    log: &dyn RoomLog,
    room: RoomId,
    snapshot_seq: u64,
    age: Duration,
) -> Result<Option<u64>, Problem> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let oldest = i64::try_from(now.saturating_sub(age).as_millis()).unwrap_or(i64::MAX);
    let Some(first) = log::first_from(log, room, 1).await? else { return Ok(None) };
    // Events of the snapshot that may go.
    let most = snapshot_seq.saturating_sub(STAY);
    let (mut upto, mut next) = (0, (first.first_seq.saturating_sub(1) / PART + 1) * PART);
    for _ in 0..PARTS {
        let Some(record) = log::records(log, room, next, next, true).await?.into_iter().next() else { break };
        // Owners' clocks differ a little: none of its events is younger.
        if record.last_seq() > most || record.events.iter().any(|event| event.ts >= oldest) {
            break;
        }
        upto = record.last_seq();
        next = (upto / PART + 1) * PART;
    }
    if upto == 0 {
        return Ok(None);
    }
    log.forget(room, upto + 1).await.map_err(|why| log::unavailable(&why))?;
    Ok(Some(upto + 1))
}
