//! Direct rooms: two users and nobody else.

use rookery_e2e::{
    service::Service,
    unique,
    user::{User, id_of, seq_of},
    ws::Subprotocol,
};
use serde_json::json;

use crate::support::{member_ids, people};

/// PUT /direct/{username}: made on first use, 200 or 201 room (`kind: "direct"`), the same from both sides.
#[tokio::test]
async fn is_one_room_from_both_sides() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.api.put_empty(&format!("/v1/direct/{}", bob.username)).await.is(201);
    assert_eq!(room["kind"], "direct");
    let again = ada.api.put_empty(&format!("/v1/direct/{}", bob.username.to_uppercase())).await.is(200);
    let his = bob.api.put_empty(&format!("/v1/direct/{}", ada.username)).await.is(200);
    assert_eq!((id_of(&again), id_of(&his)), (id_of(&room), id_of(&room)));
    assert_eq!(member_ids(&bob, &id_of(&room)).await, [ada.id.clone(), bob.id.clone()].into());
    ada.api.put_empty(&format!("/v1/direct/{}", unique("nobody"))).await.refused(404);
}

/// Two who write to each other for the first time at the same moment get one room.
#[tokio::test]
async fn is_one_room_when_both_begin() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let (to_bob, to_ada) = (format!("/v1/direct/{}", bob.username), format!("/v1/direct/{}", ada.username));
    let (hers, his) = tokio::join!(ada.api.put_empty(&to_bob), bob.api.put_empty(&to_ada));
    let statuses = [hers.status, his.status];
    assert!(statuses.iter().all(|status| matches!(status, 200 | 201)), "{statuses:?}");
    assert_eq!(id_of(&hers.body), id_of(&his.body));
    ada.say(&id_of(&hers.body), "both at once").await;
}

/// Both write and read; the other hears it live without having done anything.
#[tokio::test]
async fn two_talk() {
    let [ada, bob] = people(["ada", "bob"]).await;
    for subprotocol in Subprotocol::BOTH {
        let mut socket = bob.online(subprotocol).await;
        let room = id_of(&ada.api.put_empty(&format!("/v1/direct/{}", bob.username)).await.success());
        let said = ada.say(&room, "psst").await;
        let heard = socket.event_in("message", &room).await;
        assert_eq!((seq_of(&heard), &heard["text"]), (seq_of(&said), &json!("psst")));
        bob.say(&room, "yes?").await;
        let history = ada.api.get(&format!("/v1/rooms/{room}/messages")).await.is(200);
        assert_eq!(history["messages"][0]["text"], "yes?");
        let listed = bob.listed(&room).await.expect("it is among his rooms");
        assert_eq!(listed["kind"], "direct");
    }
}

/// To others it does not exist, and nobody is added, kicked or banned.
#[tokio::test]
async fn is_closed_to_others() {
    let [ada, bob, eve] = people(["ada", "bob", "eve"]).await;
    let room = id_of(&ada.api.put_empty(&format!("/v1/direct/{}", bob.username)).await.is(201));
    ada.say(&room, "between us").await;
    let path = format!("/v1/rooms/{room}");
    eve.api.get(&path).await.problem(404, "room_not_found");
    eve.api.get(&format!("{path}/messages")).await.problem(404, "room_not_found");
    eve.api.post_empty(&format!("{path}/join")).await.problem(404, "room_not_found");
    ada.api.put(&format!("{path}/members/{}", eve.id), json!({})).await.refused(403);
    ada.api.delete(&format!("{path}/members/{}", bob.id)).await.refused(403);
    ada.api.put(&format!("{path}/bans/{}", bob.id), json!({})).await.refused(403);
    let found = eve.api.get("/v1/rooms/discover").await.is(200);
    assert!(!found.to_string().contains(&room));
}

/// Nobody writes to himself by accident: refused or a room of one, but defined.
#[tokio::test]
async fn with_oneself_is_defined() {
    let ada = User::register(Service::shared(), "ada").await;
    let answer = ada.api.put_empty(&format!("/v1/direct/{}", ada.username)).await;
    assert!(matches!(answer.status, 200 | 201 | 409 | 422), "{}: {}", answer.status, answer.body);
}
