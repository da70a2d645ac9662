//! A leader of the log that stood still, and does not know yet that it leads no more.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use rookery_core::{
    ring::View,
    room::{Reply, What},
};
use rookery_protocol::id::RoomId;

use super::house::{House, code, post, user};
use crate::{
    backend::{
        Append, Appended, Committed, Entry, Expect, Read, RoomLog, Row, Rows, Seen, Table, Unavailable,
        Written, embedded::Store,
    },
    rooms::{NewMessage, Rooms, RoomsMetrics, RoomsSettings},
};

/// While it is `old`, tails are those of before, and no row is there; proofs know better.
struct Leader {
    store: Arc<Store>,
    old: AtomicBool,
    tail: Mutex<Option<Committed>>,
    proofs: AtomicU64,
    /// Places that heads were read as of.
    seen: Mutex<Vec<Seen>>,
}

impl Leader {
    async fn is_old_from_now_on(&self, room: RoomId) {
        *self.tail.lock() = self.store.tail(room).await.unwrap();
        self.old.store(true, Ordering::Relaxed);
    }

    fn proves(&self) {
        self.proofs.fetch_add(1, Ordering::Relaxed);
    }
}

#[async_trait]
impl RoomLog for Leader {
    async fn append(&self, append: Append) -> Appended {
        self.store.append(append).await
    }
    async fn tail(&self, room: RoomId) -> Result<Option<Committed>, Unavailable> {
        if self.old.load(Ordering::Relaxed) {
            Ok(self.tail.lock().clone())
        } else {
            self.store.tail(room).await
        }
    }
    async fn certain_tail(&self, room: RoomId) -> Result<Option<Committed>, Unavailable> {
        self.proves();
        self.store.tail(room).await
    }
    async fn read(&self, room: RoomId, read: Read) -> Result<Vec<Committed>, Unavailable> {
        self.store.read(room, read).await
    }
    async fn forget(&self, room: RoomId, before: u64) -> Result<(), Unavailable> {
        self.store.forget(room, before).await
    }
    fn follow(&self, room: RoomId, on: bool) {
        self.store.follow(room, on);
    }
}

#[async_trait]
impl Rows for Leader {
    async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, Unavailable> {
        if self.old.load(Ordering::Relaxed) { Ok(None) } else { self.store.get(table, key).await }
    }
    async fn certain(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, Unavailable> {
        self.proves();
        self.store.get(table, key).await
    }
    async fn get_as_of(&self, table: Table, key: &[u8], seen: Seen) -> Result<Option<Entry>, Unavailable> {
        self.seen.lock().push(seen);
        self.store.get(table, key).await
    }
    async fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, Unavailable> {
        self.store.scan(table, prefix, after, limit).await
    }
    async fn write(&self, writes: Vec<(Row, Expect)>) -> Result<Written, Unavailable> {
        self.store.write(writes).await
    }
}

fn on_leader(house: &House) -> (Arc<Rooms>, Arc<Leader>) {
    let leader = Arc::new(Leader {
        store: house.store.clone(),
        old: AtomicBool::new(false),
        tail: Mutex::default(),
        proofs: AtomicU64::new(0),
        seen: Mutex::default(),
    });
    let (settings, metrics) = (RoomsSettings::default(), RoomsMetrics::default());
    let rooms = Rooms::start(settings, "two", &View::alone("two"), leader.clone(), leader.clone(), metrics);
    (rooms, leader)
}

#[tokio::test]
async fn nobody_is_told_that_something_is_not_there_by_who_may_not_know() {
    let (house, ada, bob) = (House::new(), user(1, "ada"), user(2, "bob"));
    let (rooms, leader) = on_leader(&house);
    leader.is_old_from_now_on(RoomId(1)).await;
    let room = house.room(&ada, &[]).await;
    let seq = house.say(room, &ada, "hello", "a").await;
    // The owner is another node, so nothing of it is remembered here.
    assert_eq!(rooms.view(room, ada.id).await.unwrap().last_seq, 0, "old, but no refusal");
    assert_eq!(rooms.message(room, ada.id, seq).await.unwrap().text, "hello");
    assert!(rooms.has_reached(room, seq).await.unwrap() && !rooms.has_reached(room, seq + 1).await.unwrap());
    assert!(rooms.mark_read(room, ada.id, seq).await.unwrap());
    assert!(rooms.readable(room, ada.id).await.is_ok());
    assert_eq!(code(rooms.readable(room, bob.id).await), (403, "not_a_member"));
    assert!(rooms.join(room, &bob).await.is_ok());
    house.rooms.stop(std::time::Duration::from_secs(60)).await;

    // Refusals that are true cost a proof each, and nothing else does.
    for (refused, wanted) in [
        (rooms.view(RoomId(5), ada.id).await.map(drop), "room_not_found"),
        (rooms.message(room, ada.id, 999).await.map(drop), "message_not_found"),
        (rooms.command(RoomId(5), &ada, post("x", "x")).await.map(drop), "room_not_found"),
        (rooms.member_command(RoomId(5), &ada, post("x", "x")).await.map(drop), "room_not_found"),
        (rooms.mark_read(room, ada.id, 999).await.map(drop), "invalid"),
    ] {
        assert_eq!(code(refused).1, wanted);
    }
    leader.old.store(false, Ordering::Relaxed);
    leader.proofs.store(0, Ordering::Relaxed);
    let new = NewMessage { text: "again".into(), client_msg_id: "b".into(), reply_to: Some(seq) };
    let (said, _) = rooms.post(room, &ada, new).await.unwrap();
    rooms.edit(room, &ada, said.seq, "changed".into()).await.unwrap();
    rooms.history(room, bob.id, None, 10).await.unwrap();
    rooms.list(bob.id).await.unwrap();
    assert_eq!(leader.proofs.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn what_became_of_a_message_is_read_as_of_the_last_record() {
    let (house, ada) = (House::new(), user(1, "ada"));
    let room = house.room(&ada, &[]).await;
    let seq = house.say(room, &ada, "hello", "a").await;
    house.rooms.stop(std::time::Duration::from_secs(60)).await;
    let (rooms, leader) = on_leader(&house);
    let reply = rooms.command(room, &ada, What::Delete { seq }).await.unwrap();
    assert_eq!(reply, Reply::Done { seq: Some(seq + 1) });
    let seen = leader.seen.lock().clone();
    assert_eq!((seen.len(), seen[0].room, seen[0].first_seq), (1, room, seq), "{seen:?}");
    // That of the record which it took the room over after: deleting fenced, too.
    let after = house.store.tail(room).await.unwrap().unwrap().at;
    assert!(seen[0].at < after);
}
