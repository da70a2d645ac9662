//! Messages, their history, and what becomes of them.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use async_trait::async_trait;
use proptest::{prelude::*, test_runner::TestRunner};
use rookery_core::room::{Reply, Role, Update, What};
use rookery_protocol::{client::server_frame::Frame, id::RoomId};

use super::house::{House, code, on, post, user};
use crate::{
    backend::{Append, Appended, Committed, Read, RoomLog, Unavailable, embedded::Store},
    rooms::{NewMessage, Part, RoomsSettings},
};

#[tokio::test]
async fn a_message_and_what_becomes_of_it() {
    let (house, ada, bob) = (House::new(), user(1, "ada"), user(2, "bob"));
    let room = house.room(&ada, &[&bob]).await;
    let seq = house.say(room, &ada, "hello @bob", "a").await;
    let said = house.message(room, &bob, seq).await;
    assert_eq!((said.text.as_str(), said.mentions), ("hello @bob", vec![bob.id.to_string()]));
    assert_eq!(said.sender.unwrap().display_name, "ADA");

    house.does(room, &ada, What::Edit { seq, text: "hello".into() }).await.unwrap();
    for by in [&ada, &bob] {
        house.does(room, by, What::React { seq, emoji: "👍".into() }).await.unwrap();
    }
    house.does(room, &bob, What::Unreact { seq, emoji: "👍".into() }).await.unwrap();
    let now = house.message(room, &ada, seq).await;
    assert_eq!((now.text.as_str(), now.mentions.len(), now.edited_at.is_some()), ("hello", 0, true));
    assert_eq!((now.reactions["👍"].count, now.reactions["👍"].mine), (1, true));
    assert!(!house.message(room, &bob, seq).await.reactions["👍"].mine);

    assert_eq!(code(house.does(room, &bob, What::Delete { seq }).await), (403, "forbidden"));
    house.does(room, &ada, What::Delete { seq }).await.unwrap();
    let gone = house.message(room, &ada, seq).await;
    assert_eq!((gone.text.as_str(), gone.deleted, gone.reactions.len()), ("", true, 0));
    assert_eq!(
        code(house.does(room, &ada, What::Edit { seq, text: "x".into() }).await),
        (410, "message_deleted")
    );
    assert_eq!(code(house.rooms.message(room, ada.id, 1).await), (404, "message_not_found"));
    assert_eq!(code(house.rooms.message(room, ada.id, 99).await), (404, "message_not_found"));

    // Those who read the events later do not see the text, nor that of the edit.
    let page = house.rooms.events(room, 1, u64::MAX, 1000).await.unwrap();
    assert_eq!(
        page.events.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(),
        (1..=page.last_seq).collect::<Vec<_>>()
    );
    for (_, frame) in &page.events {
        match frame.frame.as_ref().unwrap() {
            Frame::Message(message) => assert!(message.deleted && message.text.is_empty()),
            Frame::Edited(edited) => assert_eq!(edited.text, ""),
            _ => {}
        }
    }
    let edit = house.rooms.events(room, seq + 1, seq + 1, 1).await.unwrap();
    assert!(matches!(edit.events[0].1.frame.as_ref(), Some(Frame::Edited(edited)) if edited.text.is_empty()));
}

/// A log that cannot be read once something was appended.
struct Blind {
    store: Arc<Store>,
    armed: AtomicBool,
    blind: AtomicBool,
    reads: AtomicU64,
}

impl Blind {
    fn look(&self) -> Result<&Store, Unavailable> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        if self.blind.load(Ordering::Relaxed) { Err(Unavailable("blind".into())) } else { Ok(&self.store) }
    }

    /// Reads since it was asked last.
    fn reads(&self) -> u64 {
        self.reads.swap(0, Ordering::Relaxed)
    }

    /// From the next append on nothing can be read.
    fn arm(&self, armed: bool) {
        self.armed.store(armed, Ordering::Relaxed);
        self.blind.store(false, Ordering::Relaxed);
    }
}

