//! "`GET /v1/openapi.json` describes all of this; `GET /docs` shows it."

use rookery_e2e::{
    http::{Answer, Api},
    service::Service,
    unique,
    user::{PASSWORD, User, id_of, seq_of},
};
use serde_json::{Value, json};

use crate::{schema::violations, support::people};

/// Every call of the client API.
const CALLS: &[&str] = &[
    "POST /v1/auth/register",
    "POST /v1/auth/verify",
    "POST /v1/auth/resend",
    "POST /v1/auth/login",
    "POST /v1/auth/login/verify",
    "POST /v1/auth/refresh",
    "POST /v1/auth/logout",
    "POST /v1/auth/password/forgot",
    "POST /v1/auth/password/reset",
    "POST /v1/auth/ticket",
    "GET /.well-known/jwks.json",
    "GET /v1/users/me",
    "PATCH /v1/users/me",
    "DELETE /v1/users/me",
    "GET /v1/users/{}",
    "GET /v1/users/by-username/{}",
    "POST /v1/rooms",
    "GET /v1/rooms",
    "GET /v1/rooms/discover",
    "GET /v1/rooms/{}",
    "PATCH /v1/rooms/{}",
    "DELETE /v1/rooms/{}",
    "POST /v1/rooms/{}/join",
    "DELETE /v1/rooms/{}/members/me",
    "GET /v1/rooms/{}/members",
    "PUT /v1/rooms/{}/members/{}",
    "PATCH /v1/rooms/{}/members/{}",
    "DELETE /v1/rooms/{}/members/{}",
    "PUT /v1/rooms/{}/bans/{}",
    "DELETE /v1/rooms/{}/bans/{}",
    "PUT /v1/rooms/{}/mutes/{}",
    "DELETE /v1/rooms/{}/mutes/{}",
    "PUT /v1/direct/{}",
    "POST /v1/rooms/{}/messages",
    "GET /v1/rooms/{}/messages",
    "GET /v1/rooms/{}/messages/{}",
    "PATCH /v1/rooms/{}/messages/{}",
    "DELETE /v1/rooms/{}/messages/{}",
    "PUT /v1/rooms/{}/messages/{}/reactions/{}",
    "DELETE /v1/rooms/{}/messages/{}/reactions/{}",
    "PUT /v1/rooms/{}/read",
    "PUT /v1/rooms/{}/translate",
    "GET /v1/ws",
];

/// `/v1/rooms/{id}` → `/v1/rooms/{}`
fn without_names(path: &str) -> String {
    let segment = |segment: &str| if segment.starts_with('{') { "{}".to_owned() } else { segment.to_owned() };
    path.split('/').map(segment).collect::<Vec<_>>().join("/")
}

struct Document(Value);

impl Document {
    async fn fetch() -> Self {
        Self(Service::shared().api().get("/v1/openapi.json").await.is(200))
    }

    fn operation(&self, method: &str, path: &str) -> Option<&Value> {
        let paths = self.0["paths"].as_object()?;
        let matches = |template: &str| {
            let (template, path): (Vec<_>, Vec<_>) =
                (template.split('/').collect(), path.split('/').collect());
            template.len() == path.len()
                && template.iter().zip(&path).all(|(known, given)| known == given || known.starts_with('{'))
        };
        // The one with the fewest parameters is the one that is meant.
        paths
            .iter()
            .filter(|(template, _)| matches(template))
            .filter_map(|(template, item)| Some((template, item.get(method.to_lowercase())?)))
            .min_by_key(|(template, _)| template.matches('{').count())
            .map(|(_, operation)| operation)
    }

    /// Panics unless this answer is one that the document describes.
    #[track_caller]
    fn assert_describes(&self, answer: &Answer) {
        let (method, path) = answer.call.split_once(' ').expect("METHOD path");
        let path = path.split('?').next().unwrap_or_default();
        let operation =
            self.operation(method, path).unwrap_or_else(|| panic!("{} is not described", answer.call));
        let described = &operation["responses"][answer.status.to_string()];
        assert!(
            described.is_object(),
            "{}: {} is not described: {}",
            answer.call,
            answer.status,
            answer.body
        );
        let content_type = answer.headers.get("content-type").and_then(|value| value.to_str().ok());
        let Some(content_type) = content_type else {
            assert!(described.get("content").is_none(), "{}: no body, but one is described", answer.call);
            return;
        };
        let bare = content_type.split(';').next().unwrap_or_default();
        let schema = &described["content"][bare]["schema"];
        assert!(schema.is_object(), "{}: {} as {bare} is not described", answer.call, answer.status);
        let found = violations(&self.0, schema, &answer.body);
        assert!(found.is_empty(), "{}: {} {}\n{}", answer.call, answer.status, answer.body, found.join("\n"));
    }
}

/// Every call of the client API is in the document, with an answer for success and a description.
#[tokio::test]
async fn describes_every_call() {
    let document = Document::fetch().await;
    assert!(document.0["openapi"].as_str().is_some_and(|version| version.starts_with("3.")));
    let mut described = Vec::new();
    for (path, item) in document.0["paths"].as_object().expect("paths") {
        for method in item.as_object().expect("an item").keys() {
            described.push(format!("{} {}", method.to_uppercase(), without_names(path)));
        }
    }
    let missing: Vec<_> = CALLS.iter().filter(|call| !described.iter().any(|known| known == *call)).collect();
    assert!(missing.is_empty(), "not described: {missing:?}");
}

