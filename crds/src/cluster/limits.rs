//! How much of everything a node allows.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much of everything a node allows. What is left out is as the node has it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LimitsSpec {
    /// Connections to one node at the same time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000_000))]
    pub connections: Option<i32>,
    /// Connections of one address to one node; trusted proxies are exempt. 0: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000_000))]
    pub connections_per_address: Option<i32>,
    /// Frames per second from one connection, with bursts of ten times as many. 0: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub frames_per_second: Option<i32>,
    /// Messages per second from one connection, with bursts of ten times as many. 0: no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1_000_000))]
    pub sends_per_second: Option<i32>,
    /// Characters of a message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 65_536))]
    pub message_characters: Option<i32>,
    /// Members of a room.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 2, max = 1_000_000))]
    pub room_members: Option<i32>,
    /// Rooms that one user makes or joins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 10_000))]
    pub rooms_per_user: Option<i32>,
}
