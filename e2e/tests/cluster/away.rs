//! What a cluster does without etcd, Redis or NATS.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use futures_util::StreamExt as _;
use rookery_e2e::{eventually, http::Api, user::PASSWORD, ws::Subprotocol};
use rookery_testbed::{Node, Proxy};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::{options, post, start, user_at};

async fn readyz(node: &Node) -> (u16, String) {
    let answer = Api::new(&node.management_url()).get("/readyz").await;
    let text = match answer.body {
        Value::String(text) => text,
        other => other.to_string(),
    };
    (answer.status, text)
}

/// Waits until what `/readyz` says of a node contains `wanted`, and returns the status.
async fn says(node: &Node, wanted: &str) -> u16 {
    eventually(&format!("{} says {wanted:?}", node.process().name()), async || {
        let (status, text) = readyz(node).await;
        text.contains(wanted).then_some(status)
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn goes_on_without_etcd_and_without_redis() {
    let options = options();
    let Some(cluster) = start(&options) else { return };
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
        assert_eq!(says(&cluster.nodes()[node], "etcd is away").await, 200);
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
            let (status, text) = readyz(&cluster.nodes()[node]).await;
            (status == 200 && !text.contains("etcd is away") && text.contains("3 members")).then_some(())
        })
        .await;
    }
    hears("with etcd again").await;

    // Redis: who is here keeps chatting, nobody logs in.
    block_in_place(|| cluster.redis().kill());
    for node in 0..3 {
        assert_eq!(says(&cluster.nodes()[node], "redis: not ok").await, 200);
    }
    hears("without Redis").await;
    // A node that starts meanwhile does not wait for it.
    let late = cluster.another_node(&options.settings);
    block_in_place(|| {
        late.start();
        late.await_ready();
    });
    assert_eq!(says(&late, "redis: not ok").await, 200);
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
        says(&cluster.nodes()[node], "redis: ok").await;
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
    assert_eq!(says(&cluster.nodes()[0], "nats: not ok").await, 503);
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

/// "Sockets on a node that lost NATS for a moment are repaired without closing them": core NATS forgets what it could not
/// deliver, the ends of what was said included, and nobody says anything afterwards that would show a gap.
#[tokio::test(flavor = "multi_thread")]
async fn sockets_of_a_node_that_lost_nats_miss_nothing() {
    let options = options();
    let Some(cluster) = start(&options) else { return };
    // One more node, over wires that can be cut; its weight gives it no rooms, so that all are others'.
    let nats = cluster.nats();
    let wires: Vec<Proxy> =
        block_in_place(|| (0..nats.len()).map(|server| Proxy::to(nats.address(server))).collect());
    let urls: Vec<String> = wires.iter().map(|wire| format!("nats://{}", wire.address())).collect();
    let mut settings = options.settings.clone();
    settings.push(("ROOKERY_NATS__URLS".into(), urls.join(",")));
    settings.push(("ROOKERY_CLUSTER__WEIGHT".into(), "0".into()));
    let edge = cluster.another_node(&settings);
    block_in_place(|| {
        edge.start();
        edge.await_ready();
    });
    let ada = user_at(&cluster, 0, "ada").await;
    let bob = user_at(&cluster, 0, "bob").await;
    let mut rooms = Vec::new();
    for _ in 0..4 {
        rooms.push(ada.room_with(&[&bob]).await);
    }
    let bob_there = bob.at(&edge.url());
    let mut sockets = [bob_there.online(Subprotocol::Json).await, bob_there.online(Subprotocol::Proto).await];
    let listener = async_nats::connect(nats.urls()).await.expect("NATS is there");
    let mut live = listener.subscribe(format!("{}.live.*", options.name)).await.expect("it subscribes");
    listener.flush().await.expect("NATS is there");

    wires.iter().for_each(Proxy::refuse);
    says(&edge, "nats: not ok").await;
    let mut wanted: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for number in 0..20 {
        let (room, text) = (&rooms[number % rooms.len()], format!("missed {number}"));
        assert_eq!(post(&ada, room, &text).await.1, 0, "the others have NATS");
        wanted.entry(room).or_default().push(text);
    }
    // Both ends of each room come after its last record, and pass the node by.
    let mut ends: HashMap<String, u32> = HashMap::new();
    let passed = async {
        while ends.values().filter(|told| **told >= 2).count() < rooms.len() {
            let told = live.next().await.expect("the subscription goes on");
            let end = told.headers.is_some_and(|headers| headers.get("Rookery-End").is_some());
            let count = ends.entry(told.subject.to_string()).or_default();
            *count = if end { *count + 1 } else { 0 };
        }
    };
    tokio::time::timeout(rookery_testbed::PATIENCE, passed).await.expect("the owners tell the ends");
    wires.iter().for_each(Proxy::heal);

    for socket in &mut sockets {
        let mut heard: BTreeMap<&str, Vec<String>> = BTreeMap::new();
        for _ in 0..20 {
            let event = socket.event_where("what was missed", |event| event["t"] == "message").await;
            let room = rooms.iter().find(|room| event["room"] == ***room).expect("it is one of the rooms");
            heard.entry(room).or_default().push(event["text"].as_str().unwrap_or_default().to_owned());
        }
        assert_eq!(heard, wanted, "all of it, in order, {:?}", socket.subprotocol());
    }
    // And once: after it comes what is said next.
    for room in &rooms {
        post(&ada, room, "next").await;
        for socket in &mut sockets {
            let event = socket.event_where("a message", |event| event["t"] == "message").await;
            assert_eq!((&event["room"], &event["text"]), (&json!(room), &json!("next")));
        }
    }
}
