//! Who may do what: ServiceAccounts without tokens, NetworkPolicies, PodDisruptionBudgets.

use serde_json::{Value, json};

use super::{CLIENT_PORT, Inputs, MANAGEMENT_PORT, Manifest, PEER_PORT, SHARD};

/// Label of the operator's own pods, as its chart has it.
const OPERATOR_LABEL: (&str, &str) = ("app.kubernetes.io/name", "rookery-operator");

/// Parts that there are.
fn components(inputs: &Inputs<'_>) -> Vec<&'static str> {
    let there = [
        ("nats", inputs.nats().is_some()),
        ("etcd", inputs.etcd().is_some()),
        ("redis", inputs.redis().is_some()),
        ("node", true),
        ("mailer", inputs.spec.mailer.is_some()),
        ("translator", inputs.spec.translator.is_some()),
    ];
    there.into_iter().filter_map(|(component, there)| there.then_some(component)).collect()
}

pub(super) fn service_accounts(inputs: &Inputs<'_>) -> Vec<Manifest> {
    // Nothing in a cluster talks to the API server.
    let account = |component: &&str| {
        let body = json!({ "automountServiceAccountToken": false });
        Manifest::new(inputs, "ServiceAccount", component, inputs.names().part(component), body)
    };
    components(inputs).iter().map(account).collect()
}

/// Pods of a part of this cluster.
fn part(inputs: &Inputs<'_>, component: &str) -> Value {
    json!({ "podSelector": { "matchLabels": inputs.names().selector(component) } })
}

/// Everybody in these namespaces; in none: everybody in Kubernetes.
fn namespaces(names: &[String]) -> Vec<Value> {
    if names.is_empty() {
        return vec![json!({ "namespaceSelector": {} })];
    }
    names
        .iter()
        .map(
            |name| json!({ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": name } } }),
        )
        .collect()
}

fn rule(from: &[Value], ports: &[i32]) -> Value {
    let ports: Vec<_> = ports.iter().map(|port| json!({ "port": port, "protocol": "TCP" })).collect();
    json!({ "from": from, "ports": ports })
}

pub(super) fn network(inputs: &Inputs<'_>) -> Vec<Manifest> {
    let policy = &inputs.spec.network_policy;
    if !policy.enabled {
        return Vec::new();
    }
    let metrics = namespaces(&policy.metrics_from);
    let operator = json!({
        "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": inputs.operator_namespace } },
        "podSelector": { "matchLabels": { (OPERATOR_LABEL.0): OPERATOR_LABEL.1 } },
    });
    // Those who use NATS.
    let users: Vec<_> = ["node", "mailer", "translator"].iter().map(|users| part(inputs, users)).collect();
    let rules = |component: &str| match component {
        "nats" => {
            vec![rule(&users, &[4222, 8222]), rule(&[part(inputs, "nats")], &[6222]), rule(&metrics, &[8222])]
        }
        "etcd" => vec![
            rule(&[part(inputs, "node")], &[2379]),
            rule(&[part(inputs, "etcd")], &[2379, 2380]),
            rule(&metrics, &[2381]),
        ],
        "redis" => vec![rule(&[part(inputs, "node"), part(inputs, "translator")], &[6379])],
        "node" => {
            let mut clients = json!({ "ports": [{ "port": CLIENT_PORT, "protocol": "TCP" }] });
            if !policy.clients_from.is_empty() {
                clients["from"] = namespaces(&policy.clients_from).into();
            }
            vec![
                clients,
                // Whoever reaches this port is believed.
                rule(&[part(inputs, "node"), operator.clone()], &[PEER_PORT]),
                rule(&metrics, &[MANAGEMENT_PORT]),
            ]
        }
        _ => vec![rule(&metrics, &[MANAGEMENT_PORT])],
    };
    let policy = |component: &&str| {
        let body = json!({ "spec": {
            "podSelector": { "matchLabels": inputs.names().selector(component) },
            "policyTypes": ["Ingress"],
            "ingress": rules(component),
        } });
        Manifest::new(inputs, "NetworkPolicy", component, inputs.names().part(component), body)
    };
    components(inputs).iter().map(policy).collect()
}

/// At most one pod of a part at a time is taken away when machines are drained. None where there is one alone: that would keep its
/// machine from being drained at all.
pub(super) fn budgets(inputs: &Inputs<'_>) -> Vec<Manifest> {
    let names = inputs.names();
    let budget = |component: &str, name: String, selector: Value| {
        let body = json!({ "spec": {
            "maxUnavailable": 1,
            // A pod that is not ready may always go: it serves nobody.
            "unhealthyPodEvictionPolicy": "AlwaysAllow",
            "selector": { "matchLabels": selector },
        } });
        Manifest::new(inputs, "PodDisruptionBudget", component, name, body)
    };
    let mut all = Vec::new();
    let sides = [
        ("nats", inputs.nats().map(|nats| nats.replicas)),
        ("etcd", inputs.etcd().map(|etcd| etcd.replicas)),
        ("mailer", inputs.spec.mailer.as_ref().map(|mailer| mailer.replicas)),
        ("translator", inputs.spec.translator.as_ref().map(|translator| translator.replicas)),
    ];
    for (component, replicas) in sides {
        if replicas.is_some_and(|replicas| replicas > 1) {
            all.push(budget(component, names.part(component), names.selector(component)));
        }
    }
    for shard in inputs.shards.iter().filter(|shard| shard.replicas > 1) {
        let mut selector = names.selector("node");
        selector[SHARD] = shard.spec.name.clone().into();
        all.push(budget("node", names.part(&shard.spec.name), selector).label(SHARD, &shard.spec.name));
    }
    all
}
