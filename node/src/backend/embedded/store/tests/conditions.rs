//! What holds when writers meet.

use super::*;

#[tokio::test]
async fn an_append_needs_the_room_s_last_position() {
    let bench = Bench::new();
    let store = bench.open();
    assert_eq!(store.tail(RoomId(1)).await.unwrap(), None);
    let first = stored(&store, record(1, 0, 1..=2, "a")).await;
    assert_eq!(store.append(record(1, 0, 3..=3, "b")).await, Appended::ConditionFailed);
    // Positions of other rooms are no positions of this one.
    let other = stored(&store, record(2, 0, 1..=1, "x")).await;
    assert_eq!(store.append(record(1, other, 3..=3, "b")).await, Appended::ConditionFailed);
    let second = stored(&store, record(1, first, 3..=3, "b")).await;
    assert!(second > first);
    let tail = store.tail(RoomId(1)).await.unwrap().unwrap();
    assert_eq!((tail.at.0, &tail.record[..]), (second, &b"b"[..]));
}

#[tokio::test]
async fn of_many_appends_under_one_condition_one_is_stored() {
    let bench = Bench::new();
    let store = bench.open();
    let mut expected = 0;
    for round in 1..=20u64 {
        let racing = (0..16).map(|n| {
            let store = Arc::clone(&store);
            let append = record(1, expected, round..=round, &format!("{round}/{n}"));
            tokio::spawn(async move { store.append(append).await })
        });
        let mut won = vec![];
        for racer in racing.collect::<Vec<_>>() {
            if let Appended::Committed(at) = racer.await.unwrap() {
                won.push(at.0);
            }
        }
        assert_eq!(won.len(), 1);
        expected = won[0];
    }
    let all = Read { from: 1, to: 100, backwards: false, max_records: 100, max_bytes: usize::MAX };
    assert_eq!(store.read(RoomId(1), all).await.unwrap().len(), 20);
}

#[tokio::test]
async fn a_record_that_lies_about_its_events_is_refused() {
    let bench = Bench::new();
    let store = bench.open();
    let at = stored(&store, record(1, 0, 1..=5, "a")).await;
    for seqs in [5..=6, 0..=1, 1..=9] {
        assert_eq!(store.append(record(1, at, seqs, "b")).await, Appended::ConditionFailed);
    }
    // An epoch record has no events.
    let epoch = Append { last_seq: 5, ..record(1, at, 6..=6, "epoch") };
    stored(&store, epoch).await;
}

#[tokio::test]
async fn rows_come_with_their_record_or_not_at_all() {
    let bench = Bench::new();
    let store = bench.open();
    let with = |expected, seq, value| Append {
        rows: vec![row(Table::Amendments, "k", Some(value)), row(Table::ReadMarks, "m", Some(value))],
        ..record(1, expected, seq..=seq, value)
    };
    stored(&store, with(0, 1, "one")).await;
    assert_eq!(store.append(with(0, 2, "two")).await, Appended::ConditionFailed);
    for (table, key) in [(Table::Amendments, b"k"), (Table::ReadMarks, b"m")] {
        assert_eq!(&store.get(table, key).await.unwrap().unwrap().value[..], b"one");
    }
}

#[tokio::test]
async fn a_write_of_rows_is_all_or_nothing() {
    let bench = Bench::new();
    let store = bench.open();
    let user = || row(Table::Users, "u1", Some("anna"));
    let claim = |by: &str| (row(Table::UsersByName, "anna", Some(by)), Expect::Absent);
    assert_eq!(store.write(vec![(user(), Expect::Absent), claim("u1")]).await.unwrap(), Written::Done);
    let late = vec![(row(Table::Users, "u2", Some("anna")), Expect::Absent), claim("u2")];
    assert_eq!(store.write(late).await.unwrap(), Written::Conflict(1));
    assert_eq!(store.get(Table::Users, b"u2").await.unwrap(), None);

    let read = store.get(Table::Users, b"u1").await.unwrap().unwrap();
    let change = |value| vec![(row(Table::Users, "u1", Some(value)), Expect::Revision(read.revision))];
    assert_eq!(store.write(change("berta")).await.unwrap(), Written::Done);
    assert_eq!(store.write(change("carla")).await.unwrap(), Written::Conflict(0));
    let changed = store.get(Table::Users, b"u1").await.unwrap().unwrap();
    assert_eq!(&changed.value[..], b"berta");
    assert!(changed.revision > read.revision);

    // Revisions grow on when a row comes back.
    let gone = vec![(row(Table::Users, "u1", None), Expect::Any)];
    assert_eq!(store.write(gone).await.unwrap(), Written::Done);
    assert_eq!(store.get(Table::Users, b"u1").await.unwrap(), None);
    assert_eq!(store.write(vec![(user(), Expect::Absent)]).await.unwrap(), Written::Done);
    assert!(store.get(Table::Users, b"u1").await.unwrap().unwrap().revision > changed.revision);
}

#[tokio::test]
async fn of_many_claims_of_a_name_one_is_granted() {
    let bench = Bench::new();
    let store = bench.open();
    let claims: Vec<_> = (0..50)
        .map(|n| {
            let store = Arc::clone(&store);
            let claim = (row(Table::UsersByName, "anna", Some(&n.to_string())), Expect::Absent);
            tokio::spawn(async move { store.write(vec![claim]).await.unwrap() })
        })
        .collect();
    let mut granted = 0;
    for claim in claims {
        granted += usize::from(claim.await.unwrap() == Written::Done);
    }
    assert_eq!(granted, 1);
}
