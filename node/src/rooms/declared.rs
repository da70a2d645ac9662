//! Rooms that are declared from outside the chat, as the operator's calls see them. Any node does it for any room.

use std::sync::Arc;

use rookery_core::room::{DECLARER, Declaration, Profile, Reply, What};
use rookery_protocol::id::RoomId;

use super::Rooms;
use crate::problem::Problem;

/// All members may go, be let in again and come, in steps of 100; more steps are not needed.
const STEPS: usize = 20;

/// A declared room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Declared {
    /// The node whose it is by this node's ring; empty: nobody's.
    pub(crate) owner: String,
    /// That node's shard.
    pub(crate) shard: String,
    /// Of the newest record.
    pub(crate) epoch: u64,
    /// Members.
    pub(crate) members: u64,
    /// Seq of the newest durable event.
    pub(crate) last_seq: u64,
}

fn declarer() -> Arc<Profile> {
    Arc::new(Profile { id: DECLARER, username: String::new(), display_name: String::new() })
}

impl Rooms {
    /// What all nodes of the cluster understand.
    pub(crate) fn level(&self) -> u32 {
        self.env().route.level()
    }

    /// Whether there was a room of this id, and it was removed.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) async fn was_removed(&self, room: RoomId) -> Result<bool, Problem> {
        Ok(self.env().ends.get(&*self.env().log, room).await?.removed)
    }

    /// Makes a room what it is declared to be; says whether it was anything else. One that is so already stays out of memory.
    ///
    /// # Errors
    /// What the room refuses; `unavailable`, also when a part of it was done.
    pub(crate) async fn declare(&self, room: RoomId, declaration: &Declaration) -> Result<bool, Problem> {
        let known = self.info(room).await?.and_then(|info| info.declared);
        if known == Some(declaration.fingerprint()) {
            return Ok(false);
        }
        let (actor, mut changed) = (declarer(), false);
        for _ in 0..STEPS {
            let what = What::Declare(Box::new(declaration.clone()));
            match self.command(room, &actor, what).await? {
                Reply::Done { seq: None } => return Ok(changed),
                _ => changed = true,
            }
        }
        Err(Problem::unavailable("The room is changed by somebody else at the same time; try again."))
    }

    /// Removes a declared room; says whether it was there.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) async fn remove_declared(&self, room: RoomId) -> Result<bool, Problem> {
        let mut end = self.env().ends.get(&*self.env().log, room).await?;
        if end.last_seq == 0 {
            end = self.certain_end(room).await?;
        }
        if end.last_seq == 0 || end.removed {
            return Ok(false);
        }
        match self.command(room, &declarer(), What::Remove).await {
            Ok(_) => Ok(true),
            // Somebody else was faster.
            Err(problem) if problem.code == "room_not_found" => Ok(false),
            Err(problem) => Err(problem),
        }
    }

    /// How a declared room is; `None`: it is not there.
    ///
    /// # Errors
    /// `unavailable`.
    pub(crate) async fn declared(&self, room: RoomId) -> Result<Option<Declared>, Problem> {
        let end = self.env().ends.get(&*self.env().log, room).await?;
        if end.last_seq == 0 || end.removed {
            return Ok(None);
        }
        let members = self.info(room).await?.map_or(0, |info| info.member_count);
        let (owner, shard) = self.env().route.place(room).unwrap_or_default();
        Ok(Some(Declared { owner, shard, epoch: end.epoch, members, last_seq: end.last_seq }))
    }
}
