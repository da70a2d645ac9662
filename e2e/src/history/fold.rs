//! What a room's messages are after all its events: to compare with what the history pages say.

use std::collections::{BTreeMap, BTreeSet};

use super::Body;

/// A message after all that happened to it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct State {
    /// The sender's id.
    pub user: String,
    /// His name for it.
    pub client_msg_id: String,
    /// Its text now; empty if deleted; `None` if the events at hand do not say.
    pub text: Option<String>,
    /// Whether it was deleted.
    pub deleted: bool,
    /// Who reacts with what.
    pub reactions: BTreeMap<String, BTreeSet<String>>,
}

/// Messages by seq.
pub fn fold(events: &[(u64, Body)]) -> BTreeMap<u64, State> {
    let mut messages: BTreeMap<u64, State> = BTreeMap::new();
    for (seq, body) in events {
        match body {
            Body::Message { user, client_msg_id, text } => {
                let (user, client_msg_id, text) = (user.clone(), client_msg_id.clone(), text.clone());
                messages.insert(*seq, State { user, client_msg_id, text, ..State::default() });
            }
            Body::Edited { message_seq, text, .. } => {
                if let Some(message) = messages.get_mut(message_seq) {
                    message.text = Some(text.clone());
                }
            }
            Body::Deleted { message_seq, .. } => {
                if let Some(message) = messages.get_mut(message_seq) {
                    message.text = Some(String::new());
                    message.deleted = true;
                    message.reactions.clear();
                }
            }
            Body::Reaction { user, message_seq, emoji, op } => {
                if let Some(message) = messages.get_mut(message_seq) {
                    let users = message.reactions.entry(emoji.clone()).or_default();
                    if op == "add" {
                        users.insert(user.clone());
                    } else {
                        users.remove(user);
                    }
                    message.reactions.retain(|_, users| !users.is_empty());
                }
            }
            Body::Other(..) => {}
        }
    }
    messages
}
