//! Rows: conditions, large values, many at once.

use super::*;
use crate::backend::{
    Expect, Rows as _, Written,
    jetstream::{
        item::PIECES,
        publish::{Post, Posted},
    },
};

#[test]
fn conditions_are_kept() {
    let Some(servers) = servers() else { return };
    run(async {
        let store = open(&servers, "conditions", None).await;
        let name = |value| row(Table::UsersByName, &[b"ada"], value);
        let mail = |value| row(Table::UsersByEmail, &[b"ada@example.org"], value);
        let both = vec![(name(Some("1")), Expect::Absent), (mail(Some("1")), Expect::Absent)];
        assert_eq!(store.write(both.clone()).await.unwrap(), Written::Done);
        assert_eq!(store.write(both).await.unwrap(), Written::Conflict(0));
        let late = vec![
            (row(Table::UsersByName, &[b"other"], Some("2")), Expect::Absent),
            (mail(Some("2")), Expect::Absent),
        ];
        assert_eq!(store.write(late).await.unwrap(), Written::Conflict(1));
        assert_eq!(store.get(Table::UsersByName, b"other").await.unwrap(), None);
        let revision = store.get(Table::UsersByName, b"ada").await.unwrap().unwrap().revision;
        let change = |revision| vec![(name(Some("3")), Expect::Revision(revision))];
        assert_eq!(store.write(change(revision + 1)).await.unwrap(), Written::Conflict(0));
        assert_eq!(store.write(change(revision)).await.unwrap(), Written::Done);
        assert_eq!(store.write(change(revision)).await.unwrap(), Written::Conflict(0));
        // Deleted, and made anew: the message that says "deleted" is no row.
        let revision = store.get(Table::UsersByName, b"ada").await.unwrap().unwrap().revision;
        assert_eq!(store.write(vec![(name(None), Expect::Revision(revision))]).await.unwrap(), Written::Done);
        assert_eq!(store.get(Table::UsersByName, b"ada").await.unwrap(), None);
        assert_eq!(store.write(change(revision)).await.unwrap(), Written::Conflict(0));
        assert_eq!(store.write(vec![(name(Some("4")), Expect::Absent)]).await.unwrap(), Written::Done);
        let found = store.get(Table::UsersByName, b"ada").await.unwrap().unwrap();
        assert_eq!(&found.value[..], b"4");
        assert!(found.revision > revision);
    });
}

#[test]
fn large_snapshots_are_whole() {
    let Some(servers) = servers() else { return };
    run(async {
        let store = open(&servers, "snapshots", None).await;
        let key = 9_u128.to_be_bytes();
        for size in [10, 3 << 20, 700 << 10, 5, 9 << 20] {
            let value: String = (0..size).map(|n| char::from(b'a' + (n % 26) as u8)).collect();
            let snapshot = row(Table::Snapshots, &[&key], Some(&value));
            store.write(vec![(snapshot, Expect::Any)]).await.unwrap();
            let info = row(Table::Snapshots, &[&key, b"info"], Some("info"));
            store.write(vec![(info, Expect::Any)]).await.unwrap();
            let found = store.get(Table::Snapshots, &key).await.unwrap().unwrap();
            assert!(found.value == value.as_bytes(), "{size}");
        }
    });
}

#[test]
fn a_row_of_any_size_is_replaced_under_its_condition() {
    let Some(servers) = servers() else { return };
    run(async {
        let store = open(&servers, "replaced", None).await;
        let key = 9_u128.to_be_bytes();
        let snapshot = |size: usize| row(Table::Snapshots, &[&key], Some(&"x".repeat(size)));
        let mut known = Expect::Absent;
        for size in [10, 2 << 20, 3 << 20, 5] {
            assert_eq!(store.replace(snapshot(7), Expect::Revision(999)).await.unwrap(), None);
            let revision = store.replace(snapshot(size), known).await.unwrap().unwrap();
            let found = store.get(Table::Snapshots, &key).await.unwrap().unwrap();
            assert_eq!((found.revision, found.value.len()), (revision, size));
            // Whoever believes what was there before changes nothing, by large ones neither.
            for late in [12, 2 << 20] {
                assert_eq!(store.replace(snapshot(late), known).await.unwrap(), None);
            }
            assert_eq!(store.get(Table::Snapshots, &key).await.unwrap().unwrap().value.len(), size);
            known = Expect::Revision(revision);
        }
    });
}

#[test]
fn pieces_that_do_not_belong_together_are_refused_in_time() {
    let Some(servers) = servers() else { return };
    run(async {
        let patient = open(&servers, "pieces", None).await;
        let hasty = NatsSettings { read_timeout_ms: 500, ..settings(&servers) };
        let store = open_with(&hasty, "pieces").await;
        let key = 9_u128.to_be_bytes();
        let whole = row(Table::Snapshots, &[&key], Some(&"x".repeat(1 << 20)));
        patient.write(vec![(whole.clone(), Expect::Any)]).await.unwrap();
        // As a head that came without its pieces.
        let place = store.layout.row(Table::Snapshots, &key).unwrap();
        let head =
            Post::new(place.subject, Bytes::new()).header(PIECES, "2 0123").header("Nats-Rollup", "sub");
        let posted = soon("the head is stored", store.link.post(head, PATIENCE)).await;
        assert!(matches!(posted, Posted::Stored(_)), "{posted:?}");
        let error = soon("an answer", store.get(Table::Snapshots, &key)).await.unwrap_err();
        assert!(error.to_string().contains("do not belong together"), "{error}");
        // Whoever waits long enough sees what is written meanwhile.
        let (found, written) =
            tokio::join!(soon("it is whole", patient.get(Table::Snapshots, &key)), async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                patient.write(vec![(whole.clone(), Expect::Any)]).await
            });
        written.unwrap();
        assert_eq!(found.unwrap().map(|found| found.value), whole.value);
    });
}

