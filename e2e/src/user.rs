//! Somebody with an account.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{
    http::Api,
    service::Service,
    unique,
    ws::{Connect, Subprotocol, Ws},
};

/// Strong enough for any reasonable rule.
pub const PASSWORD: &str = "correct-horse-7-battery-staple";

/// A registered user and one session of his.
#[derive(Clone)]
pub struct User {
    /// Calls with his access token.
    pub api: Api,
    /// Id.
    pub id: String,
    /// Username.
    pub username: String,
    /// E-mail address.
    pub email: String,
    /// What the login answered.
    pub session: Value,
}

impl User {
    /// Registers somebody with the code from the mail; his username starts with `hint`.
    pub async fn register(service: &Service, hint: &str) -> Self {
        Self::register_as(service, &unique(hint), hint).await
    }

    /// Registers somebody under this username.
    pub async fn register_as(service: &Service, username: &str, display_name: &str) -> Self {
        let email = format!("{username}@example.com");
        let api = service.api();
        let request =
            json!({"email": email, "username": username, "password": PASSWORD, "display_name": display_name});
        api.post("/v1/auth/register", request).await.is(202);
        let code = service.code(&email, 1).await;
        let session = api.post("/v1/auth/verify", json!({"email": email, "code": code})).await.is(201);
        Self::of(&api, &email, session)
    }

    /// The same user with a new session, perhaps at another node.
    pub async fn login(&self, service: &Service) -> Self {
        let api = service.api();
        let request = json!({"login": self.username, "password": PASSWORD});
        let session = api.post("/v1/auth/login", request).await.is(200);
        Self::of(&api, &self.email, session)
    }

    /// [`Self::login`] at the node with this address, if it lets anybody log in now.
    pub async fn try_login(&self, url: &str) -> Option<Self> {
        let request = json!({"login": self.username, "password": PASSWORD});
        let api = Api::new(url);
        let answer = api.try_call(Method::POST, "/v1/auth/login", Some(&request)).await.ok()?;
        (answer.status == 200).then(|| Self::of(&api, &self.email, answer.body))
    }

    fn of(api: &Api, email: &str, session: Value) -> Self {
        let text = |value: &Value| value.as_str().unwrap_or_else(|| panic!("in {session}")).to_owned();
        Self {
            api: api.with_token(&text(&session["access_token"])),
            id: text(&session["user"]["id"]),
            username: text(&session["user"]["username"]),
            email: email.to_owned(),
            session,
        }
    }

    /// The same session, at the node with this address.
    #[must_use]
    pub fn at(&self, url: &str) -> Self {
        Self { api: Api::new(url).with_token(self.token()), ..self.clone() }
    }

    /// His access token.
    pub fn token(&self) -> &str {
        self.api.token()
    }

    /// His refresh token.
    pub fn refresh_token(&self) -> &str {
        self.session["refresh_token"].as_str().expect("a session has a refresh token")
    }

    /// Makes a room and returns it.
    pub async fn make_room(&self, kind: &str, visibility: &str) -> Value {
        let name = unique("room ");
        let request = json!({"name": name, "kind": kind, "visibility": visibility});
        self.api.post("/v1/rooms", request).await.is(201)
    }

    /// Makes a public group with these members and returns its id.
    pub async fn room_with(&self, members: &[&User]) -> String {
        let room = id_of(&self.make_room("group", "public").await);
        for member in members {
            member.join(&room).await;
        }
        room
    }

    /// Joins a public room.
    pub async fn join(&self, room: &str) {
        self.api.post_empty(&format!("/v1/rooms/{room}/join")).await.success();
    }

    /// Posts a message and returns it.
    pub async fn say(&self, room: &str, text: &str) -> Value {
        let request = json!({"text": text, "client_msg_id": unique("m")});
        self.api.post(&format!("/v1/rooms/{room}/messages"), request).await.is(201)
    }

    /// One message as he sees it.
    pub async fn message(&self, room: &str, seq: u64) -> Value {
        self.api.get(&format!("/v1/rooms/{room}/messages/{seq}")).await.is(200)
    }

    /// The room as his list of rooms shows it.
    pub async fn listed(&self, room: &str) -> Option<Value> {
        let body = self.api.get("/v1/rooms").await.is(200);
        let rooms = body["rooms"].as_array().expect("the answer has rooms");
        rooms.iter().find(|listed| listed["id"] == room).cloned()
    }

    /// An open WebSocket on which nothing was said yet.
    pub async fn connect(&self, subprotocol: Subprotocol) -> Ws {
        let connecting = Connect::to(self.api.base(), subprotocol).open().await;
        connecting.unwrap_or_else(|error| panic!("no WebSocket: {error:?}"))
    }

    /// A WebSocket that follows all his rooms live.
    pub async fn online(&self, subprotocol: Subprotocol) -> Ws {
        let mut ws = self.connect(subprotocol).await;
        let welcome = ws.hello(json!({"token": self.token(), "rooms": "all"})).await;
        // A room is live from its `caught_up` on.
        for _ in welcome["rooms"].as_array().expect("welcome lists rooms") {
            ws.event("caught_up").await;
        }
        ws
    }

    /// A WebSocket that follows one room from after this seq; `caught_up` is still to come.
    pub async fn resume(&self, subprotocol: Subprotocol, room: &str, after: u64) -> Ws {
        let mut ws = self.connect(subprotocol).await;
        ws.hello(json!({"token": self.token(), "resume": {room: after}})).await;
        ws
    }
}

/// The `id` of an object.
#[track_caller]
pub fn id_of(object: &Value) -> String {
    object["id"].as_str().unwrap_or_else(|| panic!("no id in {object}")).to_owned()
}

/// The `seq` of an object.
#[track_caller]
pub fn seq_of(object: &Value) -> u64 {
    object["seq"].as_u64().unwrap_or_else(|| panic!("no seq in {object}"))
}
