//! Lists of rooms and members; unread and mentions.

use std::sync::{Arc, atomic::Ordering};

use parking_lot::Mutex;
use rookery_core::room::{Kind, Role, Visibility, What};
use rookery_protocol::id::RoomId;

use super::{
    house::{House, code, on, user},
    restart::Watched,
};
use crate::rooms::{NewRoom, RoomsSettings, Standing};

/// So many different ones as reactions are needed.
const EMOJIS: [&str; 5] = ["👍", "👎", "🎉", "🐦", "🦉"];

/// What somebody's list says of a room.
#[derive(Debug, PartialEq, Eq)]
struct Stands {
    last_seq: u64,
    read_seq: u64,
    unread: u64,
    mentions: u32,
}

impl House {
    async fn standing(&self, room: RoomId, of: &rookery_core::room::Profile) -> Stands {
        let all = self.rooms.list(of.id).await.unwrap();
        let listed = all.into_iter().find(|listed| listed.standing.room == room).unwrap();
        let Standing { last_seq, read_seq, unread, .. } = listed.standing;
        Stands { last_seq, read_seq, unread, mentions: listed.mentions }
    }
}

/// A message that is deleted, or says something else, mentions nobody any more who waits to read it. It stays an unread message:
/// its tombstone, or its new text, is there to be seen.
#[tokio::test]
async fn a_mention_that_is_taken_back_does_not_count() {
    let (house, ada, bob, cara) = (House::new(), user(1, "ada"), user(2, "bob"), user(3, "cara"));
    let room = house.room(&ada, &[&bob, &cara]).await;
    let mut said = Vec::new();
    for number in 0..3 {
        said.push(house.say(room, &ada, "@bob and @cara", &number.to_string()).await);
    }
    let counts = async |house: &House, of| {
        let now = house.standing(room, of).await;
        (now.unread, now.mentions)
    };
    assert_eq!(counts(&house, &bob).await, (3, 3));
    let edit = |seq, text: &str| What::Edit { seq, text: text.into() };
    house.does(room, &ada, edit(said[0], "only @cara")).await.unwrap();
    assert_eq!((counts(&house, &bob).await, counts(&house, &cara).await), ((3, 2), (3, 3)));
    house.does(room, &ada, edit(said[0], "@bob again, not her")).await.unwrap();
    assert_eq!((counts(&house, &bob).await, counts(&house, &cara).await), ((3, 3), (3, 2)));
    // What is known of the room comes from its log and snapshot then.
    let house = house.again().await;
    house.does(room, &ada, What::Delete { seq: said[0] }).await.unwrap();
    assert_eq!((counts(&house, &bob).await, counts(&house, &cara).await), ((3, 2), (3, 2)));
    house.does(room, &ada, What::Delete { seq: said[1] }).await.unwrap();
    assert_eq!((counts(&house, &bob).await, counts(&house, &cara).await), ((3, 1), (3, 1)));
    let unread = house.rooms.unread(bob.id, 0).await.unwrap();
    assert_eq!((unread[0].messages, unread[0].mentions), (3, 1));
    // All at once: whatever shares a record, the last word counts.
    let (brief, back) = (house.say(room, &ada, "@bob", "brief"), house.say(room, &ada, "@cara", "back"));
    let (brief, back) = tokio::join!(brief, back);
    let (gone, edited) =
        (house.does(room, &ada, What::Delete { seq: brief }), house.does(room, &ada, edit(back, "@bob")));
    let (gone, edited) = tokio::join!(gone, edited);
    gone.unwrap();
    edited.unwrap();
    assert_eq!((counts(&house, &bob).await, counts(&house, &cara).await), ((5, 2), (5, 1)));
}

