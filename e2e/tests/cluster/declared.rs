//! Rooms that are declared from outside the chat, at whichever node the operator asks.

use rookery_e2e::{eventually, service::Service, unique, user::User, ws::Subprotocol};
use rookery_protocol::{
    id::RoomId,
    peer::{
        DeclaredMember, EnsureRoomRequest, Kind, Role, RoomKey, RoomReply, Visibility,
        room_admin_client::RoomAdminClient,
    },
};
use rookery_testbed::Cluster;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use tonic::{Code, Request, Status};

use crate::support::{OPERATOR_TOKEN, operated, post, start, texts, user_at};

struct Operator<'a>(&'a Cluster);

impl Operator<'_> {
    fn key() -> RoomKey {
        RoomKey { namespace: "team".into(), name: "general".into() }
    }

    fn says<T>(call: T) -> Request<T> {
        let mut request = Request::new(call);
        request
            .metadata_mut()
            .insert("authorization", format!("Bearer {OPERATOR_TOKEN}").parse().expect("text"));
        request
    }

    async fn ensure(&self, node: usize, wanted: &EnsureRoomRequest) -> Result<RoomReply, Status> {
        let address = format!("http://{}", self.0.nodes()[node].peer());
        let mut client = RoomAdminClient::connect(address).await.expect("the node listens");
        Ok(client.ensure_room(Self::says(wanted.clone())).await?.into_inner())
    }

    async fn get(&self, node: usize) -> RoomReply {
        let address = format!("http://{}", self.0.nodes()[node].peer());
        let mut client = RoomAdminClient::connect(address).await.expect("the node listens");
        client.get_room(Self::says(Self::key())).await.expect("it answers").into_inner()
    }

    async fn remove(&self, node: usize) -> bool {
        let address = format!("http://{}", self.0.nodes()[node].peer());
        let mut client = RoomAdminClient::connect(address).await.expect("the node listens");
        client.remove_room(Self::says(Self::key())).await.expect("it answers").into_inner().removed
    }
}

fn wanted(members: &[(&str, Role)]) -> EnsureRoomRequest {
    EnsureRoomRequest {
        key: Some(Operator::key()),
        kind: Kind::Group.into(),
        display_name: "General".into(),
        visibility: Visibility::Private.into(),
        members: members
            .iter()
            .map(|(username, role)| DeclaredMember { username: (*username).into(), role: (*role).into() })
            .collect(),
        translation: true,
        ..EnsureRoomRequest::default()
    }
}

fn id(reply: &RoomReply) -> String {
    RoomId::from_bytes(reply.room.as_ref().try_into().expect("16 bytes")).to_string()
}

/// A room that is declared is there for whom it names, everywhere; those who come later are let in later; a pin decides which
/// nodes serve it; nobody in it changes it; removed, it is gone, and the next one of that name is another room.
#[tokio::test(flavor = "multi_thread")]
async fn a_declared_room_lives_in_a_cluster() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(cluster) = start(&operated(dir.path())) else { return };
    let operator = Operator(&cluster);
    let ada = user_at(&cluster, 0, "ada").await;
    let bobs_name = unique("bob");

    let declared = EnsureRoomRequest {
        shard: "green".into(),
        ..wanted(&[(&ada.username, Role::Owner), (&bobs_name, Role::Member)])
    };
    let made = operator.ensure(1, &declared).await.expect("it is made");
    assert!(made.changed && made.unknown_users == [bobs_name.clone()], "{made:?}");
    assert_eq!((made.owner.as_str(), made.shard.as_str(), made.members), ("node-2", "green", 1));
    let room = id(&made);
    let path = format!("/v1/rooms/{room}");
    let shown = ada.api.get(&path).await.is(200);
    assert_eq!(
        (&shown["name"], &shown["role"], &shown["declared"]),
        (&json!("General"), &json!("owner"), &json!(true))
    );
    ada.api.patch(&path, json!({"name": "Mine"})).await.refused(409);
    ada.api.delete(&path).await.refused(409);
    ada.api.delete(&format!("{path}/members/me")).await.refused(409);

    let mut ada_hears = ada.online(Subprotocol::Json).await;
    let bob = User::register_as(&Service::of_node(&cluster.nodes()[1]), &bobs_name, "Bob").await;
    bob.api.get(&path).await.refused(404);
    let resolved = operator.ensure(0, &declared).await.expect("it is changed");
    assert!(resolved.changed && resolved.unknown_users.is_empty() && resolved.members == 2, "{resolved:?}");
    let came = ada_hears.event_in("member", &room).await;
    assert_eq!((&came["change"], &came["username"]), (&json!("added"), &json!(bobs_name)));
    post(&bob, &room, "hello").await;
    ada_hears.event_where("hello", |event| event["text"] == "hello").await;

    // The only node of its shard is away: the room is where it would be otherwise, and comes back.
    block_in_place(|| cluster.nodes()[2].process().kill());
    post(&bob, &room, "without it").await;
    block_in_place(|| cluster.nodes()[2].restart());
    eventually("the room is its shard's again", async || {
        post(&ada, &room, "there again?").await;
        let seen = operator.get(0).await;
        (seen.owner == "node-2" && seen.epoch > resolved.epoch).then_some(())
    })
    .await;

    // All nodes start anew: whoever asks whether the room is as declared takes nothing up for that. All are down before the first one
    // starts: none that still has the room hands it over meanwhile.
    block_in_place(|| {
        for node in cluster.nodes() {
            node.process().terminate();
            assert!(node.process().wait(rookery_testbed::PATIENCE).is_some());
        }
        cluster.nodes().iter().for_each(rookery_testbed::Node::start);
        cluster.nodes().iter().for_each(rookery_testbed::Node::await_ready);
    });
    let before = operator.get(0).await;
    for node in 0..3 {
        let same = operator.ensure(node, &declared).await.expect("it is so");
        assert!(!same.changed, "{same:?}");
    }
    assert_eq!(operator.get(1).await.epoch, before.epoch, "it was not taken over to be looked at");
    let said = texts(&bob, &room).await;
    assert!(said.starts_with(&["hello".to_owned(), "without it".to_owned()]), "{said:?}");

    // It moves with its pin, and its members with what is declared.
    let moved = EnsureRoomRequest { shard: "blue".into(), ..wanted(&[(&bobs_name, Role::Owner)]) };
    let reply = operator.ensure(2, &moved).await.expect("it is changed");
    assert!(reply.changed && reply.shard == "blue" && reply.members == 1, "{reply:?}");
    ada.api.get(&path).await.refused(404);
    post(&bob, &room, "alone").await;

    let wrong = EnsureRoomRequest { kind: Kind::Channel.into(), ..moved.clone() };
    assert_eq!(operator.ensure(0, &wrong).await.expect_err("it has a kind").code(), Code::InvalidArgument);
    assert!(operator.remove(0).await && !operator.remove(1).await);
    bob.api.get(&path).await.refused(404);
    let mine = bob.api.get("/v1/rooms").await.is(200);
    assert_eq!(mine["rooms"].as_array().map(Vec::len), Some(0), "{mine}");
    let anew = operator.ensure(1, &declared).await.expect("another one is made");
    assert!(id(&anew) != room && anew.members == 2 && anew.last_seq == 2, "{anew:?}");
    let messages = ada.api.get(&format!("/v1/rooms/{}/messages", id(&anew))).await.is(200);
    assert_eq!(messages["messages"], Value::Array(Vec::new()));
}