/// `GET /docs` shows it; `/` says what runs here.
#[tokio::test]
async fn has_pages_to_read() {
    for path in ["/docs", "/"] {
        let answer = Service::shared().api().get(path).await;
        let content_type = answer.headers["content-type"].to_str().expect("text").to_owned();
        assert!(content_type.starts_with("text/html"), "{path}: {content_type}");
        let page = answer.is(200);
        assert!(page.as_str().is_some_and(|text| text.contains("Rookery")), "{path}: {page}");
    }
}

/// Answers are as described: accounts and users.
#[tokio::test]
async fn answers_about_accounts_are_as_described() {
    let (document, service) = (Document::fetch().await, Service::shared());
    let username = unique("ada");
    let email = format!("{username}@example.com");
    let api = service.api();
    let check = |answer: Answer| {
        document.assert_describes(&answer);
        answer.body
    };
    let request = json!({"email": email, "username": username, "password": PASSWORD});
    check(api.post("/v1/auth/register", request.clone()).await);
    check(api.post("/v1/auth/register", json!({"email": 5})).await);
    check(api.post("/v1/auth/resend", json!({"email": email})).await);
    let code = service.code(&email, 2).await;
    check(api.post("/v1/auth/verify", json!({"email": email, "code": "0"})).await);
    let session = check(api.post("/v1/auth/verify", json!({"email": email, "code": code})).await);
    check(api.post("/v1/auth/register", request).await);
    check(api.post("/v1/auth/login", json!({"login": username, "password": PASSWORD})).await);
    check(api.post("/v1/auth/login", json!({"login": username, "password": "wrong"})).await);
    check(api.post("/v1/auth/refresh", json!({"refresh_token": session["refresh_token"]})).await);
    check(api.post("/v1/auth/refresh", json!({"refresh_token": "none"})).await);
    check(api.post("/v1/auth/password/forgot", json!({"email": email})).await);
    check(api.get("/.well-known/jwks.json").await);
    let mine = api.with_token(session["access_token"].as_str().expect("a token"));
    check(mine.post_empty("/v1/auth/ticket").await);
    check(mine.get("/v1/users/me").await);
    check(mine.patch("/v1/users/me", json!({"language": "es", "login_code": true})).await);
    check(mine.get(&format!("/v1/users/{}", id_of(&session["user"]))).await);
    check(mine.get(&format!("/v1/users/by-username/{username}")).await);
    check(mine.get("/v1/users/by-username/nobody-at-all").await);
    check(api.get("/v1/users/me").await);
    check(api.post("/v1/auth/login", json!({"login": username, "password": PASSWORD})).await);
    check(mine.post("/v1/auth/logout", json!({"all": true})).await);
}

/// Answers are as described: rooms, members and messages.
#[tokio::test]
async fn answers_about_rooms_are_as_described() {
    let document = Document::fetch().await;
    let [ada, bob]: [User; 2] = people(["ada", "bob"]).await;
    let check = |answer: Answer| {
        document.assert_describes(&answer);
        answer.body
    };
    let (hers, his): (&Api, &Api) = (&ada.api, &bob.api);
    let request = json!({"name": "Room", "kind": "group", "visibility": "public", "topic": "birds"});
    let room = id_of(&check(hers.post("/v1/rooms", request).await));
    check(hers.post("/v1/rooms", json!({})).await);
    let path = format!("/v1/rooms/{room}");
    check(his.get(&format!("{path}/messages")).await);
    check(his.post_empty(&format!("{path}/join")).await);
    check(hers.get(&format!("{path}/members?limit=1")).await);
    let message = json!({"text": format!("hello @{}", bob.username), "client_msg_id": unique("m")});
    let said = seq_of(&check(hers.post(&format!("{path}/messages"), message.clone()).await));
    check(hers.post(&format!("{path}/messages"), message).await);
    let at = format!("{path}/messages/{said}");
    check(his.put_empty(&format!("{at}/reactions/👍")).await);
    check(hers.patch(&at, json!({"text": "hello!"})).await);
    check(his.patch(&at, json!({"text": "hello!"})).await);
    check(hers.get(&at).await);
    check(his.get(&format!("{path}/messages?limit=1")).await);
    check(his.get(&format!("{path}/messages?limit=0")).await);
    check(his.get("/v1/rooms").await);
    check(his.put(&format!("{path}/read"), json!({"seq": said})).await);
    check(his.delete(&format!("{at}/reactions/👍")).await);
    check(hers.delete(&at).await);
    check(hers.get(&at).await);
    check(his.get("/v1/rooms/discover").await);
    check(hers.patch(&path, json!({"topic": "fish"})).await);
    check(his.patch(&path, json!({"topic": "fish"})).await);
    let member = format!("{path}/members/{}", bob.id);
    check(hers.patch(&member, json!({"role": "moderator"})).await);
    check(hers.put(&format!("{path}/mutes/{}", bob.id), json!({})).await);
    check(hers.delete(&format!("{path}/mutes/{}", bob.id)).await);
    check(hers.delete(&member).await);
    check(hers.put(&member, json!({})).await);
    check(his.delete(&format!("{path}/members/me")).await);
    check(hers.put(&format!("{path}/bans/{}", bob.id), json!({})).await);
    check(his.post_empty(&format!("{path}/join")).await);
    check(hers.delete(&format!("{path}/bans/{}", bob.id)).await);
    let direct = format!("/v1/direct/{}", bob.username);
    check(hers.put_empty(&direct).await);
    check(hers.put_empty(&direct).await);
    check(hers.get(&path).await);
    check(hers.delete(&path).await);
    check(hers.get(&path).await);
}
