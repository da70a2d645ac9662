//! What all pods have in common: the `restricted` pod security, no token, spread over machines and zones.

use rookery_crds::cluster::{Amounts, AntiAffinity, Dedicated, Resources, Scheduling, Toleration};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::{Inputs, OUTSIDE_HASH, manifest::short};

/// User of our own programs: `nonroot` of distroless images.
pub(super) const OURS: i64 = 65_532;
/// User of the servers that are brought along.
pub(super) const THEIRS: i64 = 1000;

/// A pod with one container.
pub(super) struct Pod<'a> {
    pub(super) component: &'a str,
    pub(super) image: &'a str,
    pub(super) command: Value,
    pub(super) user: i64,
    pub(super) env: Vec<Value>,
    pub(super) ports: &'a [(&'a str, i32)],
    /// Fields of the container: probes, lifecycle.
    pub(super) container: Value,
    /// Volumes besides `tmp`, each with its mount.
    pub(super) volumes: Vec<Volume>,
    /// Mounts of volumes that a StatefulSet claims.
    pub(super) claims: Vec<Value>,
    pub(super) resources: Option<&'a Resources>,
    /// CPU and memory that are kept free for it where `resources` does not say: a pod without is the first to be killed.
    pub(super) requests: (&'a str, &'a str),
    pub(super) scheduling: &'a Scheduling,
    /// Machines for it alone.
    pub(super) dedicated: Option<&'a Dedicated>,
    /// Whether another one of its kind may run on the same machine; `None`: they are spread as well as it can be done.
    pub(super) apart: Option<AntiAffinity>,
    /// Seconds between SIGTERM and SIGKILL.
    pub(super) grace: i32,
    /// Labels besides those of the component.
    pub(super) labels: Vec<(&'a str, String)>,
    /// What is outside and read at its start, as in [`Inputs::stamps`].
    pub(super) outside: Vec<String>,
}

/// A volume and where it is.
pub(super) struct Volume {
    name: String,
    path: String,
    source: Value,
}

impl Volume {
    /// Files of a ConfigMap.
    pub(super) fn config(name: &str, config_map: &str, path: &str) -> Self {
        Self {
            name: name.to_owned(),
            path: path.to_owned(),
            source: json!({ "configMap": { "name": config_map } }),
        }
    }

    /// Some keys of a Secret, as files: key and file.
    pub(super) fn secret(name: &str, secret: &str, path: &str, items: &[(&str, &str)]) -> Self {
        let items: Vec<_> = items.iter().map(|(key, file)| json!({ "key": key, "path": file })).collect();
        // Readable by the pod's group, which its user is in.
        let source = json!({ "secret": { "secretName": secret, "defaultMode": 0o440, "items": items } });
        Self { name: name.to_owned(), path: path.to_owned(), source }
    }

    /// An empty folder.
    pub(super) fn empty(name: &str, path: &str) -> Self {
        let source = json!({ "emptyDir": { "sizeLimit": "64Mi" } });
        Self { name: name.to_owned(), path: path.to_owned(), source }
    }
}

fn amounts(amounts: Option<&Amounts>) -> Option<Value> {
    let Amounts { cpu, memory } = amounts?;
    let mut all = Map::new();
    for (key, amount) in [("cpu", cpu), ("memory", memory)] {
        if let Some(amount) = amount {
            all.insert(key.to_owned(), amount.clone().into());
        }
    }
    (!all.is_empty()).then_some(Value::Object(all))
}

fn resources(resources: Option<&Resources>, requests: (&str, &str)) -> Option<Value> {
    let Some(resources) = resources else {
        return Some(json!({ "requests": { "cpu": requests.0, "memory": requests.1 } }));
    };
    let mut all = Map::new();
    for (key, part) in [("requests", &resources.requests), ("limits", &resources.limits)] {
        if let Some(part) = amounts(part.as_ref()) {
            all.insert(key.to_owned(), part);
        }
    }
    (!all.is_empty()).then_some(Value::Object(all))
}

