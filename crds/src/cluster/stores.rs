//! What nodes stand on: NATS with the rooms' log, etcd, Redis. Each is brought by the operator (`managed`) or is there already
//! (`external`).

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{LocalRef, Resources, Scheduling, SecretKey};

/// The rooms' log.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.replicas in [1, 3, 5]").message("spec.log.replicas must be 1, 3 or 5: a majority of the copies must be there to write"),
    validation = Rule::new("self.replicas == oldSelf.replicas").message("spec.log.replicas cannot be changed: the streams of this cluster have that many copies"),
    validation = Rule::new("self.streams == oldSelf.streams").message("spec.log.streams cannot be changed: rooms are spread over that many streams")
)]
pub struct LogSpec {
    /// Copies of every record, each on a NATS server of its own: 1, 3 or 5. Cannot be changed.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 5))]
    pub replicas: i32,
    /// Streams that rooms are spread over: more make more rooms at once fast, and cost memory. Cannot be changed.
    #[serde(default = "eight")]
    #[schemars(range(min = 1, max = 64))]
    pub streams: i32,
    /// Messages are kept for so many days at least; then those go that are not among the newest 256 of their room. 0 or left out: for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 36500))]
    pub retention_days: Option<i32>,
}

fn three() -> i32 {
    3
}

fn eight() -> i32 {
    8
}

fn one() -> i32 {
    1
}

impl Default for LogSpec {
    fn default() -> Self {
        Self { replicas: three(), streams: eight(), retention_days: None }
    }
}

/// What happens to data when the cluster is deleted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Keep {
    /// The volumes stay. A ChatCluster of the same name finds them again.
    #[default]
    Retain,
    /// The volumes go, too.
    Delete,
}

/// A volume for each server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Storage {
    /// Its size: `10Gi`. Cannot be changed here.
    #[schemars(regex(pattern = r"^[1-9][0-9]{0,6}(Mi|Gi|Ti)$"))]
    pub size: String,
    /// Its StorageClass; without one: the default class. Cannot be changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub class_name: Option<String>,
    /// What happens to the volumes when the ChatCluster is deleted.
    #[serde(default)]
    pub when_deleted: Keep,
}

fn storage(size: &str) -> Storage {
    Storage { size: size.to_owned(), ..Storage::default() }
}

/// Whether two servers of a kind may run on one machine.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum AntiAffinity {
    /// Never: a machine that is lost takes one of them along, not the majority. There must be as many machines as servers.
    #[default]
    Required,
    /// Only where there are not machines enough: for trying out on one machine.
    Preferred,
}

/// TLS to servers that are there already.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Tls {
    /// The authority (PEM) that signed the servers' certificates.
    pub ca_secret: SecretKey,
    /// A Secret of type kubernetes.io/tls with the certificate that nodes show, where servers ask for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<LocalRef>,
}

/// NATS JetStream. Neither of both: managed with its defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.managed) && has(self.external))").message("spec.nats must have managed or external, not both")
)]
pub struct NatsSpec {
    /// The operator brings it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<NatsManaged>,
    /// It is there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<NatsExternal>,
}

/// NATS servers that the operator brings: JetStream on disk, every write synced before it is acknowledged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.replicas in [1, 3, 5]").message("spec.nats.managed.replicas must be 1, 3 or 5")
)]
pub struct NatsManaged {
    /// Servers: 1, 3 or 5. Cannot be changed.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 5))]
    pub replicas: i32,
    /// A volume for each.
    #[serde(default = "nats_storage")]
    pub storage: Storage,
    /// Image: nats-server 2.14.4 or later.
    #[serde(default = "nats_image")]
    #[schemars(regex(pattern = r"^[a-z0-9][a-zA-Z0-9._:/@-]{0,400}$"))]
    pub image: String,
    /// CPU and memory of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Where they run.
    #[serde(default)]
    pub scheduling: Scheduling,
    /// Whether two of them may run on one machine: Required (never) or Preferred (not if it can be helped).
    #[serde(default)]
    pub anti_affinity: AntiAffinity,
}

fn nats_storage() -> Storage {
    storage("20Gi")
}

fn nats_image() -> String {
    "nats:2.15".to_owned()
}

