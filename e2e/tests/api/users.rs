//! Users: who somebody is, to himself and to others.

use std::collections::BTreeSet;

use rookery_e2e::{
    service::Service,
    time::assert_time,
    unique,
    user::{PASSWORD, User, id_of},
    ws::Subprotocol,
};
use serde_json::{Value, json};

use crate::support::{member_ids, people, roles};

#[track_caller]
fn assert_public(user: &Value, of: &User) {
    assert_eq!(id_of(user), of.id);
    assert_eq!(user["username"], of.username.as_str());
    assert!(user["display_name"].is_string() && user["language"].is_string(), "{user}");
    assert_time(&user["created_at"]);
    for private in ["email", "login_code", "notifications", "password"] {
        assert!(user.get(private).is_none(), "{private} is shown to others: {user}");
    }
}

/// GET /users/me: e-mail appears in `/me` alone, with the settings that PATCH takes.
#[tokio::test]
async fn sees_himself_with_his_address() {
    let ada = User::register(Service::shared(), "ada").await;
    let me = ada.api.get("/v1/users/me").await.is(200);
    assert_eq!(id_of(&me), ada.id);
    assert_eq!(me["email"], ada.email.as_str());
    assert_eq!(me["login_code"], false);
    assert!(["off", "mentions", "all"].map(Value::from).contains(&me["notifications"]["email"]), "{me}");
    assert_time(&me["created_at"]);
}

/// GET /users/{id}, /users/by-username/{username}: `{id, username, display_name, language, created_at}`.
#[tokio::test]
async fn sees_others_without_their_address() {
    let service = Service::shared();
    let (ada, bob) = tokio::join!(User::register(service, "ada"), User::register(service, "bob"));
    assert_public(&bob.api.get(&format!("/v1/users/{}", ada.id)).await.is(200), &ada);
    for name in [ada.username.clone(), ada.username.to_uppercase()] {
        assert_public(&bob.api.get(&format!("/v1/users/by-username/{name}")).await.is(200), &ada);
    }
    for nobody in ["01AAAAAAAAAAAAAAAAAAAAAAAA", "nonsense", &format!("by-username/{}", unique("nobody"))] {
        bob.api.get(&format!("/v1/users/{nobody}")).await.refused(404);
    }
    service.api().get(&format!("/v1/users/{}", ada.id)).await.refused(401);
}

/// PATCH /users/me: `display_name, language, avatar_url, login_code, notifications`; what is absent stays.
#[tokio::test]
async fn changes_his_profile() {
    let service = Service::shared();
    let (ada, bob) = tokio::join!(User::register(service, "ada"), User::register(service, "bob"));
    let patch = json!({
        "display_name": "Ada 🐦 Lovelace", "language": "pt-BR", "avatar_url": "https://example.com/a.png",
        "login_code": true, "notifications": {"email": "off"},
    });
    ada.api.patch("/v1/users/me", patch.clone()).await.is(200);
    ada.api.patch("/v1/users/me", json!({"display_name": "Countess"})).await.is(200);
    let me = ada.api.get("/v1/users/me").await.is(200);
    assert_eq!(me["display_name"], "Countess");
    for field in ["language", "avatar_url", "login_code", "notifications"] {
        assert_eq!(me[field], patch[field], "{field}");
    }
    let seen = bob.api.get(&format!("/v1/users/{}", ada.id)).await.is(200);
    assert_eq!((&seen["display_name"], &seen["language"]), (&json!("Countess"), &json!("pt-BR")));
    assert_public(&seen, &ada);
}

/// PATCH /users/me: wrong types and values are 422 with the field; unknown fields are ignored.
#[tokio::test]
async fn refuses_a_wrong_profile() {
    let ada = User::register(Service::shared(), "ada").await;
    let patch = async |body: Value| ada.api.patch("/v1/users/me", body).await;
    patch(json!({"display_name": 7})).await.wrong_field("display_name");
    patch(json!({"display_name": "a".repeat(300)})).await.wrong_field("display_name");
    patch(json!({"language": "not a language"})).await.wrong_field("language");
    patch(json!({"login_code": "yes"})).await.wrong_field("login_code");
    patch(json!({"notifications": {"email": "sometimes"}})).await.refused(422);
    patch(json!({"avatar_url": "javascript:alert(1)"})).await.wrong_field("avatar_url");
    patch(json!({"shoe_size": 43})).await.is(200);
}

