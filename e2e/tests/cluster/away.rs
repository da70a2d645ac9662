//! What a cluster does without etcd, Redis or NATS.

use std::time::Duration;

use rookery_e2e::{eventually, http::Api, user::PASSWORD, ws::Subprotocol};
use rookery_testbed::Cluster;
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::{options, post, start, user_at};

async fn readyz(cluster: &Cluster, node: usize) -> (u16, String) {
    let answer = Api::new(&cluster.nodes()[node].management_url()).get("/readyz").await;
    let text = match answer.body {
        Value::String(text) => text,
        other => other.to_string(),
    };
    (answer.status, text)
}

/// Waits until what `/readyz` says of a node contains `wanted`, and returns the status.
async fn says(cluster: &Cluster, node: usize, wanted: &str) -> u16 {
    eventually(&format!("node {node} says {wanted:?}"), async || {
        let (status, text) = readyz(cluster, node).await;
        text.contains(wanted).then_some(status)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn goes_on_without_etcd_and_without_redis() {
    let Some(cluster) = start(&options()) else { return };
    let ada = user_at(&cluster, 0, "ada").await;
    let bob = user_at(&cluster, 1, "bob").await;
    let mut rooms = Vec::new();
    for _ in 0..8 {
        rooms.push(ada.room_with(&[&bob]).await);
    }
    let mut bob_hears = bob.online(Subprotocol::Json).await;
    let mut hears = async |text: &str| {
        for room in &rooms {
            assert_eq!(post(&ada, room, text).await.1, 0, "{text}");
            bob_hears.event_where(text, |event| event["room"] == **room && event["text"] == text).await;
        }
    };

    // etcd: the last view stays in force, also after all leases have run out; the nodes stay ready.
    block_in_place(|| (0..3).for_each(|member| cluster.etcd().kill(member)));
    for node in 0..3 {
        assert_eq!(says(&cluster, node, "etcd is away").await, 200);
    }
    hears("without etcd").await;
    block_in_place(|| {
        for member in 0..3 {
            cluster.etcd().process(member).start();
        }
        cluster.etcd().await_ready();
    });
    for node in 0..3 {
        eventually("the node is an active member again", async || {
            let (status, text) = readyz(&cluster, node).await;
            (status == 200 && !text.contains("etcd is away") && text.contains("3 members")).then_some(())
        })
        .await;
    }
    hears("with etcd again").await;

    // Redis: who is here keeps chatting, nobody logs in.
    block_in_place(|| cluster.redis().kill());
    for node in 0..3 {
        assert_eq!(says(&cluster, node, "redis: not ok").await, 200);
    }
    hears("without Redis").await;
    // A node that does not know her login cannot let her in: it says when to come again.
    let mut ws = ada.at(&cluster.nodes()[2].url()).connect(Subprotocol::Json).await;
    ws.ask(json!({"t": "hello", "token": ada.token()})).await.refused("unavailable");
    let closed = ws.closed().await;
    assert_eq!(closed.code, 1013, "{closed}");
    let reason: Value = serde_json::from_str(&closed.reason).expect("the reason is JSON");
    assert!(reason["retry_after_ms"].as_u64().is_some_and(|after| after > 0), "{closed}");
    let login = json!({"login": ada.username, "password": PASSWORD});
    let api = Api::new(&cluster.nodes()[0].url());
    api.post("/v1/auth/login", login.clone()).await.problem(503, "unavailable");
    block_in_place(|| cluster.redis().restart());
    for node in 0..3 {
        says(&cluster, node, "redis: ok").await;
    }
    api.post("/v1/auth/login", login).await.success();
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_unavailable_without_nats_and_recovers() {
    let Some(cluster) = start(&options()) else { return };
    let ada = user_at(&cluster, 0, "ada").await;
    let room = ada.room_with(&[]).await;
    let mut hears = ada.online(Subprotocol::Json).await;
    block_in_place(|| (0..3).for_each(|server| cluster.nats().kill(server)));
    assert_eq!(says(&cluster, 0, "nats: not ok").await, 503);
    let message = json!({"text": "into the void", "client_msg_id": "void"});
    let path = format!("/v1/rooms/{room}/messages");
    let refused = ada.api.post(&path, message.clone()).await.problem(503, "unavailable");
    assert!(refused["detail"].is_string());
    block_in_place(|| {
        for server in 0..3 {
            cluster.nats().process(server).start();
        }
        cluster.nats().await_ready();
    });
    // It was not stored, or it was and is found again by its `client_msg_id`: once, in any case. The socket was never closed.
    let stored = eventually("the room takes messages again", async || {
        let answer = ada.api.post(&path, message.clone()).await;
        tokio::time::sleep(Duration::from_millis(100)).await;
        (answer.status < 300).then_some(answer.body)
    })
    .await;
    let heard = hears.event_where("the message", |event| event["text"] == "into the void").await;
    assert_eq!(heard["seq"], stored["seq"]);
}
