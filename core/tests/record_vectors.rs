//! The golden vectors of records, `protocol/vectors/records.json`: a log written by an earlier version is read for years.
//!
//! `ROOKERY_VECTORS=write cargo test -p rookery-core --test record_vectors` writes them anew.

#![allow(clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use rookery_core::{
    record::{
        Body, Event, Link, MemberChange, MemberChanged, Posted, Reaction, Record, RecordError, RoomChanged,
        Sealed,
    },
    room::{Kind, Limits, Profile, Role, State, Update, Visibility},
};
use rookery_protocol::id::{MessageId, RecordId, RoomId, UserId};
use serde_json::{Value, json};

const ROOM: RoomId = RoomId(0x019A_A35F_0E00_0000_0000_0000_0000_0001);
const ADA: UserId = UserId(0x019A_A35F_0E00_0000_0000_0000_0000_0002);
const BOB: UserId = UserId(0x019A_A35F_0E00_0000_0000_0000_0000_0003);
const NOW: i64 = 1_795_258_680_123;

fn ada() -> Profile {
    Profile { id: ADA, username: "ada".into(), display_name: "Ada \u{1F469}".into() }
}

fn bob() -> Profile {
    Profile { id: BOB, username: "bob".into(), display_name: "Bob".into() }
}

fn member(change: MemberChange, role: Option<Role>, until: Option<i64>) -> Body {
    Body::Member(Box::new(MemberChanged { user: bob(), change, role, until }))
}

/// The records of one log, in order: every kind of event, every change of membership and of the room.
fn records() -> Vec<(&'static str, u64, Vec<Body>)> {
    let posted = |text: &str, id: &str, reply_to, mentions| {
        Body::Posted(Box::new(Posted {
            id: MessageId(0x019A_A35F_0E00_0000_0000_0000_0000_0004),
            sender: ada(),
            text: text.into(),
            client_msg_id: id.into(),
            reply_to,
            mentions,
        }))
    };
    let reaction = |count| Reaction { message_seq: 2, emoji: "👍🏽".into(), count };
    vec![
        ("the epoch record of a new room", 1, vec![]),
        (
            "a room is made",
            1,
            vec![Body::Room(Box::new(RoomChanged::Created {
                name: "general".into(),
                topic: Some("all of it".into()),
                visibility: Visibility::Public,
                kind: Kind::Group,
                members: vec![(ada(), Role::Owner), (bob(), Role::Member)],
            }))],
        ),
        (
            "messages, one a reply with a mention",
            1,
            vec![
                posted("Grüße, 世界 \u{1F44B}\n\u{0}", "m1", None, vec![]),
                posted("Hello @bob", "01KAHNY3G00000000000000MSG", Some(2), vec![BOB]),
            ],
        ),
        (
            "what becomes of messages",
            1,
            vec![
                Body::Edited { message_seq: 2, text: "Hello @bob.".into(), mentions: vec![BOB] },
                Body::Reacted(reaction(1)),
                Body::Unreacted(reaction(0)),
                Body::Deleted { message_seq: 3 },
            ],
        ),
        ("another owner takes over", 2, vec![]),
        (
            "every change of membership",
            2,
            vec![
                member(MemberChange::RoleChanged, Some(Role::Moderator), None),
                member(MemberChange::Muted, Some(Role::Moderator), Some(NOW + 60_000)),
                member(MemberChange::Unmuted, Some(Role::Moderator), None),
                member(MemberChange::Left, None, None),
                member(MemberChange::Joined, Some(Role::Member), None),
                member(MemberChange::Kicked, None, None),
                member(MemberChange::Added, Some(Role::Member), None),
                member(MemberChange::Banned, None, None),
                member(MemberChange::Unbanned, None, None),
            ],
        ),
        ("an epoch that was skipped, as when a take-over was fenced off", 4, vec![]),
        (
            "the room is changed, and removed",
            4,
            vec![
                Body::Room(Box::new(RoomChanged::Updated(Update {
                    name: Some("all".into()),
                    topic: Some(String::new()),
                    visibility: Some(Visibility::Private),
                    slow_mode_seconds: Some(30),
                    ..Update::default()
                }))),
                Body::Room(Box::new(RoomChanged::Updated(Update::default()))),
                Body::Room(Box::new(RoomChanged::Removed)),
            ],
        ),
        (
            "settings that came later",
            4,
            vec![
                Body::Room(Box::new(RoomChanged::Updated(Update {
                    translation: Some(false),
                    max_members: Some(50),
                    retention_days: Some(30),
                    ..Update::default()
                }))),
                Body::Room(Box::new(RoomChanged::Updated(Update {
                    translation: Some(true),
                    max_members: Some(0),
                    retention_days: Some(0),
                    ..Update::default()
                }))),
            ],
        ),
        (
            "a room is declared",
            4,
            vec![Body::Room(Box::new(RoomChanged::Updated(Update {
                declared: Some(true),
                ..Update::default()
            })))],
        ),
    ]
}

