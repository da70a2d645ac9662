//! Read marks that several nodes know.

use super::house::{House, on, user};
use crate::rooms::{RoomsSettings, rows::Mark};

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
    let unread = || async { here.standings(bob.id).await.unwrap()[0].unread };
    assert_eq!(unread().await, 1);
    let seq = house.say(room, &bob, "two", "2").await;
    house.say(room, &ada, "three", "3").await;
    assert_eq!(unread().await, 3, "the owner has not stored his mark, and nobody has told");
    here.env().marks.posted(room, bob.id, seq);
    assert_eq!(unread().await, 1);
    // It is the owner's to store.
    here.env().marks.flush().await;
    let fresh = on(&house.store, house.store.clone(), never());
    assert_eq!(fresh.standings(bob.id).await.unwrap()[0].unread, 3);
}
