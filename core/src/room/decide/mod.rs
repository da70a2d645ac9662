//! What a command comes to: events to store, an answer without any, or a refusal.
//!
//! Here belong the rules of rooms. Nothing here changes the state: events do, once proposed.

mod access;
mod create;
mod declare;
mod membership;
mod message;
mod settings;

use super::{Command, Refusal, Reply, State, What};
use crate::record::{Body, Event};

/// What a command comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// These events have to be stored; then `reply` is true. Never empty.
    Append {
        /// In order.
        events: Vec<Event>,
        /// What to answer then.
        reply: Reply,
    },
    /// Nothing is left to do.
    Already(Reply),
    /// More has to be known of the message with this seq: [`State::provide_head`], then decide again.
    NeedHead(u64),
}

impl State {
    /// Decides a command by the rules and the events so far.
    ///
    /// # Errors
    /// [`Refusal`]: it is not done, for that reason.
    pub fn decide(&self, command: &Command) -> Result<Decision, Refusal> {
        let asked = Asked { state: self, command, ts: command.now.max(self.last_ts) };
        match &command.what {
            What::Create { name, kind, visibility, topic, members } => {
                asked.create(name, *kind, *visibility, topic.as_deref(), members)
            }
            What::Update(update) => asked.update(update),
            What::Declare(declared) => asked.declare(declared),
            What::Remove => asked.remove(),
            What::Join => asked.join(),
            What::Leave => asked.leave(),
            What::Add { user, role } => asked.add(user, *role),
            What::SetRole { user, role } => asked.set_role(*user, *role),
            What::Kick { user } => asked.kick(*user),
            What::Ban { user, until } => asked.ban(user, *until),
            What::Unban { user } => asked.unban(*user),
            What::Mute { user, until } => asked.mute(*user, *until),
            What::Unmute { user } => asked.unmute(*user),
            What::Post { text, client_msg_id, reply_to } => asked.post(text, client_msg_id, *reply_to),
            What::Edit { seq, text } => asked.edit(*seq, text),
            What::Delete { seq } => asked.delete(*seq),
            What::React { seq, emoji } => asked.react(*seq, emoji),
            What::Unreact { seq, emoji } => asked.unreact(*seq, emoji),
        }
    }

    /// Which message must be known of to decide `what`, and is not: to be loaded while the command waits.
    pub fn missing_head(&self, what: &What) -> Option<u64> {
        let seq = match what {
            What::Post { reply_to, .. } => (*reply_to)?,
            What::Edit { seq, .. }
            | What::Delete { seq }
            | What::React { seq, .. }
            | What::Unreact { seq, .. } => *seq,
            _ => return None,
        };
        let possible = seq >= 1 && seq <= self.last_seq;
        (possible && self.heads.get(seq).is_none()).then_some(seq)
    }
}

/// A command in front of a state.
#[derive(Clone, Copy)]
struct Asked<'a> {
    state: &'a State,
    command: &'a Command,
    /// Time of the event to come: not before the last one's, whatever the owner's clock says.
    ts: i64,
}

type Decided = Result<Decision, Refusal>;

impl Asked<'_> {
    fn event(&self, body: Body) -> Event {
        Event { ts: self.ts, actor: self.command.actor.id, body }
    }

    /// One event, answered by its seq.
    fn append(&self, body: Body) -> Decided {
        let reply = Reply::Done { seq: Some(self.state.last_seq + 1) };
        Ok(Decision::Append { events: vec![self.event(body)], reply })
    }
}

/// Nothing to do.
fn nothing() -> Decided {
    Ok(Decision::Already(Reply::Done { seq: None }))
}
