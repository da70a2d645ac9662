//! One object as it is to be.

use kube::core::ApiResource;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Inputs, MANIFEST_HASH};

/// A kind of object that the operator makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// `apps/v1`
    pub api_version: &'static str,
    /// `StatefulSet`
    pub kind: &'static str,
    /// `statefulsets`
    pub plural: &'static str,
    /// Whether every Kubernetes has it.
    pub built_in: bool,
}

const fn kind(api_version: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind { api_version, kind, plural, built_in: true }
}

const fn not_everywhere(api_version: &'static str, kind: &'static str, plural: &'static str) -> Kind {
    Kind { api_version, kind, plural, built_in: false }
}

/// All kinds that the operator makes, and looks for when something is to go.
pub const KINDS: [Kind; 12] = [
    kind("v1", "ServiceAccount", "serviceaccounts"),
    kind("v1", "ConfigMap", "configmaps"),
    kind("v1", "Service", "services"),
    kind("apps/v1", "StatefulSet", "statefulsets"),
    kind("apps/v1", "Deployment", "deployments"),
    kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets"),
    kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"),
    kind("networking.k8s.io/v1", "Ingress", "ingresses"),
    kind("v1", "Secret", "secrets"),
    not_everywhere("gateway.networking.k8s.io/v1", "HTTPRoute", "httproutes"),
    not_everywhere("monitoring.coreos.com/v1", "PodMonitor", "podmonitors"),
    not_everywhere("monitoring.coreos.com/v1", "PrometheusRule", "prometheusrules"),
];

/// The kind of this name.
pub fn kind_of(name: &str) -> Option<Kind> {
    KINDS.into_iter().find(|kind| kind.kind == name)
}

impl Kind {
    /// As kube's client wants it.
    pub fn resource(&self) -> ApiResource {
        let (group, version) = self.api_version.split_once('/').unwrap_or(("", self.api_version));
        ApiResource {
            group: group.to_owned(),
            version: version.to_owned(),
            api_version: self.api_version.to_owned(),
            kind: self.kind.to_owned(),
            plural: self.plural.to_owned(),
        }
    }
}

/// One object as it is to be.
#[derive(Debug, Clone, PartialEq)]
pub struct Manifest {
    /// What it is.
    pub kind: Kind,
    /// Its name.
    pub name: String,
    /// The part that it belongs to.
    pub component: String,
    /// All of it.
    pub value: Value,
}

impl Manifest {
    /// `body` is all but kind and metadata.
    pub(super) fn new(inputs: &Inputs<'_>, kind: &str, component: &str, name: String, body: Value) -> Self {
        let kind = kind_of(kind).unwrap_or(KINDS[0]);
        let mut value = body;
        value["apiVersion"] = kind.api_version.into();
        value["kind"] = kind.kind.into();
        value["metadata"] = json!({
            "name": name,
            "namespace": inputs.namespace,
            "labels": inputs.names().labels(component),
            // Everything goes with the ChatCluster, by Kubernetes' own garbage collector: nothing of ours must run for that.
            "ownerReferences": [{
                "apiVersion": "rookery.chat/v1alpha1",
                "kind": "ChatCluster",
                "name": inputs.name,
                "uid": inputs.uid,
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        });
        Self { kind, name, component: component.to_owned(), value }
    }

    /// Settings of a part. They never change: others get another name, and a pod that starts again finds those that it was made for, whatever
    /// is declared by then, and by whichever operator.
    pub(super) fn config(inputs: &Inputs<'_>, component: &str, file: &str, text: &str) -> Self {
        let body = json!({ "data": { file: text }, "immutable": true });
        let mut hash = Sha256::new();
        digest(&body, &mut hash);
        let name = format!("{}-{}", inputs.names().part(component), short(hash, 4));
        Self::new(inputs, "ConfigMap", component, name, body)
    }

    /// Its hash.
    pub fn hash(&self) -> &str {
        self.value["metadata"]["annotations"][MANIFEST_HASH].as_str().unwrap_or_default()
    }

    /// Whether it makes pods.
    pub fn is_workload(&self) -> bool {
        matches!(self.kind.kind, "StatefulSet" | "Deployment")
    }

    pub(super) fn label(mut self, key: &str, text: &str) -> Self {
        self.value["metadata"]["labels"][key] = text.into();
        self
    }

    pub(super) fn annotations(mut self, annotations: Value) -> Self {
        self.value["metadata"]["annotations"] = annotations;
        self
    }

    /// Adds the manifest's own hash to it. An object that has all that is declared may have what was declared before as well: by this it
    /// is seen that something was taken out, and server-side apply takes it out there.
    pub(super) fn seal(mut self) -> Self {
        let mut hash = Sha256::new();
        digest(&self.value, &mut hash);
        let text = short(hash, 8);
        // After all others: nobody else can set it.
        self.value["metadata"]["annotations"][MANIFEST_HASH] = text.into();
        self
    }
}

/// The first bytes of a hash, as text.
pub(super) fn short(hash: Sha256, bytes: usize) -> String {
    hash.finalize().iter().take(bytes).map(|byte| format!("{byte:02x}")).collect()
}

/// The same whatever the order of fields.
fn digest(value: &Value, hash: &mut Sha256) {
    match value {
        Value::Object(map) => {
            let mut fields: Vec<_> = map.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            hash.update(b"{");
            for (name, value) in fields {
                digest(&Value::String(name.clone()), hash);
                digest(value, hash);
            }
            hash.update(b"}");
        }
        Value::Array(list) => {
            hash.update(b"[");
            list.iter().for_each(|value| digest(value, hash));
            hash.update(b"]");
        }
        // With quotes and escapes: a text is not taken for a number, nor two for one.
        other => hash.update(other.to_string()),
    }
}
