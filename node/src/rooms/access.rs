//! Who may see a room, and what there is of it.
//!
//! What is found is shown at once. That something is *not* there, a room, a membership, an event, is told only after it was asked
//! for once more, for certain: a leader of the log that stood still answers for a moment with what is old, and whoever was
//! told "no" by it would believe that for good.

use rookery_core::room::{Refusal, Role, Visibility};
use rookery_protocol::id::{RoomId, UserId};

use super::{
    RoomView, Rooms,
    log::{End, unavailable},
    refusal::problem,
    rows::{self, Info},
};
use crate::{
    backend::{Entry, Table, Unavailable},
    problem::Problem,
};

/// How sure a read must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Read {
    /// As fresh as usual.
    Plain,
    /// It sees all that was written before: costs a write.
    Certain,
}

impl Rooms {
    /// A look at an id that somebody made up must not start an owner. A room that was seen once costs no second look.
    pub(super) async fn exists(&self, room: RoomId) -> Result<(), Problem> {
        if self.env().ends.knows(room)
            || self.env().ends.get(&*self.env().log, room).await?.last_seq > 0
            || self.certain_end(room).await?.last_seq > 0
        {
            return Ok(());
        }
        Err(problem(&Refusal::RoomNotFound))
    }

    /// Where the room's log ends, for certain.
    pub(super) async fn certain_end(&self, room: RoomId) -> Result<End, Problem> {
        self.env().ends.certain(&*self.env().log, room).await
    }

    /// Whether the room has reached an event: asked of one that somebody says he has seen.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn has_reached(&self, room: RoomId, seq: u64) -> Result<bool, Problem> {
        let end = self.env().ends.get(&*self.env().log, room).await?;
        Ok(end.last_seq >= seq || self.certain_end(room).await?.last_seq >= seq)
    }

    /// The room as `user` may see it.
    ///
    /// # Errors
    /// `room_not_found`: none, or private and he is no member. A public one answers also those outside it.
    pub async fn view(&self, room: RoomId, user: UserId) -> Result<RoomView, Problem> {
        let not_found = || problem(&Refusal::RoomNotFound);
        let info = match self.info(room).await? {
            Some(info) => info,
            None => self.read_info(room, Read::Certain).await?.ok_or_else(not_found)?,
        };
        let mut role = self.role(room, user).await?;
        if role.is_none() && info.visibility == Visibility::Private {
            role = Some(self.read_role(room, user, Read::Certain).await?.ok_or_else(not_found)?);
        }
        let end = self.env().ends.get(&*self.env().log, room).await?;
        Ok(self.shown(room, info, role, end.last_seq, user))
    }

    pub(super) fn shown(
        &self,
        id: RoomId,
        info: Info,
        role: Option<Role>,
        last_seq: u64,
        user: UserId,
    ) -> RoomView {
        RoomView {
            id,
            name: info.name,
            kind: info.kind,
            visibility: info.visibility,
            topic: info.topic,
            slow_mode_seconds: info.slow_mode_seconds,
            translation: info.translation,
            max_members: info.max_members,
            retention_days: info.retention_days,
            declared: info.declared.is_some(),
            member_count: info.member_count,
            created_at: info.created_at,
            role,
            last_seq,
            peer: info.pair.into_iter().find(|member| member.id != user),
        }
    }

    /// `None`: there is no such room, or no more, as far as is known.
    pub(super) async fn info(&self, room: RoomId) -> Result<Option<Info>, Problem> {
        self.read_info(room, Read::Plain).await
    }

    async fn read_info(&self, room: RoomId, read: Read) -> Result<Option<Info>, Problem> {
        let row = self.row(Table::Snapshots, &rows::of_info(room), read).await;
        let Some(row) = row.map_err(|why| unavailable(&why))? else { return Ok(None) };
        Info::decode(&row.value).map(Some).ok_or_else(|| {
            tracing::error!(%room, "what lists show of a room cannot be read");
            Problem::internal()
        })
    }

    /// Whether a room's messages may be translated.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn may_translate(&self, room: RoomId) -> Result<bool, Problem> {
        Ok(self.info(room).await?.is_some_and(|info| info.translation))
    }

    /// `None`: he is no member, as far as is known.
    pub(super) async fn role(&self, room: RoomId, user: UserId) -> Result<Option<Role>, Problem> {
        self.read_role(room, user, Read::Plain).await
    }

    async fn read_role(&self, room: RoomId, user: UserId, read: Read) -> Result<Option<Role>, Problem> {
        let row = self.row(Table::Memberships, &rows::of_user(user, room), read).await;
        Ok(row.map_err(|why| unavailable(&why))?.and_then(|row| rows::role_of(&row.value)))
    }

    async fn row(&self, table: Table, key: &[u8], read: Read) -> Result<Option<Entry>, Unavailable> {
        match read {
            Read::Plain => self.env().rows.get(table, key).await,
            Read::Certain => self.env().rows.certain(table, key).await,
        }
    }

    /// Checks that `user` may read the room, and says its newest seq.
    ///
    /// # Errors
    /// `room_not_found` or `not_a_member`.
    pub async fn readable(&self, room: RoomId, user: UserId) -> Result<u64, Problem> {
        Ok(self.read_end(room, user).await?.last_seq)
    }

    /// [`Self::readable`], with all that is known of the log's end.
    pub(super) async fn read_end(&self, room: RoomId, user: UserId) -> Result<End, Problem> {
        let member = self.role(room, user).await?.is_some()
            || self.read_role(room, user, Read::Certain).await?.is_some();
        if member {
            let end = self.env().ends.get(&*self.env().log, room).await?;
            return if end.removed { Err(problem(&Refusal::RoomNotFound)) } else { Ok(end) };
        }
        let info = match self.info(room).await? {
            Some(info) => Some(info),
            None => self.read_info(room, Read::Certain).await?,
        };
        let public = info.is_some_and(|info| info.visibility == Visibility::Public);
        Err(problem(if public { &Refusal::NotAMember } else { &Refusal::RoomNotFound }))
    }
}
