//! Durable events, as far as two sights of one event must agree.

use serde_json::Value;

/// What a durable event says.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Body {
    /// A message. Whoever sees it later may see it edited or deleted: then there is no original text to compare.
    Message {
        /// Sender's id.
        user: String,
        /// His name for it.
        client_msg_id: String,
        /// As posted; `None` if what was seen is a later state.
        text: Option<String>,
    },
    /// A message has a new text.
    Edited {
        /// Who.
        user: String,
        /// Which.
        message_seq: u64,
        /// Now.
        text: String,
    },
    /// A message is gone.
    Deleted {
        /// Who.
        user: String,
        /// Which.
        message_seq: u64,
    },
    /// A reaction was added or taken back.
    Reaction {
        /// Who.
        user: String,
        /// To which message.
        message_seq: u64,
        /// Which.
        emoji: String,
        /// `add` or `remove`.
        op: String,
    },
    /// Membership or the room: kind of frame, whom it is about, change.
    Other(String, String, String),
}

impl Body {
    /// Reads a frame; `None` if it is no durable event. The seq is the frame's own.
    pub fn of(frame: &Value) -> Option<(u64, Self)> {
        let text = |key: &str| frame[key].as_str().unwrap_or_default().to_owned();
        let message_seq = frame["message_seq"].as_u64().unwrap_or_default();
        let user = text("user");
        let body = match frame["t"].as_str()? {
            "message" => Self::of_message(frame),
            "edited" => Self::Edited { user, message_seq, text: text("text") },
            "deleted" => Self::Deleted { user, message_seq },
            "reaction" => Self::Reaction { user, message_seq, emoji: text("emoji"), op: text("op") },
            t @ ("member" | "room") => Self::Other(t.to_owned(), user, text("change")),
            _ => return None,
        };
        Some((frame["seq"].as_u64()?, body))
    }

    /// Reads a message object.
    pub fn of_message(message: &Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let changed = message["deleted"] == true || message.get("edited_at").is_some();
        Self::Message {
            user: text(&message["sender"]["id"]),
            client_msg_id: text(&message["client_msg_id"]),
            text: (!changed).then(|| text(&message["text"])),
        }
    }

    /// Whether both can be sights of the same event.
    pub fn agrees(&self, other: &Self) -> bool {
        match (self, other) {
            (
                Self::Message { user, client_msg_id, text },
                Self::Message { user: other_user, client_msg_id: other_id, text: other_text },
            ) => {
                (user, client_msg_id) == (other_user, other_id)
                    && (text == other_text || text.is_none() || other_text.is_none())
            }
            _ => self == other,
        }
    }
}