impl Default for NatsManaged {
    fn default() -> Self {
        Self {
            replicas: three(),
            storage: nats_storage(),
            image: nats_image(),
            resources: None,
            scheduling: Scheduling::default(),
            anti_affinity: AntiAffinity::default(),
        }
    }
}

/// NATS servers that are there already.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.userSecret) && has(self.credentialsSecret))")
        .message("spec.nats.external must have userSecret or credentialsSecret, not both"),
    validation = Rule::new("!has(self.userSecret) || has(self.tls) || self.urls.all(url, url.startsWith('tls://')) || self.allowPlaintextPassword")
        .message("spec.nats.external.userSecret would be sent in the clear to urls that begin with nats://: take tls://, or set allowPlaintextPassword: true"),
    validation = Rule::new("has(self.monitoringUrls) && size(self.monitoringUrls) > 0 || has(self.trustSync) && self.trustSync")
        .message("spec.nats.external.monitoringUrls must name the servers' monitors, where nodes see whether every write is synced; or set trustSync: true if you know that sync_interval is always")
)]
pub struct NatsExternal {
    /// Its servers: `nats://host:port` or `tls://host:port`.
    #[schemars(
        length(min = 1, max = 16),
        inner(length(max = 300), regex(pattern = r"^(nats|tls)://[^\s@]+$"))
    )]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub urls: Vec<String>,
    /// Their monitoring addresses, `http://host:8222`: there nodes look whether every write is synced to disk.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(max = 300), regex(pattern = r"^http://[^\s@/]+$")))]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub monitoring_urls: Vec<String>,
    /// Do not ask the monitors: you say that sync_interval is always. Without it acknowledged messages can be lost.
    #[serde(default)]
    pub trust_sync: bool,
    /// A Secret with `username` and `password`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_secret: Option<LocalRef>,
    /// Send the password also where the connection is not encrypted: everybody on the way can read it.
    #[serde(default)]
    pub allow_plaintext_password: bool,
    /// A credentials file (a JWT and its seed, as `nsc` writes them).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<SecretKey>,
    /// TLS to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// etcd. Neither of both: managed with its defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.managed) && has(self.external))").message("spec.etcd must have managed or external, not both")
)]
pub struct EtcdSpec {
    /// The operator brings it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<EtcdManaged>,
    /// It is there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<EtcdExternal>,
}

/// An etcd that the operator brings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.replicas in [1, 3, 5]").message("spec.etcd.managed.replicas must be 1, 3 or 5"),
    validation = Rule::new("quantity(self.storage.size).compareTo(quantity('512Mi')) >= 0")
        .message("spec.etcd.managed.storage.size must be at least 512Mi: etcd's own log takes up to 320Mi of it")
)]
pub struct EtcdManaged {
    /// Members: 1, 3 or 5. Cannot be changed.
    #[serde(default = "three")]
    #[schemars(range(min = 1, max = 5))]
    pub replicas: i32,
    /// A volume for each.
    #[serde(default = "etcd_storage")]
    pub storage: Storage,
    /// Image: etcd 3.5.30 or later.
    #[serde(default = "etcd_image")]
    #[schemars(regex(pattern = r"^[a-z0-9][a-zA-Z0-9._:/@-]{0,400}$"))]
    pub image: String,
    /// CPU and memory of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Where they run.
    #[serde(default)]
    pub scheduling: Scheduling,
    /// Whether two of them may run on one machine: Required (never) or Preferred (not if it can be helped).
    #[serde(default)]
    pub anti_affinity: AntiAffinity,
}

fn etcd_storage() -> Storage {
    storage("2Gi")
}

fn etcd_image() -> String {
    "quay.io/coreos/etcd:v3.5.30".to_owned()
}

impl Default for EtcdManaged {
    fn default() -> Self {
        Self {
            replicas: three(),
            storage: etcd_storage(),
            image: etcd_image(),
            resources: None,
            scheduling: Scheduling::default(),
            anti_affinity: AntiAffinity::default(),
        }
    }
}

