//! SIGTERM: readiness off, `drain` frames, 1012, exit 0.

use std::time::{Duration, Instant};

use rookery_e2e::{
    http::Api,
    server::{Options, Server},
    service::{self, Service},
    unique,
    user::{User, seq_of},
    ws::{Connect, Subprotocol},
};
use serde_json::json;
use tokio::task::JoinSet;

/// "`drain`: reconnect after that; the socket is then closed with 1012", and the process ends well.
#[tokio::test(flavor = "multi_thread")]
async fn sends_everybody_away_and_ends() {
    if service::is_external() {
        return rookery_e2e::skipped("sends_everybody_away_and_ends", "the service is not ours to stop");
    }
    let window = Duration::from_secs(4);
    let options = Options::generous().fixed_port().set("server.drain_window_seconds", window.as_secs());
    let mut server = Server::start(options);
    let service = Service::of(&server);
    let ada = User::register(&service, "ada").await;
    let room = ada.room_with(&[]).await;
    let mut told = JoinSet::new();
    for number in 0..20 {
        let mut socket = ada.online(Subprotocol::BOTH[number % 2]).await;
        told.spawn(async move {
            let drain = socket.event("drain").await;
            let when = Instant::now();
            assert!(drain["retry_after_ms"].is_u64(), "{drain}");
            assert_eq!(socket.closed().await.code, 1012);
            when
        });
    }
    // One that never said hello, one in the middle of its requests.
    let mut silent = ada.connect(Subprotocol::Json).await;
    let mut busy = ada.online(Subprotocol::Json).await;
    let mut acknowledged = Vec::new();

    server.terminate();
    let management = Api::new(&server.management_url());
    rookery_e2e::eventually("readiness is off", async || {
        let ready = management.try_call(reqwest::Method::GET, "/readyz", None).await;
        // It says so while it still serves: balancers are to hear it before anything is refused.
        (ready.expect("it is still there").status == 503).then_some(())
    })
    .await;

    // It serves until the end: what it acknowledges now is kept.
    loop {
        let send = json!({"t": "send", "room": room, "text": "hi", "client_msg_id": unique("m")});
        let Ok(id) = busy.try_send(send).await else { break };
        let answer = loop {
            match busy.next().await {
                Ok(frame) if frame["re"] == id => break Some(frame),
                Ok(_) => {}
                Err(closed) => {
                    assert_eq!(closed.code, 1012, "{closed}");
                    break None;
                }
            }
        };
        let Some(answer) = answer else { break };
        if answer["t"] == "ok" {
            acknowledged.push(seq_of(&answer));
        }
    }
    let told = told.join_all().await;
    let (first, last) = (told.iter().min(), told.iter().max());
    let spread = *last.expect("some") - *first.expect("some");
    assert!(spread >= window / 2, "all are told within {spread:?} of {window:?}");
    assert_eq!(silent.closed().await.code, 1012);
    let status = tokio::task::block_in_place(|| server.wait());
    assert_eq!(status.code(), Some(0), "{status}");
    assert!(Connect::to(&server.url(), Subprotocol::Json).open().await.is_err());

    tokio::task::block_in_place(|| {
        server.spawn_again();
        server.await_ready();
    });
    for seq in acknowledged {
        assert_eq!(ada.message(&room, seq).await["text"], "hi");
    }
}

/// Nothing under way is cut off: a drain without anybody ends at once.
#[tokio::test(flavor = "multi_thread")]
async fn ends_at_once_when_nobody_is_there() {
    if service::is_external() {
        return rookery_e2e::skipped("ends_at_once_when_nobody_is_there", "the service is not ours to stop");
    }
    let mut server = Server::start(Options::default().set("server.drain_window_seconds", 3600));
    server.terminate();
    let status = tokio::task::block_in_place(|| server.wait());
    assert_eq!(status.code(), Some(0), "{status}");
}

/// So many a second are told to go, however long the window: a node that has few is done soon.
#[tokio::test(flavor = "multi_thread")]
async fn few_are_told_sooner_and_not_at_once() {
    if service::is_external() {
        return rookery_e2e::skipped(
            "few_are_told_sooner_and_not_at_once",
            "the service is not ours to stop",
        );
    }
    let options =
        Options::generous().set("server.drain_window_seconds", 3600).set("server.drain_per_second", 2);
    let mut server = Server::start(options);
    let ada = User::register(&Service::of(&server), "ada").await;
    let mut told = JoinSet::new();
    for number in 0..6 {
        let mut socket = ada.online(Subprotocol::BOTH[number % 2]).await;
        told.spawn(async move {
            socket.event("drain").await;
            Instant::now()
        });
    }
    server.terminate();
    let status = tokio::task::block_in_place(|| server.wait());
    assert_eq!(status.code(), Some(0), "{status}");
    let told = told.join_all().await;
    let spread = *told.iter().max().expect("some") - *told.iter().min().expect("some");
    // Six take three seconds.
    assert!(spread >= Duration::from_secs(1), "all are told within {spread:?}");
}

/// Whoever looks at `/readyz` before he sends clients here has time to notice: until then all is as before.
#[tokio::test(flavor = "multi_thread")]
async fn serves_on_while_it_says_that_it_is_not_ready() {
    if service::is_external() {
        return rookery_e2e::skipped(
            "serves_on_while_it_says_that_it_is_not_ready",
            "the service is not ours to stop",
        );
    }
    let options = Options::generous().set("server.drain_delay_seconds", 3600);
    let mut server = tokio::task::block_in_place(|| Server::start(options));
    let service = Service::of(&server);
    let ada = User::register(&service, "ada").await;
    let room = ada.room_with(&[]).await;
    let mut before = ada.online(Subprotocol::Json).await;
    server.terminate();
    let management = Api::new(&server.management_url());
    rookery_e2e::eventually("it is not ready", async || {
        (management.get("/readyz").await.status == 503).then_some(())
    })
    .await;
    let mut after = ada.online(Subprotocol::Proto).await;
    let seq = seq_of(&ada.say(&room, "still here").await);
    for ws in [&mut before, &mut after] {
        assert_eq!(seq_of(&ws.event_in("message", &room).await), seq);
    }
    // A second signal hurries.
    server.terminate();
    let status = tokio::task::block_in_place(|| server.wait());
    assert_eq!(status.code(), Some(0), "{status}");
}
