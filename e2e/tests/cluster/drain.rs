//! What the operator sees and asks: `Status` and `Drain` of `NodeAdmin`.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rookery_e2e::{
    eventually,
    http::Api,
    unique,
    user::{User, seq_of},
    ws::{Closed, Connect, Subprotocol, Ws},
};
use rookery_protocol::peer::{
    DrainReply, DrainRequest, StatusReply, StatusRequest, node_admin_client::NodeAdminClient,
};
use rookery_testbed::{Cluster, PATIENCE};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::{options, post, start, texts, user_at};

/// So many that every node owns some.
const ROOMS: usize = 12;
/// Slots of the ring.
const SLOTS: u32 = 4096;

async fn status(cluster: &Cluster, node: usize) -> Option<StatusReply> {
    let address = format!("http://{}", cluster.nodes()[node].peer());
    let mut admin = NodeAdminClient::connect(address).await.ok()?;
    Some(admin.status(StatusRequest {}).await.ok()?.into_inner())
}

/// What all nodes say, once they have the same ring.
async fn all(cluster: &Cluster) -> Vec<StatusReply> {
    eventually("all nodes have the same ring", async || {
        let mut said = Vec::new();
        for node in 0..cluster.nodes().len() {
            said.push(status(cluster, node).await?);
        }
        said.windows(2).all(|pair| pair[0].ring_revision == pair[1].ring_revision).then_some(said)
    })
    .await
}

async fn readyz(cluster: &Cluster, node: usize) -> Option<(u16, String)> {
    let management = Api::new(&cluster.nodes()[node].management_url());
    let answer = management.try_call(reqwest::Method::GET, "/readyz", None).await.ok()?;
    Some((answer.status, answer.body.as_str().map_or_else(|| answer.body.to_string(), str::to_owned)))
}

#[tokio::test(flavor = "multi_thread")]
async fn status_says_what_is() {
    let Some(cluster) = start(&options()) else { return };
    let ada = user_at(&cluster, 0, "ada").await;
    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        rooms.push(ada.room_with(&[]).await);
    }
    let mut sockets = Vec::new();
    for (node, count) in [(0, 3), (1, 0), (2, 2)] {
        for _ in 0..count {
            sockets.push(ada.at(&cluster.nodes()[node].url()).online(Subprotocol::Json).await);
        }
    }
    let said = all(&cluster).await;
    for (node, said) in said.iter().enumerate() {
        assert_eq!((said.node.as_str(), said.state.as_str()), (format!("node-{node}").as_str(), "active"));
        assert!(said.ready && said.members == 3 && said.unacked == 0, "{said:?}");
        assert_eq!(said.connections, [3, 0, 2][node], "{said:?}");
        let revision = format!("3 members as of revision {}\n", said.ring_revision);
        let (code, text) = readyz(&cluster, node).await.expect("the management port answers");
        assert!(code == 200 && text.contains(&revision), "{text} and {said:?}");
    }
    assert!(said.iter().all(|said| said.slots > 0), "{said:?}");
    assert_eq!(said.iter().map(|said| said.slots).sum::<u32>(), SLOTS);
    assert_eq!(
        said.iter().map(|said| said.rooms).sum::<u64>(),
        ROOMS as u64,
        "each is in one memory: {said:?}"
    );

    // Nothing is acknowledged while NATS stands still: what waits is counted where its sender is.
    block_in_place(|| (0..3).for_each(|server| cluster.nats().process(server).pause()));
    let mut waiting = Vec::new();
    for room in &rooms[..5] {
        let message = json!({"t": "send", "room": room, "text": "hold on", "client_msg_id": unique("m")});
        waiting.push(sockets[0].send(message).await);
    }
    eventually("five sends wait", async || (status(&cluster, 0).await?.unacked == 5).then_some(())).await;
    assert_eq!(status(&cluster, 1).await.map(|said| said.unacked), Some(0));
    block_in_place(|| (0..3).for_each(|server| cluster.nats().process(server).resume()));
    for sent in waiting {
        let answer = sockets[0].answer_to(sent).await;
        assert!(answer["t"] == "ok" || answer["code"] == "unavailable", "{answer}");
    }
    eventually("nothing waits any more", async || (status(&cluster, 0).await?.unacked == 0).then_some(()))
        .await;
    drop(sockets);
    eventually("the sockets are gone", async || {
        (status(&cluster, 0).await?.connections + status(&cluster, 2).await?.connections == 0).then_some(())
    })
    .await;
}

