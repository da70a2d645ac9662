//! Nodes: shards, images, what they get and where they run, how they are replaced.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LocalRef;

/// A shard of the cluster.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShardSpec {
    /// Its name. Its pods are called CLUSTER-NAME-0 and so on.
    #[schemars(regex(pattern = r"^[a-z][a-z0-9]{0,15}$"))]
    #[schemars(extend("x-kubernetes-validations" = [{
        "rule": "!(self in ['nats', 'etcd', 'redis', 'mailer', 'translator', 'client', 'peers'])",
        "message": "a shard cannot be called nats, etcd, redis, mailer, translator, client or peers: other parts have these names"
    }]))]
    pub name: String,
    /// Nodes; by default spec.replicas.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 100))]
    pub replicas: Option<i32>,
    /// Its share of all rooms, compared with the other shards'; by default 1. 0: only rooms that are pinned to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 1000))]
    pub weight: Option<i32>,
    /// Machines for this shard alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dedicated: Option<Dedicated>,
    /// CPU and memory of each; by default spec.resources.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Where they run; by default spec.scheduling.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scheduling: Option<Scheduling>,
}

/// Machines that have this label and this taint: `kubectl label node MACHINE KEY=VALUE` brings the shard's nodes there and nowhere else,
/// `kubectl taint node MACHINE KEY=VALUE:NoSchedule` keeps everything else away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Dedicated {
    /// Key of both.
    #[schemars(
        length(max = 316),
        regex(
            pattern = r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"
        )
    )]
    pub key: String,
    /// Value of both.
    #[schemars(regex(pattern = r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$"))]
    pub value: String,
}

/// CPU and memory of a container.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Resources {
    /// What is kept free for it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requests: Option<Amounts>,
    /// What it may use at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Amounts>,
}

/// Amounts of CPU and memory.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Amounts {
    /// Cores: `2`, or in thousandths `500m`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^([0-9]{1,6}m|[0-9]{1,4})$"))]
    pub cpu: Option<String>,
    /// Bytes: `512Mi`, `4Gi`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[1-9][0-9]{0,6}(Mi|Gi|Ti)$"))]
    pub memory: Option<String>,
}

/// Where pods may run. Pods of one kind are spread over machines and zones in any case.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Scheduling {
    /// Only on machines with these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 32))]
    pub node_selector: BTreeMap<String, String>,
    /// Also on machines with these taints.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32), extend("x-kubernetes-list-type" = "atomic"))]
    pub tolerations: Vec<Toleration>,
    /// Which pods go first when there is not room for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub priority_class_name: Option<String>,
}

/// A taint that is tolerated, as in a pod.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.operator) && self.operator == 'Exists') || !has(self.value)")
        .message("a toleration with operator Exists has no value: leave value out")
)]
pub struct Toleration {
    /// The taint's key; without one: all taints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 316))]
    pub key: Option<String>,
    /// Exists or Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["Exists", "Equal"]))]
    pub operator: Option<String>,
    /// The taint's value, with Equal.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 63))]
    pub value: Option<String>,
    /// NoSchedule, PreferNoSchedule or NoExecute; without one: all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(extend("enum" = ["NoSchedule", "PreferNoSchedule", "NoExecute"]))]
    pub effect: Option<String>,
    /// With NoExecute: for so many seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 86400))]
    pub toleration_seconds: Option<i64>,
}

/// Where images come from. A full reference (`registry/name:tag` or with a digest) wins over repository and version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ImagesSpec {
    /// What stands before `/node`, `/mailer` and `/translator`.
    #[serde(default = "repository")]
    #[schemars(regex(pattern = r"^[a-z0-9][a-zA-Z0-9._:/-]{0,200}$"))]
    pub repository: String,
    /// Image of the nodes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9][a-zA-Z0-9._:/@-]{0,400}$"))]
    pub node: Option<String>,
    /// Image of the mailer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9][a-zA-Z0-9._:/@-]{0,400}$"))]
    pub mailer: Option<String>,
    /// Image of the translator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = r"^[a-z0-9][a-zA-Z0-9._:/@-]{0,400}$"))]
    pub translator: Option<String>,
    /// When images are fetched.
    #[serde(default)]
    pub pull_policy: PullPolicy,
    /// Secrets with which they are fetched.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8), extend("x-kubernetes-list-type" = "atomic"))]
    pub pull_secrets: Vec<LocalRef>,
}

fn repository() -> String {
    "rookery".to_owned()
}

impl Default for ImagesSpec {
    fn default() -> Self {
        Self {
            repository: repository(),
            node: None,
            mailer: None,
            translator: None,
            pull_policy: PullPolicy::default(),
            pull_secrets: Vec::new(),
        }
    }
}

/// When images are fetched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum PullPolicy {
    /// At every start.
    Always,
    /// When the machine does not have them.
    #[default]
    IfNotPresent,
    /// Never: they are there.
    Never,
}

impl PullPolicy {
    /// As pods say it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Always => "Always",
            Self::IfNotPresent => "IfNotPresent",
            Self::Never => "Never",
        }
    }
}

/// How nodes are replaced: one at a time, each only after its rooms were handed over and its clients told to go.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RolloutSpec {
    /// A node that drains tells its clients to go within so many seconds, evenly spread: longer is gentler to the others.
    #[serde(default = "drain_window")]
    #[schemars(range(min = 1, max = 600))]
    pub drain_window_seconds: i32,
    /// With few clients it is done sooner: so many are told to go in a second. More of them than fit into drainWindowSeconds go faster. Left out:
    /// it always takes the whole window.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1_000_000))]
    pub evictions_per_second: Option<i32>,
    /// Handing over its rooms and ending what is under way may take so many seconds together. A node that has not drained by then
    /// is stopped all the same, and the status says so; its rooms are then taken over instead, and nothing is lost.
    #[serde(default = "drain_deadline")]
    #[schemars(range(min = 5, max = 600))]
    pub drain_deadline_seconds: i32,
    /// A new node must be ready within so many seconds; then the rollout stops, and the status says which node is stuck.
    #[serde(default = "ready_deadline")]
    #[schemars(range(min = 30, max = 3600))]
    pub ready_deadline_seconds: i32,
}

fn drain_window() -> i32 {
    10
}

fn drain_deadline() -> i32 {
    30
}

fn ready_deadline() -> i32 {
    300
}

impl Default for RolloutSpec {
    fn default() -> Self {
        Self {
            drain_window_seconds: drain_window(),
            evictions_per_second: None,
            drain_deadline_seconds: drain_deadline(),
            ready_deadline_seconds: ready_deadline(),
        }
    }
}
