//! Rooms that are put down, taken up again, and read again after a crash.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use rookery_core::room::{Reply, Role, What};
use rookery_protocol::id::RoomId;

use super::house::{House, code, on, post, user};
use crate::{
    backend::{Append, Appended, Committed, Read, RoomLog, Unavailable, embedded::Store},
    rooms::RoomsSettings,
};

#[tokio::test]
async fn a_crash_changes_nothing_that_was_acknowledged() {
    let (mut house, ada, bob) = (House::new(), user(1, "ada"), user(2, "bob"));
    let room = house.room(&ada, &[&bob]).await;
    house.does(room, &ada, What::SetRole { user: bob.id, role: Role::Moderator }).await.unwrap();
    let seq = house.say(room, &ada, "kept", "a").await;
    house.does(room, &bob, What::React { seq, emoji: "👍".into() }).await.unwrap();
    for round in 0..3 {
        let view = house.rooms.view(room, ada.id).await.unwrap();
        let events = house.rooms.events(room, 1, u64::MAX, 1000).await.unwrap();
        house = house.crash().await;
        assert_eq!(house.rooms.view(room, ada.id).await.unwrap(), view);
        assert_eq!(house.rooms.events(room, 1, u64::MAX, 1000).await.unwrap().events, events.events);
        let again = house.does(room, &ada, post("kept", "a")).await.unwrap();
        assert!(matches!(again, Reply::Posted { seq: same, repeated: true, .. } if same == seq));
        let next = house.say(room, &bob, "and on", &round.to_string()).await;
        assert_eq!(next, view.last_seq + 1, "no gap");
        let members = house.rooms.members(room, ada.id, None, 10).await.unwrap().items;
        assert_eq!(members.iter().map(|m| m.role).collect::<Vec<_>>(), [Role::Owner, Role::Moderator]);
    }
}

/// Remembers the first event that somebody read, and counts looks at ends.
pub(super) struct Watched {
    store: Arc<Store>,
    lowest: AtomicU64,
    pub(super) tails: AtomicU64,
    /// Reads show nothing: as if the log's server had stood still since the room was made.
    old: AtomicBool,
    /// What is shown as the end of a log is no record.
    damaged: AtomicBool,
}

impl Watched {
    pub(super) fn new(store: &Arc<Store>) -> Arc<Self> {
        Arc::new(Self {
            store: store.clone(),
            lowest: AtomicU64::new(u64::MAX),
            tails: AtomicU64::new(0),
            old: AtomicBool::new(false),
            damaged: AtomicBool::new(false),
        })
    }
}

#[async_trait]
impl RoomLog for Watched {
    async fn append(&self, append: Append) -> Appended {
        self.store.append(append).await
    }
    async fn tail(&self, room: RoomId) -> Result<Option<Committed>, Unavailable> {
        self.tails.fetch_add(1, Ordering::Relaxed);
        let mut tail = self.store.tail(room).await;
        if self.damaged.load(Ordering::Relaxed)
            && let Ok(Some(tail)) = &mut tail
        {
            tail.record = bytes::Bytes::from_static(b"no record");
        }
        tail
    }
    async fn read(&self, room: RoomId, read: Read) -> Result<Vec<Committed>, Unavailable> {
        self.lowest.fetch_min(read.from, Ordering::Relaxed);
        if self.old.load(Ordering::Relaxed) { Ok(Vec::new()) } else { self.store.read(room, read).await }
    }
    async fn forget(&self, room: RoomId, before: u64) -> Result<(), Unavailable> {
        self.store.forget(room, before).await
    }
    fn follow(&self, room: RoomId, on: bool) {
        self.store.follow(room, on);
    }
}

#[tokio::test]
async fn a_snapshot_saves_reading_the_log() {
    let (house, ada) = (House::new(), user(1, "ada"));
    let room = house.room(&ada, &[]).await;
    for number in 0..20 {
        house.say(room, &ada, "old", &number.to_string()).await;
    }
    house.rooms.stop(Duration::from_secs(10)).await;
    let watched = Watched::new(&house.store);
    let rooms = on(&house.store, watched.clone(), RoomsSettings::default());
    let again = rooms.command(room, &ada, post("old", "3")).await.unwrap();
    assert!(matches!(again, Reply::Posted { repeated: true, .. }), "remembered by the snapshot");
    assert!(watched.lowest.load(Ordering::Relaxed) > 21, "{:?}", watched.lowest);
}

