//! Two nodes on one store, with a bus between them that may be cut.

use std::{sync::atomic::Ordering, time::Duration};

use rookery_protocol::client::RoomSelection;

use super::*;
use crate::{
    backend::bus::{
        Bus, BusMetrics, NatsBus, News,
        local::{LocalBus, Wire},
    },
    neighbours,
};

struct Node {
    world: World,
    bus: Arc<LocalBus>,
}

async fn two_with(live: LiveSettings) -> (Node, Node) {
    let wire = Arc::new(Wire::default());
    let first = World::new(settings(), live.clone()).await;
    let second = first.beside("second", settings(), live).await;
    let join = |world: World| {
        let bus = LocalBus::join(&wire);
        let as_bus: Arc<dyn Bus> = bus.clone();
        neighbours::join(&as_bus, &world.app.accounts, &world.app.rooms, &world.app.hub);
        Node { world, bus }
    };
    (join(first), join(second))
}

async fn two() -> (Node, Node) {
    two_with(LiveSettings { presence_grace_seconds: 0, ..LiveSettings::default() }).await
}

async fn follower(node: &Node, user: &User) -> Client {
    let mut client = connect(&node.world, Subprotocol::Json, 1);
    let rooms = Some(RoomSelection { all: true, rooms: Vec::new() });
    client.ask(1, Ask::Hello(client::Hello { token: Some(user.token.clone()), rooms, ..Default::default() }));
    client.until(|got| matches!(got, Got::Frame(Frame::Welcome(_)))).await;
    client
}

/// Another login of the same user.
async fn again(node: &Node, name: &str) -> User {
    let password = "wrong-horse-7-battery-staple".to_owned().into();
    let logged_in = node.world.app.accounts.log_in(name, &password, [127, 0, 0, 1].into()).await.unwrap();
    let crate::accounts::LoggedIn::Session(session) = logged_in else { panic!("no code is asked for") };
    let token = session.access_token;
    let profile = node.world.app.accounts.authenticate(&token).await.unwrap().profile;
    User { profile, token }
}

async fn log_out(node: &Node, user: &User, all: bool) {
    let principal = node.world.app.accounts.authenticate(&user.token).await.unwrap();
    node.world.app.accounts.log_out(&principal, all).await.unwrap();
}

async fn is_closed(client: &mut Client) {
    client.until(|got| *got == Got::Close(4401)).await;
}

/// Its connection is open: it answers.
async fn is_open(client: &mut Client) {
    client.ask(77, Ask::Ping(client::Ping {}));
    let got = client.until(|got| matches!(got, Got::Frame(Frame::Pong(_)) | Got::Close(_))).await;
    assert!(!matches!(got.last(), Some(Got::Close(_))), "{got:?}");
}

async fn refused(node: &Node, user: &User) -> bool {
    node.world.app.accounts.authenticate(&user.token).await.is_err()
}

#[tokio::test]
async fn a_login_that_ends_on_one_node_ends_on_all() {
    let (one, two) = two().await;
    let ada = one.world.user("ada").await;
    let other = again(&two, "ada").await;
    let (mut here, mut there) = (follower(&two, &ada).await, follower(&two, &other).await);
    log_out(&one, &ada, false).await;
    is_closed(&mut here).await;
    is_open(&mut there).await;
    assert!(refused(&two, &ada).await, "though it was in memory");
    log_out(&one, &other, true).await;
    is_closed(&mut there).await;
    assert!(refused(&two, &other).await);
}

#[tokio::test]
async fn a_login_begun_after_the_others_ended_goes_on() {
    let (one, two) = two().await;
    let ada = one.world.user("ada").await;
    let mut old = follower(&two, &ada).await;
    one.bus.cut.store(true, Ordering::Relaxed);
    log_out(&one, &ada, true).await;
    let new = again(&one, "ada").await;
    let mut client = follower(&two, &new).await;
    // The news come late.
    one.bus.cut.store(false, Ordering::Relaxed);
    one.bus.tell(News::UserLoggedOut { user: ada.profile.id });
    is_closed(&mut old).await;
    is_open(&mut client).await;
}