/// The same with their places in the log, and sealed.
fn log() -> Vec<(&'static str, Record, Sealed)> {
    let mut link = Link::default();
    let mut log = Vec::new();
    for (name, epoch, bodies) in records() {
        let events: Vec<Event> =
            (NOW..).zip(bodies).map(|(ts, body)| Event { ts, actor: ADA, body }).collect();
        let record = Record {
            room: ROOM,
            epoch,
            id: RecordId(100 + log.len() as u128),
            first_seq: link.last_seq + 1,
            messages_before: link.messages,
            previous_checksum: link.checksum,
            events,
            owner: "node-0".into(),
        };
        let sealed = record.seal();
        link = Link {
            epoch,
            checksum: sealed.checksum,
            last_seq: record.last_seq(),
            messages: record.messages_up_to(u64::MAX),
        };
        log.push((name, record, sealed));
    }
    log
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn pinned() -> Value {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../protocol/vectors/records.json");
    if std::env::var("ROOKERY_VECTORS").as_deref() == Ok("write") {
        let now: Vec<_> = log()
            .iter()
            .map(|(name, record, sealed)| {
                json!({
                    "name": name, "epoch": record.epoch, "first_seq": record.first_seq,
                    "last_seq": record.last_seq(), "messages_before": record.messages_before,
                    "previous_checksum": format!("{:016x}", record.previous_checksum),
                    "checksum": format!("{:016x}", sealed.checksum), "sealed_hex": hex(&sealed.bytes),
                })
            })
            .collect();
        let now = json!({ "room": ROOM.to_string(), "records": now });
        std::fs::write(&path, serde_json::to_string_pretty(&now).unwrap() + "\n").unwrap();
    }
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn pinned_records_are_read_and_still_written_so() {
    let pinned = pinned();
    assert_eq!(pinned["room"], ROOM.to_string());
    let (log, pinned) = (log(), pinned["records"].as_array().unwrap().clone());
    assert_eq!(pinned.len(), log.len(), "vectors missing in the file");
    let mut link = Link::default();
    for ((name, record, sealed), vector) in log.iter().zip(&pinned) {
        assert_eq!(vector["name"], *name);
        let bytes = unhex(vector["sealed_hex"].as_str().unwrap());
        let opened = Record::open(&bytes, ROOM).unwrap();
        assert_eq!(opened.record, *record, "{name}");
        assert_eq!(format!("{:016x}", opened.checksum), vector["checksum"].as_str().unwrap(), "{name}");
        link.follow(&opened).unwrap_or_else(|broken| panic!("{name}: {broken}"));
        assert_eq!(link.last_seq, vector["last_seq"].as_u64().unwrap(), "{name}");
        assert_eq!(hex(&sealed.bytes), vector["sealed_hex"].as_str().unwrap(), "{name}");
    }
}

/// Where the vectors of each release are.
fn released() -> Vec<PathBuf> {
    let all = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../protocol/vectors/released");
    let found: Vec<_> = std::fs::read_dir(all).unwrap().map(|found| found.unwrap().path()).collect();
    assert!(!found.is_empty());
    found
}

fn read(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn records_and_snapshots_of_every_release_are_read_and_mean_the_same() {
    let limits = Arc::new(Limits::default());
    let meant = log();
    for release in released() {
        let records = read(&release.join("records.json"));
        let snapshot = read(&release.join("snapshot.json"));
        let mut link = Link::default();
        let mut state = State::new(limits.clone());
        let mut restored = false;
        for vector in records["records"].as_array().unwrap() {
            let name = vector["name"].as_str().unwrap();
            let opened = Record::open(&unhex(vector["sealed_hex"].as_str().unwrap()), ROOM).unwrap();
            link.follow(&opened).unwrap_or_else(|broken| panic!("{name}: {broken}"));
            let (_, wanted, _) = meant.iter().find(|(meant, ..)| *meant == name).unwrap();
            assert_eq!(opened.record.events, wanted.events, "{name}");
            assert_eq!((opened.record.epoch, &*opened.record.owner), (wanted.epoch, "node-0"), "{name}");
            opened.record.events.iter().for_each(|event| state.apply(event));
            state.committed(link.last_seq);
            if !restored && snapshot["last_seq"].as_u64() == Some(link.last_seq) {
                let bytes = unhex(snapshot["sealed_hex"].as_str().unwrap());
                let anchor = State::restore(bytes.into(), ROOM, limits.clone()).unwrap();
                assert_eq!(anchor.link, link);
                assert_eq!(hex(&anchor.state.snapshot(ROOM, link)), hex(&state.snapshot(ROOM, link)));
                restored = true;
            }
        }
        assert!(restored, "the snapshot is of another log");
    }
}

#[test]
fn no_damaged_record_is_read() {
    for (name, record, sealed) in log() {
        for at in 0..sealed.bytes.len() {
            for bit in 0..8 {
                let mut bytes = sealed.bytes.to_vec();
                bytes[at] ^= 1 << bit;
                if let Ok(opened) = Record::open(&bytes, ROOM) {
                    // A flipped bit may turn a field into an unknown one that is passed over only if nothing changed by it.
                    assert_eq!(opened.record, record, "{name}: bit {bit} of byte {at}");
                }
            }
            let cut = Record::open(&sealed.bytes[..at], ROOM);
            assert!(cut.is_err(), "{name}: cut off after {at} bytes");
        }
        let other = Record::open(&sealed.bytes, RoomId(7));
        assert_eq!(other, Err(RecordError::WrongRoom { expected: RoomId(7), found: ROOM }));
    }
}
