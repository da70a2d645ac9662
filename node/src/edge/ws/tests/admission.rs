//! Who is let in while something else happens: a logout, a join, a store that is away; and what does not fit.

use super::*;
use crate::{
    accounts::{Change, Principal},
    backend::bus::News,
    rooms::NewRoom,
};
use rookery_core::room::{Kind, Visibility};

async fn principal(world: &World, token: &str) -> Principal {
    world.app.accounts.authenticate(token).await.unwrap()
}

fn ask_for_all(client: &Client, token: &str) {
    let rooms = Some(client::RoomSelection { all: true, rooms: Vec::new() });
    client.ask(1, Ask::Hello(client::Hello { token: Some(token.to_owned()), rooms, ..Default::default() }));
}

fn is_welcome(got: &Got) -> bool {
    matches!(got, Got::Frame(Frame::Welcome(_)))
}

fn is_error(got: &Got, code: &str) -> bool {
    matches!(got, Got::Frame(Frame::Error(error)) if error.code == code)
}

#[tokio::test]
async fn a_login_that_ends_during_hello_has_no_connection() {
    let world = World::new(settings(), LiveSettings::default()).await;
    let ada = world.user("ada").await;
    let room = world.room(&ada).await;
    let me = principal(&world, &ada.token).await;
    let mut client = connect(&world, Subprotocol::Json, 1);
    world.tails().hold(room);
    ask_for_all(&client, &ada.token);
    world.tails().somebody_waits().await;
    world.app.accounts.log_out(&me, false).await.unwrap();
    world.tails().open();
    client.until(|got| *got == Got::Close(4401)).await;
}

#[tokio::test]
async fn a_login_that_ends_during_refresh_has_no_connection() {
    let world = World::new(settings(), LiveSettings::default()).await;
    let ada = world.user("ada").await;
    let other = world.log_in("ada").await;
    let me = principal(&world, &other).await;
    let mut client = connect(&world, Subprotocol::Json, 1);
    hello(&mut client, &ada, &[]).await;
    // So that she is looked up.
    world.app.accounts.heard(&News::UserChanged { user: ada.profile.id });
    world.users().hold(());
    client.ask(2, Ask::Refresh(client::Refresh { token: other }));
    world.users().somebody_waits().await;
    world.app.accounts.log_out(&me, false).await.unwrap();
    world.users().open();
    client.until(|got| *got == Got::Close(4401)).await;
}

#[tokio::test]
async fn a_room_joined_during_hello_is_followed() {
    let world = World::new(settings(), LiveSettings::default()).await;
    let (ada, bob) = (world.user("ada").await, world.user("bob").await);
    let (first, second) = (world.room(&ada).await, world.room(&bob).await);
    world.post(&bob, second, "before she came".to_owned()).await;
    let mut client = connect(&world, Subprotocol::Json, 1);
    world.tails().hold(first);
    ask_for_all(&client, &ada.token);
    world.tails().somebody_waits().await;
    // Her memberships are read by now.
    world.app.rooms.join(second, &ada.profile).await.unwrap();
    world.tails().open();
    let got = client.until(is_welcome).await;
    let Some(Got::Frame(Frame::Welcome(welcome))) = got.last() else { unreachable!() };
    assert_eq!(welcome.rooms.iter().map(|room| room.room.clone()).collect::<Vec<_>>(), [first.to_string()]);
    assert_eq!(got.len(), 1, "welcome comes first: {got:?}");
    let caught_up =
        |got: &Got| matches!(got, Got::Frame(Frame::CaughtUp(of)) if of.room == second.to_string());
    let got = client.until(caught_up).await;
    let joined = |got: &Got| {
        matches!(got, Got::Frame(Frame::Member(member))
            if member.room == second.to_string() && member.user == ada.profile.id.to_string())
    };
    assert!(got.iter().any(joined), "how she came in: {got:?}");
    let seq = world.post(&bob, second, "welcome".to_owned()).await;
    client.until(|got| event(got) == Some((&second.to_string(), seq))).await;
}

#[tokio::test]
async fn who_cannot_be_served_now_is_told_when_to_come_again() {
    let world = World::new(settings(), LiveSettings::default()).await;
    let ada = world.user("ada").await;
    world.room(&ada).await;
    let mut client = connect(&world, Subprotocol::Json, 1);
    world.tails().fail();
    ask_for_all(&client, &ada.token);
    let got = client.until(|got| matches!(got, Got::Close(_))).await;
    assert!(is_error(&got[0], "unavailable"), "{got:?}");
    assert_eq!(got[1], Got::Close(1013));
    let reason: serde_json::Value = serde_json::from_str(&client.reason).unwrap();
    assert!(reason["retry_after_ms"].as_u64().is_some_and(|after| (1..60_000).contains(&after)), "{reason}");
}

