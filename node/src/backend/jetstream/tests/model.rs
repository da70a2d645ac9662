//! The same operations on the embedded store and on JetStream: the same answers.

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};

use super::*;
use crate::backend::{
    Expect, Read, Rows,
    embedded::{Store, StoreMetrics, StoreSettings},
};

const ROOMS: u128 = 3;

fn key(table: Table, rng: &mut StdRng) -> Vec<u8> {
    let user = rng.random_range(0..3_u128).to_be_bytes();
    let room = rng.random_range(0..ROOMS).to_be_bytes();
    let seq = [1_u64, 2, 255, 256, 700, 1 << 40][rng.random_range(0..6)];
    match table {
        Table::Memberships => [user, room].concat(),
        Table::ReadMarks if rng.random_bool(0.5) => [user, room].concat(),
        Table::ReadMarks => [&user[..], &room, &seq.to_be_bytes()].concat(),
        Table::PublicRooms => room.to_vec(),
        Table::Snapshots if rng.random_bool(0.5) => [&room[..], b"info"].concat(),
        Table::Snapshots => room.to_vec(),
        Table::Amendments => [&room[..], &seq.to_be_bytes()].concat(),
        _ => (0..rng.random_range(0..3))
            .map(|_| *[0, b'a', 0xFF].get(rng.random_range(0..3)).unwrap())
            .collect(),
    }
}

const TABLES: [Table; 8] = [
    Table::Users,
    Table::UsersByEmail,
    Table::Secrets,
    Table::Memberships,
    Table::ReadMarks,
    Table::PublicRooms,
    Table::Amendments,
    Table::Snapshots,
];

fn random_row(rng: &mut StdRng, of: &[Table]) -> Row {
    let table = of[rng.random_range(0..of.len())];
    let value = rng.random_bool(0.7).then(|| Bytes::from(format!("{}", rng.random_range(0..1_000))));
    Row { table, key: key(table, rng).into(), value }
}

/// Revisions are counted differently; that they agree is shown by conditions on them.
async fn revisions(stores: [&dyn Rows; 2], table: Table, key: &[u8]) -> [Option<u64>; 2] {
    let [a, b] = stores;
    let (a, b) = (a.get(table, key).await.unwrap(), b.get(table, key).await.unwrap());
    assert_eq!(
        a.as_ref().map(|entry| &entry.value),
        b.as_ref().map(|entry| &entry.value),
        "{table:?} {key:?}"
    );
    [a, b].map(|entry| entry.map(|entry| entry.revision))
}

