//! One frame of every type with every field, and of each one with the fewest.

use rookery_protocol::client::{client_frame::Frame as FromClient, server_frame::Frame as FromServer, *};

const ROOM: &str = "01KAHNY3G0000000000000R00M";
const USER: &str = "01KAHNY3G0000000000000VSER";
const NOW: i64 = 1_795_258_680_123;

fn room() -> String {
    ROOM.to_owned()
}

fn user() -> String {
    USER.to_owned()
}

pub(crate) fn from_clients() -> Vec<(&'static str, ClientFrame)> {
    let frames = [
        ("hello", FromClient::Hello(Hello::default())),
        (
            "hello with a token and every room",
            FromClient::Hello(Hello {
                token: Some("eyJhbGciOiJFZERTQSJ9.e30.c2ln".into()),
                client: Some("rookery-web/1".into()),
                rooms: Some(RoomSelection { all: true, rooms: Vec::new() }),
                ..Hello::default()
            }),
        ),
        (
            "hello with a ticket, resuming",
            FromClient::Hello(Hello {
                ticket: Some("t-1".into()),
                resume: [(room(), 41), ("01KAHNY3G0000000000000R002".into(), 0)].into(),
                rooms: Some(RoomSelection { all: false, rooms: vec![room()] }),
                ..Hello::default()
            }),
        ),
        ("subscribe", FromClient::Subscribe(Subscribe { room: room(), after: None })),
        ("subscribe after 0", FromClient::Subscribe(Subscribe { room: room(), after: Some(0) })),
        ("unsubscribe", FromClient::Unsubscribe(Unsubscribe { room: room() })),
        (
            "send",
            FromClient::Send(Send {
                room: room(),
                text: "Grüße, 世界 \u{1F44B}\n\"\\\u{0}".into(),
                client_msg_id: "01KAHNY3G00000000000000MSG".into(),
                reply_to: None,
            }),
        ),
        (
            "send as a reply",
            FromClient::Send(Send {
                room: room(),
                text: "Yes.".into(),
                client_msg_id: "m2".into(),
                reply_to: Some(7),
            }),
        ),
        ("edit", FromClient::Edit(Edit { room: room(), seq: 7, text: "No.".into() })),
        ("delete", FromClient::Delete(Delete { room: room(), seq: 7 })),
        ("react", FromClient::React(React { room: room(), seq: 7, emoji: "👍🏽".into() })),
        ("unreact", FromClient::Unreact(Unreact { room: room(), seq: 7, emoji: "👍🏽".into() })),
        ("read", FromClient::Read(MarkRead { room: room(), seq: 8 })),
        ("typing", FromClient::Typing(StartTyping { room: room() })),
        ("presence", FromClient::Presence(SetPresence { status: "away".into() })),
        ("refresh", FromClient::Refresh(Refresh { token: "eyJhbGciOiJFZERTQSJ9.e30.c2ln".into() })),
        ("ping", FromClient::Ping(Ping {})),
    ];
    let mut all: Vec<_> = (1..)
        .zip(frames)
        .map(|(id, (name, frame))| (name, ClientFrame { id: Some(id), frame: Some(frame) }))
        .collect();
    all.push(("ping without an id", ClientFrame { id: None, frame: Some(FromClient::Ping(Ping {})) }));
    all.push((
        "ping with the greatest id",
        ClientFrame { id: Some(rookery_protocol::MAX_ID), frame: Some(FromClient::Ping(Ping {})) },
    ));
    all
}

fn message() -> Message {
    Message {
        room: room(),
        seq: 9,
        id: "01KAHNY3G00000000000000MSG".into(),
        sender: Some(Sender { id: user(), username: "ada".into(), display_name: "Ada \u{1F469}".into() }),
        text: "Hello @bob".into(),
        client_msg_id: "m1".into(),
        ts: NOW,
        ..Message::default()
    }
}

