//! Read marks that several nodes know.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use async_trait::async_trait;
use parking_lot::Mutex;
use rookery_core::room::Profile;
use rookery_protocol::id::RoomId;
use tokio::sync::{mpsc, oneshot};

use super::house::{House, on, user};
use crate::{
    backend::{
        Append, Appended, Committed, Expect, Read, RoomLog, Row, Rows as _, Table, Unavailable,
        embedded::Store,
    },
    rooms::{
        RoomsSettings,
        rows::{self, Mark},
    },
};

/// Never by itself: the tests say when marks are stored.
fn never() -> RoomsSettings {
    RoomsSettings { read_mark_flush_ms: 60_000, ..RoomsSettings::default() }
}

#[tokio::test]
async fn whoever_may_have_stored_an_older_mark_last_stores_the_newer_one() {
    let (house, ada, bob) = (House::with(never()), user(1, "ada"), user(2, "bob"));
    let room = house.room(&ada, &[&bob]).await;
    let mark = |seq| Mark { seq, messages: seq - 3 };
    let [one, two] = [0, 1].map(|_| on(&house.store, house.store.clone(), never()));
    one.env().marks.raise(room, [(bob.id, mark(9))]);
    two.env().marks.raise(room, [(bob.id, mark(4))]);
    one.env().marks.flush().await;
    two.env().marks.flush().await;
    let stored = || async {
        let fresh = on(&house.store, house.store.clone(), never());
        fresh.env().marks.get(bob.id, room).await.unwrap()
    };
    assert_eq!(stored().await, mark(4), "as it may happen");
    two.env().marks.heard(room, bob.id, mark(9));
    // An older one changes nothing.
    two.env().marks.heard(room, bob.id, mark(5));
    two.env().marks.flush().await;
    assert_eq!(stored().await, mark(9));
    assert_eq!(two.env().marks.get(bob.id, room).await.unwrap(), mark(9));
}

#[tokio::test]
async fn who_posts_to_another_nodes_room_has_read_it_here_at_once() {
    let (house, ada, bob) = (House::with(never()), user(1, "ada"), user(2, "bob"));
    let room = house.room(&ada, &[&bob]).await;
    let here = on(&house.store, house.store.clone(), never());
    house.say(room, &ada, "one", "1").await;
    let unread = || async { here.standings(bob.id, |_| true).await.unwrap()[0].unread };
    assert_eq!(unread().await, 1);
    let seq = house.say(room, &bob, "two", "2").await;
    house.say(room, &ada, "three", "3").await;
    assert_eq!(unread().await, 3, "the owner has not stored his mark, and nobody has told");
    here.env().marks.posted(room, bob.id, seq);
    assert_eq!(unread().await, 1);
    // It is the owner's to store.
    here.env().marks.flush().await;
    let fresh = on(&house.store, house.store.clone(), never());
    assert_eq!(fresh.standings(bob.id, |_| true).await.unwrap()[0].unread, 3);
}

#[tokio::test]
async fn mentions_are_looked_for_when_there_may_be_some() {
    let (house, ada, bob) = (House::with(never()), user(1, "ada"), user(2, "bob"));
    let room = house.room(&ada, &[&bob]).await;
    let key = rows::of_user(bob.id, room);
    // As another node leaves it that owned the room meanwhile.
    let left_behind = |seq| {
        let row = Row {
            table: Table::ReadMarks,
            key: rows::of_mention(bob.id, room, seq),
            value: Some(bytes::Bytes::new()),
        };
        house.store.write(vec![(row, Expect::Any)])
    };
    let mentions = || async {
        house.rooms.env().marks.flush().await;
        house.store.scan(Table::ReadMarks, &key, Some(&key), 10).await.unwrap().len()
    };
    house.say(room, &bob, "one", "1").await;
    assert_eq!(mentions().await, 0);

    left_behind(1).await.unwrap();
    house.say(room, &bob, "two", "2").await;
    assert_eq!(mentions().await, 1, "none is known of: it was not looked");
    house.say(room, &ada, "three, @bob", "3").await;
    assert_eq!(mentions().await, 2);
    house.say(room, &bob, "four", "4").await;
    assert_eq!(mentions().await, 0, "one was known of");

    left_behind(2).await.unwrap();
    let seq = house.say(room, &ada, "five", "5").await;
    house.rooms.mark_read(room, bob.id, seq).await.unwrap();
    assert_eq!(mentions().await, 0, "who reads has it looked for always");
}

/// Posts, more and more seldom, until the mark is stored with the message.
async fn say_with_mark(house: &House, room: RoomId, by: &Arc<Profile>) -> u64 {
    let end = Instant::now() + Duration::from_secs(30);
    for n in 0.. {
        let seq = house.say(room, by, "and so on", &format!("{n} {end:?}")).await;
        let row = house.store.get(Table::ReadMarks, &rows::of_user(by.id, room)).await.unwrap().unwrap();
        if Mark::decode(&row.value).unwrap().seq == seq {
            return seq;
        }
        assert!(Instant::now() < end, "the mark is never stored with the message");
        house.rooms.env().marks.flush().await;
        tokio::time::sleep(Duration::from_millis(50) * n).await;
    }
    unreachable!()
}