/// An etcd that is there already.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self.endpoints.all(e, e.startsWith('https://')) || !has(self.tls)")
        .message("spec.etcd.external.endpoints must all begin with https:// when tls is set"),
    validation = Rule::new("self.endpoints.all(e, e.startsWith('http://')) || has(self.tls)")
        .message("spec.etcd.external.tls must be set for endpoints that begin with https://"),
    validation = Rule::new("!has(self.userSecret) || has(self.tls) || self.allowPlaintextPassword")
        .message("spec.etcd.external.userSecret would be sent in the clear to endpoints that begin with http://: take https://, or set allowPlaintextPassword: true")
)]
pub struct EtcdExternal {
    /// Its members: `http://host:port` or `https://host:port`.
    #[schemars(
        length(min = 1, max = 16),
        inner(length(max = 300), regex(pattern = r"^https?://[^\s@/]+:[0-9]+$"))
    )]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub endpoints: Vec<String>,
    /// A Secret with `username` and `password`. The user needs readwrite on the prefix `/rookery/NAME/`, with NAME being
    /// spec.clusterName or else this ChatCluster's name, and no more.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_secret: Option<LocalRef>,
    /// Send the password also where the connection is not encrypted: everybody on the way can read it.
    #[serde(default)]
    pub allow_plaintext_password: bool,
    /// TLS to them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}

/// Redis. Neither of both: managed with its defaults.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(has(self.managed) && has(self.external))").message("spec.redis must have managed or external, not both")
)]
pub struct RedisSpec {
    /// The operator brings it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub managed: Option<RedisManaged>,
    /// It is there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub external: Option<RedisExternal>,
}

/// One Redis that the operator brings, which writes what it holds to disk. While it is away nobody can log in; who is connected
/// keeps chatting.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RedisManaged {
    /// Servers: one. Several need sentinels, which the operator does not bring yet: take `external` for those.
    #[serde(default = "one")]
    #[schemars(range(min = 1, max = 1))]
    pub replicas: i32,
    /// Its volume.
    #[serde(default = "redis_storage")]
    pub storage: Storage,
    /// Image: Redis 6.2 or later.
    #[serde(default = "redis_image")]
    #[schemars(regex(pattern = r"^[a-z0-9][a-zA-Z0-9._:/@-]{0,400}$"))]
    pub image: String,
    /// CPU and memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
    /// Where it runs.
    #[serde(default)]
    pub scheduling: Scheduling,
}

fn redis_storage() -> Storage {
    storage("2Gi")
}

fn redis_image() -> String {
    "redis:7".to_owned()
}

impl Default for RedisManaged {
    fn default() -> Self {
        Self {
            replicas: one(),
            storage: redis_storage(),
            image: redis_image(),
            resources: None,
            scheduling: Scheduling::default(),
        }
    }
}

/// A Redis that is there already.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.tls) || self.url.startsWith('rediss')")
        .message("spec.redis.external.url must begin with rediss when tls is set"),
    validation = Rule::new("!has(self.passwordSecret) || self.url.startsWith('rediss') || self.allowPlaintextPassword")
        .message("spec.redis.external.passwordSecret would be sent in the clear to a url that begins with redis: take rediss, or set allowPlaintextPassword: true"),
    validation = Rule::new("!has(self.username) || has(self.passwordSecret)")
        .message("spec.redis.external.passwordSecret must be set along with username"),
    validation = Rule::new("!has(self.sentinelPasswordSecret) || self.url.contains('+sentinel://')")
        .message("spec.redis.external.sentinelPasswordSecret is for urls with +sentinel://")
)]
pub struct RedisExternal {
    /// `redis://host:port/db`, `redis+sentinel://host:port,host:port/master/db` or `redis+cluster://host:port,host:port`; with
    /// rediss instead of redis: TLS. It must not hold a password.
    #[schemars(length(max = 2000), regex(pattern = r"^rediss?(\+sentinel|\+cluster)?://[^\s@]+$"))]
    pub url: String,
    /// A user of its access control lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub username: Option<String>,
    /// The password.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub password_secret: Option<SecretKey>,
    /// Send the password also where the connection is not encrypted: everybody on the way can read it.
    #[serde(default)]
    pub allow_plaintext_password: bool,
    /// The password of the sentinels, if they want one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sentinel_password_secret: Option<SecretKey>,
    /// TLS to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<Tls>,
}
