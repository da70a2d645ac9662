//! What is asked on one node is done on another, and looks the same.

use rookery_core::room::{Reply, Role, Update, What};
use rookery_protocol::peer::{DrainRequest, StatusRequest, node_admin_client::NodeAdminClient};
use tokio::sync::mpsc;

use super::town::{Town, as_operator, post, user};
use crate::{peer::PeerSettings, rooms::RoomsSettings};

#[tokio::test]
async fn commands_answers_and_refusals_cross_the_wire() {
    let town = Town::new(3).await;
    let (ada, bob) = (user(1), user(2));
    let room = town.room(0, &ada, std::slice::from_ref(&bob)).await;
    let [owner, edge, other] = [0, 1, 2].map(|node| &town.nodes[node].rooms);
    for (number, rooms) in [owner, edge, other].into_iter().enumerate() {
        let posted = rooms.command(room, &ada, post(&number.to_string())).await.unwrap();
        assert!(matches!(posted, Reply::Posted { repeated: false, .. }));
        // The same again, over another node.
        let again = edge.command(room, &ada, post(&number.to_string())).await.unwrap();
        assert!(matches!(again, Reply::Posted { repeated: true, .. }));
    }
    let refusals = [
        What::Post { text: String::new(), client_msg_id: "x".into(), reply_to: None },
        What::SetRole { user: user(3).id, role: Role::Owner },
        What::Delete { seq: 1 },
    ];
    for what in refusals {
        let here = owner.command(room, &bob, what.clone()).await.unwrap_err();
        assert_eq!(edge.command(room, &bob, what).await.unwrap_err(), here);
    }
    let slow = What::Update(Update { slow_mode_seconds: Some(60), ..Update::default() });
    edge.command(room, &ada, slow).await.unwrap();
    edge.command(room, &bob, post("slow")).await.unwrap();
    let slow = edge.command(room, &bob, post("too fast")).await.unwrap_err();
    assert!(slow.code == "slow_mode" && slow.retry_after.is_some(), "{slow:?}");

    let members = |page: crate::rooms::Page<crate::rooms::Member>| (page.items, page.next);
    let first = members(edge.members(room, ada.id, None, 1).await.unwrap());
    assert_eq!(first, members(owner.members(room, ada.id, None, 1).await.unwrap()));
    assert_eq!(first.0[0].role, Role::Owner);
    let rest = members(other.members(room, bob.id, first.1, 10).await.unwrap());
    assert_eq!((rest.0.len(), rest.0[0].user.id, rest.1), (1, bob.id, None));
    assert!(town.nodes[1].metrics.forwarded.get() > 0 && town.nodes[0].metrics.forwarded.get() == 0);
}

#[tokio::test]
async fn hundreds_under_way_keep_their_order() {
    let town = Town::new(2).await;
    let ada = user(1);
    let room = town.room(0, &ada, &[]).await;
    let (tell, mut told) = mpsc::unbounded_channel();
    for number in 0..3000u32 {
        let tell = tell.clone();
        let reply = Box::new(move |outcome| tell.send((number, outcome)).unwrap());
        town.nodes[1].rooms.submit(room, &ada, post(&number.to_string()), reply);
    }
    drop(tell);
    let mut seqs = vec![0; 3000];
    while let Some((number, outcome)) = told.recv().await {
        let Ok(Reply::Posted { seq, .. }) = outcome else { panic!("{number}: {outcome:?}") };
        assert_eq!(std::mem::replace(&mut seqs[number as usize], seq), 0, "answered once");
    }
    assert!(seqs.iter().all(|seq| *seq > 0) && seqs.is_sorted());
    // Many went in one record: they were not waited for one by one.
    assert!(town.records(room).await.len() < 500);
}

/// What finds no place waits for one; it is neither refused nor overtaken.
#[tokio::test]
async fn more_than_may_be_under_way_waits_and_keeps_its_order() {
    let narrow = PeerSettings { in_flight: 16, in_flight_per_room: 1, ..PeerSettings::default() };
    assert_eq!(narrow.check(), []);
    // On a busy machine the last of them wait for longer than clients would.
    let patient = RoomsSettings { deadline_ms: 60_000, ..RoomsSettings::default() };
    let town = Town::with(2, narrow, patient).await;
    let ada = user(1);
    let mut rooms = Vec::new();
    for _ in 0..20 {
        rooms.push(town.room(0, &ada, &[]).await);
    }
    let (tell, mut told) = mpsc::unbounded_channel();
    for number in 0..500 {
        let tell = tell.clone();
        let reply = Box::new(move |outcome| tell.send((number, outcome)).unwrap());
        town.nodes[1].rooms.submit(rooms[number % 20], &ada, post(&number.to_string()), reply);
    }
    drop(tell);
    let mut seqs = vec![0; 500];
    while let Some((number, outcome)) = told.recv().await {
        let Ok(Reply::Posted { seq, .. }) = outcome else { panic!("{number}: {outcome:?}") };
        assert_eq!(std::mem::replace(&mut seqs[number], seq), 0, "answered once");
    }
    for room in 0..20 {
        let seqs: Vec<u64> = seqs.iter().skip(room).step_by(20).copied().collect();
        assert!(seqs[0] > 0 && seqs.windows(2).all(|pair| pair[0] < pair[1]), "room {room}: {seqs:?}");
    }
    assert!(town.nodes[1].metrics.forwarded.get() >= 500);
}

#[tokio::test]
async fn the_operator_sees_a_node_and_drains_it() {
    let town = Town::new(2).await;
    let ada = user(1);
    let room = town.room(0, &ada, &[]).await;
    town.nodes[1].rooms.command(room, &ada, post("a")).await.unwrap();
    let address = format!("http://{}", town.nodes[0].address);
    let mut admin = NodeAdminClient::connect(address).await.unwrap();
    let stranger = admin.status(StatusRequest {}).await.unwrap_err();
    assert_eq!(stranger.code(), tonic::Code::Unauthenticated);
    let status = admin.status(as_operator(StatusRequest {})).await.unwrap().into_inner();
    assert_eq!((status.node.as_str(), status.state.as_str(), status.ready), ("node-0", "active", true));
    assert_eq!((status.connections, status.members, status.ring_revision), (7, 2, 1));
    assert!((1500..2600).contains(&status.slots) && status.rooms >= 1 && status.unacked == 0, "{status:?}");
    for begun in [true, false] {
        let drained = admin.drain(as_operator(DrainRequest::default())).await.unwrap();
        assert_eq!(drained.into_inner().begun, begun);
    }
    let status = admin.status(as_operator(StatusRequest {})).await.unwrap().into_inner();
    assert_eq!(status.state, "draining");
}
