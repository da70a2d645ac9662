//! Limits that whoever runs a node sets: how many connections it takes, what a connection follows, what a user does.

use rookery_e2e::{
    http::Api,
    server::{Options, Server},
    service::{self, Service},
    user::{User, seq_of},
    ws::{Connect, ConnectError, Subprotocol},
};
use serde_json::json;

/// Problems are `application/problem+json`, and 503 says when to come again: also where there is no place for the connection. Who has
/// a place goes on.
#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_is_told_so() {
    if service::is_external() {
        return rookery_e2e::skipped(
            "one_connection_too_many_is_told_so",
            "it would shut out the other tests",
        );
    }
    // Those who only take a place say no hello.
    let options =
        Options::generous().set("edge.max_connections", 10).set("edge.hello_timeout_ms", 3_600_000_u64);
    let server = tokio::task::block_in_place(|| Server::start(options));
    let ada = User::register(&Service::of(&server), "ada").await;
    let room = ada.room_with(&[]).await;
    let mut held = ada.online(Subprotocol::Json).await;
    // The connections of her calls over HTTP end with her.
    drop(ada);
    let mut taken = Vec::new();
    while taken.len() < 9 {
        let place = rookery_e2e::eventually("there is a place", async || {
            Connect::to(&server.url(), Subprotocol::Json).open().await.ok()
        });
        taken.push(place.await);
    }
    for _ in 0..5 {
        let refused = Api::new(&server.url()).get("/").await;
        assert_eq!(refused.headers["retry-after"], "1");
        refused.problem(503, "overloaded");
        match Connect::to(&server.url(), Subprotocol::Json).open().await {
            Err(ConnectError::Refused(status, _)) => assert_eq!(status, 503),
            Err(other) => panic!("{other:?}"),
            Ok(_) => panic!("one too many is let in"),
        }
        let id = rookery_e2e::unique("m");
        let send = json!({"t": "send", "room": room, "text": "still here", "client_msg_id": id});
        let seq = seq_of(&held.ask(send).await.ok());
        assert_eq!(seq_of(&held.event_in("message", &room).await), seq);
    }
    taken.pop();
    rookery_e2e::eventually("there is room again", async || {
        (Api::new(&server.url()).get("/").await.status == 200).then_some(())
    })
    .await;
}

/// `?token=`, "a setting", and which pages' `Origin` is on the allow list.
#[tokio::test(flavor = "multi_thread")]
async fn urls_and_origins_are_what_the_settings_allow() {
    if service::is_external() {
        return rookery_e2e::skipped(
            "urls_and_origins_are_what_the_settings_allow",
            "its settings are other ones",
        );
    }
    let options = Options::generous()
        .set("edge.url_token", false)
        .set("http.allowed_origins", r#"["https://chat.example.org"]"#);
    let server = tokio::task::block_in_place(|| Server::start(options));
    let service = Service::of(&server);
    let ada = User::register(&service, "ada").await;
    for subprotocol in Subprotocol::BOTH {
        let mut in_url = Connect::to(&server.url(), subprotocol);
        in_url.query = format!("?token={}", ada.token());
        let mut ws = in_url.open().await.expect("refused by a close code that pages can read");
        let _ = ws.try_send(json!({"t": "hello"})).await;
        assert_eq!(ws.closed().await.code, 4401);

        for (origin, allowed) in [
            ("https://chat.example.org", true),
            ("http://chat.example.org", false),
            ("https://chat.example.org.evil.example", false),
            ("https://other.example.org", false),
        ] {
            let mut from = Connect::to(&server.url(), subprotocol);
            from.origin = Some(origin.to_owned());
            let mut ws = from.open().await.expect("refused by a close code that pages can read");
            if allowed {
                ws.hello(json!({"token": ada.token()})).await;
            } else {
                let _ = ws.try_send(json!({"t": "hello", "token": ada.token()})).await;
                assert_eq!(ws.closed().await.code, 4403, "{origin}");
            }
        }
    }
}

/// `"rooms": "all"` of more rooms than a connection follows: what is left out is said.
#[tokio::test(flavor = "multi_thread")]
async fn rooms_that_a_connection_cannot_follow_are_told_of() {
    if service::is_external() {
        return rookery_e2e::skipped(
            "rooms_that_a_connection_cannot_follow_are_told_of",
            "its limit is another one",
        );
    }
    let options = Options::generous().set("edge.max_subscriptions", 2);
    let server = tokio::task::block_in_place(|| Server::start(options));
    let service = Service::of(&server);
    let ada = User::register(&service, "ada").await;
    for _ in 0..2 {
        ada.room_with(&[]).await;
    }
    for subprotocol in Subprotocol::BOTH {
        let mut ws = ada.online(subprotocol).await;
        let third = ada.room_with(&[]).await;
        let error = ws.event("error").await;
        assert_eq!((&error["code"], &error["room"]), (&json!("too_many_subscriptions"), &json!(third)));
        let mut all = ada.connect(subprotocol).await;
        let welcome = all.hello(json!({"token": ada.token(), "rooms": "all"})).await;
        assert_eq!(welcome["rooms"].as_array().map(Vec::len), Some(2));
        let error = all.event("error").await;
        assert_eq!(error["code"], "too_many_subscriptions");
        assert!(error.get("re").is_none(), "{error}");
        ada.api.delete(&format!("/v1/rooms/{third}")).await.is(204);
    }
}

/// "Rate limits answer 429 with `Retry-After`": also for who is logged in.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_user_does_is_limited() {
    if service::is_external() {
        return rookery_e2e::skipped("what_a_user_does_is_limited", "its limits are other ones");
    }
    let options = Options::generous()
        .set("accounts.limits.write_per_account", "20/3600s")
        .set("accounts.limits.list_per_account", "5/3600s");
    let server = tokio::task::block_in_place(|| Server::start(options));
    let service = Service::of(&server);
    let (ada, bob) = (User::register(&service, "ada").await, User::register(&service, "bob").await);
    let room = ada.room_with(&[]).await;
    let mut written = 1;
    let refused = loop {
        let message = json!({"text": "again", "client_msg_id": rookery_e2e::unique("m")});
        let answer = ada.api.post(&format!("/v1/rooms/{room}/messages"), message).await;
        if answer.status == 429 {
            break answer;
        }
        answer.is(201);
        written += 1;
        assert!(written <= 21, "20 at once, and one each three minutes");
    };
    let after = refused.headers["retry-after"].to_str().unwrap_or_default().to_owned();
    refused.problem(429, "rate_limited");
    assert!(after.parse::<u64>().is_ok_and(|after| (1..=180).contains(&after)), "{after}");
    // Her WebSockets have limits of their own, reading has none, and others have theirs.
    let mut ws = ada.online(Subprotocol::Json).await;
    let send = json!({"t": "send", "room": room, "text": "so", "client_msg_id": rookery_e2e::unique("m")});
    ws.ask(send).await.ok();
    ada.api.get(&format!("/v1/rooms/{room}/messages")).await.is(200);
    bob.join(&room).await;
    for _ in 0..5 {
        ada.api.get("/v1/rooms").await.is(200);
    }
    ada.api.get("/v1/rooms/discover").await.problem(429, "rate_limited");
}
