//! What a user has not read, for whoever tells him of it by mail.

use rookery_core::room::Kind;
use rookery_protocol::{
    client,
    id::{RoomId, UserId},
};

use super::{Part, Rooms, Standing, history};
use crate::problem::Problem;

/// Messages looked at in each room, the newest: to find out since when something new waits.
const LOOKED_AT: usize = 20;

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
    /// When the oldest of the newest that were written to him (mentions, and all in a direct room) after the given time was
    /// written, Unix milliseconds; `None`: there are none.
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
            let mentions = self.env().marks.mention_seqs(user, room, standing.read_seq).await?;
            let Some(info) = self.info(room).await? else { continue };
            let direct = info.kind == Kind::Direct;
            let written = if direct {
                self.newest(&standing, user).await?
            } else {
                self.newest_mentions(room, user, &mentions).await?
            };
            let me = user.to_string();
            let counts = |message: &client::Message| {
                let foreign = message.sender.as_ref().is_none_or(|sender| sender.id != me);
                let to_him = direct || message.mentions.contains(&me);
                !message.deleted && foreign && to_him && message.ts > since
            };
            let news = written.into_iter().filter(counts).map(|message| message.ts).min();
            let peer = info.pair.into_iter().find(|member| member.id != user);
            let name = match peer {
                Some(peer) if direct => peer.display_name,
                _ => info.name,
            };
            let mentions = u32::try_from(mentions.len()).unwrap_or(u32::MAX);
            all.push(Unread { name, direct, mentions, messages: standing.unread, news });
        }
        Ok(all)
    }

    async fn newest(&self, standing: &Standing, user: UserId) -> Result<Vec<client::Message>, Problem> {
        let part = Part::Before(standing.last_seq + 1);
        let ids = (standing.room, user);
        let page = history::page(self.store(), ids, standing.last_seq, part, LOOKED_AT).await?;
        let unread = |message: &client::Message| message.seq > standing.read_seq;
        Ok(page.messages.into_iter().filter(unread).collect())
    }

    async fn newest_mentions(
        &self,
        room: RoomId,
        user: UserId,
        mentions: &[u64],
    ) -> Result<Vec<client::Message>, Problem> {
        let mut messages = Vec::new();
        for &seq in mentions.iter().rev().take(LOOKED_AT) {
            messages.extend(history::message(self.store(), room, user, seq).await?);
        }
        Ok(messages)
    }
}