#[async_trait]
impl RoomLog for Blind {
    async fn append(&self, append: Append) -> Appended {
        let appended = self.store.append(append).await;
        self.blind.store(self.armed.load(Ordering::Relaxed), Ordering::Relaxed);
        appended
    }
    async fn tail(&self, room: RoomId) -> Result<Option<Committed>, Unavailable> {
        self.look()?.tail(room).await
    }
    async fn read(&self, room: RoomId, read: Read) -> Result<Vec<Committed>, Unavailable> {
        self.look()?.read(room, read).await
    }
    async fn forget(&self, room: RoomId, before: u64) -> Result<(), Unavailable> {
        self.store.forget(room, before).await
    }
    fn follow(&self, room: RoomId, on: bool) {
        self.store.follow(room, on);
    }
}

#[tokio::test]
async fn what_is_stored_is_answered_though_the_log_cannot_be_read_any_more() {
    let (mut house, ada, bob) = (House::new(), user(1, "ada"), user(2, "bob"));
    let blind = Arc::new(Blind {
        store: house.store.clone(),
        armed: AtomicBool::default(),
        blind: AtomicBool::default(),
        reads: AtomicU64::default(),
    });
    house.rooms = on(&house.store, blind.clone(), RoomsSettings::default());
    let room = house.room(&ada, &[&bob]).await;
    let first = house.say(room, &ada, "first", "f").await;
    let new = |text: &str, client_msg_id: &str| NewMessage {
        text: text.into(),
        client_msg_id: client_msg_id.into(),
        reply_to: Some(first),
    };
    blind.arm(true);
    blind.reads();
    let (said, repeated) = house.rooms.post(room, &ada, new("hello @bob", "a")).await.unwrap();
    assert!(!repeated);
    assert_eq!(blind.reads(), 0, "a post costs no read");
    blind.arm(false);
    assert_eq!(said, house.message(room, &ada, said.seq).await);
    assert_eq!(said.mentions, [bob.id.to_string()]);

    house.does(room, &bob, What::React { seq: said.seq, emoji: "👍".into() }).await.unwrap();
    blind.arm(true);
    let changed = house.rooms.edit(room, &ada, said.seq, "goodbye @ada".into()).await.unwrap();
    blind.arm(false);
    assert_eq!(changed, house.message(room, &ada, said.seq).await);
    assert_eq!((changed.reactions["👍"].count, &*changed.mentions), (1, &[ada.id.to_string()][..]));
    // The text that it has already: nothing is stored.
    assert_eq!(house.rooms.edit(room, &ada, said.seq, "goodbye @ada".into()).await.unwrap(), changed);

    // A repeat is shown as it is now.
    let (again, repeated) = house.rooms.post(room, &ada, new("hello @bob", "a")).await.unwrap();
    assert_eq!((again, repeated), (changed, true));
    let edit = |seq| house.rooms.edit(room, &ada, seq, "x".into());
    for seq in [0, 1, said.seq + 100, u64::MAX] {
        assert_eq!(code(edit(seq).await), (404, "message_not_found"), "{seq}");
    }
    let none = house.rooms.post(RoomId(5), &ada, new("x", "x")).await;
    assert_eq!(code(none), (404, "room_not_found"));
}

