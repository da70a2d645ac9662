//! What is older than it has to be kept.

use std::{sync::Arc, time::Duration};

use rookery_core::{
    record::Record,
    room::{Profile, Update, What},
};
use rookery_protocol::id::RoomId;

use super::house::{House, code, on, open, post, user};
use crate::{
    backend::{Append, Appended, Expect, LogSeq, Read, RoomLog as _, Row, Rows as _, Table},
    rooms::{Part, Rooms, RoomsSettings, retention, rows},
};

const NONE: Duration = Duration::ZERO;

/// 600 messages, in records of up to 50; says the last one's seq.
async fn say_600(house: &House, room: RoomId, by: &Arc<Profile>) -> u64 {
    let ids: Vec<_> = (0..600).map(|n| format!("many {n}")).collect();
    let mut last = 0;
    for some in ids.chunks(50) {
        let said = some.iter().map(|id| house.say(room, by, "and so on", id));
        last = futures_util::future::join_all(said).await.into_iter().max().unwrap();
    }
    last
}

/// The seqs of all messages that the history has, oldest first.
async fn shown(rooms: &Rooms, room: RoomId, to: &Arc<Profile>) -> Vec<u64> {
    let (mut seqs, mut before) = (Vec::new(), None);
    loop {
        let page = rooms.history(room, to.id, before, 200).await.unwrap();
        seqs.extend(page.messages.iter().map(|message| message.seq));
        if !page.has_more {
            break;
        }
        before = Some(Part::Before(page.reached));
    }
    seqs.reverse();
    seqs
}

#[tokio::test]
async fn old_events_go_in_parts_and_the_newest_stay() {
    let (house, ada, bob) = (House::new(), user(1, "ada"), user(2, "bob"));
    let room = house.room(&ada, &[&bob]).await;
    let last = say_600(&house, room, &ada).await;
    house.does(room, &ada, What::Delete { seq: 7 }).await.unwrap();
    house.does(room, &ada, What::Delete { seq: 400 }).await.unwrap();
    let last = last + 2;
    let log = &*house.store;

    assert_eq!(retention::forget(log, room, last, Duration::from_secs(3600)).await.unwrap(), None, "young");
    assert_eq!(retention::forget(log, room, 500, NONE).await.unwrap(), None, "the newest of the snapshot");
    assert_eq!(shown(&house.rooms, room, &bob).await.len(), 600);
    let first = retention::forget(log, room, last, NONE).await.unwrap().unwrap();
    assert!((257..=306).contains(&first), "{first}: a part, and the rest of its last record");
    assert_eq!(retention::forget(log, room, last, NONE).await.unwrap(), None, "the rest is the newest");

    let kept = shown(&house.rooms, room, &bob).await;
    assert_eq!(kept, (first..=last - 2).collect::<Vec<_>>());
    assert_eq!(code(house.rooms.message(room, bob.id, first - 1).await), (404, "message_not_found"));
    assert!(house.rooms.message(room, bob.id, first).await.is_ok());
    assert_eq!(code(house.rooms.message(room, bob.id, 20).await), (404, "message_not_found"));
    let amended = house.store.scan(Table::Amendments, &rows::of_room(room), None, 10).await.unwrap();
    assert_eq!(amended.iter().filter_map(|entry| rows::seq_in(&entry.key)).collect::<Vec<_>>(), [400]);
    // Who has read up to something that is gone has all before him that is there.
    assert!(house.rooms.mark_read(room, bob.id, 20).await.unwrap());
    let listed = house.rooms.list(bob.id).await.unwrap().remove(0);
    assert_eq!((listed.standing.read_seq, listed.standing.unread), (20, kept.len() as u64));
    assert!(listed.last_message.is_some());

    // The next owner needs what is gone as little.
    let house = house.again().await;
    let seq = house.say(room, &bob, "still here", "b").await;
    assert_eq!(seq, last + 1);
    assert_eq!(shown(&house.rooms, room, &bob).await, [&kept[..], &[seq]].concat());
    let edit = What::Edit { seq: 20, text: "changed".into() };
    assert_eq!(code(house.does(room, &ada, edit).await), (404, "message_not_found"));
}

