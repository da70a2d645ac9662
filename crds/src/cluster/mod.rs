//! `ChatCluster`: a whole chat service.
//!
//! One file for each part that an SRE thinks of: its nodes, its stores, how it is reached, accounts, side services, status.

mod access;
mod auth;
mod limits;
mod mailer;
mod monitoring;
mod nodes;
mod status;
mod stores;
mod translator;

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use access::{GatewaySpec, IngressSpec, NetworkPolicySpec, ParentRef};
pub use auth::{AuthLimits, AuthSpec, CallLimits, ExternalIssuer};
pub use limits::LimitsSpec;
pub use mailer::{MailerSpec, SmtpSecurity, SmtpSpec};
pub use monitoring::{MonitoringPart, MonitoringSpec};
pub use nodes::{
    Amounts, Dedicated, ImagesSpec, PullPolicy, Resources, RolloutSpec, Scheduling, ShardSpec, Toleration,
};
pub use status::{ChatClusterStatus, NodeState, NodeStatus, ShardStatus, Wait};
pub use stores::{
    AntiAffinity, EtcdExternal, EtcdManaged, EtcdSpec, Keep, LogSpec, NatsExternal, NatsManaged, NatsSpec,
    RedisExternal, RedisManaged, RedisSpec, Storage, Tls,
};
pub use translator::{AzureSpec, EngineSpec, EngineUsage, GoogleSpec, LibreTranslateSpec, TranslatorSpec};

/// What a chat service is to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, CustomResource, KubeSchema)]
#[kube(
    group = "rookery.chat",
    version = "v1alpha1",
    kind = "ChatCluster",
    namespaced,
    shortname = "cc",
    category = "chat",
    status = "ChatClusterStatus",
    derive = "PartialEq",
    doc = "A chat service: nodes that hold rooms and clients, and everything that they stand on.",
    scale(
        spec_replicas_path = ".spec.replicas",
        status_replicas_path = ".status.replicas",
        label_selector_path = ".status.selector"
    ),
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
        name = "Nodes",
        type_ = "string",
        json_path = ".status.nodesReady",
        description = "Nodes that are ready, of those that are to be"
    ),
    printcolumn(
        name = "Version",
        type_ = "string",
        json_path = ".status.version",
        description = "Version that all nodes have; the older one during an upgrade"
    ),
    printcolumn(
        name = "Available",
        type_ = "string",
        json_path = ".status.conditions[?(@.type==\"Available\")].status",
        description = "Whether clients can chat",
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
    validation = Rule::new("self.metadata.name.matches('^[a-z]([-a-z0-9]{0,30}[a-z0-9])?$')").message(
        "metadata.name must be 1 to 32 of a-z, 0-9 and -, begin with a letter and not end with -: Services and streams are called after it"
    ),
    validation = Rule::new("(has(self.spec.clusterName) ? self.spec.clusterName : self.metadata.name) == (has(oldSelf.spec.clusterName) ? oldSelf.spec.clusterName : oldSelf.metadata.name)")
        .message("spec.clusterName cannot be changed: what the chat has is kept under that name")
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.shards) || self.shards.map(s, has(s.replicas) ? s.replicas : self.replicas).sum() <= 500")
        .message("a cluster has at most 500 nodes: lower spec.replicas, or the replicas of some shards"),
    validation = Rule::new("!has(self.shards) || self.shards.exists(s, !has(s.weight) || s.weight > 0)")
        .message("spec.shards must have one with a weight other than 0: rooms that are not pinned need a place"),
    validation = Rule::new("has(self.nats.external) || self.log.replicas <= (has(self.nats.managed) ? self.nats.managed.replicas : 3)")
        .message("spec.log.replicas must not be greater than spec.nats.managed.replicas: each copy of the log needs a NATS server of its own"),
    validation = Rule::new("has(self.nats.external) == has(oldSelf.nats.external)")
        .message("spec.nats cannot change between managed and external: the rooms' logs are there and would stay behind; make another ChatCluster"),
    validation = Rule::new("has(self.etcd.external) == has(oldSelf.etcd.external)")
        .message("spec.etcd cannot change between managed and external: old and new nodes would not see each other; make another ChatCluster"),
    // What cannot change is compared here and not beside its field: there the API server compares nothing when the block around it
    // comes or goes, and with it a default.
    validation = Rule::new("has(self.nats.external) || has(oldSelf.nats.external) || (has(self.nats.managed) ? self.nats.managed.replicas : 3) == (has(oldSelf.nats.managed) ? oldSelf.nats.managed.replicas : 3)")
        .message("spec.nats.managed.replicas cannot be changed: servers know each other by their number"),
    validation = Rule::new("has(self.nats.external) || has(oldSelf.nats.external) || (has(self.nats.managed) ? self.nats.managed.storage.size : '20Gi') == (has(oldSelf.nats.managed) ? oldSelf.nats.managed.storage.size : '20Gi')")
        .message("spec.nats.managed.storage.size cannot be changed here: enlarge the PersistentVolumeClaims themselves, if their class allows that"),
    validation = Rule::new("has(self.nats.external) || has(oldSelf.nats.external) || (has(self.nats.managed) && has(self.nats.managed.storage.className) ? self.nats.managed.storage.className : '') == (has(oldSelf.nats.managed) && has(oldSelf.nats.managed.storage.className) ? oldSelf.nats.managed.storage.className : '')")
        .message("spec.nats.managed.storage.className cannot be changed: the volumes' data would stay behind"),
    validation = Rule::new("has(self.etcd.external) || has(oldSelf.etcd.external) || (has(self.etcd.managed) ? self.etcd.managed.replicas : 3) == (has(oldSelf.etcd.managed) ? oldSelf.etcd.managed.replicas : 3)")
        .message("spec.etcd.managed.replicas cannot be changed: members know each other by their number"),
    validation = Rule::new("has(self.etcd.external) || has(oldSelf.etcd.external) || (has(self.etcd.managed) ? self.etcd.managed.storage.size : '2Gi') == (has(oldSelf.etcd.managed) ? oldSelf.etcd.managed.storage.size : '2Gi')")
        .message("spec.etcd.managed.storage.size cannot be changed here: enlarge the PersistentVolumeClaims themselves, if their class allows that"),
    validation = Rule::new("has(self.etcd.external) || has(oldSelf.etcd.external) || (has(self.etcd.managed) && has(self.etcd.managed.storage.className) ? self.etcd.managed.storage.className : '') == (has(oldSelf.etcd.managed) && has(oldSelf.etcd.managed.storage.className) ? oldSelf.etcd.managed.storage.className : '')")
        .message("spec.etcd.managed.storage.className cannot be changed: the volumes' data would stay behind"),
    validation = Rule::new("has(self.redis.external) || has(oldSelf.redis.external) || (has(self.redis.managed) ? self.redis.managed.storage.size : '2Gi') == (has(oldSelf.redis.managed) ? oldSelf.redis.managed.storage.size : '2Gi')")
        .message("spec.redis.managed.storage.size cannot be changed here: enlarge the PersistentVolumeClaim itself, if its class allows that"),
    validation = Rule::new("has(self.redis.external) || has(oldSelf.redis.external) || (has(self.redis.managed) && has(self.redis.managed.storage.className) ? self.redis.managed.storage.className : '') == (has(oldSelf.redis.managed) && has(oldSelf.redis.managed.storage.className) ? oldSelf.redis.managed.storage.className : '')")
        .message("spec.redis.managed.storage.className cannot be changed: the volume's data would stay behind")
)]
pub struct ChatClusterSpec {
    /// Version of Rookery that its nodes and side services run: the tag of their images. Changing it rolls all of them. It has
    /// no default, so that an upgrade of the operator restarts nothing.
    #[schemars(regex(pattern = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?$"))]
    pub version: String,

