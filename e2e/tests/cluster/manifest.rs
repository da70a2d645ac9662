//! ChatRooms as the operator has nodes make them: what is declared in a manifest is what clients see.

use std::net::TcpListener;

use rookery_crds::ChatRoom;
use rookery_e2e::{service::Service, unique, user::User};
use rookery_operator::rooms::{
    calls::{CallError, Nodes},
    key, request,
};
use rookery_protocol::id::RoomId;
use serde_json::{Value, json};

use crate::support::{OPERATOR_TOKEN, operated, post, start, user_at};

/// The operator's own example, with other members.
fn room(members: &Value) -> ChatRoom {
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/../operator/examples/room.yaml");
    let text = std::fs::read_to_string(example).expect("the example is there");
    let mut room: Value = serde_saphyr::from_str(&text).expect("it is YAML");
    room["metadata"]["namespace"] = "chats".into();
    room["spec"]["members"] = members.clone();
    serde_json::from_value(room).expect("it is a ChatRoom")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_manifest_makes_the_room_that_clients_see() {
    let dir = tempfile::tempdir().expect("a directory");
    let Some(cluster) = start(&operated(dir.path())) else { return };
    // Nobody listens at the first one: the next one is asked.
    let nobody =
        TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let mut addresses = vec![format!("http://{nobody}")];
    addresses.extend(cluster.nodes().iter().map(|node| format!("http://{}", node.peer())));
    let nodes = Nodes { addresses, token: OPERATOR_TOKEN.to_owned() };

    let ada = user_at(&cluster, 0, "ada").await;
    let bobs_name = unique("bob");
    let declared = room(&json!([
        { "username": ada.username, "role": "owner" }, { "username": bobs_name, "role": "moderator" },
    ]));
    let made = nodes.ensure(&request(&declared)).await.expect("it is made");
    assert!(made.changed && made.unknown_users == [bobs_name.clone()] && made.members == 1, "{made:?}");
    let id = RoomId::from_bytes(made.room.as_ref().try_into().expect("16 bytes")).to_string();
    let path = format!("/v1/rooms/{id}");
    let shown = ada.api.get(&path).await.is(200);
    for (field, value) in [
        ("name", json!("General")),
        ("topic", json!("What concerns everybody")),
        ("visibility", json!("public")),
        ("kind", json!("group")),
        ("slow_mode_seconds", json!(2)),
        ("retention_days", json!(365)),
        ("role", json!("owner")),
        ("declared", json!(true)),
    ] {
        assert_eq!(shown[field], value, "{field}: {shown}");
    }
    let bob = User::register_as(&Service::of_node(&cluster.nodes()[1]), &bobs_name, "Bob").await;
    let whole = nodes.ensure(&request(&declared)).await.expect("it is changed");
    assert!(whole.changed && whole.unknown_users.is_empty() && whole.members == 2, "{whole:?}");
    assert_eq!(bob.api.get(&path).await.is(200)["role"], "moderator");
    post(&bob, &id, "hello").await;
    let same = nodes.ensure(&request(&declared)).await.expect("it is so");
    assert!(!same.changed && same.last_seq > whole.last_seq, "{same:?}");

    let twice = room(&json!([{ "username": ada.username }, { "username": ada.username.to_uppercase() }]));
    let refused = nodes.ensure(&request(&twice)).await.expect_err("it is one user");
    assert!(matches!(&refused, CallError::Refused(why) if why.contains("each user once")), "{refused}");
    let stranger = Nodes { token: "somebody-who-guesses".into(), ..nodes.clone() };
    let refused = stranger.remove(&key(&declared)).await.expect_err("it is not the operator's");
    assert!(matches!(refused, CallError::TokenRefused(_)), "{refused}");
    let alone = Nodes { addresses: vec![format!("http://{nobody}")], token: OPERATOR_TOKEN.to_owned() };
    let silent = alone.remove(&key(&declared)).await.expect_err("nobody is there");
    assert!(matches!(silent, CallError::NoAnswer(_)), "{silent}");

    assert!(nodes.remove(&key(&declared)).await.expect("it is removed"));
    assert!(!nodes.remove(&key(&declared)).await.expect("it is gone"));
    ada.api.get(&path).await.refused(404);
}
