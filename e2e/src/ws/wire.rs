//! Protobuf frames to and from the values that JSON frames are. Written from the client API and the `.proto`
//! file, not from the node's own mapping, which it is there to check.

use prost::{Message as _, bytes::Bytes};
use rookery_protocol::client::{self, client_frame, server_frame};
use serde_json::{Map, Value, json};

use crate::time::rfc3339;

/// A request. Panics at what no client would send; such things are sent raw.
pub(super) fn encode(frame: &Value) -> Vec<u8> {
    client::ClientFrame { id: frame["id"].as_u64(), frame: Some(request(frame)) }.encode_to_vec()
}

fn request(frame: &Value) -> client_frame::Frame {
    use client_frame::Frame;
    let text = |key: &str| frame[key].as_str().unwrap_or_default().to_owned();
    let optional = |key: &str| frame[key].as_str().map(str::to_owned);
    let number = |key: &str| frame[key].as_u64().unwrap_or_default();
    let (room, seq) = (text("room"), number("seq"));
    match frame["t"].as_str().unwrap_or_default() {
        "hello" => Frame::Hello(client::Hello {
            token: optional("token"),
            ticket: optional("ticket"),
            client: optional("client"),
            resume: frame["resume"]
                .as_object()
                .into_iter()
                .flatten()
                .map(|(room, after)| (room.clone(), after.as_u64().unwrap_or_default()))
                .collect(),
            rooms: match &frame["rooms"] {
                Value::Null => None,
                Value::Array(rooms) => Some(client::RoomSelection {
                    all: false,
                    rooms: rooms.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
                }),
                _ => Some(client::RoomSelection { all: true, rooms: Vec::new() }),
            },
        }),
        "subscribe" => Frame::Subscribe(client::Subscribe { room, after: frame["after"].as_u64() }),
        "unsubscribe" => Frame::Unsubscribe(client::Unsubscribe { room }),
        "send" => Frame::Send(client::Send {
            room,
            text: text("text"),
            client_msg_id: text("client_msg_id"),
            reply_to: frame["reply_to"].as_u64(),
        }),
        "edit" => Frame::Edit(client::Edit { room, seq, text: text("text") }),
        "delete" => Frame::Delete(client::Delete { room, seq }),
        "react" => Frame::React(client::React { room, seq, emoji: text("emoji") }),
        "unreact" => Frame::Unreact(client::Unreact { room, seq, emoji: text("emoji") }),
        "read" => Frame::Read(client::MarkRead { room, seq }),
        "typing" => Frame::Typing(client::StartTyping { room }),
        "presence" => Frame::Presence(client::SetPresence { status: text("status") }),
        "refresh" => Frame::Refresh(client::Refresh { token: text("token") }),
        "ping" => Frame::Ping(client::Ping {}),
        other => panic!("no such request: {other:?}"),
    }
}

/// A frame of the node; panics if it is none.
pub(super) fn decode(bytes: Bytes) -> Value {
    let frame = client::ServerFrame::decode(bytes).expect("the node sends frames of its protocol");
    let (t, mut fields) = event(frame.frame.expect("a frame says something that this client knows"));
    fields.insert("t".to_owned(), json!(t));
    if let Some(re) = frame.re {
        fields.insert("re".to_owned(), json!(re));
    }
    Value::Object(fields)
}

/// An object; fields that are absent (`null`) are left out.
macro_rules! object {
    ($($key:ident: $value:expr),* $(,)?) => {{
        let mut object = Map::new();
        $(match json!($value) {
            Value::Null => {}
            value => { object.insert(stringify!($key).to_owned(), value); }
        })*
        object
    }};
}

