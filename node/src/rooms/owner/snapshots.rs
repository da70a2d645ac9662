//! Storing a room's snapshots: one after the other, and never an older one over a newer one.
//!
//! What a stored snapshot has may be forgotten by the log. So one that an owner saves who was fenced off meanwhile, or that
//! was long on its way, must not replace the one that the next owner begins with.

use bytes::Bytes;
use rookery_core::room::State;
use rookery_protocol::id::RoomId;

use super::super::rows;
use crate::backend::{Expect, Row, Rows, Table, Unavailable};

/// Others replaced it so often meanwhile that somebody has one that is new enough.
const TRIES: u32 = 4;

/// A snapshot to store.
pub(super) struct Snapshot {
    /// The last event in it.
    pub(super) seq: u64,
    pub(super) bytes: Bytes,
    /// For how long the room keeps its events, if it says so.
    pub(super) retention_days: Option<u32>,
}

/// A room's snapshots, as its owner stores them.
#[derive(Default)]
pub(super) struct Snapshots {
    /// What is stored, if that is known: the condition of the next one.
    pub(super) stored: Option<Expect>,
    /// One is being stored.
    pub(super) storing: bool,
    /// The next one; a newer one takes its place.
    pub(super) next: Option<Snapshot>,
}

impl Snapshots {
    /// The next one to store, unless one is on its way.
    pub(super) fn begin(&mut self) -> Option<(Snapshot, Option<Expect>)> {
        if self.storing {
            return None;
        }
        let next = self.next.take()?;
        self.storing = true;
        Some((next, self.stored.take()))
    }
}

/// What the row must be for the next snapshot to replace it.
pub(super) fn replaces(revision: Option<u64>) -> Expect {
    revision.map_or(Expect::Absent, Expect::Revision)
}

/// Stores one, unless a newer one is there. Returns its revision, or `None` in that case.
pub(super) async fn store(
    table: &dyn Rows,
    room: RoomId,
    snapshot: &Snapshot,
    mut stored: Option<Expect>,
) -> Result<Option<u64>, Unavailable> {
    let key = rows::of_room(room);
    for _ in 0..TRIES {
        let expect = match stored.take() {
            Some(expect) => expect,
            None => match table.get(Table::Snapshots, &key).await? {
                None => Expect::Absent,
                Some(entry) => {
                    let there = State::snapshot_link(entry.value, room);
                    if there.is_ok_and(|link| link.last_seq >= snapshot.seq) {
                        return Ok(None);
                    }
                    Expect::Revision(entry.revision)
                }
            },
        };
        let row = Row { table: Table::Snapshots, key: key.clone(), value: Some(snapshot.bytes.clone()) };
        if let Some(revision) = table.replace(row, expect).await? {
            return Ok(Some(revision));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::rooms::{
        RoomsSettings,
        tests::house::{House, on, post, user},
    };

    #[tokio::test]
    async fn an_older_one_never_replaces_a_newer_one() {
        let (house, ada) = (House::new(), user(1, "ada"));
        let room = house.room(&ada, &[]).await;
        let mut saved = Vec::new();
        for round in 0..3 {
            // An owner that saves a snapshot when it is put down.
            let rooms = on(&house.store, house.store.clone(), RoomsSettings::default());
            rooms.command(room, &ada, post("x", &format!("{round}"))).await.unwrap();
            rooms.stop(Duration::from_secs(60)).await;
            saved.push(house.store.get(Table::Snapshots, &rows::of_room(room)).await.unwrap().unwrap());
        }
        let seq = |at: usize| State::snapshot_link(saved[at].value.clone(), room).unwrap().last_seq;
        let snapshot =
            |at: usize| Snapshot { seq: seq(at), bytes: saved[at].value.clone(), retention_days: None };
        assert!(seq(0) < seq(1) && seq(1) < seq(2));
        let there =
            || async { house.store.get(Table::Snapshots, &rows::of_room(room)).await.unwrap().unwrap() };
        let known = |at: usize| Some(Expect::Revision(saved[at].revision));
        // What he believes to be there who was fenced off, or has just begun; or he knows nothing.
        for believed in [known(0), Some(Expect::Absent), None] {
            assert_eq!(store(&*house.store, room, &snapshot(1), believed).await.unwrap(), None);
            assert_eq!(there().await, saved[2]);
        }
        // A newer one does replace an older one, whatever was believed.
        let row =
            Row { table: Table::Snapshots, key: rows::of_room(room), value: Some(saved[0].value.clone()) };
        house.store.write(vec![(row, Expect::Any)]).await.unwrap();
        let revision = store(&*house.store, room, &snapshot(2), known(2)).await.unwrap();
        let now = there().await;
        assert_eq!((Some(now.revision), now.value), (revision, saved[2].value.clone()));
    }

    #[test]
    fn one_is_stored_at_a_time_and_the_newest_next() {
        let one = |seq| Some(Snapshot { seq, bytes: Bytes::new(), retention_days: None });
        let mut snapshots =
            Snapshots { stored: Some(Expect::Revision(4)), next: one(1), ..Snapshots::default() };
        let (first, stored) = snapshots.begin().unwrap();
        assert_eq!((first.seq, stored), (1, Some(Expect::Revision(4))));
        for seq in [2, 3] {
            snapshots.next = one(seq);
            assert!(snapshots.begin().is_none());
        }
        (snapshots.storing, snapshots.stored) = (false, Some(Expect::Revision(5)));
        let (next, stored) = snapshots.begin().unwrap();
        assert_eq!((next.seq, stored), (3, Some(Expect::Revision(5))));
    }
}