#[tokio::test]
async fn what_was_missed_is_made_up_for() {
    let (one, two) = two().await;
    let (ada, bob) = (one.world.user("ada").await, one.world.user("bob").await);
    let mut revoked = follower(&two, &ada).await;
    let mut newcomer = follower(&two, &bob).await;
    one.bus.cut.store(true, Ordering::Relaxed);
    log_out(&one, &ada, false).await;
    let other = again(&one, "ada").await;
    let room = one.world.room(&other).await;
    one.world.app.rooms.join(room, &bob.profile).await.unwrap();
    is_open(&mut revoked).await;
    // The bus of the second node finds out that it missed something.
    two.world.app.accounts.missed();
    is_closed(&mut revoked).await;
    newcomer
        .until(
            |got| matches!(got, Got::Frame(Frame::CaughtUp(caught_up)) if caught_up.room == room.to_string()),
        )
        .await;
    one.world.post(&other, room, "hello".to_owned()).await;
    newcomer.until(|got| matches!(got, Got::Frame(Frame::Message(_)))).await;
}

#[tokio::test]
async fn a_newcomer_follows_his_room_on_every_node() {
    let (one, two) = two().await;
    let (ada, bob) = (one.world.user("ada").await, one.world.user("bob").await);
    let mut client = follower(&two, &bob).await;
    let room = one.world.room(&ada).await;
    one.world.app.rooms.join(room, &bob.profile).await.unwrap();
    let seq = one.world.post(&ada, room, "hello".to_owned()).await;
    let got = client.until(|got| event(got) == Some((&room.to_string(), seq))).await;
    let joined =
        |got: &Got| matches!(got, Got::Frame(Frame::Member(member)) if member.room == room.to_string());
    assert!(got.iter().any(joined), "from the event on that says how he came in");
}

#[tokio::test]
async fn a_change_of_a_user_is_seen_on_all_nodes() {
    let (one, two) = two().await;
    let ada = one.world.user("ada").await;
    let name =
        || async { two.world.app.accounts.user(ada.profile.id).await.unwrap().profile.display_name.clone() };
    assert_eq!(name().await, "ada");
    let me = one.world.app.accounts.authenticate(&ada.token).await.unwrap();
    let change = crate::accounts::Change { display_name: Some("Ada L.".into()), ..Default::default() };
    one.world.app.accounts.change_account(&me, change).await.unwrap();
    eventually("it comes", || async { name().await == "Ada L." }).await;
    one.world.app.accounts.delete_account(&me).await.unwrap();
    eventually("it comes", || async { two.world.app.accounts.user(ada.profile.id).await.is_err() }).await;
}

/// `(read_seq, unread)` of a user's only room, through a node.
async fn standing(node: &Node, user: &User) -> (u64, u64) {
    let standings = node.world.app.rooms.standings(user.profile.id, |_| true).await.unwrap();
    (standings[0].read_seq, standings[0].unread)
}

#[tokio::test]
async fn read_marks_are_told_and_seen_everywhere() {
    let (one, two) = two().await;
    let (ada, bob) = (one.world.user("ada").await, one.world.user("bob").await);
    let room = one.world.room(&ada).await;
    one.world.app.rooms.join(room, &bob.profile).await.unwrap();
    let mut client = follower(&two, &bob).await;
    let mut last = 0;
    for number in 0..4 {
        last = one.world.post(&ada, room, number.to_string()).await;
    }
    // Each node has looked at it before.
    for node in [&one, &two] {
        assert_eq!(standing(node, &bob).await.1, 4);
    }
    one.world.app.rooms.mark_read(room, bob.profile.id, last - 1).await.unwrap();
    assert_eq!(standing(&one, &bob).await, (last - 1, 1), "at once where he did it");
    let got = client.until(|got| matches!(got, Got::Frame(Frame::Read(_)))).await;
    let Some(Got::Frame(Frame::Read(mark))) = got.last() else { unreachable!() };
    assert_eq!((mark.seq, &mark.user), (last - 1, &bob.profile.id.to_string()));
    eventually("it comes", || async { standing(&two, &bob).await == (last - 1, 1) }).await;
    // Though nobody says so, also what he has read by posting.
    let own = one.world.post(&bob, room, "mine".to_owned()).await;
    assert_eq!(standing(&one, &bob).await, (own, 0));
    eventually("it comes", || async { standing(&two, &bob).await == (own, 0) }).await;
}