#[tokio::test]
async fn rooms_that_do_not_fit_are_told_of() {
    let few = EdgeSettings { max_subscriptions: 3, ..settings() };
    let world = World::new(few, LiveSettings::default()).await;
    let ada = world.user("ada").await;
    let mut rooms = Vec::new();
    for _ in 0..5 {
        rooms.push(world.room(&ada).await);
    }
    let too_many = |got: &Got| is_error(got, "too_many_subscriptions");
    // Of all, those that are named are followed first.
    let mut client = connect(&world, Subprotocol::Json, 1);
    let last = rooms[4].to_string();
    let all = client::RoomSelection { all: true, rooms: Vec::new() };
    let (token, resume) = (Some(ada.token.clone()), [(last.clone(), 0)].into());
    client.ask(1, Ask::Hello(client::Hello { token, resume, rooms: Some(all), ..Default::default() }));
    let got = client.until(too_many).await;
    let Some(Got::Frame(Frame::Welcome(welcome))) = got.first() else { panic!("{got:?}") };
    assert_eq!(welcome.rooms.len(), 3);
    assert!(welcome.rooms.iter().any(|room| room.room == last));
    let Some(Got::Frame(Frame::Error(error))) = got.last() else { unreachable!() };
    assert!(error.message.contains("2 more"), "{}", error.message);
    let mut followed = 0;
    client
        .until(|got| {
            followed += u32::from(matches!(got, Got::Frame(Frame::CaughtUp(_))));
            followed == 3
        })
        .await;

    // Nor is a room that she comes into later left out silently.
    let (name, kind, visibility) = ("one more".to_owned(), Kind::Group, Visibility::Public);
    let new =
        world.app.rooms.create(&ada.profile, NewRoom { name, kind, visibility, topic: None }).await.unwrap();
    let got = client.until(too_many).await;
    let Some(Got::Frame(Frame::Error(error))) = got.last() else { unreachable!() };
    assert_eq!(error.room, Some(new.id.to_string()));
}

/// The name under which a message of hers is delivered now.
async fn name_of_next(client: &mut Client, id: u64, room: RoomId) -> String {
    let text = format!("number {id}");
    let send = client::Send {
        room: room.to_string(),
        text: text.clone(),
        client_msg_id: text.clone(),
        reply_to: None,
    };
    client.ask(id, Ask::Send(send));
    let got =
        client.until(|got| matches!(got, Got::Frame(Frame::Message(message)) if message.text == text)).await;
    let Some(Got::Frame(Frame::Message(message))) = got.last() else { unreachable!() };
    message.sender.as_ref().unwrap().display_name.clone()
}

#[tokio::test]
async fn a_name_that_changes_is_used_from_then_on() {
    let world = World::new(settings(), LiveSettings::default()).await;
    let ada = world.user("ada").await;
    let room = world.room(&ada).await;
    let me = principal(&world, &ada.token).await;
    let called = async |name: &str| {
        let change = Change { display_name: Some(name.to_owned()), ..Change::default() };
        world.app.accounts.change_account(&me, change).await.unwrap();
    };
    let mut client = connect(&world, Subprotocol::Json, 1);
    hello(&mut client, &ada, &[(room, 0)]).await;
    assert_eq!(name_of_next(&mut client, 2, room).await, "ada");
    called("Countess").await;
    let renamed = async {
        let mut id = 3;
        while name_of_next(&mut client, id, room).await != "Countess" {
            id += 1;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), renamed).await.expect("she is called so");

    // Between hello and when the node knows of the connection.
    let mut other = connect(&world, Subprotocol::Json, 2);
    world.tails().hold(room);
    let resume = [(room.to_string(), 0)].into();
    other.ask(1, Ask::Hello(client::Hello { token: Some(ada.token.clone()), resume, ..Default::default() }));
    world.tails().somebody_waits().await;
    called("Lady Lovelace").await;
    world.tails().open();
    other.until(is_welcome).await;
    assert_eq!(name_of_next(&mut other, 1_000_000, room).await, "Lady Lovelace");
}