impl Pod<'_> {
    /// The template of a StatefulSet or Deployment.
    pub(super) fn template(self, inputs: &Inputs<'_>) -> Value {
        let names = inputs.names();
        let outside = outside_hash(inputs, &self.outside);
        let mut labels = names.labels(self.component);
        for (key, text) in &self.labels {
            labels[*key] = text.clone().into();
        }
        let mut volumes = vec![json!({ "name": "tmp", "emptyDir": { "sizeLimit": "64Mi" } })];
        let mut mounts = vec![json!({ "name": "tmp", "mountPath": "/tmp" })];
        for Volume { name, path, source } in self.volumes {
            let read_only = source.get("emptyDir").is_none();
            let mut mount = json!({ "name": name, "mountPath": path });
            if read_only {
                mount["readOnly"] = true.into();
            }
            mounts.push(mount);
            let mut volume = source;
            volume["name"] = name.into();
            volumes.push(volume);
        }
        mounts.extend(self.claims);
        let ports: Vec<_> =
            self.ports.iter().map(|(name, port)| json!({ "name": name, "containerPort": port })).collect();
        let mut container = self.container;
        container["name"] = self.component.into();
        container["image"] = self.image.into();
        container["imagePullPolicy"] = inputs.spec.images.pull_policy.name().into();
        container["command"] = self.command;
        container["ports"] = ports.into();
        container["volumeMounts"] = mounts.into();
        container["securityContext"] = json!({
            "allowPrivilegeEscalation": false,
            "readOnlyRootFilesystem": true,
            "capabilities": { "drop": ["ALL"] },
        });
        if !self.env.is_empty() {
            container["env"] = self.env.into();
        }
        if let Some(resources) = resources(self.resources, self.requests) {
            container["resources"] = resources;
        }
        let spread = |key: &str| {
            json!({
                "maxSkew": 1,
                "topologyKey": key,
                "whenUnsatisfiable": "ScheduleAnyway",
                "labelSelector": { "matchLabels": names.selector(self.component) },
            })
        };
        let mut spec = json!({
            "serviceAccountName": names.part(self.component),
            "automountServiceAccountToken": false,
            "enableServiceLinks": false,
            "terminationGracePeriodSeconds": self.grace,
            "securityContext": {
                "runAsNonRoot": true,
                "runAsUser": self.user,
                "runAsGroup": self.user,
                "fsGroup": self.user,
                "fsGroupChangePolicy": "OnRootMismatch",
                "seccompProfile": { "type": "RuntimeDefault" },
            },
            "topologySpreadConstraints": [spread("kubernetes.io/hostname"), spread("topology.kubernetes.io/zone")],
            "containers": [container],
            "volumes": volumes,
        });
        if !inputs.spec.images.pull_secrets.is_empty() {
            let secrets: Vec<_> =
                inputs.spec.images.pull_secrets.iter().map(|secret| json!({ "name": secret.name })).collect();
            spec["imagePullSecrets"] = secrets.into();
        }
        schedule(&mut spec, self.scheduling, self.dedicated);
        if let Some(apart) = self.apart {
            let term = json!({
                "topologyKey": "kubernetes.io/hostname",
                "labelSelector": { "matchLabels": names.selector(self.component) },
            });
            spec["affinity"]["podAntiAffinity"] = match apart {
                AntiAffinity::Required => json!({ "requiredDuringSchedulingIgnoredDuringExecution": [term] }),
                AntiAffinity::Preferred => json!({
                    "preferredDuringSchedulingIgnoredDuringExecution": [{ "weight": 100, "podAffinityTerm": term }],
                }),
            };
        }
        json!({
            "metadata": { "labels": labels, "annotations": { (OUTSIDE_HASH): outside } },
            "spec": spec,
        })
    }
}

fn schedule(spec: &mut Value, scheduling: &Scheduling, dedicated: Option<&Dedicated>) {
    let mut labels = scheduling.node_selector.clone();
    let mut tolerations = scheduling.tolerations.clone();
    if let Some(Dedicated { key, value }) = dedicated {
        labels.insert(key.clone(), value.clone());
        tolerations.push(Toleration {
            key: Some(key.clone()),
            operator: Some("Equal".to_owned()),
            value: Some(value.clone()),
            ..Toleration::default()
        });
    }
    if !labels.is_empty() {
        spec["nodeSelector"] = json!(labels);
    }
    if !tolerations.is_empty() {
        spec["tolerations"] = json!(tolerations);
    }
    if let Some(class) = &scheduling.priority_class_name {
        spec["priorityClassName"] = class.clone().into();
    }
}

/// Hash of what a pod reads at its start besides its settings: the stamps of what is outside.
pub(super) fn outside_hash(inputs: &Inputs<'_>, outside: &[String]) -> String {
    let mut hash = Sha256::new();
    let mut add = |text: &str| {
        hash.update((text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    for name in outside {
        add(name);
        add(inputs.stamps.get(name).map_or("", String::as_str));
    }
    short(hash, 8)
}

/// A probe by HTTP.
pub(super) fn probe(path: &str, port: &str, period: i32, failures: i32) -> Value {
    json!({
        "httpGet": { "path": path, "port": port },
        "periodSeconds": period,
        "timeoutSeconds": 3,
        "failureThreshold": failures,
    })
}

/// An environment variable.
pub(super) fn env(name: &str, value: &str) -> Value {
    json!({ "name": name, "value": value })
}

/// A key of a Secret as an environment variable.
pub(super) fn env_secret(name: &str, secret: &str, key: &str) -> Value {
    json!({ "name": name, "valueFrom": { "secretKeyRef": { "name": secret, "key": key } } })
}

/// The pod's name as an environment variable.
pub(super) fn env_pod_name(name: &str) -> Value {
    env_pod(name, "metadata.name")
}

/// A field of the pod as an environment variable.
pub(super) fn env_pod(name: &str, field: &str) -> Value {
    json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": field } } })
}

/// What a StatefulSet claims for each pod.
pub(super) fn claim(inputs: &Inputs<'_>, component: &str, storage: &rookery_crds::cluster::Storage) -> Value {
    let mut spec = json!({
        "accessModes": ["ReadWriteOnce"],
        "resources": { "requests": { "storage": storage.size } },
    });
    if let Some(class) = &storage.class_name {
        spec["storageClassName"] = class.clone().into();
    }
    json!({
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": { "name": "data", "labels": inputs.names().selector(component) },
        "spec": spec,
    })
}

/// What happens to a StatefulSet's volumes.
pub(super) fn keep(storage: &rookery_crds::cluster::Storage) -> Value {
    let when_deleted = match storage.when_deleted {
        rookery_crds::cluster::Keep::Retain => "Retain",
        rookery_crds::cluster::Keep::Delete => "Delete",
    };
    json!({ "whenDeleted": when_deleted, "whenScaled": "Retain" })
}