/// However they come there: nobody is in more rooms than he may be.
#[tokio::test]
async fn others_cannot_put_somebody_into_too_many_rooms() {
    let (ada, bob, cara) = (user(1, "ada"), user(2, "bob"), user(3, "cara"));
    let house = House::with(RoomsSettings { rooms_per_user: 2, ..RoomsSettings::default() });
    let hers = house.room(&ada, &[&bob]).await;
    house.room(&ada, &[]).await;
    let limit = (409, "limit_reached");
    assert_eq!(code(house.rooms.direct(&ada, &bob).await), limit);
    assert_eq!(code(house.rooms.direct(&bob, &ada).await), limit);
    let add = async |by, room, user: &rookery_core::room::Profile| {
        house.rooms.add(room, by, user.clone(), Role::Member).await
    };
    let his = house.room(&bob, &[]).await;
    assert_eq!(code(add(&bob, his, &ada).await), limit);
    assert_eq!(code(add(&ada, hers, &ada).await), (409, "conflict"), "she is in it, with another role");
    assert_eq!(code(add(&cara, his, &ada).await), (403, "not_a_member"), "who may not add learns nothing");
    let (direct, made) = house.rooms.direct(&cara, &user(4, "dan")).await.unwrap();
    assert!(made && house.rooms.direct(&cara, &user(4, "dan")).await.unwrap() == (direct, false));
    add(&bob, his, &cara).await.unwrap();
    assert_eq!(code(house.rooms.direct(&cara, &user(5, "eve")).await), limit);
}

#[tokio::test]
async fn unread_and_mentions() {
    let (house, ada, bob) = (House::new(), user(1, "ada"), user(2, "bob"));
    let moved = Arc::new(Mutex::new(Vec::new()));
    let seen = moved.clone();
    house.rooms.on_read(Box::new(move |room, user, seq| seen.lock().push((room, user, seq))));
    let room = house.room(&ada, &[]).await;
    house.say(room, &ada, "before bob", "0").await;
    house.rooms.join(room, &bob).await.unwrap();
    let start = house.standing(room, &bob).await;
    assert_eq!((start.unread, start.mentions, start.read_seq), (0, 0, start.last_seq));

    let mut said = Vec::new();
    for number in 1..=5u64 {
        let text = if number % 2 == 0 { "hey @bob" } else { "hey" };
        said.push(house.say(room, &ada, text, &number.to_string()).await);
        house
            .does(room, &bob, What::React { seq: said[0], emoji: EMOJIS[said.len() - 1].into() })
            .await
            .unwrap();
    }
    let now = house.standing(room, &bob).await;
    assert_eq!((now.unread, now.mentions), (5, 2));
    assert_eq!(house.standing(room, &ada).await.unread, 0, "what one says is read");

    assert!(house.rooms.mark_read(room, bob.id, said[1]).await.unwrap());
    assert!(!house.rooms.mark_read(room, bob.id, said[0]).await.unwrap(), "never backwards");
    let now = house.standing(room, &bob).await;
    assert_eq!((now.unread, now.mentions, now.read_seq), (3, 1, said[1]));
    assert_eq!(*moved.lock(), [(room, bob.id, said[1])]);
    assert_eq!(code(house.rooms.mark_read(room, bob.id, 1000).await), (422, "invalid"));

    // Marks survive a graceful stop, and mentions that were read are cleared away.
    let house = house.again().await;
    assert_eq!(house.standing(room, &bob).await, now);
    house.say(room, &bob, "I am here", "b").await;
    let now = house.standing(room, &bob).await;
    assert_eq!(
        (now.unread, now.mentions, now.read_seq),
        (0, 0, now.last_seq),
        "posting moves one's own mark"
    );
}

#[tokio::test]
async fn a_list_of_mine() {
    let (house, ada, bob) = (House::new(), user(1, "ada"), user(2, "bob"));
    let room = house.room(&ada, &[&bob]).await;
    let (direct, made) = house.rooms.direct(&ada, &bob).await.unwrap();
    assert!(made);
    let (same, made) = house.rooms.direct(&bob, &ada).await.unwrap();
    assert!(!made && same.id == direct.id);
    assert_eq!((same.peer.unwrap().id, same.kind, same.member_count), (ada.id, Kind::Direct, 2));
    assert_eq!(code(house.rooms.direct(&ada, &ada).await), (422, "invalid"));
    house.say(room, &ada, "newest", "1").await;
    house.does(room, &bob, What::React { seq: 3, emoji: "👍".into() }).await.unwrap();
    let listed = house.rooms.list(bob.id).await.unwrap();
    assert_eq!(listed.len(), 2);
    let listed = listed.into_iter().find(|listed| listed.room.id == room).unwrap();
    assert_eq!(listed.last_message.unwrap().text, "newest");
    assert_eq!((listed.standing.unread, listed.room.member_count), (1, 2));

    house.does(room, &bob, What::Leave).await.unwrap();
    assert_eq!(house.rooms.list(bob.id).await.unwrap().len(), 1);
    assert_eq!(house.rooms.view(room, bob.id).await.unwrap().member_count, 1);
    house.does(room, &ada, What::Remove).await.unwrap();
    assert_eq!(code(house.rooms.view(room, ada.id).await), (404, "room_not_found"));
    assert_eq!(code(house.rooms.readable(room, ada.id).await), (404, "room_not_found"));
    assert_eq!(house.rooms.list(ada.id).await.unwrap().len(), 1);
}

