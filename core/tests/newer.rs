//! What this program does with records and snapshots of a newer one: what it may pass over it passes over, everything else
//! it refuses by name. Nothing is taken for something else.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;
use rookery_core::{
    record::{Link, Record, RecordError},
    room::{Limits, State},
};
use rookery_protocol::{id::RoomId, log, rows};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

const ROOM: RoomId = RoomId(9 << 64 | 4);
/// A field of a number that no message has, with three bytes in it.
const UNKNOWN: &[u8] = &[0xFA, 0x3E, 3, 1, 2, 3];

fn id(low: u64) -> Option<log::Id> {
    Some(log::Id { high: 9, low })
}

fn profile() -> Option<log::Profile> {
    Some(log::Profile { id: id(1), username: "ada".into(), display_name: "Ada".into() })
}

fn record(version: u32, event: Option<log::event::Event>) -> log::Record {
    log::Record {
        version,
        room: id(4),
        epoch: 1,
        id: id(5),
        first_seq: 1,
        events: vec![log::Event { ts: 7, actor: id(1), event }],
        owner: "node-0".into(),
        ..log::Record::default()
    }
}

fn seal(body: Vec<u8>) -> Vec<u8> {
    let checksum = xxh3_64_with_seed(&body, 0);
    log::SealedRecord { body: body.into(), checksum }.encode_to_vec()
}

fn open(record: &log::Record) -> Result<Record, RecordError> {
    Record::open(&seal(record.encode_to_vec()), ROOM).map(|opened| opened.record)
}

fn member(change: i32, role: i32) -> log::event::Event {
    log::event::Event::Member(log::MemberChanged { user: profile(), change, role, until: None })
}

fn room(change: i32, visibility: i32, kind: i32) -> log::event::Event {
    let name = Some("tea".to_owned());
    log::event::Event::Room(log::RoomChanged {
        change,
        name,
        visibility,
        kind,
        ..log::RoomChanged::default()
    })
}

#[test]
fn unknown_fields_are_passed_over() {
    let known = record(1, Some(member(1, 1)));
    let plain = open(&known).unwrap();
    // In the event, and so in what holds it.
    let event = [known.events[0].encode_to_vec().as_slice(), UNKNOWN].concat();
    let mut body = log::Record { events: Vec::new(), ..known }.encode_to_vec();
    body.extend([0x42, u8::try_from(event.len()).unwrap()]);
    body.extend(&event);
    body.extend(UNKNOWN);
    let sealed = [seal(body).as_slice(), UNKNOWN].concat();
    assert_eq!(Record::open(&sealed, ROOM).unwrap().record, plain);
}

/// A change of a room as programs know it that are older than the settings that came later.
#[derive(Clone, PartialEq, prost::Message)]
struct OlderRoomChanged {
    #[prost(int32, tag = "1")]
    change: i32,
    #[prost(string, optional, tag = "2")]
    name: Option<String>,
    #[prost(uint32, optional, tag = "6")]
    slow_mode_seconds: Option<u32>,
}

#[test]
fn older_programs_read_what_they_know_of_newer_settings() {
    let newer = log::RoomChanged {
        change: 2,
        name: Some("tea".into()),
        translation: Some(false),
        max_members: Some(50),
        retention_days: Some(30),
        ..log::RoomChanged::default()
    };
    let read = OlderRoomChanged::decode(newer.encode_to_vec().as_slice()).unwrap();
    assert_eq!(read, OlderRoomChanged { change: 2, name: Some("tea".into()), slow_mode_seconds: None });
}

#[test]
fn a_newer_version_is_refused_by_name() {
    let error = open(&record(2, Some(member(1, 1)))).unwrap_err();
    assert_eq!(error, RecordError::VersionTooNew { found: 2 });
    assert!(error.to_string().contains("version 2") && error.to_string().contains("upgrade"), "{error}");
}

#[test]
fn words_of_no_known_meaning_are_not_taken_for_others() {
    for (event, why) in [
        (None, "event of no known kind"),
        (Some(member(1, 9)), "member of no known role"),
        (Some(member(99, 1)), "change of membership of no known kind"),
        (Some(room(2, 9, 0)), "room of no known visibility"),
        (Some(room(1, 1, 9)), "room of no known kind"),
        (Some(room(9, 1, 1)), "change of the room of no known kind"),
    ] {
        assert_eq!(open(&record(1, event)), Err(RecordError::Malformed(why)));
    }
    assert!(open(&record(1, Some(room(2, 0, 0)))).is_ok(), "no visibility: it stayed");
    assert!(open(&record(1, Some(member(2, 0)))).is_ok(), "no role: no member any more");
}

#[test]
fn snapshots_too() {
    let limits = Arc::new(Limits::default());
    let empty = State::new(limits.clone()).snapshot(ROOM, Link::default());
    let sealed = rows::SealedSnapshot::decode(empty).unwrap();
    let row = rows::Snapshot::decode(sealed.body).unwrap();
    let restore = |body: Vec<u8>| {
        let (checksum, body) = (xxh3_64(&body), Bytes::from(body));
        State::restore(rows::SealedSnapshot { body, checksum }.encode_to_vec().into(), ROOM, limits.clone())
    };
    assert!(restore([row.encode_to_vec().as_slice(), UNKNOWN].concat()).is_ok());
    let newer = rows::Snapshot { version: 2, ..row.clone() }.encode_to_vec();
    assert!(restore(newer).unwrap_err().to_string().contains("a newer program"));
    let members =
        vec![rows::Member { user: Bytes::from_static(&[1; 16]), role: 9, ..rows::Member::default() }];
    let stranger = rows::Snapshot { members, ..row }.encode_to_vec();
    assert!(restore(stranger).unwrap_err().to_string().contains("no known meaning"));
}
