//! What a cluster consists of in Kubernetes: from a ChatCluster, the manifests of everything. Pure and infallible: what cannot be
//! built was refused before, by the API server or by `validate`.
//!
//! One file for each part. Manifests are written as they would be in YAML, so that they can be read beside the golden files;
//! the API server checks every field of them strictly when they are applied. Nothing here may depend on this program's
//! version: an upgrade of the operator must restart no pod.

mod access;
mod config;
pub mod etcd;
mod mailer;
mod manifest;
mod monitoring;
mod names;
mod nats;
mod node;
mod pods;
mod policies;
mod redis;
pub mod references;
mod side;
mod translator;

use std::collections::BTreeMap;

use rookery_crds::{
    ChatClusterSpec,
    cluster::{EtcdManaged, NatsManaged, RedisManaged, ShardSpec},
};

pub use access::public_url;
pub use manifest::{KINDS, Kind, Manifest, kind_of};
pub use names::{CLUSTER, COMPONENT, MANAGED_BY, Names, OPERATOR, OPERATOR_TOKEN, SHARD, VERSION};
pub use references::{Reference, References, references};
pub use translator::redis_is_left_out;

/// The key of the pod template's annotation with a hash of what is outside and the pod reads at its start.
pub const OUTSIDE_HASH: &str = "rookery.chat/outside";
/// The key of every object's annotation with the hash of its manifest.
pub const MANIFEST_HASH: &str = "rookery.chat/manifest";
/// The key of the pod's annotation that says since when it drains (RFC 3339).
pub const DRAINING_SINCE: &str = "rookery.chat/draining-since";
/// Port of nodes for clients.
pub const CLIENT_PORT: i32 = 8080;
/// Port of nodes for each other and for the operator.
pub const PEER_PORT: i32 = 7070;
/// Port of all programs for probes and metrics.
pub const MANAGEMENT_PORT: i32 = 9090;

/// A shard as it is to be applied now.
#[derive(Debug, Clone, PartialEq)]
pub struct Shard {
    /// As declared; of one that was taken out, as far as it is known.
    pub spec: ShardSpec,
    /// Nodes that its StatefulSet is to have now. More than declared while nodes are on their way out.
    pub replicas: i32,
}

/// All that the manifests are made of.
#[derive(Debug, Clone)]
pub struct Inputs<'a> {
    /// Name of the ChatCluster.
    pub name: &'a str,
    /// Its namespace.
    pub namespace: &'a str,
    /// Its uid: everything belongs to it and goes with it.
    pub uid: &'a str,
    /// What is declared.
    pub spec: &'a ChatClusterSpec,
    /// Shards, with those on their way out.
    pub shards: &'a [Shard],
    /// What is outside and is read at the start of pods: a stamp for each `Secret/NAME/KEY` and `ConfigMap/NAME`, another one whenever its
    /// content changes.
    pub stamps: &'a BTreeMap<String, String>,
    /// Whether all members of a managed etcd have been there once.
    pub etcd_formed: bool,
    /// The operator's own namespace: from there nodes are asked to drain.
    pub operator_namespace: &'a str,
}

impl Inputs<'_> {
    /// The image of a program of ours: the one that was chosen, or the usual one of the cluster's version.
    fn image(&self, program: &str, chosen: Option<&String>) -> String {
        let images = &self.spec.images;
        chosen.cloned().unwrap_or_else(|| format!("{}/{program}:{}", images.repository, self.spec.version))
    }

    /// The name under which it keeps what it has.
    fn cluster_name(&self) -> &str {
        self.spec.cluster_name.as_deref().unwrap_or(self.name)
    }

    fn names(&self) -> Names<'_> {
        Names { cluster: self.name }
    }

    fn nats(&self) -> Option<NatsManaged> {
        self.spec.nats.external.is_none().then(|| self.spec.nats.managed.clone().unwrap_or_default())
    }

    fn etcd(&self) -> Option<EtcdManaged> {
        self.spec.etcd.external.is_none().then(|| self.spec.etcd.managed.clone().unwrap_or_default())
    }

    fn redis(&self) -> Option<RedisManaged> {
        self.spec.redis.external.is_none().then(|| self.spec.redis.managed.clone().unwrap_or_default())
    }
}

/// Shards as they are declared, without a look at what there is.
pub fn declared(spec: &ChatClusterSpec) -> Vec<Shard> {
    let shard =
        |shard: &ShardSpec| Shard { spec: shard.clone(), replicas: shard.replicas.unwrap_or(spec.replicas) };
    spec.shards.iter().map(shard).collect()
}

/// Everything, in the order in which it is applied: what others need first.
pub fn build(inputs: &Inputs<'_>) -> Vec<Manifest> {
    let mut all = Vec::new();
    all.extend(policies::service_accounts(inputs));
    all.extend(policies::network(inputs));
    if let Some(nats) = inputs.nats() {
        all.extend(nats::build(inputs, &nats));
    }
    if let Some(etcd) = inputs.etcd() {
        all.extend(etcd::build(inputs, &etcd));
    }
    if let Some(redis) = inputs.redis() {
        all.extend(redis::build(inputs, &redis));
    }
    all.extend(node::build(inputs));
    if let Some(mailer) = &inputs.spec.mailer {
        all.extend(mailer::build(inputs, mailer));
    }
    if let Some(translator) = &inputs.spec.translator {
        all.extend(translator::build(inputs, translator));
    }
    all.extend(policies::budgets(inputs));
    all.extend(monitoring::build(inputs));
    all.extend(access::build(inputs));
    all.into_iter().map(Manifest::seal).collect()
}