#[tokio::test]
async fn public_rooms_are_found() {
    let (house, ada, bob) = (House::new(), user(1, "ada"), user(2, "bob"));
    let mut public = Vec::new();
    for number in 0..7 {
        for visibility in [Visibility::Public, Visibility::Private] {
            let name = format!("Über Birds {number}");
            let new = NewRoom { name, kind: Kind::Channel, visibility, topic: None };
            let room = house.rooms.create(&ada, new).await.unwrap();
            if visibility == Visibility::Public {
                public.push(room.id);
            } else {
                assert_eq!(code(house.rooms.view(room.id, bob.id).await), (404, "room_not_found"));
                assert_eq!(code(house.rooms.join(room.id, &bob).await), (404, "room_not_found"));
            }
        }
    }
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = house.rooms.discover(bob.id, "ÜBER b", cursor, 2).await.unwrap();
        assert!(page.items.len() <= 2);
        found.extend(page.items.into_iter().map(|room| room.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    found.sort();
    public.sort();
    assert_eq!(found, public);
    assert!(house.rooms.discover(bob.id, "cats", None, 2).await.unwrap().items.is_empty());
}

#[tokio::test]
async fn members_by_pages() {
    let (house, ada) = (House::new(), user(1, "ada"));
    let others: Vec<_> = (2..9).map(|number| user(number, &format!("user{number}"))).collect();
    let room = house.room(&ada, &others.iter().collect::<Vec<_>>()).await;
    let (mut found, mut cursor) = (Vec::new(), None);
    loop {
        let page = house.rooms.members(room, ada.id, cursor, 3).await.unwrap();
        found.extend(page.items.into_iter().map(|member| member.user.id));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, std::iter::once(ada.id).chain(others.iter().map(|user| user.id)).collect::<Vec<_>>());
    let stranger = user(99, "stranger");
    assert_eq!(code(house.rooms.members(room, stranger.id, None, 3).await), (403, "not_a_member"));
}

#[tokio::test]
async fn a_user_is_in_so_many_rooms() {
    let house = House::with(RoomsSettings { rooms_per_user: 2, ..RoomsSettings::default() });
    let (ada, bob) = (user(1, "ada"), user(2, "bob"));
    let [one, two, three] =
        [house.room(&ada, &[]).await, house.room(&ada, &[]).await, house.room(&bob, &[]).await];
    assert_eq!(code(house.rooms.join(three, &ada).await), (409, "limit_reached"));
    house.rooms.join(two, &ada).await.unwrap();
    house.does(one, &ada, What::Leave).await.unwrap();
    house.rooms.join(three, &ada).await.unwrap();
}

#[tokio::test]
async fn rooms_that_nobody_asks_for_are_not_looked_at() {
    let (house, ada) = (House::new(), user(1, "ada"));
    let mut rooms = Vec::new();
    for _ in 0..20 {
        rooms.push(house.room(&ada, &[]).await);
    }
    // Of one millisecond they are in any order.
    rooms.sort_unstable();
    let watched = Watched::new(&house.store);
    let here = on(&house.store, watched.clone(), RoomsSettings::default());
    let some = here.standings(ada.id, |room| rooms[3..5].contains(&room)).await.unwrap();
    assert_eq!(some.iter().map(|standing| standing.room).collect::<Vec<_>>(), rooms[3..5]);
    assert_eq!(watched.tails.load(Ordering::Relaxed), 2);
    let all = here.standings(ada.id, |_| true).await.unwrap();
    assert_eq!(all.iter().map(|standing| standing.room).collect::<Vec<_>>(), rooms, "in their order");
}
