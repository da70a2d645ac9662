//! What the watches have told: a look that finds nothing to do asks the API server nothing.
//!
//! It may be a moment old. So nothing is ever written because of it alone: who finds in it that something is to be done looks again, at
//! the API server itself.

use std::sync::{
    Arc,
    atomic::{AtomicU8, Ordering},
};

use futures_util::FutureExt;
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{
    ResourceExt,
    api::DynamicObject,
    core::PartialObjectMeta,
    runtime::reflector::{ObjectRef, Store},
};
use rookery_crds::ChatCluster;

use super::observe::{self, Observed};
use crate::build::{CLUSTER, Kind};

/// Whether Kubernetes has a kind.
#[derive(Debug, Default)]
pub struct Served(AtomicU8);

impl Served {
    /// Notes whether it has.
    pub fn set(&self, served: bool) {
        self.0.store(if served { 2 } else { 1 }, Ordering::Relaxed);
    }

    /// `None`: not known yet.
    fn get(&self) -> Option<bool> {
        match self.0.load(Ordering::Relaxed) {
            0 => None,
            word => Some(word == 2),
        }
    }
}

/// What the watch of a kind has told.
pub struct Watched {
    /// Which kind.
    pub kind: Kind,
    /// Whether Kubernetes has it.
    pub served: Arc<Served>,
    /// All of it that is ours.
    pub objects: Store<DynamicObject>,
}

/// What the watches of a namespace, or of all, have told.
pub struct Stores {
    /// Which namespace; `None`: all.
    pub namespace: Option<String>,
    /// All ChatClusters.
    pub clusters: Store<ChatCluster>,
    /// Objects of ours.
    pub watched: Vec<Watched>,
    /// Pods of ours.
    pub pods: Store<Pod>,
    /// All Secrets, without what is in them.
    pub secrets: Store<PartialObjectMeta<Secret>>,
    /// All ConfigMaps, without what is in them.
    pub config_maps: Store<PartialObjectMeta<ConfigMap>>,
}

impl Stores {
    /// Whether everything has been told once.
    pub(super) fn are_full(&self) -> bool {
        let full = |objects: &Store<DynamicObject>| objects.wait_until_ready().now_or_never().is_some();
        self.watched.iter().all(|watched| match watched.served.get() {
            None => false,
            Some(false) => true,
            Some(true) => full(&watched.objects),
        }) && self.pods.wait_until_ready().now_or_never().is_some()
            && self.secrets.wait_until_ready().now_or_never().is_some()
            && self.config_maps.wait_until_ready().now_or_never().is_some()
            && self.clusters.wait_until_ready().now_or_never().is_some()
    }

    /// What there is of a cluster; `None`: not all watches have told yet.
    pub(super) fn observe(&self, namespace: &str, name: &str, uid: &str) -> Option<Observed> {
        if !self.are_full() {
            return None;
        }
        let mut observed = Observed::default();
        for Watched { kind, served, objects } in &self.watched {
            if served.get() != Some(true) {
                continue;
            }
            observed.kinds.insert(kind.kind);
            for item in objects.state() {
                if is_of(&*item, namespace, name) {
                    let object = observe::object(*kind, &item, name, uid);
                    observed.objects.insert((kind.kind, item.name_any()), object);
                }
            }
        }
        let pods = self.pods.state();
        observed.pods =
            pods.iter().filter(|pod| is_of(&***pod, namespace, name)).map(|pod| (**pod).clone()).collect();
        Some(observed)
    }

    /// A Secret of ours, with what is in it.
    pub(crate) fn secret(&self, namespace: &str, name: &str) -> Option<Secret> {
        let watched = self.watched.iter().find(|watched| watched.kind.kind == "Secret")?;
        let place = ObjectRef::new_with(name, watched.kind.resource()).within(namespace);
        let secret = serde_json::to_value(&*watched.objects.get(&place)?).ok()?;
        serde_json::from_value(secret).ok()
    }

    /// The version of a Secret or ConfigMap; `None`: there is none.
    pub(super) fn version(&self, kind: &str, namespace: &str, name: &str) -> Option<String> {
        if kind == "Secret" {
            self.secrets.get(&ObjectRef::new(name).within(namespace))?.resource_version()
        } else {
            self.config_maps.get(&ObjectRef::new(name).within(namespace))?.resource_version()
        }
    }
}

fn is_of<K: ResourceExt>(object: &K, namespace: &str, name: &str) -> bool {
    object.namespace().as_deref() == Some(namespace)
        && object.labels().get(CLUSTER).is_some_and(|cluster| cluster == name)
}