/// Sends to a room over one WebSocket after the other, each message until it is answered: moves on to `elsewhere` after
/// the delay that it is told. Returns how often it was closed, and what was acknowledged.
async fn talk_on(
    user: User,
    room: String,
    mut ws: Ws,
    elsewhere: String,
    stop: Arc<AtomicBool>,
) -> (u64, Vec<String>) {
    let (mut moves, mut acknowledged, mut delay) = (0, Vec::new(), None);
    while !stop.load(Ordering::Acquire) {
        let text = unique("by socket ");
        let frame = json!({"t": "send", "room": room, "text": text, "client_msg_id": unique("m")});
        loop {
            match answered(&mut ws, frame.clone(), &mut delay).await {
                Ok(answer) => {
                    assert_eq!(answer["t"], "ok", "no send fails: {answer}");
                    break;
                }
                Err(closed) => {
                    assert_eq!(closed.code, 1012, "{closed}");
                    let told: Duration = delay.take().expect("it was told to go before");
                    tokio::time::sleep(told).await;
                    moves += 1;
                    ws = Connect::to(&elsewhere, Subprotocol::Json).open().await.expect("the others take it");
                    ws.hello(json!({"token": user.token(), "rooms": "all"})).await;
                }
            }
        }
        acknowledged.push(text);
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    (moves, acknowledged)
}

/// The answer to one send, or how the connection ended; notes the delay that it is told meanwhile.
async fn answered(ws: &mut Ws, frame: Value, delay: &mut Option<Duration>) -> Result<Value, Closed> {
    let sent = ws.try_send(frame).await;
    loop {
        // What was told before it was closed is read, also when nothing can be sent any more.
        let frame = ws.try_next().await?;
        if frame["t"] == "drain" {
            let told = frame["retry_after_ms"].as_u64().expect("a delay");
            *delay = Some(Duration::from_millis(told));
        } else if sent.as_ref().is_ok_and(|id| frame["re"] == *id) {
            return Ok(frame);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_drains_when_the_operator_asks_and_no_send_fails() {
    let mut options = options();
    // Time to look at it while its clients are there.
    options.settings.push(("ROOKERY_SERVER__DRAIN_WINDOW_SECONDS".into(), "4".into()));
    // Longer than anybody waits here: its key goes because it leaves.
    options.settings.push(("ROOKERY_CLUSTER__LEASE_SECONDS".into(), "60".into()));
    let Some(cluster) = start(&options) else { return };
    let ada = user_at(&cluster, 0, "ada").await;
    let bob = user_at(&cluster, 1, "bob").await;
    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        rooms.push(ada.room_with(&[&bob]).await);
    }
    let before = all(&cluster).await;
    assert!(before[1].rooms > 0 && before[1].slots > 0, "{before:?}");

    let stop = Arc::new(AtomicBool::new(false));
    let elsewhere = cluster.nodes()[0].url();
    let mut talks = Vec::new();
    for room in &rooms {
        let ws = bob.online(Subprotocol::Json).await;
        talks.push(tokio::spawn(talk_on(bob.clone(), room.clone(), ws, elsewhere.clone(), stop.clone())));
    }
    let mut idle = Vec::new();
    for number in 0..8 {
        idle.push(bob.online(Subprotocol::BOTH[number % 2]).await);
    }
    let posts: Vec<_> = [0, 2]
        .into_iter()
        .map(|node| {
            let (user, rooms, stop) = (ada.at(&cluster.nodes()[node].url()), rooms.clone(), stop.clone());
            tokio::spawn(async move {
                let mut said = Vec::new();
                for room in rooms.iter().cycle() {
                    if stop.load(Ordering::Acquire) {
                        break;
                    }
                    let text = unique("by post ");
                    assert_eq!(post(&user, room, &text).await.1, 0, "a planned move refuses nothing");
                    said.push((room.clone(), text));
                }
                said
            })
        })
        .collect();

    let mut admin =
        NodeAdminClient::connect(format!("http://{}", cluster.nodes()[1].peer())).await.expect("it answers");
    let mut drain = async || -> DrainReply {
        admin
            .drain(DrainRequest { deadline_seconds: 20, hold_seconds: 0 })
            .await
            .expect("it is told")
            .into_inner()
    };
    assert!(drain().await.begun);
    assert!(!drain().await.begun, "it has begun already");
    let (code, text) = readyz(&cluster, 1).await.expect("it still answers");
    assert!(code == 503 && text.starts_with("not ready: draining\n"), "{text}");
    eventually("etcd says so, and all is handed over, while its clients are still there", async || {
        let said = status(&cluster, 1).await.expect("it is there until its clients are gone");
        assert!(!said.ready && said.connections > 0, "{said:?}");
        (said.state == "draining" && said.slots == 0 && said.rooms == 0 && said.members == 3).then_some(())
    })
    .await;
    eventually("the others have its slots", async || {
        let (one, other) = (status(&cluster, 0).await?, status(&cluster, 2).await?);
        (one.slots + other.slots == SLOTS).then_some(())
    })
    .await;

    let mut delays = HashSet::new();
    for ws in &mut idle {
        delays.insert(ws.event("drain").await["retry_after_ms"].as_u64().expect("a delay"));
        assert_eq!(ws.closed().await.code, 1012);
    }
    assert!(delays.len() > 1, "not all come back at the same moment: {delays:?}");
    let ended = block_in_place(|| cluster.nodes()[1].process().wait(PATIENCE));
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "{ended:?}");
    eventually("its key is gone", async || (status(&cluster, 0).await?.members == 2).then_some(())).await;

    // All of them talk on elsewhere, and everything that was acknowledged is there, once.
    tokio::time::sleep(Duration::from_millis(500)).await;
    stop.store(true, Ordering::Release);
    let mut said: Vec<(String, String)> = Vec::new();
    for (talk, room) in talks.into_iter().zip(&rooms) {
        let (moves, texts) = talk.await.expect("no send failed");
        assert_eq!(moves, 1, "closed once, and live again");
        said.extend(texts.into_iter().map(|text| (room.clone(), text)));
    }
    for posts in posts {
        said.extend(posts.await.expect("no post failed"));
    }
    for room in &rooms {
        let stored = texts(&ada, room).await;
        let unique: HashSet<&String> = stored.iter().collect();
        assert_eq!(unique.len(), stored.len(), "a message is there twice");
        for (_, text) in said.iter().filter(|(of, _)| of == room) {
            assert!(unique.contains(text), "{text} was acknowledged");
        }
    }
    let newest = ada.say(&rooms[0], "in the end").await;
    assert!(seq_of(&newest) > 2);
}

/// Who starts it again at once when it ends (Kubernetes) stops it when he has seen that it is done.
#[tokio::test(flavor = "multi_thread")]
async fn a_drained_node_stays_until_it_is_stopped() {
    let Some(cluster) = start(&options()) else { return };
    let ada = user_at(&cluster, 1, "ada").await;
    let mut ws = ada.online(Subprotocol::Json).await;
    let mut admin =
        NodeAdminClient::connect(format!("http://{}", cluster.nodes()[1].peer())).await.expect("it answers");
    let request = DrainRequest { deadline_seconds: 20, hold_seconds: 600 };
    assert!(admin.drain(request).await.expect("it is told").into_inner().begun);
    assert_eq!(ws.closed().await.code, 1012);
    eventually("nobody needs it any more", async || {
        let said = status(&cluster, 1).await.expect("it stays");
        (said.state == "draining" && said.rooms == 0 && said.connections == 0 && said.slots == 0)
            .then_some(())
    })
    .await;
    // For longer than its lease: its key goes on saying that it drains.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(status(&cluster, 1).await.expect("it stays").state, "draining");
    assert_eq!(status(&cluster, 0).await.expect("it answers").members, 3);
    cluster.nodes()[1].process().terminate();
    let ended = block_in_place(|| cluster.nodes()[1].process().wait(PATIENCE));
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "{ended:?}");
    eventually("its key is gone", async || (status(&cluster, 0).await?.members == 2).then_some(())).await;
}

/// A WebSocket that is served: a node says `unavailable` while NATS, which stood still, elects its leaders anew.
async fn served(user: &User) -> Ws {
    eventually("a connection is served", async || {
        let mut ws = user.connect(Subprotocol::Json).await;
        let hello = json!({"t": "hello", "token": user.token(), "rooms": "all"});
        let reply = ws.ask(hello).await;
        if reply.frame["code"] == "unavailable" {
            return None;
        }
        reply.is("welcome");
        Some(ws)
    })
    .await
}

/// Delay, window, and the deadline that is asked for, are 3 s, 1 s and 3 s here; what is beyond is for the last words to etcd, and for a
/// machine that is busy.
const IN_TIME: Duration = Duration::from_secs(7 + 3 + 10);

#[tokio::test(flavor = "multi_thread")]
async fn a_node_ends_in_time_though_nats_or_etcd_stands_still() {
    let mut options = options();
    // No mark is stored before the node ends.
    options.settings.push(("ROOKERY_ROOMS__READ_MARK_FLUSH_MS".into(), "60000".into()));
    let Some(cluster) = start(&options) else { return };
    let (ada, bob) = (user_at(&cluster, 0, "ada").await, user_at(&cluster, 0, "bob").await);
    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        let room = ada.room_with(&[&bob]).await;
        let seq = seq_of(&ada.say(&room, "something to read").await);
        rooms.push((room, seq));
    }
    let servers = |etcd: bool| -> Vec<_> {
        let of = |server| if etcd { cluster.etcd().process(server) } else { cluster.nats().process(server) };
        (0..3).map(of).collect()
    };
    for (node, etcd) in [(1, false), (2, true)] {
        let mut ws = served(&ada.at(&cluster.nodes()[node].url())).await;
        let mut admin = NodeAdminClient::connect(format!("http://{}", cluster.nodes()[node].peer()))
            .await
            .expect("it answers");
        // What he has read is to be stored yet, and what she says is under way.
        let reader = bob.at(&cluster.nodes()[node].url());
        for (room, seq) in &rooms {
            let path = format!("/v1/rooms/{room}/read");
            eventually("his mark is taken", async || {
                let answer = reader.api.put(&path, json!({"seq": seq})).await;
                if answer.status == 503 { None } else { Some(answer.success()) }
            })
            .await;
        }
        block_in_place(|| servers(etcd).iter().for_each(|server| server.pause()));
        for (room, _) in &rooms {
            ws.send(json!({"t": "send", "room": room, "text": "hm", "client_msg_id": unique("m")})).await;
        }
        let begun = Instant::now();
        assert!(
            admin
                .drain(DrainRequest { deadline_seconds: 3, hold_seconds: 0 })
                .await
                .expect("it hears")
                .into_inner()
                .begun
        );
        let ended = block_in_place(|| cluster.nodes()[node].process().wait(PATIENCE));
        let took = begun.elapsed();
        block_in_place(|| servers(etcd).iter().for_each(|server| server.resume()));
        let log = std::fs::read_to_string(cluster.nodes()[node].process().log()).expect("it is read");
        assert_eq!(ended.and_then(|status| status.code()), Some(0), "{ended:?} after {took:?}: {log}");
        assert!(took < IN_TIME, "{took:?}: {log}");
        let why = if etcd { "etcd does not hear that this node" } else { "read marks could not be stored" };
        assert!(log.contains(why), "{log}");
    }
}
