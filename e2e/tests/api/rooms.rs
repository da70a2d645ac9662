//! Rooms: making, finding, joining, leaving, changing and deleting them.

use rookery_e2e::{
    service::Service,
    time::assert_time,
    unique,
    user::{User, id_of, seq_of},
};
use serde_json::{Value, json};

use crate::support::{member_ids, members, people, roles};

/// POST /rooms → 201 room, and its maker is its owner.
#[tokio::test]
async fn makes_rooms_of_each_kind() {
    let ada = User::register(Service::shared(), "ada").await;
    for (kind, visibility) in
        [("group", "public"), ("group", "private"), ("channel", "public"), ("channel", "private")]
    {
        let name = unique("Room ");
        let request = json!({"name": name, "kind": kind, "visibility": visibility, "topic": "birds 🐦"});
        let room = ada.api.post("/v1/rooms", request).await.is(201);
        for (field, value) in
            [("name", name.as_str()), ("kind", kind), ("visibility", visibility), ("topic", "birds 🐦")]
        {
            assert_eq!(room[field], value, "{room}");
        }
        let id = id_of(&room);
        let again = ada.api.get(&format!("/v1/rooms/{id}")).await.is(200);
        assert_eq!((id_of(&again), &again["role"]), (id, &json!("owner")), "{again}");
    }
}

/// POST /rooms: wrong fields are 422.
#[tokio::test]
async fn refuses_rooms_that_are_none() {
    let ada = User::register(Service::shared(), "ada").await;
    let good = json!({"name": "Room", "kind": "group", "visibility": "public"});
    for (field, value) in [
        ("name", json!("")),
        ("name", json!("a".repeat(1000))),
        ("name", json!(7)),
        ("name", Value::Null),
        ("kind", json!("club")),
        ("kind", json!("direct")),
        ("visibility", json!("hidden")),
        ("topic", json!("a".repeat(10_000))),
    ] {
        let mut request = good.clone();
        request[field] = value;
        ada.api.post("/v1/rooms", request).await.wrong_field(field);
    }
    ada.api.post("/v1/rooms", json!({})).await.refused(422);
}

/// GET /rooms: mine, with `role, last_seq, read_seq, unread, mentions, last_message`.
#[tokio::test]
async fn lists_my_rooms() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let mine = ada.room_with(&[&bob]).await;
    let other = bob.room_with(&[]).await;
    let last = bob.say(&mine, "hello there").await;
    let listed = ada.listed(&mine).await.expect("my room is listed");
    assert_eq!(listed["role"], "owner");
    assert_eq!(listed["last_seq"], last["seq"]);
    assert_eq!(listed["unread"], 1);
    assert_eq!(listed["mentions"], 0);
    assert!(listed["read_seq"].is_u64(), "{listed}");
    assert_eq!(listed["last_message"]["text"], "hello there");
    assert_eq!(listed["last_message"]["seq"], last["seq"]);
    assert_eq!((&listed["kind"], &listed["visibility"]), (&json!("group"), &json!("public")));
    assert!(ada.listed(&other).await.is_none(), "a room that I am not in");
    assert_eq!(bob.listed(&mine).await.expect("his too")["role"], "member");
}

/// GET /rooms/discover?q=&cursor=: public rooms, private ones never.
#[tokio::test]
async fn finds_public_rooms_by_name() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let word = unique("w");
    let mut expected = Vec::new();
    for number in 0..3 {
        let name = format!("Discover {word} {number}");
        for visibility in ["public", "private"] {
            let request = json!({"name": name, "kind": "group", "visibility": visibility});
            let room = ada.api.post("/v1/rooms", request).await.is(201);
            if visibility == "public" {
                expected.push(id_of(&room));
            }
        }
    }
    expected.sort();
    for query in [word.clone(), word.to_uppercase()] {
        let found = rookery_e2e::eventually("all public rooms are found", async || {
            let body = bob.api.get(&format!("/v1/rooms/discover?q={query}")).await.is(200);
            let mut found: Vec<String> = body["rooms"].as_array()?.iter().map(id_of).collect();
            found.sort();
            (found.len() >= 3).then_some(found)
        })
        .await;
        assert_eq!(found, expected);
    }
    let nothing = bob.api.get(&format!("/v1/rooms/discover?q={}", unique("nothing"))).await.is(200);
    assert_eq!(nothing["rooms"], json!([]));
}