#[tokio::test]
async fn a_message_that_an_old_read_does_not_show_is_not_said_to_be_none() {
    let (house, ada) = (House::new(), user(1, "ada"));
    let room = house.room(&ada, &[]).await;
    let seq = house.say(room, &ada, "kept", "a").await;
    house.rooms.stop(Duration::from_secs(10)).await;
    let watched = Watched::new(&house.store);
    let rooms = on(&house.store, watched.clone(), RoomsSettings::default());
    let edit = || rooms.command(room, &ada, What::Edit { seq, text: "changed".into() });
    watched.old.store(true, Ordering::Relaxed);
    assert_eq!(code(edit().await), (503, "unavailable"));
    watched.old.store(false, Ordering::Relaxed);
    assert!(edit().await.is_ok());
    let none = rooms.command(room, &ada, What::Edit { seq: seq + 1, text: "none".into() }).await;
    assert!(none.is_err());
}

#[tokio::test]
async fn a_log_that_is_wrong_is_not_read_again_for_each_command() {
    let (house, ada) = (House::new(), user(1, "ada"));
    let room = house.room(&ada, &[]).await;
    let watched = Watched::new(&house.store);
    let rooms = on(&house.store, watched.clone(), RoomsSettings::default());
    rooms.command(room, &ada, post("mine", "a")).await.unwrap();
    // Another one takes it over.
    house.say(room, &ada, "another's", "b").await;
    watched.damaged.store(true, Ordering::Relaxed);
    watched.tails.store(0, Ordering::Relaxed);
    let begun = std::time::Instant::now();
    for number in 0..200 {
        let refused = rooms.command(room, &ada, post("x", &number.to_string())).await;
        assert_eq!(code(refused), (503, "unavailable"));
    }
    let (read, seconds) = (watched.tails.load(Ordering::Relaxed), begun.elapsed().as_secs());
    assert!(read <= seconds + 2, "read {read} times in {seconds} s");
    // It is served when it is in order again.
    watched.damaged.store(false, Ordering::Relaxed);
    let served = async {
        while rooms.command(room, &ada, post("again", "c")).await.is_err() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), served).await.expect("it is served again");
}

#[tokio::test]
async fn idle_rooms_leave_memory_and_come_back() {
    let settings = RoomsSettings { idle_seconds: 1, active: 1, ..RoomsSettings::default() };
    let (house, ada) = (House::with(settings), user(1, "ada"));
    let mut rooms = Vec::new();
    for _ in 0..40 {
        rooms.push(house.room(&ada, &[]).await);
    }
    for (number, room) in rooms.iter().enumerate() {
        house.say(*room, &ada, "hello", &number.to_string()).await;
    }
    let active = || house.rooms.env().metrics.active.get();
    // At most one of each of the sixteen shards stays for want of place; the others leave when they are idle.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while active() > 0 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(active(), 0);
    for (number, room) in rooms.iter().enumerate() {
        let again = house.does(*room, &ada, post("hello", &number.to_string())).await.unwrap();
        assert!(matches!(again, Reply::Posted { repeated: true, .. }));
    }
}

#[tokio::test]
async fn ids_that_are_made_up_leave_nothing_behind() {
    let (house, ada) = (House::new(), user(1, "ada"));
    for number in 0..10u128 {
        let outcome = house.does(RoomId(number), &ada, post("x", "x")).await;
        assert_eq!(code(outcome), (404, "room_not_found"));
    }
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    while house.rooms.env().metrics.active.get() > 0 && tokio::time::Instant::now() < deadline {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(house.rooms.env().metrics.active.get(), 0);
    assert!(house.store.tail(RoomId(1)).await.unwrap().is_none());
}

#[tokio::test]
async fn what_is_too_much_is_refused_at_once() {
    let settings = RoomsSettings { waiting_commands: 8, ..RoomsSettings::default() };
    let (house, ada) = (House::with(settings), user(1, "ada"));
    let room = house.room(&ada, &[]).await;
    let (tell, mut told) = tokio::sync::mpsc::unbounded_channel();
    for number in 0..100u32 {
        let tell = tell.clone();
        let reply = Box::new(move |outcome| tell.send((number, outcome)).unwrap());
        house.rooms.submit(room, &ada, post("x", &number.to_string()), reply);
    }
    drop(tell);
    let (mut stored, mut refused) = (Vec::new(), 0);
    while let Some((number, outcome)) = told.recv().await {
        match outcome {
            Ok(Reply::Posted { seq, .. }) => stored.push((seq, number)),
            other => {
                assert_eq!(code(other), (503, "unavailable"));
                refused += 1;
            }
        }
    }
    assert_eq!(stored.len() + refused, 100, "each is answered once");
    assert!(!stored.is_empty() && refused > 0);
    assert!(stored.is_sorted() && stored.iter().map(|(_, number)| number).is_sorted(), "in order");
}
