//! Events of the log as clients see them.

use rookery_core::{
    record::{Body, Event, MemberChanged, Posted, Reaction, RoomChanged},
    room::Amendment,
};
use rookery_protocol::{
    client::{self, server_frame::Frame},
    id::{RoomId, UserId},
};

use super::words;

/// A durable event as the frame that tells of it, as it was when it happened.
pub fn frame(room: RoomId, seq: u64, event: &Event) -> client::ServerFrame {
    let (room, ts, user) = (room.to_string(), event.ts, event.actor.to_string());
    let frame = match &event.body {
        Body::Posted(posted) => Frame::Message(posted_message(room, seq, ts, posted)),
        Body::Edited { message_seq, text, mentions } => Frame::Edited(client::Edited {
            room,
            seq,
            message_seq: *message_seq,
            user,
            text: text.clone(),
            mentions: mentions.iter().map(ToString::to_string).collect(),
            ts,
        }),
        Body::Deleted { message_seq } => {
            Frame::Deleted(client::Deleted { room, seq, message_seq: *message_seq, user, ts })
        }
        Body::Reacted(reaction) => Frame::Reaction(reacted(room, seq, ts, user, reaction, "add")),
        Body::Unreacted(reaction) => Frame::Reaction(reacted(room, seq, ts, user, reaction, "remove")),
        Body::Member(member) => Frame::Member(member_changed(room, seq, ts, user, member)),
        Body::Room(changed) => Frame::Room(room_changed(room, seq, ts, user, changed)),
    };
    client::ServerFrame { re: None, frame: Some(frame) }
}

/// Takes the text out of a frame about a message that was deleted since.
pub(super) fn withhold(frame: &mut client::ServerFrame) {
    match &mut frame.frame {
        Some(Frame::Message(message)) => {
            message.text = String::new();
            message.mentions = Vec::new();
            message.deleted = true;
        }
        Some(Frame::Edited(edited)) => {
            edited.text = String::new();
            edited.mentions = Vec::new();
        }
        _ => {}
    }
}

/// A message as `viewer` sees it now, with all that became of it.
pub(super) fn message(
    room: RoomId,
    seq: u64,
    ts: i64,
    posted: &Posted,
    amendment: Option<&Amendment>,
    viewer: UserId,
) -> client::Message {
    let mut message = posted_message(room.to_string(), seq, ts, posted);
    let Some(amendment) = amendment else { return message };
    if amendment.deleted {
        message.text = String::new();
        message.mentions = Vec::new();
        message.deleted = true;
        return message;
    }
    if let Some(edit) = &amendment.edited {
        message.text.clone_from(&edit.text);
        message.mentions = edit.mentions.iter().map(ToString::to_string).collect();
        message.edited_at = Some(edit.at);
    }
    message.reactions = amendment
        .reactions
        .iter()
        .map(|reacted| {
            let count = u32::try_from(reacted.users.len()).unwrap_or(u32::MAX);
            let mine = reacted.users.contains(&viewer);
            (reacted.emoji.clone(), client::ReactionCount { count, mine })
        })
        .collect();
    message
}

fn posted_message(room: String, seq: u64, ts: i64, posted: &Posted) -> client::Message {
    client::Message {
        room,
        seq,
        id: posted.id.to_string(),
        sender: Some(client::Sender {
            id: posted.sender.id.to_string(),
            username: posted.sender.username.clone(),
            display_name: posted.sender.display_name.clone(),
        }),
        text: posted.text.clone(),
        client_msg_id: posted.client_msg_id.clone(),
        ts,
        reply_to: posted.reply_to,
        mentions: posted.mentions.iter().map(ToString::to_string).collect(),
        ..client::Message::default()
    }
}

fn reacted(room: String, seq: u64, ts: i64, user: String, reaction: &Reaction, op: &str) -> client::Reaction {
    client::Reaction {
        room,
        seq,
        message_seq: reaction.message_seq,
        user,
        emoji: reaction.emoji.clone(),
        op: op.to_owned(),
        count: reaction.count,
        ts,
    }
}

fn member_changed(
    room: String,
    seq: u64,
    ts: i64,
    by: String,
    member: &MemberChanged,
) -> client::MemberChanged {
    client::MemberChanged {
        room,
        seq,
        user: member.user.id.to_string(),
        change: words::change(member.change).to_owned(),
        role: member.role.map(|role| words::role(role).to_owned()),
        username: member.user.username.clone(),
        display_name: member.user.display_name.clone(),
        by,
        until: member.until,
        ts,
    }
}

fn room_changed(room: String, seq: u64, ts: i64, by: String, changed: &RoomChanged) -> client::RoomChanged {
    let mut told = client::RoomChanged { room, seq, by, ts, ..client::RoomChanged::default() };
    match changed {
        RoomChanged::Created { name, topic, visibility, kind, .. } => {
            told.change = "created".to_owned();
            told.name = Some(name.clone());
            told.topic.clone_from(topic);
            told.visibility = Some(words::visibility(*visibility).to_owned());
            told.kind = Some(words::kind(*kind).to_owned());
        }
        RoomChanged::Updated(update) => {
            told.change = "updated".to_owned();
            told.name.clone_from(&update.name);
            told.topic.clone_from(&update.topic);
            told.visibility = update.visibility.map(|visibility| words::visibility(visibility).to_owned());
            told.slow_mode_seconds = update.slow_mode_seconds;
            told.translation = update.translation;
            told.max_members = update.max_members;
            told.retention_days = update.retention_days;
            told.declared = update.declared;
        }
        RoomChanged::Removed => told.change = "deleted".to_owned(),
    }
    told
}