/// GET /rooms/discover: pages by cursor list each room once.
#[tokio::test]
async fn pages_through_public_rooms() {
    let ada = User::register(Service::shared(), "ada").await;
    let word = unique("w");
    let mut made = Vec::new();
    for number in 0..5 {
        let request = json!({"name": format!("{word} {number}"), "kind": "group", "visibility": "public"});
        made.push(id_of(&ada.api.post("/v1/rooms", request).await.is(201)));
    }
    let mut found = Vec::new();
    let mut path = format!("/v1/rooms/discover?q={word}&limit=2");
    for _ in 0..100 {
        let page = ada.api.get(&path).await.is(200);
        found.extend(page["rooms"].as_array().expect("rooms").iter().map(id_of));
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/rooms/discover?q={word}&limit=2&cursor={cursor}");
    }
    found.sort();
    made.sort();
    assert_eq!(found, made);
}

/// GET /rooms/{id}: a private room answers others 404 `room_not_found`, as one that does not exist.
#[tokio::test]
async fn a_private_room_does_not_exist_for_others() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = id_of(&ada.make_room("group", "private").await);
    let said = seq_of(&ada.say(&room, "between us").await);
    let message = json!({"text": "hi", "client_msg_id": unique("m")});
    for id in [room.as_str(), "01AAAAAAAAAAAAAAAAAAAAAAAA"] {
        let base = format!("/v1/rooms/{id}");
        bob.api.get(&base).await.problem(404, "room_not_found");
        bob.api.get(&format!("{base}/messages")).await.problem(404, "room_not_found");
        bob.api.get(&format!("{base}/messages/{said}")).await.problem(404, "room_not_found");
        bob.api.get(&format!("{base}/members")).await.problem(404, "room_not_found");
        bob.api.post_empty(&format!("{base}/join")).await.problem(404, "room_not_found");
        bob.api.post(&format!("{base}/messages"), message.clone()).await.problem(404, "room_not_found");
        bob.api.patch(&base, json!({"name": "mine"})).await.problem(404, "room_not_found");
        bob.api.delete(&base).await.problem(404, "room_not_found");
    }
    bob.api.get("/v1/rooms/nonsense").await.refused(404);
}

/// "Not a member: 403 `not_a_member`".
#[tokio::test]
async fn a_public_room_is_read_and_written_by_members() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[]).await;
    let said = seq_of(&ada.say(&room, "hello").await);
    bob.api.get(&format!("/v1/rooms/{room}")).await.is(200);
    let base = format!("/v1/rooms/{room}/messages");
    bob.api.get(&base).await.problem(403, "not_a_member");
    bob.api.get(&format!("{base}/{said}")).await.problem(403, "not_a_member");
    let message = json!({"text": "hi", "client_msg_id": unique("m")});
    bob.api.post(&base, message).await.problem(403, "not_a_member");
    bob.api.put_empty(&format!("{base}/{said}/reactions/👍")).await.problem(403, "not_a_member");
    bob.api.put(&format!("/v1/rooms/{room}/read"), json!({"seq": said})).await.problem(403, "not_a_member");
}

/// POST .../join, DELETE .../members/me: join a public room, leave.
#[tokio::test]
async fn joins_and_leaves() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[]).await;
    let before = ada.say(&room, "before").await;
    bob.join(&room).await;
    bob.join(&room).await;
    assert_eq!(
        roles(&ada, &room).await,
        [(ada.id.clone(), "owner".into()), (bob.id.clone(), "member".into())].into()
    );
    // One event for the joining, none for its repeat.
    let said = bob.say(&room, "hello").await;
    assert_eq!(seq_of(&said), seq_of(&before) + 2);
    // A member sees also what was said before he came.
    assert_eq!(bob.message(&room, seq_of(&before)).await["text"], "before");
    bob.api.delete(&format!("/v1/rooms/{room}/members/me")).await.is(204);
    assert!(bob.listed(&room).await.is_none());
    assert_eq!(member_ids(&ada, &room).await, [ada.id.clone()].into());
    bob.api.get(&format!("/v1/rooms/{room}/messages")).await.problem(403, "not_a_member");
    bob.api.delete(&format!("/v1/rooms/{room}/members/me")).await.refused(403);
}

/// Each room has an owner: the last one cannot leave while there are other members.
#[tokio::test]
async fn the_last_owner_stays() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    let leave = format!("/v1/rooms/{room}/members/me");
    let answer = ada.api.delete(&leave).await;
    let status = answer.status;
    assert!(matches!(status, 403 | 409), "{status}");
    answer.refused(status);
    ada.api.patch(&format!("/v1/rooms/{room}/members/{}", bob.id), json!({"role": "owner"})).await.success();
    ada.api.delete(&leave).await.is(204);
    assert_eq!(roles(&bob, &room).await, [(bob.id.clone(), "owner".into())].into());
}