/// A message shows the name that its sender has.
#[tokio::test]
async fn messages_carry_the_senders_new_name() {
    let ada = User::register(Service::shared(), "ada").await;
    let room = ada.room_with(&[]).await;
    ada.api.patch("/v1/users/me", json!({"display_name": "Countess"})).await.is(200);
    rookery_e2e::eventually("a message under the new name", async || {
        let message = ada.say(&room, "hello").await;
        (message["sender"]["display_name"] == "Countess").then_some(())
    })
    .await;
}

/// So does one that is sent over a WebSocket that was open before, through whatever node.
#[tokio::test]
async fn an_open_socket_carries_the_senders_new_name() {
    let (service, subprotocols) = (Service::shared(), Subprotocol::BOTH);
    let ada = User::register(service, "ada").await;
    let room = ada.room_with(&[]).await;
    let mut sockets = Vec::new();
    // Each at another node, where there are some.
    for subprotocol in subprotocols.into_iter().cycle().take(4) {
        sockets.push(ada.at(service.url()).online(subprotocol).await);
    }
    ada.api.patch("/v1/users/me", json!({"display_name": "Countess"})).await.is(200);
    for mut socket in sockets {
        rookery_e2e::eventually("a message under the new name", async || {
            let text = unique("hello ");
            let send = json!({"t": "send", "room": room, "text": text, "client_msg_id": unique("m")});
            socket.ask(send).await.ok();
            let heard = socket.event_where(&text, |event| event["text"] == *text).await;
            (heard["sender"]["display_name"] == "Countess").then_some(())
        })
        .await;
    }
}

/// Who deletes his account leaves his rooms; where he was the only owner, somebody else becomes owner.
#[tokio::test]
async fn who_deletes_his_account_leaves_his_rooms() {
    let [ada, bob, cara] = people(["ada", "bob", "cara"]).await;
    let moderated = ada.room_with(&[&bob, &cara]).await;
    let promote = json!({"role": "moderator"});
    ada.api.patch(&format!("/v1/rooms/{moderated}/members/{}", cara.id), promote).await.is(204);
    let joined = bob.room_with(&[&ada]).await;
    let alone = ada.room_with(&[]).await;
    let direct = ada.api.put_empty(&format!("/v1/direct/{}", bob.username)).await.is(201);
    let mut hears = bob.online(Subprotocol::Json).await;
    ada.api.delete("/v1/users/me").await.is(204);
    // In whatever order.
    let mut left = BTreeSet::new();
    while left.len() < 2 {
        let event =
            hears.event_where("she leaves", |event| event["t"] == "member" && event["change"] == "left");
        let event = event.await;
        assert_eq!(event["user"], ada.id, "{event}");
        left.insert(event["room"].as_str().unwrap_or_default().to_owned());
    }
    assert_eq!(left, [moderated.clone(), joined.clone()].into());
    let wanted = [(bob.id.clone(), "member".to_owned()), (cara.id.clone(), "owner".to_owned())];
    assert_eq!(roles(&bob, &moderated).await, wanted.into());
    assert_eq!(member_ids(&bob, &joined).await, [bob.id.clone()].into());
    assert_eq!(bob.listed(&joined).await.expect("his room")["member_count"], 1);
    rookery_e2e::eventually("the room that she was alone in is gone", async || {
        (bob.api.get(&format!("/v1/rooms/{alone}")).await.status == 404).then_some(())
    })
    .await;
    // It is his as well.
    assert!(bob.listed(&id_of(&direct)).await.is_some());
}

/// DELETE /users/me: the account is gone, with its sessions and sockets.
#[tokio::test]
async fn deletes_his_account() {
    let service = Service::shared();
    let (ada, bob) = tokio::join!(User::register(service, "ada"), User::register(service, "bob"));
    let room = bob.room_with(&[&ada]).await;
    ada.say(&room, "I was here").await;
    let mut socket = ada.online(Subprotocol::Json).await;
    ada.api.delete("/v1/users/me").await.is(204);
    assert_eq!(socket.closed().await.code, 4401);
    ada.api.get("/v1/users/me").await.refused(401);
    let login = json!({"login": ada.username, "password": PASSWORD});
    service.api().post("/v1/auth/login", login).await.problem(401, "credentials_invalid");
    bob.api.get(&format!("/v1/users/{}", ada.id)).await.refused(404);
    bob.api.get(&format!("/v1/users/by-username/{}", ada.username)).await.refused(404);
    // What he wrote stays with the room.
    let history = bob.api.get(&format!("/v1/rooms/{room}/messages")).await.is(200);
    assert_eq!(history["messages"][0]["text"], "I was here", "{history}");
}
