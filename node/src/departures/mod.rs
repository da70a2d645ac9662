//! Who deletes his account leaves his rooms: by the same commands that he would leave them by, in his name, with the
//! ownership passed on where he was the only owner.
//!
//! Each step can be repeated, and what is left to do is noted with the deletion itself: a node that stops in the middle goes on
//! at its next start, or another one does. A note stays for as long as some node may still take him for a user and add him to
//! a room. Direct rooms are never left: they are the other's as well.

#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use futures_util::StreamExt as _;
use rand::RngExt as _;
use rookery_core::room::{Kind, Profile, Role, What};
use rookery_protocol::id::{RoomId, UserId};
use tokio::task::AbortHandle;

use crate::{
    accounts::{Accounts, Departure, now},
    problem::Problem,
    rooms::Rooms,
};

/// It is looked so often for what others have left to do.
const EVERY: Duration = Duration::from_secs(60);
/// A note stays for so long after nobody can take him for a user any more.
const SPARE_MS: i64 = 10_000;
/// Notes read at once.
const PAGE: usize = 100;
/// Rooms that one user leaves at the same time.
const AT_ONCE: usize = 8;
/// Members looked at at once, for who becomes owner.
const MEMBERS: usize = 1_000;
/// Tries of leaving one room, while its members change.
const TRIES: usize = 8;

/// Ends with this value.
pub struct Running(AbortHandle);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts seeing to it. Once, before clients come. Needs a Tokio runtime.
pub fn start(accounts: Arc<Accounts>, rooms: Arc<Rooms>) -> Running {
    let departures = Departures { accounts, rooms };
    Running(tokio::spawn(async move { departures.run().await }).abort_handle())
}

struct Departures {
    accounts: Arc<Accounts>,
    rooms: Arc<Rooms>,
}

impl Departures {
    async fn run(&self) {
        loop {
            if let Err(problem) = self.see_to_all(now()).await {
                tracing::warn!(%problem, "it cannot be seen who has deleted his account; later");
            }
            // Not all nodes at once.
            let pause = EVERY.mul_f64(rand::rng().random_range(0.5..1.5));
            let _ = tokio::time::timeout(pause, self.accounts.somebody_departs()).await;
        }
    }

    async fn see_to_all(&self, now: i64) -> Result<(), Problem> {
        let mut after = None;
        loop {
            let page = self.accounts.departures(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.user.id);
            for departure in &page {
                if let Err(problem) = self.see_to(departure, now).await {
                    let user = departure.user.id;
                    tracing::warn!(%problem, %user, "who has deleted his account cannot leave his rooms now; later");
                }
            }
        }
    }

    async fn see_to(&self, departure: &Departure, now: i64) -> Result<(), Problem> {
        let rooms = self.rooms.rooms_of(departure.user.id).await?;
        let leaving = rooms.into_iter().map(|room| self.leave(&departure.user, room));
        let left: Vec<_> = futures_util::stream::iter(leaving).buffer_unordered(AT_ONCE).collect().await;
        left.into_iter().collect::<Result<(), Problem>>()?;
        let remembered = i64::try_from(self.accounts.remembered_for().as_millis()).unwrap_or(i64::MAX);
        let settled = departure.at.saturating_add(remembered).saturating_add(SPARE_MS);
        if settled <= now {
            self.accounts.departed(departure).await?;
        }
        Ok(())
    }

    async fn leave(&self, user: &Arc<Profile>, room: RoomId) -> Result<(), Problem> {
        match self.rooms.view(room, user.id).await {
            Ok(view) if view.kind == Kind::Direct => return Ok(()),
            Ok(_) => {}
            // It is gone.
            Err(problem) if problem.status == 404 => return Ok(()),
            Err(problem) => return Err(problem),
        }
        for _ in 0..TRIES {
            match self.rooms.command(room, user, What::Leave).await {
                Ok(_) => return Ok(()),
                Err(problem) if matches!(problem.code, "not_a_member" | "room_not_found") => return Ok(()),
                // The only owner, and there are others.
                Err(problem) if problem.code == "conflict" => {}
                Err(problem) => return Err(problem),
            }
            let Some(heir) = self.heir(user.id, room).await? else { continue };
            match self.rooms.command(room, user, What::SetRole { user: heir, role: Role::Owner }).await {
                Ok(_) => {}
                // He has left, too.
                Err(problem) if problem.code == "member_not_found" => {}
                Err(problem) => return Err(problem),
            }
        }
        Err(Problem::unavailable("The room's members change all the time."))
    }

    /// Who becomes owner: of the moderators the one with the oldest account, else of the members. Ids begin with the time at
    /// which the account was made, and members are listed by id.
    async fn heir(&self, leaves: UserId, room: RoomId) -> Result<Option<UserId>, Problem> {
        let (mut oldest, mut cursor) = (None, None);
        loop {
            let page = self.rooms.members(room, leaves, cursor, MEMBERS).await?;
            for member in page.items.iter().filter(|member| member.user.id != leaves) {
                if member.role >= Role::Moderator {
                    return Ok(Some(member.user.id));
                }
                oldest.get_or_insert(member.user.id);
            }
            match page.next {
                Some(next) => cursor = Some(next),
                None => return Ok(oldest),
            }
        }
    }
}