fn event(frame: server_frame::Frame) -> (&'static str, Map<String, Value>) {
    use server_frame::Frame;
    match frame {
        Frame::Ok(f) => {
            ("ok", object! { seq: f.seq, msg_id: f.msg_id, ts: f.ts.map(rfc3339), last_seq: f.last_seq })
        }
        Frame::Error(f) => {
            let (code, message) = (f.code, f.message);
            (
                "error",
                object! { code: code, message: message, retry_after_ms: f.retry_after_ms, room: f.room },
            )
        }
        Frame::Welcome(f) => ("welcome", welcome(f)),
        Frame::Pong(_) => ("pong", Map::new()),
        Frame::Message(f) => ("message", message(f)),
        Frame::Edited(f) => (
            "edited",
            object! {
                room: f.room, seq: f.seq, message_seq: f.message_seq, user: f.user, text: f.text,
                mentions: f.mentions, ts: rfc3339(f.ts),
            },
        ),
        Frame::Deleted(f) => (
            "deleted",
            object! { room: f.room, seq: f.seq, message_seq: f.message_seq, user: f.user, ts: rfc3339(f.ts) },
        ),
        Frame::Reaction(f) => (
            "reaction",
            object! {
                room: f.room, seq: f.seq, message_seq: f.message_seq, user: f.user, emoji: f.emoji, op: f.op,
                count: f.count, ts: rfc3339(f.ts),
            },
        ),
        Frame::Member(f) => (
            "member",
            object! {
                room: f.room, seq: f.seq, user: f.user, change: f.change, role: f.role, username: f.username,
                display_name: f.display_name, by: f.by, until: f.until.map(rfc3339), ts: rfc3339(f.ts),
            },
        ),
        Frame::Room(f) => (
            "room",
            object! {
                room: f.room, seq: f.seq, change: f.change, name: f.name, topic: f.topic,
                visibility: f.visibility, slow_mode_seconds: f.slow_mode_seconds, by: f.by,
                ts: rfc3339(f.ts), kind: f.kind, translation: f.translation, max_members: f.max_members,
                retention_days: f.retention_days, declared: f.declared,
            },
        ),
        Frame::Typing(f) => ("typing", object! { room: f.room, user: f.user }),
        Frame::Presence(f) => {
            let some = |text: String| Some(text).filter(|text| !text.is_empty());
            (
                "presence",
                object! { room: f.room, user: some(f.user), status: some(f.status), online: f.online },
            )
        }
        Frame::Read(f) => ("read", object! { room: f.room, user: f.user, seq: f.seq }),
        Frame::Translation(f) => (
            "translation",
            object! { room: f.room, seq: f.seq, language: f.language, text: f.text, engine: f.engine },
        ),
        Frame::CaughtUp(f) => ("caught_up", object! { room: f.room, last_seq: f.last_seq }),
        Frame::Resync(f) => ("resync", object! { room: f.room, from: f.from, last_seq: f.last_seq }),
        Frame::Drain(f) => ("drain", object! { retry_after_ms: f.retry_after_ms }),
    }
}

fn welcome(welcome: client::Welcome) -> Map<String, Value> {
    let user = welcome.user.map(|user| {
        json!({
            "id": user.id, "username": user.username, "display_name": user.display_name,
            "language": user.language, "created_at": rfc3339(user.created_at),
        })
    });
    let limits = welcome.limits.map(|limits| {
        json!({
            "text_chars": limits.text_chars, "frame_bytes": limits.frame_bytes,
            "subscriptions": limits.subscriptions, "replay_events": limits.replay_events,
        })
    });
    let rooms: Vec<Value> = welcome
        .rooms
        .into_iter()
        .map(|room| {
            json!({
                "room": room.room, "last_seq": room.last_seq, "read_seq": room.read_seq, "unread": room.unread,
            })
        })
        .collect();
    object! {
        session: welcome.session, user: user, node: welcome.node, heartbeat_ms: welcome.heartbeat_ms,
        limits: limits, rooms: rooms,
    }
}

fn message(message: client::Message) -> Map<String, Value> {
    let sender = message.sender.expect("a message has a sender");
    let reactions: Map<String, Value> = message
        .reactions
        .into_iter()
        .map(|(emoji, reaction)| (emoji, json!({"count": reaction.count, "mine": reaction.mine})))
        .collect();
    let translation =
        message.translation.map(|t| json!({"language": t.language, "text": t.text, "engine": t.engine}));
    object! {
        room: message.room, seq: message.seq, id: message.id,
        sender: json!({
            "id": sender.id, "username": sender.username, "display_name": sender.display_name,
        }),
        text: message.text, client_msg_id: message.client_msg_id, ts: rfc3339(message.ts),
        reply_to: message.reply_to, edited_at: message.edited_at.map(rfc3339),
        deleted: message.deleted.then_some(true), reactions: reactions, mentions: message.mentions,
        translation: translation,
    }
}
