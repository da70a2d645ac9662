//! What can be asked of a room, and what it answers.

use rookery_protocol::id::{MessageId, UserId};

use super::{Amendment, Declaration, Update};

/// A user as rooms know him: stored with what he does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Id.
    pub id: UserId,
    /// Unique name, 1-32 characters.
    pub username: String,
    /// Name to show.
    pub display_name: String,
}

/// What a member may do. Later ones may do all that earlier ones may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Reads and writes (in a channel: reads and reacts).
    Member,
    /// Also deletes others' messages, kicks, bans, mutes, adds, and changes name, topic and slow mode.
    Moderator,
    /// Also changes roles and all else of the room, and deletes it. Each room has at least one, unless it is declared.
    Owner,
}

/// What kind of room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Every member writes.
    Group,
    /// Owners and moderators write, members read and react.
    Channel,
    /// Two users, for good: no roles, no bans, nobody added.
    Direct,
}

/// Who finds and joins the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Visibility {
    /// Everybody.
    Public,
    /// Those who are added. To others it does not exist.
    Private,
}

/// One request to a room's owner.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Command {
    /// Who asks. Already authenticated.
    pub actor: Profile,
    /// For what.
    pub what: What,
    /// Unix milliseconds at the owner.
    pub now: i64,
    /// 80 random bits, for a message's id.
    pub random: u128,
}

/// What is asked. Limits on sizes are checked by the room ([`Refusal::Invalid`]), not by callers alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    /// Make the room; its log must be empty. Direct rooms: repeating it is answered `Done` with seq 1.
    Create {
        /// 1-100 characters (direct rooms: empty).
        name: String,
        /// Kind.
        kind: Kind,
        /// Visibility.
        visibility: Visibility,
        /// At most 500 characters.
        topic: Option<String>,
        /// First members; the actor is one of them, as owner (direct: both as members).
        members: Vec<(Profile, Role)>,
    },
    /// Change the room (moderators; some of it: owners).
    Update(Update),
    /// Make the room what it is declared to be, or a part of that: to be repeated until `Done` comes without a seq. Asked by
    /// [`DECLARER`](super::DECLARER) alone.
    Declare(Box<Declaration>),
    /// Delete the room (owners; a declared one: [`DECLARER`](super::DECLARER)).
    Remove,
    /// Join a public room. A member already: `Done` without a seq.
    Join,
    /// Leave. The last owner cannot leave while there are other members, and who is declared cannot at all.
    Leave,
    /// Add a user (moderators; above `Member`: owners).
    Add {
        /// Whom.
        user: Profile,
        /// As what.
        role: Role,
    },
    /// Change a member's role (owners).
    SetRole {
        /// Whose.
        user: UserId,
        /// To what.
        role: Role,
    },
    /// Remove a member of lower role.
    Kick {
        /// Whom.
        user: UserId,
    },
    /// Ban a user, member or not.
    Ban {
        /// Whom.
        user: Profile,
        /// Until then, Unix milliseconds; `None`: until lifted.
        until: Option<i64>,
    },
    /// Lift a ban.
    Unban {
        /// Whose.
        user: UserId,
    },
    /// Keep a member from writing.
    Mute {
        /// Whom.
        user: UserId,
        /// Until then, Unix milliseconds; `None`: until lifted.
        until: Option<i64>,
    },
    /// Lift a mute.
    Unmute {
        /// Whose.
        user: UserId,
    },
    /// Post a message. `@username` of a member becomes a mention.
    Post {
        /// 1-4000 characters by default, never interpreted otherwise.
        text: String,
        /// 1-64 characters, unique per user and message.
        client_msg_id: String,
        /// Seq of the message answered.
        reply_to: Option<u64>,
    },
    /// Change one's own message.
    Edit {
        /// Which.
        seq: u64,
        /// The new text.
        text: String,
    },
    /// Delete one's own message, or as moderator another's. Deleting a deleted one: `Done` without a seq.
    Delete {
        /// Which.
        seq: u64,
    },
    /// React. The same reaction again: `Done` without a seq.
    React {
        /// To which message.
        seq: u64,
        /// One emoji, at most 64 bytes.
        emoji: String,
    },
    /// Take a reaction back. None there: `Done` without a seq.
    Unreact {
        /// From which message.
        seq: u64,
        /// Which.
        emoji: String,
    },
}

impl What {
    /// The [`LEVEL`](crate::ring::LEVEL) that nodes must have to understand it and what comes of it.
    pub fn level(&self) -> u32 {
        match self {
            Self::Update(update) => update.level(),
            Self::Declare(_) => 1,
            _ => 0,
        }
    }
}

/// What a room answers once the events of a command are durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A message is stored.
    Posted {
        /// Its seq.
        seq: u64,
        /// Its id.
        id: MessageId,
        /// When, Unix milliseconds.
        ts: i64,
        /// Stored by an earlier try with the same `client_msg_id`.
        repeated: bool,
        /// Whom it mentions; `None`: that is not known here (of a repeat, the log tells).
        mentions: Option<Box<[UserId]>>,
    },
    /// A message has the text that was asked for.
    Edited {
        /// Event that did it; `None`: it had that text already.
        seq: Option<u64>,
        /// What became of the message, with this.
        amendment: Box<Amendment>,
    },
    /// Done; `seq` of the event where one was needed.
    Done {
        /// Event that did it.
        seq: Option<u64>,
    },
}

/// Why a room does not do it. Nothing was stored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// There is no such room, or the actor may not know of it.
    #[error("There is no such room, or you are not in it.")]
    RoomNotFound,
    /// A public room that the actor is no member of.
    #[error("You are not a member of this room; join it first.")]
    NotAMember,
    /// The role does not suffice.
    #[error("Your role in this room does not allow that.")]
    Forbidden,
    /// Banned.
    #[error("You are banned from this room.")]
    Banned,
    /// Muted; until when, if that is known.
    #[error("You are muted in this room.")]
    Muted(Option<i64>),
    /// Slow mode: wait so many milliseconds.
    #[error("This room is in slow mode.")]
    SlowMode {
        /// Milliseconds to wait.
        retry_after_ms: u64,
    },
    /// No message with that seq.
    #[error("There is no message with that number in this room.")]
    MessageNotFound,
    /// The message is deleted.
    #[error("That message was deleted.")]
    MessageDeleted,
    /// The user is no member.
    #[error("That user is not a member of this room.")]
    MemberNotFound,
    /// The user is one already, or the room exists.
    #[error("{0}")]
    Conflict(&'static str),
    /// The same `client_msg_id` with other content.
    #[error("That client_msg_id was used for a different message.")]
    ClientMsgIdConflict,
    /// A `client_msg_id` that says it is older than what is remembered.
    #[error("That client_msg_id is older than this room remembers; use a new one.")]
    ClientMsgIdStale,
    /// A limit of the room is reached: members, reactions on a message.
    #[error("{0}")]
    Limit(&'static str),
    /// A field is wrong.
    #[error("{field}: {why}")]
    Invalid {
        /// Which field.
        field: &'static str,
        /// What it must be.
        why: &'static str,
    },
    /// Not owner (any more), or too much is waiting; try again.
    #[error("The room cannot take this now; try again.")]
    Unavailable,
}
