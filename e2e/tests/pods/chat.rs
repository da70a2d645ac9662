//! A ChatCluster in a namespace of its own, as an administrator sees it.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    kubernetes::{Forward, Kubernetes, until},
    settings::{Images, Settings},
};

/// What a ChatCluster of these tests stands on: small, so that it fits on a small machine, and gone with its namespace.
fn server(replicas: u32) -> Value {
    json!({
        "replicas": replicas,
        "storage": {"size": "1Gi", "whenDeleted": "Delete"},
        "resources": {"requests": {"cpu": "20m", "memory": "48Mi"}},
    })
}

/// Three, also where there is one machine alone.
fn three_servers() -> Value {
    let mut servers = server(3);
    servers["antiAffinity"] = "Preferred".into();
    servers
}

/// Three NATS, three etcd, one Redis, a mailer, and so many nodes in one shard.
pub(crate) fn three_of_each(
    name: &str,
    settings: &Settings,
    images: &Images,
    nodes: u32,
    smtp: &Value,
) -> Value {
    let resources = json!({"requests": {"cpu": "50m", "memory": "64Mi"}});
    json!({
        "apiVersion": "rookery.chat/v1alpha1",
        "kind": "ChatCluster",
        "metadata": {"name": name},
        "spec": {
            "version": images.tag,
            "images": {"repository": images.repository},
            "replicas": nodes,
            "resources": resources,
            "nats": {"managed": three_servers()},
            "etcd": {"managed": three_servers()},
            "redis": {"managed": server(1)},
            "mailer": {"from": "Chat <chat@example.org>", "smtp": smtp, "resources": resources},
            "ingress": {"host": settings.host()},
            // One user writes fifty times a second to each of six rooms, which nobody else may.
            "limits": {"writesPerUser": "off"},
            "rollout": {"drainWindowSeconds": 3, "drainDeadlineSeconds": 20, "readyDeadlineSeconds": 120},
        },
    })
}

/// A ChatCluster that was applied.
pub(crate) struct Chat {
    /// Its namespace.
    pub(crate) kubernetes: Kubernetes,
    /// Its name.
    pub(crate) name: String,
}

impl Chat {
    /// The ChatCluster as it is.
    pub(crate) fn object(&self) -> Value {
        let object = self.kubernetes.get(&format!("chatcluster/{}", self.name), &[]);
        object.unwrap_or_else(|| panic!("there is no ChatCluster {}", self.name))
    }

    /// Changes its spec.
    pub(crate) fn change(&self, spec: &Value) {
        let patch = json!({"spec": spec}).to_string();
        self.kubernetes.kubectl(&["patch", "chatcluster", &self.name, "--type", "merge", "--patch", &patch]);
    }

    /// Waits until the operator says, of what is declared now, that this condition has this status (and reason).
    pub(crate) fn await_condition(&self, kind: &str, status: &str, reason: Option<&str>) {
        until(&format!("{} is {kind}={status} {}", self.name, reason.unwrap_or_default()), || {
            let object = self.object();
            let found = condition(&object, kind)?;
            let said = found["status"] == status && reason.is_none_or(|reason| found["reason"] == reason);
            (said && found["observedGeneration"] == object["metadata"]["generation"]).then_some(())
        });
    }

    /// Waits until all is as it is declared, and stays so for a moment.
    pub(crate) fn await_ready(&self) {
        self.await_condition("Ready", "True", None);
        std::thread::sleep(Duration::from_secs(1));
        self.await_condition("Ready", "True", None);
    }

    /// Selector of the pods of a part.
    pub(crate) fn selector(&self, component: &str) -> String {
        format!("rookery.chat/cluster={},app.kubernetes.io/component={component}", self.name)
    }

    /// Its nodes' pods.
    pub(crate) fn nodes(&self) -> Vec<Value> {
        self.kubernetes.list("pods", &self.selector("node"))
    }

    /// All its pods.
    pub(crate) fn pods(&self) -> Vec<Value> {
        self.kubernetes.list("pods", &format!("rookery.chat/cluster={}", self.name))
    }

    /// The way to each node's port for clients.
    pub(crate) fn forward_nodes(&self) -> Vec<Forward> {
        self.nodes()
            .iter()
            .map(|pod| self.kubernetes.forward(&format!("pod/{}", name_of(pod)), 8080))
            .collect()
    }

    /// The way to its NATS, and the password of the user `rookery`.
    pub(crate) fn forward_nats(&self) -> (Forward, String) {
        let template = r#"go-template={{index .data "nats-password" | base64decode}}"#;
        let secret = format!("secret/{}-internal", self.name);
        let password = self.kubernetes.kubectl(&["get", &secret, "--output", template]);
        let forward = self.kubernetes.forward(&format!("pod/{}-nats-0", self.name), 4222);
        (forward, password)
    }
}

/// A condition of an object.
pub(crate) fn condition<'a>(object: &'a Value, kind: &str) -> Option<&'a Value> {
    object["status"]["conditions"].as_array()?.iter().find(|condition| condition["type"] == kind)
}

/// An object's name.
pub(crate) fn name_of(object: &Value) -> &str {
    object["metadata"]["name"].as_str().expect("an object has a name")
}

/// An object's uid.
pub(crate) fn uid_of(object: &Value) -> String {
    object["metadata"]["uid"].as_str().expect("an object has a uid").to_owned()
}

/// Whether a pod is ready.
pub(crate) fn is_ready(pod: &Value) -> bool {
    condition(pod, "Ready").is_some_and(|condition| condition["status"] == "True")
        && pod["metadata"].get("deletionTimestamp").is_none()
}
