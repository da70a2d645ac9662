//! `ChatRoom`: a room that is declared, and the members that it has in any case.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Condition, cluster::LocalRef};

/// What a room is to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "rookery.chat",
    version = "v1alpha1",
    kind = "ChatRoom",
    namespaced,
    shortname = "room",
    shortname = "rooms",
    category = "chat",
    status = "ChatRoomStatus",
    derive = "PartialEq",
    doc = "A room of a chat service: what it is, and who is in it in any case.",
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].status",
        description = "Whether it is as it is to be"
    ),
    printcolumn(
        name = "Reason",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].reason",
        description = "Why, in a word"
    ),
    printcolumn(
        name = "Cluster",
        type_ = "string",
        json_path = ".spec.clusterRef.name",
        description = "The ChatCluster that it is in"
    ),
    printcolumn(
        name = "Node",
        type_ = "string",
        json_path = ".status.node",
        description = "The node that owns it"
    ),
    printcolumn(
        name = "Members",
        type_ = "integer",
        json_path = ".status.members",
        description = "Members, as last seen"
    ),
    printcolumn(
        name = "Display Name",
        type_ = "string",
        json_path = ".spec.displayName",
        description = "The name that people see",
        priority = 1
    ),
    printcolumn(
        name = "Shard",
        type_ = "string",
        json_path = ".status.shard",
        description = "The shard that it is in",
        priority = 1
    ),
    printcolumn(
        name = "Room",
        type_ = "string",
        json_path = ".status.roomId",
        description = "Its id for clients",
        priority = 1
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Ready\")].message",
        description = "Why, in a sentence",
        priority = 1
    ),
    printcolumn(name = "Age", type_ = "date", json_path = ".metadata.creationTimestamp"),
    validation = Rule::new("self.spec.clusterRef.name == oldSelf.spec.clusterRef.name")
        .message("spec.clusterRef cannot be changed: what was said in the room stays in its ChatCluster; make another ChatRoom"),
    validation = Rule::new("self.spec.kind == oldSelf.spec.kind")
        .message("spec.kind cannot be changed: a room stays a group or a channel; make another ChatRoom")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.maxMembers) || !has(self.members) || self.members.size() <= self.maxMembers")
        .message("spec.maxMembers must not be less than the number of spec.members"),
    validation = Rule::new("self.kind != 'channel' || (has(self.members) && self.members.exists(m, m.role != 'member'))")
        .message("a channel needs an owner or a moderator in spec.members: nobody else can write in it")
)]
pub struct ChatRoomSpec {
    /// The ChatCluster that the room is in, of the same namespace. Cannot be changed.
    pub cluster_ref: LocalRef,

    /// The name that people see; it need not be the only one of its kind.
    #[schemars(
        length(min = 1, max = 100),
        regex(pattern = r"^[^\x00-\x1f\x7f]*[^\s\x00-\x1f\x7f][^\x00-\x1f\x7f]*$")
    )]
    pub display_name: String,

    /// What it is about. Empty: nothing is said of it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 500), regex(pattern = r"^[^\x00-\x09\x0b-\x1f\x7f]*$"))]
    pub topic: String,

    /// A group, in which all members write, or a channel, in which owners and moderators do. Cannot be changed.
    #[serde(default)]
    pub kind: RoomKind,

    /// Whether everybody finds and joins it, or only those who are added are in it.
    #[serde(default)]
    pub visibility: Visibility,

    /// Who is in it in any case, and with which role: only this list changes that. Others may join or be added and leave as in any room.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 500))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["username"]))]
    pub members: Vec<RoomMember>,

    /// The shard of the ChatCluster that it is to be in. Without it, or while no node of it is there: where hashing puts it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z][a-z0-9]{0,15}$"))]
    pub shard: Option<String>,

    /// Messages are kept for so many days; without it, as long as the service keeps them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 36500))]
    pub retention_days: Option<i32>,

    /// Seconds that a member waits between two messages of his; 0: none.
    #[serde(default)]
    #[schemars(range(min = 0, max = 21600))]
    pub slow_mode_seconds: i32,

    /// Members that it has at most, those of spec.members among them; without it, as many as the service allows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub max_members: Option<i32>,

    /// Whether its messages may be translated, where the ChatCluster has a translator.
    #[serde(default = "yes")]
    pub translation: bool,

    /// What becomes of the room when this ChatRoom is deleted: Retain leaves it and all that was said as they are, and a ChatRoom of the
    /// same name finds it again; Delete deletes it for everybody.
    #[serde(default)]
    pub deletion_policy: DeletionPolicy,
}

fn yes() -> bool {
    true
}

/// What kind of room it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum RoomKind {
    /// All members write.
    #[default]
    Group,
    /// Owners and moderators write.
    Channel,
}

/// Who finds a room.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum Visibility {
    /// Everybody finds and joins it.
    Public,
    /// Only those who are added are in it.
    #[default]
    Private,
}

/// What becomes of a room without its ChatRoom.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// It stays.
    #[default]
    Retain,
    /// It is deleted.
    Delete,
}

/// A member.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RoomMember {
    /// Username, in any case. One that nobody has yet is named by the condition Ready, and comes in when there is somebody.
    #[schemars(length(min = 2, max = 64), regex(pattern = r"^[^\s@/]+$"))]
    pub username: String,
    /// What he may do.
    #[serde(default)]
    pub role: MemberRole,
}

/// What a member may do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum MemberRole {
    /// Reads, and writes in groups.
    #[default]
    Member,
    /// Also deletes others' messages, mutes, kicks, bans and adds members.
    Moderator,
    /// Also gives roles to members that are not declared.
    Owner,
}

/// What the operator tells of a room. Numbers are as last seen: they are looked at now and then, and written rarely.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatRoomStatus {
    /// The generation that all of this was said of.
    #[serde(default)]
    pub observed_generation: i64,
    /// Ready: it is as it is declared. Available: it is there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// The room's id, as clients have it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub room_id: String,
    /// The shard that it is in.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub shard: String,
    /// The node that owns it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub node: String,
    /// The epoch of its log: one more whenever another node took it over.
    #[serde(default)]
    pub epoch: i64,
    /// Members.
    #[serde(default)]
    pub members: i64,
    /// The number of its last event, roughly: it is written again when something else is, or when it has grown by a tenth.
    #[serde(default)]
    pub last_seq: i64,
    /// Declared members whom nobody is called like, at most 20 of them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20), extend("x-kubernetes-list-type" = "set"))]
    pub unknown_users: Vec<String>,
}