    /// Name under which it keeps what it has in NATS, etcd and Redis; by default metadata.name. Of two ChatClusters on the same external
    /// servers each needs a name of its own. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32), regex(pattern = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"))]
    pub cluster_name: Option<String>,

    /// Where images come from.
    #[serde(default)]
    pub images: ImagesSpec,

    /// Nodes of each shard that does not say its own number. `kubectl scale` sets this.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 100))]
    pub replicas: i32,

    /// Shards: each room is in one, each is a StatefulSet of its own. A shard that is taken out is drained first; its rooms
    /// go to the others.
    #[serde(default = "one_shard")]
    #[schemars(length(min = 1, max = 32))]
    #[schemars(extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["name"]))]
    pub shards: Vec<ShardSpec>,

    /// CPU and memory of a node, of shards that do not say their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,

    /// Where nodes and side services may run.
    #[serde(default)]
    pub scheduling: Scheduling,

    /// The rooms' log.
    #[serde(default)]
    pub log: LogSpec,

    /// NATS JetStream, which keeps rooms, accounts and mails to be sent. Default: managed.
    #[serde(default)]
    pub nats: NatsSpec,

    /// etcd, where nodes find each other. Default: managed.
    #[serde(default)]
    pub etcd: EtcdSpec,

    /// Redis, which keeps what ends by itself: logins, codes, rate limits. Default: managed.
    #[serde(default)]
    pub redis: RedisSpec,

    /// An Ingress for clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ingress: Option<IngressSpec>,

    /// An HTTPRoute for clients, of the Gateway API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gateway: Option<GatewaySpec>,

    /// Address of the chat as its users know it, `https://chat.example.org`: what links in mails begin with. By default that of the ingress
    /// (https with a tlsSecretName), or https with the gateway's first name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 300), regex(pattern = r"^https?://[^\s/?#@]+$"))]
    pub public_url: Option<String>,

    /// Accounts, codes, tokens.
    #[serde(default)]
    pub auth: AuthSpec,

    /// How much of everything a node allows.
    #[serde(default)]
    pub limits: LimitsSpec,

    /// Sends mails. Without it nobody gets a code, and so nobody can register.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mailer: Option<MailerSpec>,

    /// Translates messages between its users' languages. Without it everybody reads the original.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub translator: Option<TranslatorSpec>,

    /// What it brings for Prometheus and Grafana.
    #[serde(default)]
    pub monitoring: MonitoringSpec,

    /// How nodes are replaced.
    #[serde(default)]
    pub rollout: RolloutSpec,

    /// Who may reach the parts inside Kubernetes.
    #[serde(default)]
    pub network_policy: NetworkPolicySpec,

    /// The operator changes nothing of this cluster while it is set, and says so; it goes on telling its status.
    #[serde(default)]
    pub paused: bool,
}

fn three() -> i32 {
    3
}

fn one_shard() -> Vec<ShardSpec> {
    vec![ShardSpec { name: "main".to_owned(), ..ShardSpec::default() }]
}

/// A Secret or ConfigMap of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LocalRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
}

/// One key of a Secret of the same namespace.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SecretKey {
    /// The Secret's name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The key in it.
    #[schemars(regex(pattern = r"^[-._a-zA-Z0-9]{1,253}$"))]
    pub key: String,
}