#[test]
fn a_batch_that_is_one_too_many_for_the_server_waits_for_its_turn() {
    let Some(servers) = servers() else { return };
    run(async {
        // The server gives up on a batch that is not finished after ten seconds.
        let patient = NatsSettings { append_timeout_ms: 30_000, ..settings(&servers) };
        let store = open_with(&patient, "crowd").await;
        let room = 1_u128.to_be_bytes();
        let listed = row(Table::PublicRooms, &[&room], Some("listed"));
        let place = store.layout.row(Table::PublicRooms, &room).unwrap();
        for number in 0..50 {
            let begun = Post::new(place.subject.clone(), Bytes::new())
                .header("Nats-Batch-Id", &format!("begun-{number}"))
                .header("Nats-Batch-Sequence", "1");
            store.link.send(begun.subject, begun.headers, begun.payload).await.unwrap();
        }
        let info = row(Table::Snapshots, &[&room, b"info"], Some("info"));
        let append = Append { rows: vec![listed, info], ..record(1, 0, 1..=1, "one") };
        let appended = soon("it is stored", store.append(append)).await;
        assert!(matches!(appended, Appended::Committed(_)), "{appended:?}");
        assert!(store.link.metrics.crowded.get() > 0, "there were never too many");
    });
}

#[test]
fn many_rows_of_many_rooms_are_written_at_once() {
    let Some(servers) = servers() else { return };
    run(async {
        let store = open(&servers, "many", None).await;
        let user = 3_u128.to_be_bytes();
        let key = |room: u128| [user, room.to_be_bytes()].concat();
        let write = |value: Option<&'static str>, rooms: std::ops::Range<u128>| {
            let rows = rooms.map(|room| (row(Table::Memberships, &[&key(room)], value), Expect::Any));
            rows.collect::<Vec<_>>()
        };
        store.write(write(Some("1"), 0..3_000)).await.unwrap();
        let found = store.scan(Table::Memberships, &user, None, 5_000).await.unwrap();
        assert_eq!(found.len(), 3_000);
        // More than one answer of a server holds, in pages.
        let (mut after, mut seen) = (None::<Bytes>, Vec::new());
        loop {
            let page = store.scan(Table::Memberships, &user, after.as_deref(), 1_000).await.unwrap();
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            seen.extend(page.into_iter().map(|entry| entry.key));
        }
        assert_eq!(seen, (0..3_000).map(key).collect::<Vec<_>>());
        store.write(write(None, 10..2_990)).await.unwrap();
        let left = store.scan(Table::Memberships, &user, None, 5_000).await.unwrap();
        assert_eq!(left.len(), 20);
        store.write(Vec::new()).await.unwrap();
    });
}

#[test]
fn a_page_of_public_rooms_costs_a_page() {
    use std::sync::atomic::Ordering;
    let Some(servers) = servers() else { return };
    run(async {
        let (here, there) =
            (open(&servers, "public", Some(0)).await, open(&servers, "public", Some(1)).await);
        let list = async |after: Option<&[u8]>, limit: usize| {
            here.scan(Table::PublicRooms, &[], after, limit).await.unwrap()
        };
        assert!(list(None, 10).await.is_empty());
        let key = |room: u128| Bytes::copy_from_slice(&(room << 40).to_be_bytes());
        let write = |rooms: std::ops::Range<u128>, value: Option<&'static str>| {
            let rows = rooms.map(|room| (row(Table::PublicRooms, &[&key(room)], value), Expect::Any));
            rows.collect::<Vec<_>>()
        };
        there.write(write(0..4_000, Some("a room"))).await.unwrap();
        assert_eq!(list(None, 5_000).await.len(), 4_000);

        // From now on: a few messages for each page, wherever in the table it is, and what has changed is seen.
        let received = || here.client().statistics().in_messages.load(Ordering::Relaxed);
        let before = received();
        let (mut after, mut seen) = (None::<Bytes>, Vec::new());
        for _ in 0..20 {
            let page = list(after.as_deref(), 50).await;
            assert_eq!(page.len(), 50);
            after = page.last().map(|entry| entry.key.clone());
            seen.extend(page.into_iter().map(|entry| entry.key));
        }
        assert_eq!(seen, (0..1_000).map(key).collect::<Vec<_>>());
        let each = (received() - before) / 20;
        assert!(each < 50, "{each} messages for a page");

        there.write(write(10..20, None)).await.unwrap();
        there.write(write(20..21, Some("another name"))).await.unwrap();
        there.write(write(4_000..4_001, Some("a new one"))).await.unwrap();
        let found = list(Some(&key(9)), 2).await;
        assert_eq!((&found[0].key, &found[0].value[..]), (&key(20), &b"another name"[..]));
        assert_eq!(found[1].key, key(21));
        assert_eq!(list(Some(&key(3_999)), 10).await.len(), 1);
        there.write(write(10..11, Some("again"))).await.unwrap();
        assert_eq!(list(Some(&key(9)), 1).await[0].key, key(10));
        assert!(here.get(Table::PublicRooms, &key(11)).await.unwrap().is_none());
    });
}
