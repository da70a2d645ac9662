//! Users on different nodes chat, and go on when a node dies or leaves.

use std::time::{Duration, Instant};

use rookery_e2e::{
    service::Service,
    user::User,
    ws::{Connect, Subprotocol, Ws},
};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::{RECOVERY, options, post, start, texts, user_at};

/// So many that every node owns some, in both shards.
const ROOMS: usize = 16;

/// Everybody says something in every room, and everybody hears it. Returns how often a send was refused.
#[allow(clippy::print_stdout)] // figures, for who wants to see them
async fn talk(round: &str, rooms: &[String], users: &[&User], sockets: &mut [&mut Ws]) -> u32 {
    let (mut refused, mut slowest) = (0, Duration::ZERO);
    for (at, room) in rooms.iter().enumerate() {
        let user = users[at % users.len()];
        let text = format!("{round}, room {at}");
        let asked = Instant::now();
        refused += post(user, room, &text).await.1;
        slowest = slowest.max(asked.elapsed());
        for socket in sockets.iter_mut() {
            socket
                .event_where(&text, |event| {
                    event["t"] == "message" && event["room"] == **room && event["text"] == *text
                })
                .await;
        }
    }
    println!("{round}: {} rooms, slowest send {slowest:?}, {refused} refused and sent again", rooms.len());
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn chat_goes_on_when_nodes_die_and_leave() {
    // A lease that outlives all patience: nothing here waits for one to run out.
    let mut options = options();
    options.settings.push(("ROOKERY_CLUSTER__LEASE_SECONDS".into(), "60".into()));
    assert!(RECOVERY < Duration::from_secs(60));
    let Some(cluster) = start(&options) else { return };
    let ada = user_at(&cluster, 0, "ada").await;
    let bob = user_at(&cluster, 1, "bob").await;
    let eve = user_at(&cluster, 2, "eve").await;
    // Proxies write URLs down: where nothing else is set, a cluster takes no token there.
    let mut in_url = Connect::to(Service::of_node(&cluster.nodes()[0]).url(), Subprotocol::Json);
    in_url.query = format!("?token={}", ada.token());
    let mut refused = in_url.open().await.expect("refused by a close code that pages can read");
    let _ = refused.try_send(json!({"t": "hello"})).await;
    assert_eq!(refused.closed().await.code, 4401);

    let mut rooms = Vec::new();
    for _ in 0..ROOMS {
        rooms.push(ada.room_with(&[&bob, &eve]).await);
    }
    let mut ada_hears = ada.online(Subprotocol::Json).await;
    let mut bob_hears = bob.online(Subprotocol::Proto).await;
    let mut ada_watches = ada.online(Subprotocol::Json).await;
    let mut eve_hears = eve.online(Subprotocol::Json).await;
    let about_eve = |status: &'static str| {
        let eve = eve.id.clone();
        move |event: &Value| event["t"] == "presence" && event["user"] == *eve && event["status"] == status
    };
    ada_watches.event_where("eve is online", about_eve("online")).await;
    let all = [&ada, &bob, &eve];
    let refused =
        talk("all there", &rooms, &all, &mut [&mut ada_hears, &mut bob_hears, &mut eve_hears]).await;
    assert_eq!(refused, 0, "nothing has happened yet");

    // Whatever the third node owned is owned by others before its lease has run out.
    block_in_place(|| cluster.nodes()[2].process().kill());
    talk("one is dead", &rooms, &[&ada, &bob], &mut [&mut ada_hears, &mut bob_hears]).await;
    // Who was there by way of it cannot say that he has gone.
    ada_watches.event_where("eve is offline", about_eve("offline")).await;
    ada_watches.close().await;

    block_in_place(|| cluster.nodes()[2].restart());
    let mut eve_hears = eve.online(Subprotocol::Json).await;
    let refused =
        talk("it is back", &rooms, &all, &mut [&mut ada_hears, &mut bob_hears, &mut eve_hears]).await;
    assert_eq!(refused, 0, "a node that comes takes nothing from anybody");

    // One leaves: nobody's message is refused meanwhile, its own clients are told to go, and it ends well.
    block_in_place(|| cluster.nodes()[1].process().terminate());
    for round in 0.. {
        let refused = talk(
            &format!("one leaves, {round}"),
            &rooms,
            &[&ada, &eve],
            &mut [&mut ada_hears, &mut eve_hears],
        )
        .await;
        assert_eq!(refused, 0, "a planned move refuses nothing");
        if block_in_place(|| cluster.nodes()[1].process().pid().is_none() || !cluster.nodes()[1].is_ready())
            && round > 1
        {
            break;
        }
    }
    bob_hears.event("drain").await;
    assert_eq!(bob_hears.closed().await.code, 1012);
    let ended = block_in_place(|| cluster.nodes()[1].process().wait(rookery_testbed::PATIENCE));
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "{ended:?}");
    talk("one has left", &rooms, &[&ada, &eve], &mut [&mut ada_hears, &mut eve_hears]).await;

    // All of it is there, once, in the same order for everybody.
    for room in &rooms {
        let texts_of_ada = texts(&ada, room).await;
        assert_eq!(texts_of_ada, texts(&eve, room).await);
        let mut sorted = texts_of_ada.clone();
        sorted.sort();
        sorted.dedup();
        assert_eq!(sorted.len(), texts_of_ada.len(), "a message is there twice: {texts_of_ada:?}");
    }
}

/// "One sender on one connection": order, through whichever node.
#[tokio::test(flavor = "multi_thread")]
async fn messages_of_a_connection_keep_their_order_through_other_nodes() {
    let Some(cluster) = start(&options()) else { return };
    let ada = user_at(&cluster, 0, "ada").await;
    let mut rooms = Vec::new();
    for _ in 0..6 {
        rooms.push(ada.room_with(&[]).await);
    }
    let mut ws = ada.online(Subprotocol::Json).await;
    let mut asked = Vec::new();
    for number in 0..50 {
        for room in &rooms {
            let text = format!("{number:03}");
            let frame =
                json!({"t": "send", "room": room, "text": text, "client_msg_id": format!("{room}{number}")});
            asked.push(ws.send(frame).await);
        }
        if number == 20 {
            block_in_place(|| cluster.nodes()[1].process().terminate());
        }
    }
    for id in asked {
        assert_eq!(ws.answer_to(id).await["t"], "ok");
    }
    for room in &rooms {
        let texts = texts(&ada, room).await;
        assert_eq!(texts, (0..50).map(|number| format!("{number:03}")).collect::<Vec<_>>());
    }
}
