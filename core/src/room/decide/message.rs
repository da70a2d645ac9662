//! Posting, editing, deleting, reacting.

use rookery_protocol::id::MessageId;

use super::{Asked, Decided, Decision, nothing};
use crate::{
    record::{Body, Posted, Reaction},
    room::{Edit, Head, Kind, Refusal, Reply, Role, dedupe, mentions::mentioned, text},
};

/// A message whose head is known, or the decision to go and load it.
enum Known<'a> {
    Head(&'a Head),
    Load(u64),
}

impl<'a> Asked<'a> {
    pub(super) fn post(&self, text: &str, client_msg_id: &str, reply_to: Option<u64>) -> Decided {
        let facts = self.facts()?;
        text::check_client_msg_id(client_msg_id)?;
        // A repeat is answered even if the sender may not write any more: what he asks for was done.
        if let Some(repeat) = self.repeat(text, client_msg_id, reply_to)? {
            return Ok(Decision::Already(repeat));
        }
        let (_, role) = self.writer()?;
        text::check_text(text, self.state.limits.text_chars)?;
        if self.state.limits.stale(client_msg_id, self.ts) {
            return Err(Refusal::ClientMsgIdStale);
        }
        self.slow_mode(i64::from(facts.slow_mode_seconds) * 1000, role)?;
        if let Some(seq) = reply_to {
            let none =
                Refusal::Invalid { field: "reply_to", why: "must be the seq of a message of this room" };
            if let Known::Load(seq) = self.known(seq).map_err(|_| none)? {
                return Ok(Decision::NeedHead(seq));
            }
        }
        if !self.state.dedupe.has_room(self.ts, &self.state.limits) {
            return Err(Refusal::Limit(
                "This room has taken as many messages as it can remember; wait a while.",
            ));
        }
        let sender = self.command.actor.clone();
        text::check_profile(&sender)?;
        let id = MessageId::from_parts(self.ts.unsigned_abs(), self.command.random);
        let mentions = mentioned(text, &self.state.members, self.state.limits.mentions);
        let reply = Reply::Posted {
            seq: self.state.last_seq + 1,
            id,
            ts: self.ts,
            repeated: false,
            mentions: Some(mentions.as_slice().into()),
        };
        let posted = Posted {
            id,
            sender,
            text: text.to_owned(),
            client_msg_id: client_msg_id.to_owned(),
            reply_to,
            mentions,
        };
        Ok(Decision::Append { events: vec![self.event(Body::Posted(Box::new(posted)))], reply })
    }

    /// The answer to a `client_msg_id` that was taken before.
    fn repeat(&self, text: &str, id: &str, reply_to: Option<u64>) -> Result<Option<Reply>, Refusal> {
        let Some(post) = self.state.dedupe.find(self.command.actor.id, id) else { return Ok(None) };
        if post.content != dedupe::content(text, reply_to) {
            return Err(Refusal::ClientMsgIdConflict);
        }
        Ok(Some(Reply::Posted { seq: post.seq, id: post.id, ts: post.ts, repeated: true, mentions: None }))
    }

    fn slow_mode(&self, pause: i64, role: Role) -> Result<(), Refusal> {
        if pause == 0 || role >= Role::Moderator {
            return Ok(());
        }
        let last = self.state.last_posts.get(&self.command.actor.id);
        match last.map(|last| last + pause - self.ts) {
            Some(wait) if wait > 0 => Err(Refusal::SlowMode { retry_after_ms: wait.unsigned_abs() }),
            _ => Ok(()),
        }
    }

    fn known(&self, seq: u64) -> Result<Known<'a>, Refusal> {
        if seq == 0 || seq > self.state.last_seq {
            return Err(Refusal::MessageNotFound);
        }
        match self.state.heads.get(seq) {
            None => Ok(Known::Load(seq)),
            Some(None) => Err(Refusal::MessageNotFound),
            Some(Some(head)) => Ok(Known::Head(head)),
        }
    }

    pub(super) fn edit(&self, seq: u64, text: &str) -> Decided {
        self.writer()?;
        text::check_text(text, self.state.limits.text_chars)?;
        let head = match self.known(seq)? {
            Known::Head(head) => head,
            Known::Load(seq) => return Ok(Decision::NeedHead(seq)),
        };
        if head.sender != self.command.actor.id {
            return Err(Refusal::Forbidden);
        }
        if head.amendment.deleted {
            return Err(Refusal::MessageDeleted);
        }
        let mut amendment = Box::new(head.amendment.clone());
        if amendment.edited.as_ref().is_some_and(|edit| edit.text == text) {
            return Ok(Decision::Already(Reply::Edited { seq: None, amendment }));
        }
        let mentions = mentioned(text, &self.state.members, self.state.limits.mentions);
        let at = self.state.last_seq + 1;
        amendment.edit(at, Edit { text: text.to_owned(), at: self.ts, mentions: mentions.clone() });
        let event = self.event(Body::Edited { message_seq: seq, text: text.to_owned(), mentions });
        Ok(Decision::Append { events: vec![event], reply: Reply::Edited { seq: Some(at), amendment } })
    }

    pub(super) fn delete(&self, seq: u64) -> Decided {
        let (facts, role) = self.member()?;
        let head = match self.known(seq)? {
            Known::Head(head) => head,
            Known::Load(seq) => return Ok(Decision::NeedHead(seq)),
        };
        let moderates = role >= Role::Moderator && facts.kind != Kind::Direct;
        if head.sender != self.command.actor.id && !moderates {
            return Err(Refusal::Forbidden);
        }
        if head.amendment.deleted {
            return nothing();
        }
        self.append(Body::Deleted { message_seq: seq })
    }

    pub(super) fn react(&self, seq: u64, emoji: &str) -> Decided {
        self.member()?;
        text::check_emoji(emoji)?;
        let head = match self.known(seq)? {
            Known::Head(head) => head,
            Known::Load(seq) => return Ok(Decision::NeedHead(seq)),
        };
        let now = &head.amendment;
        if now.deleted {
            return Err(Refusal::MessageDeleted);
        }
        if now.has(emoji, self.command.actor.id) {
            return nothing();
        }
        let limits = &self.state.limits;
        let count = now.count(emoji);
        if now.total() >= limits.reactions || (count == 0 && now.reactions.len() >= limits.emojis) {
            return Err(Refusal::Limit("This message has as many reactions as it can take."));
        }
        let count = u32::try_from(count + 1).unwrap_or(u32::MAX);
        self.append(Body::Reacted(Reaction { message_seq: seq, emoji: emoji.to_owned(), count }))
    }

    pub(super) fn unreact(&self, seq: u64, emoji: &str) -> Decided {
        self.member()?;
        text::check_emoji(emoji)?;
        let head = match self.known(seq)? {
            Known::Head(head) => head,
            Known::Load(seq) => return Ok(Decision::NeedHead(seq)),
        };
        if !head.amendment.has(emoji, self.command.actor.id) {
            return nothing();
        }
        let count = u32::try_from(head.amendment.count(emoji) - 1).unwrap_or(u32::MAX);
        self.append(Body::Unreacted(Reaction { message_seq: seq, emoji: emoji.to_owned(), count }))
    }
}
