//! Calls about rooms, members and messages.

use serde_json::{Value, json};

use super::{client::Answer, world::World};

/// Somebody who calls.
struct Caller<'a> {
    world: &'a World,
    token: String,
    id: String,
}

impl<'a> Caller<'a> {
    async fn new(world: &'a World, name: &str) -> Self {
        let session = world.user(name).await;
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        Self { world, token: text(&session["access_token"]), id: text(&session["user"]["id"]) }
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Answer {
        self.world.call(&self.token, method, &format!("/v1{path}"), body).await
    }

    async fn get(&self, path: &str) -> Answer {
        self.call("GET", path, Value::Null).await
    }

    async fn room(&self, visibility: &str) -> String {
        let body = json!({"name": "Birds", "kind": "group", "visibility": visibility, "topic": "Owls"});
        let room = self.call("POST", "/rooms", body).await.accepted(201);
        format!("/rooms/{}", room["id"].as_str().unwrap())
    }

    async fn say(&self, room: &str, text: &str, id: &str) -> Answer {
        self.call("POST", &format!("{room}/messages"), json!({"text": text, "client_msg_id": id})).await
    }
}

#[tokio::test]
async fn a_room_and_its_messages() {
    let world = World::new().await;
    let (ada, bob) = (Caller::new(&world, "ada").await, Caller::new(&world, "bob").await);
    let room = ada.room("public").await;
    let seen = bob.get(&room).await.accepted(200);
    assert_eq!(
        (&seen["name"], &seen["kind"], &seen["topic"], &seen["role"], &seen["member_count"]),
        (&json!("Birds"), &json!("group"), &json!("Owls"), &Value::Null, &json!(1))
    );
    bob.get(&format!("{room}/messages")).await.refused(403, "not_a_member");
    assert_eq!(bob.call("POST", &format!("{room}/join"), Value::Null).await.accepted(200)["role"], "member");

    let said = bob.say(&room, "hello @ada", "m1").await.accepted(201);
    assert_eq!(
        (&said["text"], &said["seq"], &said["mentions"], &said["reactions"]),
        (&json!("hello @ada"), &json!(3), &json!([ada.id]), &json!({}))
    );
    assert!(said.get("deleted").is_none() && said.get("reply_to").is_none());
    assert_eq!(bob.say(&room, "hello @ada", "m1").await.accepted(200), said);
    bob.say(&room, "other", "m1").await.refused(409, "client_msg_id_conflict");
    let problem = bob.say(&room, "", "m2").await.refused(422, "invalid");
    assert!(problem["fields"]["text"].is_string());

    let listed = &ada.get("/rooms").await.accepted(200)["rooms"][0];
    assert_eq!(
        (&listed["unread"], &listed["mentions"], &listed["read_seq"], &listed["last_message"]["seq"]),
        (&json!(1), &json!(1), &json!(1), &json!(3))
    );
    ada.call("PUT", &format!("{room}/read"), json!({"seq": 3})).await.accepted(204);
    assert_eq!(ada.get("/rooms").await.accepted(200)["rooms"][0]["unread"], 0);
    ada.call("PUT", &format!("{room}/read"), json!({"seq": 300})).await.refused(422, "invalid");

    let message = format!("{room}/messages/3");
    // 👍
    let reaction = format!("{message}/reactions/%F0%9F%91%8D");
    ada.call("PUT", &reaction, Value::Null).await.accepted(204);
    ada.call("PUT", &reaction, Value::Null).await.accepted(204);
    assert_eq!(ada.get(&message).await.accepted(200)["reactions"]["👍"], json!({"count": 1, "mine": true}));
    assert_eq!(bob.get(&message).await.accepted(200)["reactions"]["👍"], json!({"count": 1, "mine": false}));
    ada.call("DELETE", &reaction, Value::Null).await.accepted(204);
    ada.call("PATCH", &message, json!({"text": "x"})).await.refused(403, "forbidden");
    let edited = bob.call("PATCH", &message, json!({"text": "bye"})).await.accepted(200);
    assert!(edited["text"] == "bye" && edited["edited_at"].is_string() && edited["mentions"] == json!([]));
    ada.call("DELETE", &message, Value::Null).await.accepted(204);
    ada.call("DELETE", &message, Value::Null).await.accepted(204);
    bob.call("PATCH", &message, json!({"text": "x"})).await.refused(410, "message_deleted");
    let gone = bob.get(&message).await.accepted(200);
    assert_eq!((&gone["deleted"], &gone["text"]), (&json!(true), &json!("")));
    bob.get(&format!("{room}/messages/1")).await.refused(404, "message_not_found");
    bob.get(&format!("{room}/messages/x")).await.refused(404, "not_found");

    let refused =
        bob.get(&format!("{room}/messages?limit=1&translate=Klingon")).await.refused(422, "invalid");
    assert!(refused["fields"]["translate"].is_string(), "{refused}");
    let page = bob.get(&format!("{room}/messages?limit=1&translate=es")).await.accepted(200);
    assert_eq!((&page["has_more"], &page["translation"]), (&json!(true), &json!("unavailable")));
    let next = page["next"].as_u64().unwrap();
    let page = bob.get(&format!("{room}/messages?before={next}")).await.accepted(200);
    assert_eq!(page, json!({"messages": [], "has_more": false}));
    for wrong in ["limit=0", "limit=201", "limit=x", "before=-1", "before=1&after=2"] {
        bob.get(&format!("{room}/messages?{wrong}")).await.refused(422, "invalid");
    }
}

#[tokio::test]
async fn members_and_moderation() {
    let world = World::new().await;
    let (ada, bob) = (Caller::new(&world, "ada").await, Caller::new(&world, "bob").await);
    let room = ada.room("private").await;
    bob.get(&room).await.refused(404, "room_not_found");
    bob.say(&room, "x", "1").await.refused(404, "room_not_found");
    let member = format!("{room}/members/{}", bob.id);
    ada.call("PUT", &member, json!({"role": "emperor"})).await.refused(422, "invalid");
    ada.call("PUT", &member, json!({})).await.accepted(204);
    ada.call("PATCH", &member, json!({"role": "moderator"})).await.accepted(204);
    let members = bob.get(&format!("{room}/members?limit=1")).await.accepted(200);
    assert_eq!(members["members"][0]["user"]["username"], "ada");
    let cursor = members["next_cursor"].as_str().unwrap();
    let rest = bob.get(&format!("{room}/members?cursor={cursor}")).await.accepted(200);
    assert_eq!((&rest["members"][0]["role"], rest.get("next_cursor")), (&json!("moderator"), None));
    bob.get(&format!("{room}/members?cursor=x")).await.refused(422, "invalid");
    ada.call("DELETE", &format!("{room}/members/me"), Value::Null).await.refused(409, "conflict");

    let mute = format!("{room}/mutes/{}", bob.id);
    for wrong in [
        json!({"seconds": 0}),
        json!({"until": "2001-01-01T00:00:00.000Z"}),
        json!({"until": "soon"}),
        json!({"seconds": 5, "until": "2999-01-01T00:00:00.000Z"}),
    ] {
        ada.call("PUT", &mute, wrong).await.refused(422, "invalid");
    }
    ada.call("PUT", &mute, json!({"seconds": 3600})).await.accepted(204);
    bob.say(&room, "x", "2").await.refused(403, "muted");
    ada.call("DELETE", &mute, Value::Null).await.accepted(204);
    bob.say(&room, "x", "3").await.accepted(201);
    ada.call("PATCH", &room, json!({"slow_mode_seconds": 60})).await.accepted(200);
    ada.call("PATCH", &member, json!({"role": "member"})).await.accepted(204);
    bob.say(&room, "x", "4").await.accepted(201);
    bob.say(&room, "x", "5").await.refused(429, "slow_mode");

    let mine = async || bob.get("/rooms").await.accepted(200)["rooms"][0]["translate"].clone();
    let translate = format!("{room}/translate");
    assert_eq!(mine().await, true);
    for wanted in [false, false, true, true, false] {
        bob.call("PUT", &translate, json!({"translate": wanted})).await.accepted(204);
        assert_eq!(mine().await, wanted);
    }
    assert_eq!(ada.get("/rooms").await.accepted(200)["rooms"][0]["translate"], true, "it is his alone");
    bob.call("PUT", &translate, json!({})).await.refused(422, "invalid");

    let shown = |room: &Value| json!([room["translation"], room["max_members"], room["retention_days"]]);
    assert_eq!(shown(&bob.get(&room).await.accepted(200)), json!([true, null, null]));
    for (field, wrong) in
        [("max_members", json!(10_001)), ("max_members", json!(-1)), ("retention_days", json!("long"))]
    {
        let problem = ada.call("PATCH", &room, json!({ field: wrong })).await.refused(422, "invalid");
        assert!(problem["fields"][field].is_string(), "{problem}");
    }
    let change = json!({"translation": false, "max_members": 2, "retention_days": 30});
    bob.call("PATCH", &room, change.clone()).await.refused(403, "forbidden");
    let changed = ada.call("PATCH", &room, change).await.accepted(200);
    assert_eq!(shown(&changed), json!([false, 2, 30]));
    let page = bob.get(&format!("{room}/messages?translate=es")).await.accepted(200);
    assert_eq!(page["translation"], "off");
    let eve = Caller::new(&world, "eve").await;
    eve.call("PUT", &translate, json!({"translate": false})).await.refused(404, "room_not_found");
    let more = format!("{room}/members/{}", eve.id);
    ada.call("PUT", &more, json!({})).await.refused(409, "limit_reached");
    let back = json!({"translation": true, "max_members": 0, "retention_days": 0});
    ada.call("PATCH", &room, back).await.accepted(200);
    assert_eq!(shown(&bob.get(&room).await.accepted(200)), json!([true, null, null]));

    let ban = format!("{room}/bans/{}", bob.id);
    ada.call("PUT", &ban, Value::Null).await.accepted(204);
    ada.call("PATCH", &room, json!({"visibility": "public"})).await.accepted(200);
    bob.call("POST", &format!("{room}/join"), Value::Null).await.refused(403, "banned");
    ada.call("DELETE", &ban, Value::Null).await.accepted(204);
    bob.call("POST", &format!("{room}/join"), Value::Null).await.accepted(200);
    ada.call("DELETE", &member, Value::Null).await.accepted(204);
    ada.call("DELETE", &member, Value::Null).await.refused(404, "member_not_found");
    let nobody = format!("{room}/members/01AAAAAAAAAAAAAAAAAAAAAAAA");
    ada.call("PUT", &nobody, json!({})).await.refused(404, "user_not_found");
    ada.call("DELETE", &room, Value::Null).await.accepted(204);
    ada.get(&room).await.refused(404, "room_not_found");
}

#[tokio::test]
async fn direct_rooms_and_discovery() {
    let world = World::new().await;
    let (ada, bob) = (Caller::new(&world, "ada").await, Caller::new(&world, "bob").await);
    let made = ada.call("PUT", "/direct/bob", Value::Null).await.accepted(201);
    let found = bob.call("PUT", "/direct/Ada", Value::Null).await.accepted(200);
    assert_eq!((&made["id"], &found["peer"]["username"]), (&found["id"], &json!("ada")));
    assert_eq!(made["kind"], "direct");
    ada.call("PUT", "/direct/ada", Value::Null).await.refused(422, "invalid");
    ada.call("PUT", "/direct/nobody", Value::Null).await.refused(404, "user_not_found");
    let room = format!("/rooms/{}", found["id"].as_str().unwrap());
    bob.call("DELETE", &format!("{room}/members/me"), Value::Null).await.refused(403, "forbidden");

    let rooms = [ada.room("public").await, ada.room("public").await];
    let page = bob.get("/rooms/discover?q=owL&limit=1").await.accepted(200);
    let cursor = page["next_cursor"].as_str().unwrap();
    let rest = bob.get(&format!("/rooms/discover?q=bird&cursor={cursor}")).await.accepted(200);
    let ids = [&page["rooms"][0]["id"], &rest["rooms"][0]["id"]]
        .map(|id| format!("/rooms/{}", id.as_str().unwrap()));
    assert_eq!(ids, rooms);
    assert!(rest.get("next_cursor").is_none());
    for (field, value) in [("kind", json!("direct")), ("name", json!("")), ("visibility", json!(1))] {
        let mut body = json!({"name": "x", "kind": "group", "visibility": "public"});
        body[field] = value;
        let problem = ada.call("POST", "/rooms", body).await.refused(422, "invalid");
        assert!(problem["fields"][field].is_string(), "{field}: {problem}");
    }
}
