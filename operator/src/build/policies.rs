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
        "nats" => vec![
            rule(&users, &[4222]),
            // Nodes look at the versions and the settings of all servers.
            rule(&[part(inputs, "node")], &[8222]),
            rule(&[part(inputs, "nats")], &[6222]),
            rule(&metrics, &[8222]),
        ],
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;
    use crate::build::{COMPONENT, build, declared, references};

    /// All that a part is told: its pods' template, and the settings that these mount.
    fn told(workload: &Manifest, all: &[Manifest]) -> String {
        let mut text = workload.value["spec"]["template"].to_string();
        let maps: Vec<_> = references::config_maps(&workload.value).collect();
        for map in all.iter().filter(|map| map.kind.kind == "ConfigMap" && maps.contains(&&*map.name)) {
            text += &map.value["data"].to_string();
        }
        text
    }

    /// Name of the Service and port of every URL in a text that leads to a server of this namespace.
    fn urls(text: &str) -> BTreeSet<(String, i32)> {
        let mut found = BTreeSet::new();
        for rest in text.split("://").skip(1) {
            let authority = rest.split(['/', '"', '\'', ',', '\\', ' ', '\n']).next().unwrap();
            let host = authority.rsplit('@').next().unwrap();
            let Some((host, port)) = host.rsplit_once(':') else { continue };
            let Some(host) = host.strip_suffix(".chats.svc") else { continue };
            found.insert((host.rsplit('.').next().unwrap().to_owned(), port.parse().unwrap()));
        }
        found
    }

    /// Whether pods with these labels are let in to that port of pods of that part.
    fn lets_in(all: &[Manifest], part: &str, labels: &Value, port: i32) -> bool {
        let policy = all.iter().find(|one| one.kind.kind == "NetworkPolicy" && one.component == part);
        let rules = policy.unwrap().value["spec"]["ingress"].as_array().unwrap();
        rules.iter().any(|rule| {
            let is_port = |of: &Value| of["port"] == port && of["protocol"] == "TCP";
            let is_from = |from: &Value| {
                let wanted = from["podSelector"]["matchLabels"].as_object();
                from.get("namespaceSelector").is_none()
                    && wanted.is_some_and(|wanted| wanted.iter().all(|(key, value)| labels[key] == *value))
            };
            rule["ports"].as_array().unwrap().iter().any(is_port)
                && rule["from"].as_array().is_none_or(|from| from.iter().any(is_from))
        })
    }

    /// Who is let in to whom, in pairs and with the port, by all that parts are told.
    fn ways(spec: &Value) -> Vec<String> {
        let spec = serde_json::from_value(spec.clone()).unwrap();
        let shards = declared(&spec);
        let all = build(&Inputs {
            name: "chat",
            namespace: "chats",
            uid: "u",
            spec: &spec,
            shards: &shards,
            stamps: &BTreeMap::new(),
            etcd_formed: false,
            operator_namespace: "o",
        });
        let mut ways = BTreeSet::new();
        for workload in all.iter().filter(|manifest| manifest.is_workload()) {
            let labels = &workload.value["spec"]["template"]["metadata"]["labels"];
            let mut reached = urls(&told(workload, &all));
            if workload.component == "node" {
                // Nodes find each other's addresses in etcd.
                reached.insert(("chat-peers".to_owned(), PEER_PORT));
            }
            for (service, port) in reached {
                let service = all.iter().find(|one| one.kind.kind == "Service" && one.name == service);
                let part = service.unwrap().value["spec"]["selector"][COMPONENT].as_str().unwrap();
                let way = format!("{} to {part} {port}", workload.component);
                assert!(lets_in(&all, part, labels, port), "nobody lets {way}");
                ways.insert(way);
            }
        }
        // And not whoever comes.
        for part in ["etcd", "nats", "redis"] {
            if all.iter().any(|one| one.kind.kind == "NetworkPolicy" && one.component == part) {
                let stranger = json!({ (COMPONENT): "node", "rookery.chat/cluster": "another" });
                assert!(
                    ![2379, 4222, 6379].iter().any(|port| lets_in(&all, part, &stranger, *port)),
                    "{part}"
                );
            }
        }
        // Nor anybody to where he has nothing to do.
        let ports = [("nats", 8222), ("nats", 6222), ("etcd", 2379), ("node", PEER_PORT)];
        for side in
            all.iter().filter(|one| one.is_workload() && ["mailer", "translator"].contains(&&*one.component))
        {
            let labels = &side.value["spec"]["template"]["metadata"]["labels"];
            for (part, port) in ports {
                let there = all.iter().any(|one| one.kind.kind == "NetworkPolicy" && one.component == part);
                assert!(!there || !lets_in(&all, part, labels, port), "{} to {part} {port}", side.component);
            }
        }
        ways.into_iter().collect()
    }

    fn example(text: &str) -> Value {
        let example: Value = serde_saphyr::from_str(text).unwrap();
        example["spec"].clone()
    }

    #[test]
    fn whoever_is_told_of_a_server_is_let_in() {
        let laptop = [
            "etcd to etcd 2379",
            "etcd to etcd 2380",
            "node to etcd 2379",
            "node to nats 4222",
            "node to nats 8222",
            "node to node 7070",
            "node to redis 6379",
        ];
        assert_eq!(ways(&example(include_str!("../../examples/laptop.yaml"))), laptop);
        let mut whole = example(include_str!("../../examples/minimal.yaml"));
        whole["translator"] = json!({ "libreTranslate": { "url": "http://libre.tools:5000" } });
        let mut more = laptop.to_vec();
        more.extend([
            "mailer to nats 4222",
            "nats to nats 6222",
            "translator to nats 4222",
            "translator to redis 6379",
        ]);
        more.sort_unstable();
        assert_eq!(ways(&whole), more);
        assert_eq!(ways(&example(include_str!("../../examples/external.yaml"))), ["node to node 7070"]);
    }
}
