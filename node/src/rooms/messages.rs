//! One message: posting it, changing it, looking at it, for callers that want all of it in the answer.
//!
//! What the room's owner answered is stored for good, so the answer is made of what he says and what was asked: a read of the
//! log could fail after that, and the caller would be told that nothing is known.

use std::sync::Arc;

use rookery_core::{
    record::Posted,
    room::{Profile, Refusal, Reply, What},
};
use rookery_protocol::{
    client,
    id::{RoomId, UserId},
};

use super::{Rooms, history, log, refusal::problem, render};
use crate::problem::Problem;

/// A message to post.
#[derive(Debug, Clone)]
pub struct NewMessage {
    /// What it says.
    pub text: String,
    /// Chosen by the client, for each message anew.
    pub client_msg_id: String,
    /// Seq of the message answered.
    pub reply_to: Option<u64>,
}

impl Rooms {
    /// Posts a message. Says whether an earlier try with the same `client_msg_id` did.
    ///
    /// # Errors
    /// The room's refusal; `unavailable`.
    pub async fn post(
        &self,
        room: RoomId,
        actor: &Arc<Profile>,
        new: NewMessage,
    ) -> Result<(client::Message, bool), Problem> {
        let NewMessage { text, client_msg_id, reply_to } = new;
        let what = What::Post { text: text.clone(), client_msg_id: client_msg_id.clone(), reply_to };
        let Reply::Posted { seq, id, ts, repeated, mentions } =
            self.member_command(room, actor, what).await?
        else {
            return Err(Problem::internal());
        };
        let message = match mentions {
            Some(mentions) => {
                let mentions = mentions.into_vec();
                let sender = (**actor).clone();
                let posted = Posted { id, sender, text, client_msg_id, reply_to, mentions };
                render::message(room, seq, ts, &posted, None, actor.id)
            }
            // A repeat is answered with what became of the message since. (Or the owner runs an older version.)
            None => self.message(room, actor.id, seq).await?,
        };
        Ok((message, repeated))
    }

    /// Changes the text of one's own message.
    ///
    /// # Errors
    /// The room's refusal; `unavailable`.
    pub async fn edit(
        &self,
        room: RoomId,
        actor: &Arc<Profile>,
        seq: u64,
        text: String,
    ) -> Result<client::Message, Problem> {
        // What never changes of it is read before, when nothing is done yet. Whether he may see it, the owner says.
        let end = self.env().ends.get(&*self.env().log, room).await?;
        let original = match seq {
            seq if (1..=end.last_seq).contains(&seq) => {
                history::original(&*self.env().log, room, seq).await?
            }
            _ => None,
        };
        let reply = self.member_command(room, actor, What::Edit { seq, text }).await?;
        match (original, reply) {
            (Some((ts, posted)), Reply::Edited { amendment, .. }) => {
                Ok(render::message(room, seq, ts, &posted, Some(&amendment), actor.id))
            }
            _ => self.message(room, actor.id, seq).await,
        }
    }

    /// One message.
    ///
    /// # Errors
    /// `room_not_found`, `not_a_member`, `message_not_found`; `unavailable`.
    pub async fn message(&self, room: RoomId, user: UserId, seq: u64) -> Result<client::Message, Problem> {
        let mut last_seq = self.readable(room, user).await?;
        if seq > last_seq {
            last_seq = self.certain_end(room).await?.last_seq;
        }
        let found = match seq {
            seq if seq == 0 || seq > last_seq => None,
            seq => history::message(self.store(), room, user, seq).await?,
        };
        if let Some(found) = found {
            return Ok(found);
        }
        if (1..=last_seq).contains(&seq) && log::first_from(&*self.env().log, room, seq).await?.is_none() {
            // It is there, or is no message, or is older than what is kept: a log that shows nothing from there on does not tell.
            return Err(Problem::unavailable("The message cannot be shown now; try again."));
        }
        Err(problem(&Refusal::MessageNotFound))
    }
}
