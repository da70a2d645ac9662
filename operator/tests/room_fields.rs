//! No field of a ChatRoom is forgotten: nodes are asked for each.

// What is not as it must be ends a test, in helpers, too.
#![allow(clippy::unwrap_used)]

use std::fs;

use rookery_crds::ChatRoom;
use rookery_operator::rooms::request;
use rookery_protocol::peer::{self, DeclaredMember, EnsureRoomRequest, RoomKey};
use serde_json::{Value, json};

fn asked(more: &Value) -> EnsureRoomRequest {
    let mut spec = json!({ "clusterRef": { "name": "chat" }, "displayName": "General" });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    let mut room = ChatRoom::new("general", serde_json::from_value(spec).unwrap());
    room.metadata.namespace = Some("team".to_owned());
    request(&room)
}

#[test]
fn nodes_are_asked_for_every_field() {
    let plain = asked(&json!({}));
    assert_eq!(plain.key, Some(RoomKey { namespace: "team".to_owned(), name: "general".to_owned() }));
    assert_eq!((plain.kind(), plain.visibility()), (peer::Kind::Group, peer::Visibility::Private));
    assert!(plain.translation && plain.shard.is_empty() && plain.members.is_empty());
    assert_eq!((plain.slow_mode_seconds, plain.max_members, plain.retention_days), (0, None, None));
    for more in [
        json!({ "displayName": "Tea" }),
        json!({ "topic": "tea" }),
        json!({ "kind": "channel" }),
        json!({ "visibility": "public" }),
        json!({ "members": [{ "username": "ada" }] }),
        json!({ "shard": "blue" }),
        json!({ "retentionDays": 1 }),
        json!({ "slowModeSeconds": 1 }),
        json!({ "maxMembers": 1 }),
        json!({ "translation": false }),
    ] {
        assert_ne!(asked(&more), plain, "{more}");
    }
    let roles = ["member", "moderator", "owner"];
    let members = roles.map(|role| json!({ "username": role, "role": role }));
    let asked = asked(&json!({ "members": members })).members;
    let roles: Vec<_> = asked.iter().map(DeclaredMember::role).collect();
    assert_eq!(roles, [peer::Role::Member, peer::Role::Moderator, peer::Role::Owner]);
}

/// What nodes are asked for by the example, as a file to be read. `ROOKERY_GOLDEN=write` writes it anew.
#[test]
fn the_example_is_asked_for_as_before() {
    let folder = env!("CARGO_MANIFEST_DIR");
    let example = fs::read_to_string(format!("{folder}/examples/room.yaml")).unwrap();
    let mut room: ChatRoom = serde_saphyr::from_str(&example).unwrap();
    room.metadata.namespace = Some("chats".to_owned());
    let now = format!("{:#?}\n", request(&room));
    let file = format!("{folder}/golden/room.txt");
    if std::env::var_os("ROOKERY_GOLDEN").is_some_and(|value| value == "write") {
        fs::write(&file, &now).unwrap();
    }
    assert_eq!(
        now,
        fs::read_to_string(&file).unwrap(),
        "if that is meant, ROOKERY_GOLDEN=write writes it anew"
    );
}