/// Two of a user's devices read on two nodes that do not hear each other: the further mark wins for good.
#[tokio::test]
async fn a_mark_never_goes_back() {
    let (one, two) = two().await;
    let (ada, bob) = (one.world.user("ada").await, one.world.user("bob").await);
    let room = one.world.room(&ada).await;
    one.world.app.rooms.join(room, &bob.profile).await.unwrap();
    let mut last = 0;
    for number in 0..9 {
        last = one.world.post(&ada, room, number.to_string()).await;
    }
    for node in [&one, &two] {
        standing(node, &bob).await;
        node.bus.cut.store(true, Ordering::Relaxed);
    }
    one.world.app.rooms.mark_read(room, bob.profile.id, last).await.unwrap();
    two.world.app.rooms.mark_read(room, bob.profile.id, last - 5).await.unwrap();
    for node in [&one, &two] {
        node.bus.cut.store(false, Ordering::Relaxed);
    }
    // The second says its mark again; the first knows better and says so.
    two.bus.tell(News::Read { user: bob.profile.id, room, seq: last - 5, messages: 4 });
    eventually("it comes", || async { standing(&two, &bob).await == (last, 0) }).await;
    // Whoever stored last, a node that remembers nothing finds the further one.
    eventually("it comes", || async {
        let third = one.world.beside("third", settings(), LiveSettings::default()).await;
        let standings = third.app.rooms.standings(bob.profile.id, |_| true).await.unwrap();
        standings[0].read_seq == last
    })
    .await;
}

fn presence<'a>(user: &'a User, status: &'a str) -> impl FnMut(&Got) -> bool + 'a {
    move |got| {
        matches!(got, Got::Frame(Frame::Presence(presence))
            if presence.user == user.profile.id.to_string() && presence.status == status)
    }
}

#[tokio::test]
async fn typing_and_presence_cross_nodes() {
    let (one, two) = two().await;
    let (ada, bob) = (one.world.user("ada").await, one.world.user("bob").await);
    let room = one.world.room(&ada).await;
    one.world.app.rooms.join(room, &bob.profile).await.unwrap();
    let mut here = follower(&one, &ada).await;
    let mut there = follower(&two, &bob).await;
    // Each is told of the other, who came before or after.
    here.until(presence(&bob, "online")).await;
    there.until(presence(&ada, "online")).await;
    there.ask(5, Ask::Typing(client::StartTyping { room: room.to_string() }));
    here.until(
        |got| matches!(got, Got::Frame(Frame::Typing(typing)) if typing.user == bob.profile.id.to_string()),
    )
    .await;
    there.ask(6, Ask::Presence(client::SetPresence { status: "away".to_owned() }));
    here.until(presence(&bob, "away")).await;
    // With a second connection by way of the first node he is online, and stays so when the other goes.
    let mut second = follower(&one, &bob).await;
    here.until(presence(&bob, "online")).await;
    second.until(presence(&ada, "online")).await;
    there.vanish();
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    second.vanish();
    let got = here.until(presence(&bob, "offline")).await;
    assert!(!got.iter().any(|got| presence(&bob, "away")(got)));
}

#[tokio::test]
async fn the_users_of_a_silent_node_go_offline() {
    let (one, two) = two().await;
    let (ada, bob) = (one.world.user("ada").await, one.world.user("bob").await);
    let room = one.world.room(&ada).await;
    one.world.app.rooms.join(room, &bob.profile).await.unwrap();
    let mut here = follower(&one, &ada).await;
    let _there = follower(&two, &bob).await;
    here.until(presence(&bob, "online")).await;
    // Its bus says so.
    two.bus.cut.store(true, Ordering::Relaxed);
    one.world.app.hub.silent(two.bus.me);
    here.until(presence(&bob, "offline")).await;
    // It was only cut off.
    two.bus.cut.store(false, Ordering::Relaxed);
    one.world.app.hub.missed_news();
    here.until(presence(&bob, "online")).await;
}

