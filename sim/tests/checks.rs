//! Each check notices the history that it is there for, and is content with one that is in order.

#![allow(clippy::unwrap_used, clippy::field_reassign_with_default)]

use bytes::Bytes;
use rookery_core::{
    record::{Body, Event, Posted, Record},
    room::Profile,
};
use rookery_protocol::id::{MessageId, RecordId, RoomId, UserId};
use rookery_sim::{
    check::{self, DURABLE, EPOCHS, EXACT, ONCE, ORDER, REAL_TIME, REFUSED, SENDER, STORED},
    history::{Entry, History},
    log::{Log, Stored},
};

const ROOM: RoomId = RoomId(1);
const ADA: UserId = UserId(2);

fn posted(id: &str) -> Event {
    Event {
        ts: 1_790_000_000_000,
        actor: ADA,
        body: Body::Posted(Box::new(Posted {
            id: MessageId(3),
            sender: Profile { id: ADA, username: "ada".into(), display_name: "Ada".into() },
            text: format!("text of {id}"),
            client_msg_id: id.into(),
            reply_to: None,
            mentions: vec![],
        })),
    }
}

/// A log of records: epoch, first seq, the ids of their messages. Stored at 10, 20, ... ms.
fn log(records: &[(u64, u64, &[&str])]) -> Log {
    log_of(records, |epoch| format!("owner of {epoch}"))
}

/// The same, by these owners.
fn log_of(records: &[(u64, u64, &[&str])], mut owner: impl FnMut(u64) -> String) -> Log {
    let mut log = Log::default();
    log.ignore_conditions = true;
    for (when, (epoch, first_seq, ids)) in (10..).step_by(10).zip(records) {
        let events: Vec<Event> = ids.iter().map(|id| posted(id)).collect();
        let last_seq = first_seq + events.len() as u64 - 1;
        let record = Record {
            room: ROOM,
            epoch: *epoch,
            id: RecordId(u128::from(when)),
            first_seq: *first_seq,
            messages_before: first_seq - 1,
            previous_checksum: 0,
            events,
            owner: owner(*epoch),
        };
        let stored = Stored { at: 0, first_seq: *first_seq, last_seq, when, record: record.seal().bytes };
        log.append(ROOM, 0, stored).unwrap();
    }
    log
}

/// An epoch record at 10 ms, then `a` and `b` at 20 ms and `c` at 30 ms.
fn good() -> Log {
    log(&[(1, 1, &[]), (1, 1, &["a", "b"]), (1, 3, &["c"])])
}

fn invoked(operation: u64, connection: u64, id: &str) -> Entry {
    Entry::Invoked { operation, user: ADA, connection, room: ROOM, client_msg_id: Some(id.into()) }
}

fn acknowledged(operation: u64, seq: u64) -> Entry {
    Entry::Acknowledged { operation, seq: Some(seq) }
}

fn subscribed(after: u64) -> Entry {
    Entry::Subscribed { subscription: 1, room: ROOM, after }
}

fn delivered(seq: u64, id: &str) -> Entry {
    Entry::Delivered { subscription: 1, seq, digest: check::digest(seq, &posted(id)) }
}

fn caught_up(last_seq: u64) -> Entry {
    Entry::CaughtUp { subscription: 1, last_seq }
}

fn broken(log: &Log, entries: Vec<(u64, Entry)>) -> Vec<&'static str> {
    check::check(log, &History { entries }).into_iter().map(|broken| broken.promise).collect()
}

#[test]
fn is_content_with_what_is_in_order() {
    let entries = vec![
        (1, subscribed(0)),
        (1, caught_up(0)),
        (2, invoked(1, 1, "a")),
        (3, invoked(2, 1, "b")),
        (21, acknowledged(1, 1)),
        (21, acknowledged(2, 2)),
        (21, delivered(1, "a")),
        (22, delivered(2, "b")),
        (22, invoked(3, 1, "c")),
        (31, acknowledged(3, 3)),
        (32, delivered(3, "c")),
    ];
    assert_eq!(broken(&good(), entries), [""; 0]);
}

#[test]
fn one_order() {
    assert_eq!(broken(&log(&[(1, 1, &["a"]), (1, 3, &["b"])]), vec![]), [ORDER], "a gap");
    assert_eq!(broken(&log(&[(1, 1, &["a"]), (1, 1, &["b"])]), vec![]), [ORDER], "a seq twice");
    let mut unreadable = good();
    let bytes = Bytes::from_static(b"no record");
    unreadable.append(ROOM, 0, Stored { at: 0, first_seq: 4, last_seq: 4, when: 40, record: bytes }).unwrap();
    assert_eq!(broken(&unreadable, vec![]), [ORDER]);
}