#[tokio::test]
async fn who_posts_seldom_has_his_mark_stored_with_the_message() {
    let (house, ada, bob) = (House::with(never()), user(1, "ada"), user(2, "bob"));
    let room = house.room(&ada, &[&bob]).await;
    house.say(room, &bob, "one", "1").await;
    house.rooms.env().marks.flush().await;
    let seq = say_with_mark(&house, room, &bob).await;
    assert_eq!(house.rooms.env().marks.get(bob.id, room).await.unwrap().seq, seq);
    // Mentions before it are cleared away by the next one that is stored by itself, and count nowhere until then.
    house.say(room, &ada, "@bob", "2").await;
    assert_eq!(house.rooms.list(bob.id).await.unwrap()[0].mentions, 1);
    house.say(room, &bob, "three", "3").await;
    house.rooms.env().marks.flush().await;
    let key = rows::of_user(bob.id, room);
    assert_eq!(house.store.scan(Table::ReadMarks, &key, Some(&key), 10).await.unwrap(), []);
}

#[tokio::test]
async fn a_mark_stored_meanwhile_does_not_hide_the_one_that_came_with_the_record() {
    let (house, ada, bob) = (House::with(never()), user(1, "ada"), user(2, "bob"));
    let room = house.room(&ada, &[&bob]).await;
    house.say(room, &bob, "one", "1").await;
    house.rooms.env().marks.flush().await;
    let seq = say_with_mark(&house, room, &bob).await;
    let marks = &house.rooms.env().marks;
    let mark = |ahead| Mark { seq: seq + ahead, messages: seq + ahead };
    let riders = async {
        loop {
            let riders = marks.with_record(room, &HashMap::from([(bob.id, mark(9))]));
            if riders.rows(room).next().is_some() {
                return riders;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let riders = tokio::time::timeout(Duration::from_secs(30), riders).await.unwrap();
    // He reads while the record is under way, and that comes after it.
    marks.raise(room, [(bob.id, mark(5))]);
    marks.flush().await;
    marks.stored_with_record(room, &riders);
    marks.raise(room, [(bob.id, mark(9))]);
    marks.flush().await;
    let row = house.store.get(Table::ReadMarks, &rows::of_user(bob.id, room)).await.unwrap().unwrap();
    assert_eq!(Mark::decode(&row.value), Some(mark(9)));
}

/// A log that does not say how the next append ended, and remembers the rows of all.
struct Silent {
    store: Arc<Store>,
    silent: AtomicBool,
    rows: Mutex<Vec<Vec<Row>>>,
    /// Told of each append; the test says when it goes on.
    told: mpsc::Sender<oneshot::Sender<()>>,
}

#[async_trait]
impl RoomLog for Silent {
    async fn append(&self, append: Append) -> Appended {
        self.rows.lock().push(append.rows.clone());
        let silent = self.silent.swap(false, Ordering::Relaxed);
        let appended = self.store.append(append).await;
        if silent {
            let (go, gone) = oneshot::channel();
            self.told.send(go).await.unwrap();
            gone.await.unwrap();
            return Appended::Unknown;
        }
        appended
    }
    async fn tail(&self, room: RoomId) -> Result<Option<Committed>, Unavailable> {
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

#[tokio::test]
async fn a_record_that_is_appended_again_has_the_same_rows() {
    let (mut house, ada, bob) = (House::with(never()), user(1, "ada"), user(2, "bob"));
    let (tell, mut told) = mpsc::channel(1);
    let log = Arc::new(Silent {
        store: house.store.clone(),
        silent: AtomicBool::new(false),
        rows: Mutex::default(),
        told: tell,
    });
    house.rooms = on(&house.store, log.clone(), never());
    let room = house.room(&ada, &[&bob]).await;
    house.say(room, &bob, "one", "1").await;
    house.rooms.env().marks.flush().await;
    // From now on his mark goes with what he says, if he says it seldom.
    let seq = say_with_mark(&house, room, &bob).await;
    log.rows.lock().clear();
    let wait = async {
        let mark = || HashMap::from([(bob.id, Mark { seq: seq + 1, messages: seq + 1 })]);
        while house.rooms.env().marks.with_record(room, &mark()).rows(room).next().is_none() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), wait).await.expect("his mark goes with what he says");
    log.silent.store(true, Ordering::Relaxed);
    let saying = house.say(room, &bob, "two, @ada", "2");
    let meanwhile = async {
        let go = tokio::time::timeout(Duration::from_secs(60), told.recv()).await.unwrap().unwrap();
        // A mark that is stored meanwhile would not go with a record now.
        house.rooms.env().marks.raise(room, [(bob.id, Mark { seq, messages: seq + 1 })]);
        house.rooms.env().marks.flush().await;
        go.send(()).unwrap();
    };
    tokio::join!(saying, meanwhile);
    let rows = log.rows.lock();
    assert_eq!((rows.len(), rows[0].len()), (2, 2), "{rows:?}");
    assert_eq!(rows[0], rows[1]);
}