#[tokio::test]
async fn of_large_rooms_a_number_crosses() {
    let live = LiveSettings {
        presence_members: 2,
        presence_count_seconds: 0,
        presence_grace_seconds: 0,
        ..LiveSettings::default()
    };
    let (one, two) = two_with(live).await;
    let ada = one.world.user("ada").await;
    let room = one.world.room(&ada).await;
    let mut here = follower(&one, &ada).await;
    let mut clients = Vec::new();
    for name in ["ben", "cem", "dora", "emil"] {
        let user = one.world.user(name).await;
        one.world.app.rooms.join(room, &user.profile).await.unwrap();
        clients.push(follower(&two, &user).await);
    }
    let number = |wanted: u32| move |got: &Got| matches!(got, Got::Frame(Frame::Presence(presence)) if presence.online == Some(wanted));
    here.until(number(5)).await;
    clients[0].until(number(5)).await;
    clients.pop().unwrap().vanish();
    here.until(number(4)).await;
    // Two there and one here: still more than two, but few enough on each node to have names.
    clients.pop().unwrap().vanish();
    here.until(number(3)).await;
    clients.pop().unwrap().vanish();
    clients.pop().unwrap().vanish();
    let mut late = follower(&two, &ada).await;
    late.until(|got| matches!(got, Got::Frame(Frame::Pong(_)) | Got::Frame(Frame::CaughtUp(_)))).await;
}

/// All of it once over core NATS, and how long it takes there.
#[tokio::test]
async fn over_nats_news_cross_within_ten_seconds() {
    let Some(nats) = rookery_testbed::nats_single() else { return };
    let live = LiveSettings { presence_grace_seconds: 0, ..LiveSettings::default() };
    let one = World::new(settings(), live.clone()).await;
    let two = one.beside("second", settings(), live).await;
    let wire = Arc::new(Wire::default());
    for world in [&one, &two] {
        let client = async_nats::connect(nats.urls()).await.unwrap();
        let bus: Arc<dyn Bus> = NatsBus::new(client, "c", BusMetrics::default());
        neighbours::join(&bus, &world.app.accounts, &world.app.rooms, &world.app.hub);
    }
    // Only so that the helpers above can be used: nobody is on these.
    let [one, two] = [one, two].map(|world| Node { world, bus: LocalBus::join(&wire) });
    let (ada, bob) = (one.world.user("ada").await, one.world.user("bob").await);
    let mut there = follower(&two, &bob).await;
    let mut here = follower(&one, &ada).await;
    let mut slowest = Duration::ZERO;
    let mut took = |since: std::time::Instant| slowest = slowest.max(since.elapsed());

    let since = std::time::Instant::now();
    let room = one.world.room(&ada).await;
    one.world.app.rooms.join(room, &bob.profile).await.unwrap();
    there.until(|got| matches!(got, Got::Frame(Frame::Member(_)))).await;
    took(since);
    here.until(presence(&bob, "online")).await;

    let seq = one.world.post(&ada, room, "hello".to_owned()).await;
    let since = std::time::Instant::now();
    one.world.app.rooms.mark_read(room, bob.profile.id, seq).await.unwrap();
    there.until(|got| matches!(got, Got::Frame(Frame::Read(_)))).await;
    took(since);

    let since = std::time::Instant::now();
    there.ask(5, Ask::Typing(client::StartTyping { room: room.to_string() }));
    here.until(|got| matches!(got, Got::Frame(Frame::Typing(_)))).await;
    took(since);

    let since = std::time::Instant::now();
    log_out(&one, &bob, false).await;
    is_closed(&mut there).await;
    took(since);
    here.until(presence(&bob, "offline")).await;
    // A second is promised, and a few milliseconds are usual: the rest is for a busy machine.
    assert!(slowest < Duration::from_secs(10), "{slowest:?}");
}