#[tokio::test]
async fn a_client_msg_id_is_stored_once() {
    let (house, ada) = (House::new(), user(1, "ada"));
    let room = house.room(&ada, &[]).await;
    let seq = house.say(room, &ada, "one", "a").await;
    let again = house.does(room, &ada, post("one", "a")).await.unwrap();
    assert!(matches!(again, Reply::Posted { seq: same, repeated: true, .. } if same == seq));
    assert_eq!(code(house.does(room, &ada, post("two", "a")).await), (409, "client_msg_id_conflict"));
    assert_eq!(house.rooms.readable(room, ada.id).await.unwrap(), seq);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_walk_gives_every_message_once_and_in_order() {
    let (house, ada, bob) = (House::new(), user(1, "ada"), user(2, "bob"));
    let room = house.room(&ada, &[&bob]).await;
    let mut said = Vec::new();
    for number in 0..60u64 {
        said.push(house.say(room, &ada, &format!("m{number}"), &format!("id{number}")).await);
        if number % 3 == 0 {
            let seq = said[usize::try_from(number).unwrap() / 2];
            house.does(room, &bob, What::React { seq, emoji: "🐦".into() }).await.unwrap();
        }
    }
    // Many in one record, too.
    let mut waiting = Vec::new();
    for number in 60..90 {
        let (rooms, ada) = (house.rooms.clone(), ada.clone());
        waiting.push(tokio::spawn(async move {
            rooms.command(room, &ada, post("more", &format!("id{number}"))).await
        }));
    }
    for task in waiting {
        if let Reply::Posted { seq, .. } = task.await.unwrap().unwrap() {
            said.push(seq);
        }
    }
    said.sort_unstable();
    let last = *said.last().unwrap();
    let (house, runtime) = (&house, tokio::runtime::Handle::current());
    let check = |limit: usize, start: u64| {
        runtime.block_on(async {
            let (mut down, mut before) = (Vec::new(), start);
            loop {
                let page =
                    house.rooms.history(room, bob.id, Some(Part::Before(before)), limit).await.unwrap();
                assert!(page.messages.len() <= limit);
                down.extend(page.messages.iter().map(|m| m.seq));
                if !page.has_more {
                    break;
                }
                before = *down.last().unwrap();
            }
            let expected: Vec<_> = said.iter().rev().copied().filter(|seq| *seq < start).collect();
            assert_eq!(down, expected, "backwards from {start} by {limit}");
            let (mut up, mut after) = (Vec::new(), start);
            loop {
                let page = house.rooms.history(room, bob.id, Some(Part::After(after)), limit).await.unwrap();
                up.extend(page.messages.iter().map(|m| m.seq));
                if !page.has_more {
                    break;
                }
                after = *up.last().unwrap();
            }
            let expected: Vec<_> = said.iter().copied().filter(|seq| *seq > start).collect();
            assert_eq!(up, expected, "forwards from {start} by {limit}");
        });
    };
    tokio::task::block_in_place(|| {
        let mut runner = TestRunner::new(ProptestConfig { cases: 30, ..ProptestConfig::default() });
        runner
            .run(&(1usize..=100, 0..last + 5), |(limit, start)| {
                check(limit, start);
                Ok(())
            })
            .unwrap();
    });
}

#[tokio::test]
async fn who_may_do_what() {
    let house = House::new();
    let [owner, moderator, member, stranger] =
        [(1, "owner"), (2, "moderator"), (3, "member"), (4, "stranger")].map(|(n, name)| user(n, name));
    let room = house.room(&owner, &[&moderator, &member]).await;
    house.does(room, &owner, What::SetRole { user: moderator.id, role: Role::Moderator }).await.unwrap();
    let said = house.say(room, &owner, "mine", "m").await;
    let rename = || What::Update(Update { name: Some("New".into()), ..Update::default() });
    let ban = || What::Ban { user: (*stranger).clone(), until: None };
    let ok = "ok";
    // What, and what owner, moderator, member and stranger are answered.
    for (what, expected) in [
        (rename(), [ok, ok, "forbidden", "not_a_member"]),
        (ban(), [ok, ok, "forbidden", "not_a_member"]),
        (What::Unban { user: stranger.id }, [ok, ok, "forbidden", "banned"]),
        (What::Mute { user: member.id, until: None }, [ok, ok, "forbidden", "not_a_member"]),
        (What::Unmute { user: member.id }, [ok, ok, "forbidden", "not_a_member"]),
        (
            What::SetRole { user: member.id, role: Role::Member },
            [ok, "forbidden", "forbidden", "not_a_member"],
        ),
        (What::Edit { seq: said, text: "other".into() }, [ok, "forbidden", "forbidden", "not_a_member"]),
        (What::React { seq: said, emoji: "👍".into() }, [ok, ok, ok, "not_a_member"]),
        (What::Kick { user: owner.id }, ["forbidden", "forbidden", "forbidden", "not_a_member"]),
    ] {
        // The least first: what the others do is not undone.
        for (by, expected) in [&owner, &moderator, &member, &stranger].into_iter().zip(expected).rev() {
            let got = house.does(room, by, what.clone()).await.map_or_else(|problem| problem.code, |_| ok);
            assert_eq!(got, expected, "{what:?} by {}", by.username);
        }
    }
    assert_eq!(code(house.rooms.history(room, stranger.id, None, 5).await), (403, "not_a_member"));
}
