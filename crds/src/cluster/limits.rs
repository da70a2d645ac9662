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
    /// Calls over HTTP by which one user changes something (sends a message, makes a room), to each node: `600/60s` is 600 at once, refilled
    /// over 60 seconds; `off` is no limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(off|[1-9][0-9]{0,6}/[1-9][0-9]{0,4}s)$"))]
    pub writes_per_user: Option<String>,
    /// Calls over HTTP of one user that look at much (his rooms, public rooms, translated history), to each node, in the same form.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^(off|[1-9][0-9]{0,6}/[1-9][0-9]{0,4}s)$"))]
    pub lists_per_user: Option<String>,
}