#[test]
fn jetstream_answers_as_the_embedded_store_does() {
    let Some(servers) = servers() else { return };
    run(async {
        let seed = rand::random::<u64>();
        eprintln!("seed {seed}");
        let mut rng = StdRng::seed_from_u64(seed);
        let dir = tempfile::tempdir().unwrap();
        let metrics = StoreMetrics::register(&mut Registry::default());
        let embedded = Store::open(dir.path(), &StoreSettings::default(), metrics).unwrap();
        let one = open(&servers, "model", Some(0)).await;
        let two = open(&servers, "model", Some(1)).await;
        // Per room: next seq, and where its last record is in each.
        let mut rooms = vec![(1_u64, 0_u64, 0_u64); ROOMS as usize];
        for _ in 0..500 {
            let jetstream = if rng.random_bool(0.5) { &one } else { &two };
            match rng.random_range(0..10) {
                0..3 => {
                    let n = rng.random_range(0..ROOMS);
                    let room = &mut rooms[n as usize];
                    let events = [0, 1, 1, 2, 100, 300][rng.random_range(0..6)];
                    let stale = rng.random_bool(0.2);
                    let at = |at: u64| if stale { at + 1 } else { at };
                    let mut append = record(n, at(room.1), room.0..=room.0 + events - 1, "");
                    append.record = Bytes::from(format!("{}", rng.random::<u64>()));
                    let mut rows = Vec::new();
                    for _ in 0..[0, 0, 3][rng.random_range(0..3)] {
                        // Rows of this room alone.
                        let row = random_row(&mut rng, &[Table::Amendments, Table::PublicRooms]);
                        rows.push(Row { key: [&n.to_be_bytes(), &row.key[16..]].concat().into(), ..row });
                    }
                    append.rows = rows;
                    let a = embedded.append(append.clone()).await;
                    let b = jetstream.append(Append { expected: LogSeq(at(room.2)), ..append }).await;
                    match (a, b) {
                        (Appended::Committed(a), Appended::Committed(b)) => {
                            *room = (room.0 + events, a.0, b.0);
                        }
                        (a, b) => assert_eq!(a, b),
                    }
                }
                3..6 => {
                    let row = random_row(&mut rng, &TABLES);
                    let [a, b] = revisions([&*embedded, &**jetstream], row.table, &row.key).await;
                    let (a, b) = match (rng.random_range(0..4), a, b) {
                        (0, ..) => (Expect::Absent, Expect::Absent),
                        (1, Some(a), Some(b)) => (Expect::Revision(a), Expect::Revision(b)),
                        (2, Some(a), Some(b)) => {
                            (Expect::Revision(a + 1_000_000), Expect::Revision(b + 1_000_000))
                        }
                        _ => (Expect::Any, Expect::Any),
                    };
                    let a = embedded.write(vec![(row.clone(), a)]).await.unwrap();
                    let b = jetstream.write(vec![(row, b)]).await.unwrap();
                    assert_eq!(a, b);
                }
                6 => {
                    let rows: Vec<_> = (0..5).map(|_| (random_row(&mut rng, &TABLES), Expect::Any)).collect();
                    let a = embedded.write(rows.clone()).await.unwrap();
                    assert_eq!(a, jetstream.write(rows).await.unwrap());
                }
                7 => {
                    let table = TABLES[rng.random_range(0..7)];
                    let mut prefix = key(table, &mut rng);
                    let bounds: &[usize] = match table {
                        Table::Amendments => &[0, 16, 23, 24],
                        Table::Memberships | Table::ReadMarks => &[0, 16, 32, 40],
                        _ => &[0, 1, 2, 16],
                    };
                    prefix.truncate(bounds[rng.random_range(0..4)]);
                    let after = rng.random_bool(0.5).then(|| key(table, &mut rng));
                    let limit = rng.random_range(0..6);
                    let a = embedded.scan(table, &prefix, after.as_deref(), limit).await.unwrap();
                    let b = jetstream.scan(table, &prefix, after.as_deref(), limit).await.unwrap();
                    let plain = |found: Vec<crate::backend::Entry>| {
                        found.into_iter().map(|entry| (entry.key, entry.value)).collect::<Vec<_>>()
                    };
                    assert_eq!(plain(a), plain(b), "{table:?} {prefix:?} {after:?} {limit}");
                }
                _ => {
                    let n = rng.random_range(0..ROOMS);
                    let last = rooms[n as usize].0;
                    let read = Read {
                        from: rng.random_range(0..last + 10),
                        to: rng.random_range(0..last + 300),
                        backwards: rng.random_bool(0.5),
                        max_records: rng.random_range(1..10),
                        max_bytes: rng.random_range(1..200),
                    };
                    let plain = |found: Vec<crate::backend::Committed>| {
                        found.into_iter().map(|one| one.record).collect::<Vec<_>>()
                    };
                    let a = plain(embedded.read(RoomId(n), read).await.unwrap());
                    assert_eq!(a, plain(jetstream.read(RoomId(n), read).await.unwrap()), "{read:?}");
                    let tails = [embedded.tail(RoomId(n)).await, jetstream.tail(RoomId(n)).await];
                    let [a, b] = tails.map(|tail| tail.unwrap().map(|tail| tail.record));
                    assert_eq!(a, b);
                }
            }
        }
    });
}
