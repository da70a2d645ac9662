//! Durable events as the frames that clients get.

use rookery_protocol::{
    client::{self, server_frame::Frame},
    id::{MessageId, RoomId, UserId},
    log::{self, event},
};

fn id(id: Option<log::Id>) -> String {
    UserId::from(id.unwrap_or_default()).to_string()
}

fn ids(ids: &[log::Id]) -> Vec<String> {
    ids.iter().map(|&one| UserId::from(one).to_string()).collect()
}

/// The frame of event `seq` of `room`. `None`: an event of a kind that this version does not know.
pub fn render(room: RoomId, seq: u64, event: &log::Event) -> Option<client::ServerFrame> {
    let ts = event.ts;
    let actor = || id(event.actor);
    let room = || room.to_string();
    let frame = match event.event.as_ref()? {
        event::Event::Posted(posted) => Frame::Message(message(room(), seq, ts, posted)),
        event::Event::Edited(edited) => Frame::Edited(client::Edited {
            room: room(),
            seq,
            message_seq: edited.message_seq,
            user: actor(),
            text: edited.text.clone(),
            mentions: ids(&edited.mentions),
            ts,
        }),
        event::Event::Deleted(deleted) => Frame::Deleted(client::Deleted {
            room: room(),
            seq,
            message_seq: deleted.message_seq,
            user: actor(),
            ts,
        }),
        event::Event::Reacted(log::ReactionAdded { message_seq, emoji, count }) => {
            Frame::Reaction(reaction(room(), seq, *message_seq, actor(), emoji, "add", *count, ts))
        }
        event::Event::Unreacted(log::ReactionRemoved { message_seq, emoji, count }) => {
            Frame::Reaction(reaction(room(), seq, *message_seq, actor(), emoji, "remove", *count, ts))
        }
        event::Event::Member(member) => {
            let user = member.user.clone().unwrap_or_default();
            Frame::Member(client::MemberChanged {
                room: room(),
                seq,
                user: id(user.id),
                change: member_change(member.change()).to_owned(),
                role: role(member.role()).map(str::to_owned),
                username: user.username,
                display_name: user.display_name,
                by: actor(),
                until: member.until,
                ts,
            })
        }
        event::Event::Room(changed) => Frame::Room(client::RoomChanged {
            room: room(),
            seq,
            change: room_change(changed.change()).to_owned(),
            name: changed.name.clone(),
            topic: changed.topic.clone(),
            visibility: visibility(changed.visibility()).map(str::to_owned),
            slow_mode_seconds: changed.slow_mode_seconds,
            by: actor(),
            ts,
            kind: kind(changed.kind()).map(str::to_owned),
        }),
    };
    Some(client::ServerFrame { re: None, frame: Some(frame) })
}

/// A message as it was posted: later events change it.
pub fn message(room: String, seq: u64, ts: i64, posted: &log::MessagePosted) -> client::Message {
    let sender = posted.sender.clone().unwrap_or_default();
    client::Message {
        room,
        seq,
        id: MessageId::from(posted.id.unwrap_or_default()).to_string(),
        sender: Some(client::Sender {
            id: id(sender.id),
            username: sender.username,
            display_name: sender.display_name,
        }),
        text: posted.text.clone(),
        client_msg_id: posted.client_msg_id.clone(),
        ts,
        reply_to: posted.reply_to,
        mentions: ids(&posted.mentions),
        ..Default::default()
    }
}

#[allow(clippy::too_many_arguments)] // The fields of the frame, in its order.
fn reaction(
    room: String,
    seq: u64,
    message_seq: u64,
    user: String,
    emoji: &str,
    op: &str,
    count: u32,
    ts: i64,
) -> client::Reaction {
    client::Reaction { room, seq, message_seq, user, emoji: emoji.to_owned(), op: op.to_owned(), count, ts }
}

fn member_change(change: log::MemberChange) -> &'static str {
    match change {
        log::MemberChange::Unspecified => "unknown",
        log::MemberChange::Joined => "joined",
        log::MemberChange::Left => "left",
        log::MemberChange::Added => "added",
        log::MemberChange::Kicked => "kicked",
        log::MemberChange::RoleChanged => "role",
        log::MemberChange::Banned => "banned",
        log::MemberChange::Unbanned => "unbanned",
        log::MemberChange::Muted => "muted",
        log::MemberChange::Unmuted => "unmuted",
    }
}

/// The word for a role; `None` for one who is no member.
pub fn role(role: log::Role) -> Option<&'static str> {
    match role {
        log::Role::Unspecified => None,
        log::Role::Member => Some("member"),
        log::Role::Moderator => Some("moderator"),
        log::Role::Owner => Some("owner"),
    }
}

fn room_change(change: log::RoomChange) -> &'static str {
    match change {
        log::RoomChange::Unspecified => "unknown",
        log::RoomChange::Created => "created",
        log::RoomChange::Updated => "updated",
        log::RoomChange::Removed => "deleted",
    }
}

/// The word for a visibility.
pub fn visibility(visibility: log::Visibility) -> Option<&'static str> {
    match visibility {
        log::Visibility::Unspecified => None,
        log::Visibility::Public => Some("public"),
        log::Visibility::Private => Some("private"),
    }
}

/// The word for a kind of room.
pub fn kind(kind: log::RoomKind) -> Option<&'static str> {
    match kind {
        log::RoomKind::Unspecified => None,
        log::RoomKind::Group => Some("group"),
        log::RoomKind::Channel => Some("channel"),
        log::RoomKind::Direct => Some("direct"),
    }
}

/// Whom an event makes stop following the room.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Gone {
    /// This user.
    User(UserId),
    /// Everybody: the room is deleted.
    All,
}

/// Whether somebody must stop following the room after `event`.
pub(super) fn gone(event: &log::Event) -> Option<Gone> {
    match event.event.as_ref()? {
        event::Event::Member(member) => {
            let removed = matches!(
                member.change(),
                log::MemberChange::Left | log::MemberChange::Kicked | log::MemberChange::Banned
            );
            let user = member.user.as_ref()?.id?;
            removed.then(|| Gone::User(user.into()))
        }
        event::Event::Room(changed) => (changed.change() == log::RoomChange::Removed).then_some(Gone::All),
        _ => None,
    }
}
