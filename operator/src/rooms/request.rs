//! What is declared, as nodes are asked for it.

use kube::ResourceExt;
use rookery_crds::{
    ChatRoom,
    room::{MemberRole, RoomKind, Visibility},
};
use rookery_protocol::peer::{self, DeclaredMember, EnsureRoomRequest, RoomKey};

/// Under which names the room is declared: its id follows from them and from the ChatCluster's.
pub fn key(room: &ChatRoom) -> RoomKey {
    RoomKey { namespace: room.namespace().unwrap_or_default(), name: room.name_any() }
}

/// What a node is asked to make of the room.
pub fn request(room: &ChatRoom) -> EnsureRoomRequest {
    let spec = &room.spec;
    let role = |role| match role {
        MemberRole::Member => peer::Role::Member,
        MemberRole::Moderator => peer::Role::Moderator,
        MemberRole::Owner => peer::Role::Owner,
    };
    let members = spec
        .members
        .iter()
        .map(|member| DeclaredMember { username: member.username.clone(), role: role(member.role).into() });
    // The API server has refused what is below zero.
    let number = |number: i32| u32::try_from(number).unwrap_or_default();
    EnsureRoomRequest {
        key: Some(key(room)),
        kind: match spec.kind {
            RoomKind::Group => peer::Kind::Group,
            RoomKind::Channel => peer::Kind::Channel,
        }
        .into(),
        display_name: spec.display_name.clone(),
        topic: spec.topic.clone(),
        visibility: match spec.visibility {
            Visibility::Public => peer::Visibility::Public,
            Visibility::Private => peer::Visibility::Private,
        }
        .into(),
        members: members.collect(),
        slow_mode_seconds: number(spec.slow_mode_seconds),
        max_members: spec.max_members.map(number),
        retention_days: spec.retention_days.map(number),
        translation: spec.translation,
        shard: spec.shard.clone().unwrap_or_default(),
    }
}