/// The rooms of a house as if all had been said ten days ago.
async fn aged(house: &House, room: RoomId, dir: &tempfile::TempDir, settings: RoomsSettings) -> House {
    let store = open(dir.path());
    let read = Read { from: 1, to: u64::MAX, backwards: false, max_records: 10_000, max_bytes: 1 << 30 };
    let (mut at, mut previous) = (LogSeq(0), None);
    for committed in house.store.read(room, read).await.unwrap() {
        let mut record = Record::open(&committed.record, room).unwrap().record;
        record.events.iter_mut().for_each(|event| event.ts -= 10 * 24 * 3600 * 1000);
        record.previous_checksum = previous.unwrap_or(record.previous_checksum);
        let sealed = record.seal();
        previous = Some(sealed.checksum);
        let append = Append {
            room,
            expected: at,
            first_seq: record.first_seq,
            last_seq: record.last_seq(),
            record: sealed.bytes,
            rows: vec![],
        };
        let Appended::Committed(now) = store.append(append).await else { panic!("not stored") };
        at = now;
    }
    for entry in house.store.scan(Table::Memberships, &[], None, 10).await.unwrap() {
        let row = Row { table: Table::Memberships, key: entry.key, value: Some(entry.value) };
        store.write(vec![(row, Expect::Any)]).await.unwrap();
    }
    House { rooms: on(&store, store.clone(), settings), store, dir: house.dir.clone() }
}

/// Once the room was put down, its snapshot is stored and what is too old is gone.
async fn put_down_and_looked_at(house: &House, room: RoomId, ada: &Arc<Profile>) {
    house.rooms.stop(Duration::from_secs(10)).await;
    let gone = async {
        while house.rooms.message(room, ada.id, 256).await.is_ok() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), gone).await.expect("it is removed");
    let kept = shown(&house.rooms, room, ada).await;
    assert!((257..=306).contains(&kept[0]), "{}", kept[0]);
}

#[tokio::test]
async fn an_owner_whose_snapshot_is_stored_removes_what_is_too_old() {
    let (house, ada) = (House::new(), user(1, "ada"));
    let room = house.room(&ada, &[]).await;
    say_600(&house, room, &ada).await;
    let dir = tempfile::tempdir().unwrap();
    let nine_days = RoomsSettings { retention_days: 9, ..RoomsSettings::default() };
    let old = aged(&house, room, &dir, nine_days).await;
    assert_eq!(shown(&old.rooms, room, &ada).await.len(), 600);
    old.rooms.command(room, &ada, post("new", "new")).await.unwrap();
    assert_eq!(shown(&old.rooms, room, &ada).await.len(), 601, "there was no snapshot");
    put_down_and_looked_at(&old, room, &ada).await;
}

#[tokio::test]
async fn a_room_keeps_less_than_the_service_if_its_owner_says_so() {
    let (house, ada) = (House::new(), user(1, "ada"));
    let room = house.room(&ada, &[]).await;
    say_600(&house, room, &ada).await;
    let dir = tempfile::tempdir().unwrap();
    let old = aged(&house, room, &dir, RoomsSettings::default()).await;
    let days = |days| What::Update(Update { retention_days: Some(days), ..Update::default() });
    old.does(room, &ada, days(9)).await.unwrap();
    assert_eq!(old.rooms.view(room, ada.id).await.unwrap().retention_days, Some(9));
    put_down_and_looked_at(&old, room, &ada).await;
}

#[test]
fn the_shorter_time_counts() {
    let days = |days: u32| Duration::from_secs(u64::from(days) * 24 * 3600);
    for (service, own, kept) in [
        (None, None, None),
        (Some(9), None, Some(9)),
        (None, Some(8), Some(8)),
        (Some(9), Some(8), Some(8)),
        (Some(9), Some(10), Some(9)),
    ] {
        assert_eq!(retention::shorter(service.map(days), own), kept.map(days), "{service:?} {own:?}");
    }
}
