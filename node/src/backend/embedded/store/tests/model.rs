//! Reads against a model.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// Keys of few letters, so that they meet and share prefixes; 0xFF has no next byte.
fn key() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0u8, b'a', b'b', 0xFF]), 0..4)
}

#[derive(Debug, Clone)]
enum Step {
    Put(Vec<u8>, Vec<u8>),
    Delete(Vec<u8>),
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (key(), prop::collection::vec(any::<u8>(), 0..20)).prop_map(|(key, value)| Step::Put(key, value)),
        4 => key().prop_map(Step::Delete),
        1 => Just(Step::Reopen),
    ]
}

/// What is read does not depend on when it is synced, and this is faster.
struct Unsynced;

impl Commit for Unsynced {
    fn commit(&self, batch: fjall::OwnedWriteBatch) -> fjall::Result<()> {
        batch.durability(None).commit()
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn scans_say_what_a_map_says(
        steps in prop::collection::vec(step(), 1..40),
        scans in prop::collection::vec((key(), prop::option::of(key()), 0usize..6), 20),
    ) {
        run(async {
            let bench = Bench::new();
            let mut store = bench.open_with(Arc::new(Unsynced));
            let mut model = BTreeMap::new();
            // Neighbours in the tables before and after must not be seen.
            for table in [Table::Users, Table::UsersByName] {
                let rows = [&b""[..], &b"a"[..], &[0xFF; 4][..]].map(|key| {
                    (Row { table, key: Bytes::copy_from_slice(key), value: Some(Bytes::from_static(b"x")) }, Expect::Any)
                });
                store.write(rows.to_vec()).await.unwrap();
            }
            for step in steps {
                let (key, value) = match step {
                    Step::Put(key, value) => {
                        model.insert(key.clone(), value.clone());
                        (key, Some(value.into()))
                    }
                    Step::Delete(key) => {
                        model.remove(&key);
                        (key, None)
                    }
                    Step::Reopen => {
                        drop(store);
                        store = bench.open_with(Arc::new(Unsynced));
                        continue;
                    }
                };
                let row = Row { table: Table::UsersByEmail, key: key.into(), value };
                store.write(vec![(row, Expect::Any)]).await.unwrap();
            }
            for (prefix, after, limit) in scans {
                let found = store.scan(Table::UsersByEmail, &prefix, after.as_deref(), limit).await.unwrap();
                let found: Vec<_> = found.iter().map(|e| (e.key.to_vec(), e.value.to_vec())).collect();
                let wanted: Vec<_> = model
                    .iter()
                    .filter(|(key, _)| key.starts_with(&prefix) && after.as_ref().is_none_or(|after| *key > after))
                    .take(limit)
                    .map(|(key, value)| (key.clone(), value.clone()))
                    .collect();
                prop_assert_eq!(found, wanted);
            }
            Ok(())
        })?;
    }

    #[test]
    fn reads_find_the_records_of_their_events(
        lengths in prop::collection::vec(0u64..5, 1..40),
        reads in prop::collection::vec((0u64..100, 0u64..100, any::<bool>(), 1usize..8, 1usize..60), 20),
    ) {
        run(async {
            let bench = Bench::new();
            let mut store = bench.open_with(Arc::new(Unsynced));
            let (mut at, mut next, mut model) = (0, 1, vec![]);
            let mut others = [0; 2];
            for (n, length) in lengths.iter().copied().enumerate() {
                let text = "x".repeat(1 + n % 20);
                at = stored(&store, record(5, at, next..=next + length - 1, &text)).await;
                // Rooms before and after must not be seen.
                for (other, room) in others.iter_mut().zip([4, 6]) {
                    let seq = n as u64 + 1;
                    *other = stored(&store, record(room, *other, seq..=seq, "other")).await;
                }
                if length > 0 {
                    model.push((at, next, next + length - 1, text.len()));
                }
                next += length;
                if n == 20 {
                    drop(store);
                    store = bench.open_with(Arc::new(Unsynced));
                }
            }
            for (from, to, backwards, max_records, max_bytes) in reads {
                let read = Read { from, to, backwards, max_records, max_bytes };
                let found = store.read(RoomId(5), read).await.unwrap();
                let found: Vec<_> = found.iter().map(|c| c.at.0).collect();
                let mut wanted: Vec<_> =
                    model.iter().filter(|(_, first, last, _)| from <= to && *last >= from && *first <= to).collect();
                if backwards {
                    wanted.reverse();
                }
                let mut bytes = 0;
                let mut cut = vec![];
                for (at, _, _, len) in wanted {
                    cut.push(*at);
                    bytes += len;
                    if cut.len() >= max_records || bytes >= max_bytes {
                        break;
                    }
                }
                prop_assert_eq!(found, cut);
            }
            Ok(())
        })?;
    }
}