#[test]
fn epochs_only_grow() {
    assert_eq!(broken(&log(&[(2, 1, &["a"]), (1, 2, &["b"])]), vec![]), [EPOCHS]);
    assert_eq!(broken(&log(&[(1, 1, &["a"]), (1, 2, &[])]), vec![]), [EPOCHS], "an epoch taken twice");
    let mut owners = ["one", "other"].into_iter();
    let shared = log_of(&[(1, 1, &["a"]), (1, 2, &["b"])], |_| owners.next().unwrap().to_owned());
    assert_eq!(broken(&shared, vec![]), [EPOCHS], "an epoch of two owners");
    assert_eq!(broken(&log(&[(1, 1, &["a"]), (2, 2, &["b"])]), vec![]), [""; 0]);
    assert_eq!(broken(&log(&[(1, 1, &["a"]), (2, 2, &[]), (2, 2, &["b"])]), vec![]), [""; 0]);
}

#[test]
fn acknowledged_is_stored() {
    let entries = vec![(1, invoked(1, 1, "d")), (40, acknowledged(1, 4))];
    assert_eq!(broken(&good(), entries), [DURABLE], "a seq that the log does not have");
    let entries = vec![(1, invoked(1, 1, "a")), (40, acknowledged(1, 2))];
    assert_eq!(broken(&good(), entries), [DURABLE], "another message");
    let entries = vec![(1, invoked(1, 1, "c")), (29, acknowledged(1, 3))];
    assert_eq!(broken(&good(), entries), [DURABLE], "stored only after it was acknowledged");
}

#[test]
fn stored_at_most_once() {
    assert_eq!(broken(&log(&[(1, 1, &["a"]), (1, 2, &["a"])]), vec![]), [ONCE]);
}

#[test]
fn exactly_once_in_order() {
    let start = (30, subscribed(0));
    let twice = vec![start.clone(), (31, delivered(1, "a")), (31, delivered(1, "a"))];
    assert_eq!(broken(&good(), twice), [EXACT]);
    let gap = vec![start.clone(), (31, delivered(1, "a")), (31, delivered(3, "c"))];
    assert_eq!(broken(&good(), gap), [EXACT]);
    let early = vec![start.clone(), (31, delivered(1, "a")), (31, caught_up(3))];
    assert_eq!(broken(&good(), early), [EXACT]);
    let resync = |from, last_seq| (31, Entry::Resync { subscription: 1, from, last_seq });
    assert_eq!(broken(&good(), vec![start.clone(), resync(1, 2), (32, delivered(3, "c"))]), [""; 0]);
    assert_eq!(broken(&good(), vec![start, resync(2, 2), (32, delivered(3, "c"))]), [EXACT]);
}

#[test]
fn delivered_only_if_stored() {
    let early = vec![(1, subscribed(0)), (19, delivered(1, "a"))];
    assert_eq!(broken(&good(), early), [STORED], "before it was stored");
    let other = vec![(1, subscribed(0)), (31, delivered(1, "x"))];
    assert_eq!(broken(&good(), other), [STORED], "other content");
    let beyond = vec![(1, subscribed(3)), (41, delivered(4, "d"))];
    assert_eq!(broken(&good(), beyond), [STORED]);
}

#[test]
fn senders_order() {
    let entries = |connection| {
        vec![
            (1, invoked(1, 1, "b")),
            (2, invoked(2, connection, "a")),
            (21, acknowledged(2, 1)),
            (21, acknowledged(1, 2)),
        ]
    };
    assert_eq!(broken(&good(), entries(1)), [SENDER]);
    assert_eq!(broken(&good(), entries(2)), [""; 0], "over two connections there is no order to keep");
    let mut retried = entries(1);
    retried.insert(2, (3, Entry::Retried { operation: 1, connection: 1 }));
    assert_eq!(broken(&good(), retried), [""; 0], "a message sent again has no place of its own");
}

#[test]
fn stored_but_unanswered_keeps_its_senders_order() {
    // Operation 1 was sent first, never answered, never sent again; it is stored after operation 2 all the same.
    let entries = vec![(1, invoked(1, 1, "b")), (2, invoked(2, 1, "a")), (21, acknowledged(2, 1))];
    assert_eq!(broken(&good(), entries), [SENDER]);
}

#[test]
fn refused_is_not_stored() {
    let refused = (3, Entry::Refused { operation: 1, why: "no".into() });
    assert_eq!(broken(&good(), vec![(1, invoked(1, 1, "c")), refused.clone()]), [REFUSED]);
    assert_eq!(broken(&good(), vec![(1, invoked(1, 1, "x")), refused]), [""; 0]);
}

#[test]
fn real_time_order() {
    let entries = vec![
        (1, invoked(1, 1, "c")),
        (31, acknowledged(1, 3)),
        (32, invoked(2, 2, "a")),
        (33, acknowledged(2, 1)),
    ];
    assert_eq!(broken(&good(), entries), [REAL_TIME]);
}
