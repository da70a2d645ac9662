//! What the operator tells. Nothing here changes fast: what does is in metrics.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Condition;

/// What the operator tells of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ChatClusterStatus {
    /// The generation that all of this was said of.
    #[serde(default)]
    pub observed_generation: i64,
    /// Ready: it is as it is to be. Available: clients can chat. Progressing: the operator is changing it. Degraded: something needs a
    /// person.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    /// Nodes that each shard has that follows spec.replicas; for `kubectl scale` and autoscalers.
    #[serde(default)]
    pub replicas: i32,
    /// Labels of all nodes' pods, as a selector.
    #[serde(default)]
    pub selector: String,
    /// `2/3`: nodes that take clients, of those that are to be. Those that are to leave count on both sides until they do.
    #[serde(default)]
    pub nodes_ready: String,
    /// Version that all nodes have; during an upgrade the one that is being left.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    /// Shards.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub shards: Vec<ShardStatus>,
    /// Nodes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub nodes: Vec<NodeStatus>,
    /// What is waited for. What lasts longer than rollout.readyDeadlineSeconds needs a person: the condition Degraded says so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub waits_for: Vec<Wait>,
    /// Nodes that did not drain in time since the present change of nodes began, and were stopped all the same.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 600), extend("x-kubernetes-list-type" = "set"))]
    pub drains_overdue: Vec<String>,
    /// What works, but not as one might think.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "atomic"))]
    pub notes: Vec<String>,
}

/// Something that is waited for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Wait {
    /// As a sentence.
    pub what: String,
    /// Since when (RFC 3339).
    #[schemars(extend("format" = "date-time"))]
    pub since: String,
}

/// A shard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardStatus {
    /// Its name.
    pub name: String,
    /// Nodes that are to be.
    pub desired: i32,
    /// Nodes that there are.
    pub current: i32,
    /// Nodes that are ready.
    pub ready: i32,
    /// Nodes that run what the spec says now.
    pub updated: i32,
}

/// What a node is up to, as the operator sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum NodeState {
    /// Its pod is not ready yet.
    Starting,
    /// It serves.
    Ready,
    /// It hands its rooms over and tells its clients to go.
    Draining,
    /// Its pod is being stopped.
    Stopping,
    /// Its pod cannot run.
    Broken,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct NodeStatus {
    /// Its name, which is its pod's.
    pub name: String,
    /// Its shard.
    pub shard: String,
    /// What it is up to.
    pub state: NodeState,
    /// Whether it runs what the spec says now.
    pub updated: bool,
    /// Why it is not ready, as Kubernetes says it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
}
