//! What these tests share.

use rookery_charts::{Helm, Release, objects};
use serde_json::{Value, json};

/// The release that all of them render.
pub(crate) const RELEASE: Release<'_> = Release { name: "rookery-operator", namespace: "chat-system" };

/// The objects of the operator's chart with these values.
pub(crate) fn operator(helm: &Helm, values: &Value) -> Vec<Value> {
    objects(&helm.template("rookery-operator", &RELEASE, values).unwrap()).unwrap()
}

/// The objects of that kind among them.
pub(crate) fn of_kind<'a>(objects: &'a [Value], kind: &str) -> Vec<&'a Value> {
    objects.iter().filter(|object| object["kind"] == kind).collect()
}

/// The one object of that kind.
pub(crate) fn one<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let found = of_kind(objects, kind);
    assert_eq!(found.len(), 1, "objects of kind {kind}");
    found[0]
}

/// Values that switch everything on.
pub(crate) fn everything() -> Value {
    json!({
        "scope": "namespaces",
        "namespaces": ["blue", "green"],
        "replicas": 3,
        "image": {"repository": "registry.example/rookery/operator", "digest": format!("sha256:{}", "0a".repeat(32)), "pullPolicy": "Always"},
        "imagePullSecrets": [{"name": "registry"}],
        "fullnameOverride": "chat-operator",
        "log": {"format": "pretty", "level": "info,rookery_operator=debug"},
        "env": [{"name": "ROOKERY_OPERATOR__SOMETHING", "value": "1"}],
        "serviceAccount": {"annotations": {"example.org/who": "chat"}},
        "management": {"port": 9999, "service": {"annotations": {"example.org/scrape": "true"}}},
        "podMonitor": {"enabled": true, "interval": "15s", "labels": {"prometheus": "main"}},
        "serviceMonitor": {"enabled": true, "labels": {"prometheus": "other"}},
        "chats": {"podMonitor": {"enabled": true}},
        "prometheusRule": {"enabled": true, "labels": {"prometheus": "main"}},
        "networkPolicy": {"enabled": true, "from": [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}}]},
        "podDisruptionBudget": {"maxUnavailable": 2},
        "resources": {"requests": {"cpu": "100m", "memory": "128Mi"}, "limits": {"memory": "512Mi"}},
        "podLabels": {"team": "chat"},
        "podAnnotations": {"example.org/note": "a: b"},
        "priorityClassName": "system-cluster-critical",
        "nodeSelector": {"kubernetes.io/os": "linux"},
        "tolerations": [{"key": "control", "operator": "Exists", "effect": "NoSchedule"}],
        "affinity": {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [
            {"matchExpressions": [{"key": "kubernetes.io/arch", "operator": "In", "values": ["amd64"]}]}]}}},
        "topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "ScheduleAnyway",
            "labelSelector": {"matchLabels": {"app.kubernetes.io/component": "operator"}}}],
        "terminationGracePeriodSeconds": 60,
    })
}