/// GET .../members?cursor=: pages list each member once.
#[tokio::test]
async fn pages_through_members() {
    let all = people(["ada", "bob", "cy", "dot", "eve"]).await;
    let [ada, others @ ..] = &all;
    let room = ada.room_with(&others.iter().collect::<Vec<_>>()).await;
    let mut expected: Vec<String> = all.iter().map(|user| user.id.clone()).collect();
    expected.sort();
    let mut found = Vec::new();
    let mut path = format!("/v1/rooms/{room}/members?limit=2");
    for _ in 0..10 {
        let page = ada.api.get(&path).await.is(200);
        for member in members(&page) {
            assert!(member["user"]["username"].is_string() && member["role"].is_string(), "{member}");
            assert!(member["user"].get("email").is_none(), "{member}");
            found.push(id_of(&member["user"]));
        }
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/rooms/{room}/members?limit=2&cursor={cursor}");
    }
    found.sort();
    assert_eq!(found, expected);
}

/// PATCH /rooms/{id}, by role; what is absent stays.
#[tokio::test]
async fn changes_a_room() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    let path = format!("/v1/rooms/{room}");
    bob.api.patch(&path, json!({"name": "Bob's"})).await.problem(403, "forbidden");
    ada.api.patch(&path, json!({"name": "New name", "topic": "new topic"})).await.is(200);
    ada.api.patch(&path, json!({"topic": "newer topic"})).await.is(200);
    let seen = bob.api.get(&path).await.is(200);
    assert_eq!((&seen["name"], &seen["topic"]), (&json!("New name"), &json!("newer topic")));
    ada.api.patch(&path, json!({"name": ""})).await.wrong_field("name");
    ada.api.patch(&path, json!({"name": 5})).await.wrong_field("name");
    // A moderator changes name and topic, an owner also who sees the room.
    let role = format!("/v1/rooms/{room}/members/{}", bob.id);
    ada.api.patch(&role, json!({"role": "moderator"})).await.success();
    bob.api.patch(&path, json!({"topic": "bob's topic"})).await.is(200);
    bob.api.patch(&path, json!({"visibility": "private"})).await.problem(403, "forbidden");
    ada.api.patch(&path, json!({"visibility": "private"})).await.is(200);
    let cy = User::register(Service::shared(), "cy").await;
    cy.api.get(&path).await.problem(404, "room_not_found");
    cy.api.post_empty(&format!("{path}/join")).await.problem(404, "room_not_found");
    assert_eq!(bob.api.get(&path).await.is(200)["visibility"], "private");
}

/// A room that becomes private is found no more.
#[tokio::test]
async fn a_room_that_became_private_is_not_found() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let name = unique("w");
    let request = json!({"name": name, "kind": "group", "visibility": "public"});
    let room = id_of(&ada.api.post("/v1/rooms", request).await.is(201));
    ada.api.patch(&format!("/v1/rooms/{room}"), json!({"visibility": "private"})).await.is(200);
    rookery_e2e::eventually("it is found no more", async || {
        let body = bob.api.get(&format!("/v1/rooms/discover?q={name}")).await.is(200);
        (body["rooms"] == json!([])).then_some(())
    })
    .await;
}

/// DELETE /rooms/{id}, by role: then it is gone for everybody.
#[tokio::test]
async fn deletes_a_room() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = ada.room_with(&[&bob]).await;
    let path = format!("/v1/rooms/{room}");
    bob.api.delete(&path).await.problem(403, "forbidden");
    ada.api.delete(&path).await.is(204);
    for user in [&ada, &bob] {
        user.api.get(&path).await.problem(404, "room_not_found");
        user.api.get(&format!("{path}/messages")).await.problem(404, "room_not_found");
        let message = json!({"text": "hi", "client_msg_id": unique("m")});
        user.api.post(&format!("{path}/messages"), message).await.problem(404, "room_not_found");
        assert!(user.listed(&room).await.is_none());
    }
    bob.api.post_empty(&format!("{path}/join")).await.problem(404, "room_not_found");
}

/// In a channel moderators and owners write; members read and react.
#[tokio::test]
async fn a_channel_is_written_by_moderators() {
    let [ada, bob] = people(["ada", "bob"]).await;
    let room = id_of(&ada.make_room("channel", "public").await);
    bob.join(&room).await;
    let news = seq_of(&ada.say(&room, "news").await);
    let path = format!("/v1/rooms/{room}/messages");
    let message = json!({"text": "hi", "client_msg_id": unique("m")});
    bob.api.post(&path, message.clone()).await.problem(403, "forbidden");
    bob.api.put_empty(&format!("{path}/{news}/reactions/👍")).await.success();
    ada.api
        .patch(&format!("/v1/rooms/{room}/members/{}", bob.id), json!({"role": "moderator"}))
        .await
        .success();
    bob.api.post(&path, message).await.is(201);
}

/// Times of rooms are RFC 3339 UTC with milliseconds, ids opaque strings.
#[tokio::test]
async fn a_room_says_when_it_was_made() {
    let ada = User::register(Service::shared(), "ada").await;
    let room = ada.make_room("group", "public").await;
    assert_time(&room["created_at"]);
}
