//! What a user has not read, for whoever tells him of it by mail.

use rookery_core::room::Kind;
use rookery_protocol::{
    client,
    id::{RoomId, UserId},
};

use super::{Part, Rooms, Standing, history};
use crate::problem::Problem;

/// Messages read at once, to find the oldest that is news.
const LOOKED_AT: usize = 20;
/// Times that so many are read: who has more than that deleted, or written by himself, before the first that is news is not told of it.
const PAGES: usize = 50;

/// A room with something that a user has not read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// Its name, or the other one's in a direct room.
    pub name: String,
    /// Whether it is a direct room.
    pub direct: bool,
    /// Unread mentions of him.
    pub mentions: u32,
    /// Unread messages.
    pub messages: u64,
    /// When the oldest that was written to him (mentions, and all in a direct room) after the given time was written, Unix
    /// milliseconds; `None`: there is none.
    pub news: Option<i64>,
}

impl Rooms {
    /// What a user has not read, by his read marks. `since`: what was written before is no news, Unix milliseconds.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn unread(&self, user: UserId, since: i64) -> Result<Vec<Unread>, Problem> {
        let mut all = Vec::new();
        for standing in self.standings(user, |_| true).await? {
            if standing.unread == 0 {
                continue;
            }
            let room = standing.room;
            let mentions = self.env().marks.mentions(user, room, standing.read_seq).await?;
            let Some(info) = self.info(room).await? else { continue };
            let direct = info.kind == Kind::Direct;
            let news = if direct || mentions > 0 {
                self.oldest_news(&standing, user, direct, since).await?
            } else {
                None
            };
            let peer = info.pair.into_iter().find(|member| member.id != user);
            let name = match peer {
                Some(peer) if direct => peer.display_name,
                _ => info.name,
            };
            all.push(Unread { name, direct, mentions, messages: standing.unread, news });
        }
        Ok(all)
    }

    /// When the oldest unread message that was written to him after `since` was. Not of the newest alone: where there are always new
    /// ones, those are never old.
    async fn oldest_news(
        &self,
        standing: &Standing,
        user: UserId,
        direct: bool,
        since: i64,
    ) -> Result<Option<i64>, Problem> {
        let me = user.to_string();
        let counts = |message: &client::Message| {
            let foreign = message.sender.as_ref().is_none_or(|sender| sender.id != me);
            let to_him = direct || message.mentions.contains(&me);
            !message.deleted && foreign && to_him && message.ts > since
        };
        let mut after = self.written_until(standing, user, since).await?;
        for _ in 0..PAGES {
            let (messages, reached) = if direct {
                self.after(standing, user, after, LOOKED_AT).await?
            } else {
                self.mentions_after(standing.room, user, after).await?
            };
            if let Some(oldest) = messages.into_iter().find(|message| counts(message)) {
                return Ok(Some(oldest.ts));
            }
            match reached {
                Some(reached) => after = reached,
                None => return Ok(None),
            }
        }
        Ok(None)
    }

    /// Up to which of his unread messages all were written by `since`. Times grow along a room's log, so this needs a few looks however
    /// much is unread.
    async fn written_until(&self, standing: &Standing, user: UserId, since: i64) -> Result<u64, Problem> {
        let (mut until, mut end) = (standing.read_seq, standing.last_seq);
        // The first look is at the oldest: who was never told has only news.
        let mut middle = until;
        while until < end {
            let (messages, _) = self.after(standing, user, middle, 1).await?;
            match messages.first() {
                Some(message) if message.ts <= since => until = message.seq,
                _ => end = middle,
            }
            middle = until + end.saturating_sub(until) / 2;
        }
        Ok(until)
    }

    /// Messages of a room after this seq, oldest first, and after which to ask for more.
    async fn after(
        &self,
        standing: &Standing,
        user: UserId,
        after: u64,
        count: usize,
    ) -> Result<(Vec<client::Message>, Option<u64>), Problem> {
        let ids = (standing.room, user);
        let page = history::page(self.store(), ids, standing.last_seq, Part::After(after), count).await?;
        Ok((page.messages, page.has_more.then_some(page.reached)))
    }

    /// The same, of the messages that mention him.
    async fn mentions_after(
        &self,
        room: RoomId,
        user: UserId,
        after: u64,
    ) -> Result<(Vec<client::Message>, Option<u64>), Problem> {
        let mut seqs = self.env().marks.mention_seqs(user, room, after).await?;
        seqs.truncate(LOOKED_AT);
        let mut messages = Vec::new();
        for &seq in &seqs {
            messages.extend(history::message(self.store(), room, user, seq).await?);
        }
        Ok((messages, seqs.last().copied()))
    }
}
