//! Lists: a user's rooms, public rooms, a room's members.

use std::time::Instant;

use futures_util::{StreamExt as _, TryStreamExt as _, stream};
use rookery_core::room::{Listing, Profile, Role};
use rookery_protocol::{
    client,
    id::{RoomId, UserId},
};

use super::{
    Part, RoomView, Rooms, Standing, history,
    log::unavailable,
    owner::{Asker, Item, Unanswered, busy},
    rows,
};
use crate::{backend::Table, problem::Problem};

/// Rows read at once.
const PAGE: usize = 1000;
/// Rooms looked up at once for one user.
const AT_ONCE: usize = 16;
/// Public rooms that one call of `discover` looks at, at most.
const LOOKED_AT: usize = 5000;

/// One of a user's rooms, as his list shows it.
#[derive(Debug, Clone)]
pub struct Listed {
    /// The room.
    pub room: RoomView,
    /// Where he stands.
    pub standing: Standing,
    /// Mentions of him after what he has read; at most 100 are counted.
    pub mentions: u32,
    /// The newest message, if there is one not far back.
    pub last_message: Option<client::Message>,
}

/// A page of a list.
#[derive(Debug, Clone)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// What to give as cursor for the next page; `None`: this was the last.
    pub next: Option<u128>,
}

/// A member of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Who; names as they were when he came.
    pub user: Profile,
    /// Role.
    pub role: Role,
}

impl Rooms {
    /// All memberships of a user, at most `limit`.
    pub(super) async fn memberships(
        &self,
        user: UserId,
        limit: usize,
    ) -> Result<Vec<(RoomId, Role)>, Problem> {
        let prefix = user.to_bytes();
        let (mut found, mut after) = (Vec::new(), None);
        while found.len() < limit {
            let wanted = PAGE.min(limit - found.len());
            let page = self
                .env()
                .rows
                .scan(Table::Memberships, &prefix, after.as_deref(), wanted)
                .await
                .map_err(|why| unavailable(&why))?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            found.extend(
                page.iter().filter_map(|row| Some((rows::room_in(&row.key)?, rows::role_of(&row.value)?))),
            );
            if page.len() < wanted {
                break;
            }
        }
        Ok(found)
    }

    /// Where a user stands in those of his rooms that are `wanted`. The others cost nothing but their membership.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn standings(
        &self,
        user: UserId,
        wanted: impl Fn(RoomId) -> bool,
    ) -> Result<Vec<Standing>, Problem> {
        let mut rooms = self.memberships(user, usize::MAX).await?;
        rooms.retain(|(room, _)| wanted(*room));
        let standings = rooms.into_iter().map(|(room, role)| self.standing(user, room, role));
        let standings: Vec<_> = stream::iter(standings).buffered(AT_ONCE).try_collect().await?;
        Ok(standings.into_iter().flatten().collect())
    }

    /// `None`: the room is gone.
    async fn standing(&self, user: UserId, room: RoomId, role: Role) -> Result<Option<Standing>, Problem> {
        let end = self.env().ends.get(&*self.env().log, room).await?;
        if end.removed {
            return Ok(None);
        }
        let mark = self.mark(user, room).await?;
        let unread = end.messages.saturating_sub(mark.messages);
        Ok(Some(Standing { room, role, last_seq: end.last_seq, read_seq: mark.seq, unread }))
    }

    /// A user's rooms with their newest messages.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn list(&self, user: UserId) -> Result<Vec<Listed>, Problem> {
        let standings = self.standings(user, |_| true).await?;
        let listed = standings.into_iter().map(|standing| self.listed(user, standing));
        let listed: Vec<_> = stream::iter(listed).buffered(AT_ONCE).try_collect().await?;
        Ok(listed.into_iter().flatten().collect())
    }

    /// `None`: the room is gone.
    async fn listed(&self, user: UserId, standing: Standing) -> Result<Option<Listed>, Problem> {
        let id = standing.room;
        let Some(info) = self.info(id).await? else { return Ok(None) };
        let room = self.shown(id, info, Some(standing.role), standing.last_seq, user);
        let newest = Part::Before(standing.last_seq + 1);
        let page = history::page(self.store(), (id, user), standing.last_seq, newest, 1).await?;
        let mentions = match standing.unread {
            0 => 0,
            _ => self.env().marks.mentions(user, id, standing.read_seq).await?,
        };
        Ok(Some(Listed { room, standing, mentions, last_message: page.messages.into_iter().next() }))
    }

    /// Public rooms whose name or topic contains `query` in any case (empty: all), oldest first, after `cursor`.
    /// A page may be short, even empty, and still have a next one: only so many rooms are looked at.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn discover(
        &self,
        user: UserId,
        query: &str,
        cursor: Option<u128>,
        limit: usize,
    ) -> Result<Page<RoomView>, Problem> {
        let query = query.to_lowercase();
        let mut after = cursor.map(|id| rows::of_room(RoomId(id)));
        let (mut items, mut looked_at) = (Vec::new(), 0);
        loop {
            let page = self
                .env()
                .rows
                .scan(Table::PublicRooms, &[], after.as_deref(), PAGE)
                .await
                .map_err(|why| unavailable(&why))?;
            if page.is_empty() {
                return Ok(Page { items, next: None });
            }
            for row in page {
                if items.len() == limit || looked_at == LOOKED_AT {
                    let next = after.as_deref().and_then(|key| key.try_into().ok()).map(u128::from_be_bytes);
                    return Ok(Page { items, next });
                }
                looked_at += 1;
                after = Some(row.key.clone());
                let Ok(id) = <[u8; 16]>::try_from(&row.key[..]).map(RoomId::from_bytes) else { continue };
                let Ok(listing) = Listing::decode(&row.value) else { continue };
                if matches(&listing, &query)
                    && let Ok(view) = self.view(id, user).await
                {
                    items.push(view);
                }
            }
        }
    }

    /// Members of a room after `cursor`, ordered by id.
    ///
    /// # Errors
    /// `room_not_found`, `not_a_member`; `unavailable`.
    pub async fn members(
        &self,
        room: RoomId,
        user: UserId,
        cursor: Option<u128>,
        limit: usize,
    ) -> Result<Page<Member>, Problem> {
        self.readable(room, user).await?;
        let (tell, told) = tokio::sync::oneshot::channel();
        let tell = Box::new(move |outcome| {
            let _ = tell.send(outcome);
        });
        let asker = Asker::Here(tell, Unanswered::one(&self.env().metrics.unanswered));
        let item = Item::Members { after: cursor.map(UserId), limit, asker, at: Instant::now() };
        if let Err(item) = self.owners().hand(room, item) {
            item.fail(busy());
        }
        match tokio::time::timeout(self.env().settings.deadline(), told).await {
            Ok(Ok(outcome)) => outcome,
            _ => Err(busy()),
        }
    }
}

fn matches(listing: &Listing, query: &str) -> bool {
    query.is_empty()
        || listing.name.to_lowercase().contains(query)
        || listing.topic.as_ref().is_some_and(|topic| topic.to_lowercase().contains(query))
}