pub(crate) fn from_nodes() -> Vec<(&'static str, ServerFrame)> {
    let answers = [
        ("ok", FromServer::Ok(Ok::default())),
        (
            "ok to send",
            FromServer::Ok(Ok {
                seq: Some(9),
                msg_id: Some("01KAHNY3G00000000000000MSG".into()),
                ts: Some(NOW),
                last_seq: None,
            }),
        ),
        ("ok to subscribe", FromServer::Ok(Ok { last_seq: Some(0), ..Ok::default() })),
        (
            "error",
            FromServer::Error(Error {
                code: "not_a_member".into(),
                message: "You are not a member of this room; join it first.".into(),
                ..Error::default()
            }),
        ),
        (
            "error to wait after",
            FromServer::Error(Error {
                code: "rate_limited".into(),
                message: "Too many messages.".into(),
                retry_after_ms: Some(1500),
                ..Error::default()
            }),
        ),
        (
            "welcome",
            FromServer::Welcome(Welcome {
                session: "01KAHNY3G000000000000SESS0".into(),
                user: Some(User {
                    id: user(),
                    username: "ada".into(),
                    display_name: "Ada".into(),
                    language: "en".into(),
                    created_at: 1_000_000_000_123,
                }),
                node: "node-0".into(),
                heartbeat_ms: 25_000,
                limits: Some(Limits {
                    text_chars: 4000,
                    frame_bytes: 65_536,
                    subscriptions: 1000,
                    replay_events: 10_000,
                }),
                rooms: vec![RoomState { room: room(), last_seq: 9, read_seq: 3, unread: 2 }],
            }),
        ),
        ("pong", FromServer::Pong(Pong {})),
    ];
    let events = [
        (
            "error without a request",
            FromServer::Error(Error { code: "malformed".into(), ..Error::default() }),
        ),
        (
            "error about a room",
            FromServer::Error(Error {
                code: "too_many_subscriptions".into(),
                message: "This connection follows as many rooms as it may.".into(),
                retry_after_ms: None,
                room: Some(room()),
            }),
        ),
        ("message", FromServer::Message(message())),
        (
            "message with everything",
            FromServer::Message(Message {
                reply_to: Some(7),
                edited_at: Some(NOW + 1),
                reactions: [
                    ("👍".to_owned(), ReactionCount { count: 2, mine: true }),
                    ("🎉".to_owned(), ReactionCount { count: 1, mine: false }),
                ]
                .into(),
                mentions: vec![user()],
                translation: Some(Translated {
                    language: "es".into(),
                    text: "Hola @bob".into(),
                    engine: "test".into(),
                }),
                ..message()
            }),
        ),
        (
            "message that was deleted",
            FromServer::Message(Message { text: String::new(), deleted: true, ..message() }),
        ),
        (
            "edited",
            FromServer::Edited(Edited {
                room: room(),
                seq: 10,
                message_seq: 9,
                user: user(),
                text: "Hello @ada".into(),
                mentions: vec![user()],
                ts: NOW,
            }),
        ),
        (
            "deleted",
            FromServer::Deleted(Deleted { room: room(), seq: 11, message_seq: 9, user: user(), ts: NOW }),
        ),
        (
            "reaction",
            FromServer::Reaction(Reaction {
                room: room(),
                seq: 12,
                message_seq: 9,
                user: user(),
                emoji: "👍".into(),
                op: "add".into(),
                count: 1,
                ts: NOW,
            }),
        ),
        (
            "member who joined",
            FromServer::Member(MemberChanged {
                room: room(),
                seq: 13,
                user: user(),
                change: "joined".into(),
                role: Some("member".into()),
                username: "ada".into(),
                display_name: "Ada".into(),
                by: user(),
                until: None,
                ts: NOW,
            }),
        ),
        (
            "member who was banned for a while",
            FromServer::Member(MemberChanged {
                room: room(),
                seq: 14,
                user: user(),
                change: "banned".into(),
                role: None,
                username: "ada".into(),
                display_name: "Ada".into(),
                by: "01KAHNY3G0000000000000M0D0".into(),
                until: Some(NOW + 60_000),
                ts: NOW,
            }),
        ),
        (
            "room that was made",
            FromServer::Room(RoomChanged {
                room: room(),
                seq: 1,
                change: "created".into(),
                name: Some("general".into()),
                topic: Some("".into()),
                visibility: Some("public".into()),
                slow_mode_seconds: Some(0),
                by: user(),
                ts: NOW,
                kind: Some("group".into()),
                ..RoomChanged::default()
            }),
        ),
        (
            "room whose owner changed what he may",
            FromServer::Room(RoomChanged {
                room: room(),
                seq: 16,
                change: "updated".into(),
                by: user(),
                ts: NOW,
                translation: Some(false),
                max_members: Some(50),
                retention_days: Some(0),
                ..RoomChanged::default()
            }),
        ),
        (
            "room that is declared",
            FromServer::Room(RoomChanged {
                room: room(),
                seq: 2,
                change: "updated".into(),
                by: "00000000000000000000000000".into(),
                ts: NOW,
                declared: Some(true),
                ..RoomChanged::default()
            }),
        ),
        (
            "room that is gone",
            FromServer::Room(RoomChanged {
                room: room(),
                seq: 15,
                change: "deleted".into(),
                by: user(),
                ts: -1,
                ..RoomChanged::default()
            }),
        ),
        ("typing", FromServer::Typing(Typing { room: room(), user: user() })),
        (
            "presence",
            FromServer::Presence(Presence {
                room: room(),
                user: user(),
                status: "away".into(),
                online: None,
            }),
        ),
        (
            "presence of a large room",
            FromServer::Presence(Presence { room: room(), online: Some(812), ..Presence::default() }),
        ),
        ("read", FromServer::Read(ReadMark { room: room(), user: user(), seq: 9 })),
        (
            "translation",
            FromServer::Translation(Translation {
                room: room(),
                seq: 9,
                language: "es".into(),
                text: "Hola @bob".into(),
                engine: "test".into(),
            }),
        ),
        ("caught_up", FromServer::CaughtUp(CaughtUp { room: room(), last_seq: 9 })),
        ("resync", FromServer::Resync(Resync { room: room(), from: 3, last_seq: 20_000 })),
        ("drain", FromServer::Drain(Drain { retry_after_ms: 700 })),
    ];
    let answers = (1..).zip(answers).map(|(re, (name, frame))| (name, Some(re), frame));
    answers
        .chain(events.into_iter().map(|(name, frame)| (name, None, frame)))
        .map(|(name, re, frame)| (name, ServerFrame { re, frame: Some(frame) }))
        .collect()
}
