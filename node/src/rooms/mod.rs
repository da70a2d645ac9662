//! Rooms as the edge sees them: commands to owners, history, lists.
//!
//! Here belongs finding the owner of a room and reading logs and rows; what a command does is decided in
//! `rookery-core`, and who gets events live in `live/`.

use std::sync::Arc;

use rookery_core::room::{Kind, Profile, Reply, Role, Visibility, What};
use rookery_protocol::{
    client,
    id::{RoomId, UserId},
};

use crate::problem::Problem;

/// Called exactly once with the outcome of a command, on the owner's thread: must not block.
pub type OnReply = Box<dyn FnOnce(Result<Reply, Problem>) + Send>;

/// A room as one user sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RoomView {
    /// Id.
    pub id: RoomId,
    /// Name; empty in direct rooms.
    pub name: String,
    /// Kind.
    pub kind: Kind,
    /// Visibility.
    pub visibility: Visibility,
    /// Topic.
    pub topic: Option<String>,
    /// Slow mode, seconds; 0: off.
    pub slow_mode_seconds: u32,
    /// Members.
    pub member_count: u64,
    /// When made, Unix milliseconds.
    pub created_at: i64,
    /// The asking user's role; `None`: no member (the room is public then).
    pub role: Option<Role>,
    /// Seq of the newest durable event.
    pub last_seq: u64,
}

/// Durable events of a room, as frames, oldest first.
#[derive(Debug, Clone, Default)]
pub struct EventPage {
    /// `(seq, frame)`, without gaps.
    pub events: Vec<(u64, client::ServerFrame)>,
    /// The newest seq that the log had when this was read.
    pub last_seq: u64,
}

/// Where a user stands in one of his rooms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// Which room.
    pub room: RoomId,
    /// His role.
    pub role: Role,
    /// Seq of the newest durable event.
    pub last_seq: u64,
    /// Up to where he has read.
    pub read_seq: u64,
    /// Messages after that.
    pub unread: u64,
    /// Mentions of him after that; at most 100 are counted.
    pub mentions: u32,
}

/// The rooms of this service. One per node.
pub struct Rooms {}

impl Rooms {
    /// Hands a command to the room's owner. Commands of one caller to one room keep their order.
    /// `reply` is called once: with the room's answer, or `unavailable` when the deadline (5 s) passes.
    pub fn submit(&self, _room: RoomId, _actor: &Arc<Profile>, _what: What, reply: OnReply) {
        reply(Err(Problem::unavailable("Rooms are not served yet.")));
    }

    /// [`Self::submit`], awaited.
    ///
    /// # Errors
    /// The room's refusal, or `unavailable`.
    pub async fn command(&self, room: RoomId, actor: &Arc<Profile>, what: What) -> Result<Reply, Problem> {
        let (tell, told) = tokio::sync::oneshot::channel();
        self.submit(
            room,
            actor,
            what,
            Box::new(move |outcome| {
                let _ = tell.send(outcome);
            }),
        );
        told.await.unwrap_or_else(|_| Err(Problem::internal()))
    }

    /// The room as `user` may see it.
    ///
    /// # Errors
    /// `room_not_found`: none, or private and he is no member. A public one answers also those outside it.
    pub async fn view(&self, _room: RoomId, _user: UserId) -> Result<RoomView, Problem> {
        Err(Problem::unavailable("Rooms are not served yet."))
    }

    /// Checks that `user` may read the room, and says its newest seq.
    ///
    /// # Errors
    /// `room_not_found` or `not_a_member`.
    pub async fn readable(&self, _room: RoomId, _user: UserId) -> Result<u64, Problem> {
        Err(Problem::unavailable("Rooms are not served yet."))
    }

    /// Durable events with `from ≤ seq ≤ to`, at most `limit`. Deleted messages come without their text.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn events(
        &self,
        _room: RoomId,
        _from: u64,
        _to: u64,
        _limit: usize,
    ) -> Result<EventPage, Problem> {
        Err(Problem::unavailable("Rooms are not served yet."))
    }

    /// All rooms of a user.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn standings(&self, _user: UserId) -> Result<Vec<Standing>, Problem> {
        Err(Problem::unavailable("Rooms are not served yet."))
    }

    /// Moves a user's read mark forward; says whether it moved.
    ///
    /// # Errors
    /// `not_a_member`, `room_not_found`, `invalid` for a seq the room has not reached.
    pub async fn mark_read(&self, _room: RoomId, _user: UserId, _seq: u64) -> Result<bool, Problem> {
        Err(Problem::unavailable("Rooms are not served yet."))
    }
}
