//! The durable events of a room.

use rookery_protocol::id::{MessageId, UserId};

use crate::room::{Kind, Profile, Role, Update, Visibility};

/// One durable event. Its seq follows from its place in the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// Unix milliseconds, never less than the event before.
    pub ts: i64,
    /// Who did it.
    pub actor: UserId,
    /// What happened.
    pub body: Body,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body {
    /// A message was posted.
    Posted(Box<Posted>),
    /// A message got a new text.
    Edited {
        /// Which message.
        message_seq: u64,
        /// The new text.
        text: String,
        /// Whom the new text mentions.
        mentions: Vec<UserId>,
    },
    /// A message was deleted: a tombstone stays.
    Deleted {
        /// Which message.
        message_seq: u64,
    },
    /// The actor reacted to a message.
    Reacted(Reaction),
    /// The actor took a reaction back.
    Unreacted(Reaction),
    /// A change of membership.
    Member(Box<MemberChanged>),
    /// A change of the room.
    Room(Box<RoomChanged>),
}

/// A message, as posted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Posted {
    /// Its id.
    pub id: MessageId,
    /// Its sender, as named then.
    pub sender: Profile,
    /// Its text.
    pub text: String,
    /// The id that its client chose.
    pub client_msg_id: String,
    /// Seq of the message that it answers.
    pub reply_to: Option<u64>,
    /// Members that it mentions.
    pub mentions: Vec<UserId>,
}

/// A reaction given or taken back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reaction {
    /// To which message.
    pub message_seq: u64,
    /// Which.
    pub emoji: String,
    /// How many users react so after this event.
    pub count: u32,
}

/// What happened to a membership.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemberChange {
    /// Came by himself.
    Joined,
    /// Left by himself.
    Left,
    /// Was added.
    Added,
    /// Was removed.
    Kicked,
    /// Has another role.
    RoleChanged,
    /// Was banned, and is no member any more if he was one.
    Banned,
    /// May come again.
    Unbanned,
    /// May not write.
    Muted,
    /// May write again.
    Unmuted,
}

/// A change of membership.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemberChanged {
    /// Whom it is about.
    pub user: Profile,
    /// What happened.
    pub change: MemberChange,
    /// Role after the change; `None`: no member.
    pub role: Option<Role>,
    /// End of a mute or ban, Unix milliseconds; `None`: until lifted.
    pub until: Option<i64>,
}

/// A change of the room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RoomChanged {
    /// It was made: always the first event.
    Created {
        /// Name; empty in direct rooms.
        name: String,
        /// Topic.
        topic: Option<String>,
        /// Visibility.
        visibility: Visibility,
        /// Kind.
        kind: Kind,
        /// Its first members.
        members: Vec<(Profile, Role)>,
    },
    /// It was changed; what is absent stayed.
    Updated(Update),
    /// It was removed: always the last event.
    Removed,
}

impl Event {
    /// About how many bytes it takes in a record; never less than it does.
    pub fn size(&self) -> usize {
        /// Ids, numbers and field tags of any event.
        const FIXED: usize = 128;
        /// An id with its tag.
        const ID: usize = 24;
        let user = |user: &Profile| ID + 16 + user.username.len() + user.display_name.len();
        FIXED
            + match &self.body {
                Body::Posted(m) => {
                    user(&m.sender) + m.text.len() + m.client_msg_id.len() + m.mentions.len() * ID
                }
                Body::Edited { text, mentions, .. } => text.len() + mentions.len() * ID,
                Body::Deleted { .. } => 0,
                Body::Reacted(r) | Body::Unreacted(r) => r.emoji.len(),
                Body::Member(m) => user(&m.user),
                Body::Room(room) => match &**room {
                    RoomChanged::Created { name, topic, members, .. } => {
                        let members: usize = members.iter().map(|(member, _)| 8 + user(member)).sum();
                        name.len() + topic.as_ref().map_or(0, String::len) + members
                    }
                    RoomChanged::Updated(Update { name, topic, .. }) => {
                        name.as_ref().map_or(0, String::len) + topic.as_ref().map_or(0, String::len)
                    }
                    RoomChanged::Removed => 0,
                },
            }
    }
}
