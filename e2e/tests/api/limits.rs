//! Limits of a node that its operator sets: how many connections it takes.

use rookery_e2e::{
    http::Api,
    server::{Options, Server},
    service::{self, Service},
    user::User,
    ws::{Connect, ConnectError, Subprotocol},
};
use serde_json::json;

use crate::raw::Raw;

/// Problems are `application/problem+json`, and 503 says when to come again: also where there is no place for the connection.
#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_is_told_so() {
    if service::is_external() {
        return rookery_e2e::skipped(
            "one_connection_too_many_is_told_so",
            "it would shut out the other tests",
        );
    }
    let options = Options::generous().set("edge.max_connections", 3);
    let server = tokio::task::block_in_place(|| Server::start(options));
    let mut taken = Vec::new();
    for _ in 0..3 {
        taken.push(Raw::upgraded(&server.url(), Subprotocol::Json).await);
    }
    let refused = Api::new(&server.url()).get("/").await;
    assert_eq!(refused.headers["retry-after"], "1");
    refused.problem(503, "overloaded");
    match Connect::to(&server.url(), Subprotocol::Json).open().await {
        Err(ConnectError::Refused(status, _)) => assert_eq!(status, 503),
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("one too many is let in"),
    }
    taken.pop();
    rookery_e2e::eventually("there is room again", async || {
        (Api::new(&server.url()).get("/").await.status == 200).then_some(())
    })
    .await;
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
