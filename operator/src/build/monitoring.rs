//! What a cluster brings for Prometheus and Grafana: the same alerts and dashboards that the operator's chart has for all chats, of this one.

use std::{collections::BTreeMap, sync::OnceLock};

use rookery_crds::cluster::MonitoringPart;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{CLUSTER, Inputs, Manifest, manifest::short};

const COMPONENT: &str = "monitoring";

/// The chart's alerts: one file for both.
const ALERTS: &str = include_str!("../../../charts/rookery-operator/files/alerts.yaml");
/// In the alerts: all chats.
const ALL: &str = "chatcluster!=\"\"";
/// The group of alerts that are not about chats.
const NOT_OF_CHATS: &str = "rookery-operator";
/// The chart's dashboards of a chat: name and content.
const DASHBOARDS: [(&str, &str); 3] = [
    ("cluster", include_str!("../../../charts/rookery-operator/files/dashboards/cluster.json")),
    ("node", include_str!("../../../charts/rookery-operator/files/dashboards/node.json")),
    ("sides", include_str!("../../../charts/rookery-operator/files/dashboards/sides.json")),
];

pub(super) fn build(inputs: &Inputs<'_>) -> Vec<Manifest> {
    let monitoring = &inputs.spec.monitoring;
    let mut all = Vec::new();
    if monitoring.pod_monitor.enabled {
        all.push(labelled(pod_monitor(inputs), &monitoring.pod_monitor));
    }
    if monitoring.prometheus_rule.enabled {
        all.push(labelled(rule(inputs), &monitoring.prometheus_rule));
    }
    if monitoring.dashboards.enabled {
        let mut part = monitoring.dashboards.clone();
        if part.labels.is_empty() {
            part.labels = BTreeMap::from([("grafana_dashboard".to_owned(), "1".to_owned())]);
        }
        all.extend(DASHBOARDS.iter().map(|(name, text)| labelled(dashboard(inputs, name, text), &part)));
    }
    all
}

/// Labels by which it is chosen. Those by which the operator knows its own stay.
fn labelled(mut manifest: Manifest, part: &MonitoringPart) -> Manifest {
    for (key, text) in &part.labels {
        if manifest.value["metadata"]["labels"].get(key).is_none() {
            manifest = manifest.label(key, text);
        }
    }
    manifest
}

fn pod_monitor(inputs: &Inputs<'_>) -> Manifest {
    // Nodes, mailers and translators; then etcd.
    let endpoint = |port: &str| {
        json!({
            "port": port,
            "path": "/metrics",
            "relabelings": [{
                "sourceLabels": ["__meta_kubernetes_pod_label_rookery_chat_cluster"], "targetLabel": "chatcluster",
            }],
        })
    };
    let body = json!({ "spec": {
        "selector": { "matchLabels": { (CLUSTER): inputs.name } },
        "podMetricsEndpoints": [endpoint("management"), endpoint("metrics")],
    } });
    Manifest::new(inputs, "PodMonitor", COMPONENT, inputs.names().part("pods"), body)
}

/// The alerts of chats; none, if the file cannot be read. A test says so.
fn groups() -> &'static [Value] {
    static GROUPS: OnceLock<Vec<Value>> = OnceLock::new();
    GROUPS.get_or_init(|| {
        let rules: Value = serde_saphyr::from_str(ALERTS).unwrap_or_default();
        let groups = rules["groups"].as_array().cloned().unwrap_or_default();
        groups.into_iter().filter(|group| group["name"] != NOT_OF_CHATS).collect()
    })
}

fn rule(inputs: &Inputs<'_>) -> Manifest {
    let own = format!("namespace=\"{}\", chatcluster=\"{}\"", inputs.namespace, inputs.name);
    let mut groups = groups().to_vec();
    for rule in groups.iter_mut().filter_map(|group| group["rules"].as_array_mut()).flatten() {
        let expression = rule["expr"].as_str().unwrap_or_default().replace(ALL, &own);
        rule["expr"] = expression.into();
    }
    let body = json!({ "spec": { "groups": groups } });
    Manifest::new(inputs, "PrometheusRule", COMPONENT, inputs.names().part("alerts"), body)
}

fn dashboard(inputs: &Inputs<'_>, name: &str, text: &str) -> Manifest {
    let mut dashboard: Value = serde_json::from_str(text).unwrap_or_default();
    let mut hash = Sha256::new();
    hash.update(format!("{}/{}/{name}", inputs.namespace, inputs.name));
    dashboard["uid"] = format!("rookery-{}", short(hash, 8)).into();
    let title = dashboard["title"].as_str().unwrap_or_default();
    dashboard["title"] = format!("{title}: {}/{}", inputs.namespace, inputs.name).into();
    for variable in dashboard["templating"]["list"].as_array_mut().into_iter().flatten() {
        let value = match variable["name"].as_str() {
            Some("namespace") => inputs.namespace,
            Some("chatcluster") => inputs.name,
            _ => continue,
        };
        variable["current"] = json!({ "text": value, "value": value });
    }
    let file = format!("{}-{}-{name}.json", inputs.namespace, inputs.name);
    let body = json!({ "data": { file: dashboard.to_string() } });
    let part = format!("dashboard-{name}");
    Manifest::new(inputs, "ConfigMap", COMPONENT, inputs.names().part(&part), body)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs};

    use super::*;
    use crate::build::declared;

    #[test]
    fn every_alert_of_chats_can_be_limited_to_one() {
        assert!(groups().len() >= 3);
        for rule in groups().iter().flat_map(|group| group["rules"].as_array().unwrap()) {
            let (name, expression) = (&rule["alert"], rule["expr"].as_str().unwrap());
            // Each metric has a selector, and each selector has it.
            let metrics = expression.matches("rookery_").count() + expression.matches("process_").count();
            let metrics = metrics + usize::from(expression.starts_with("up{"));
            assert_eq!(expression.matches(ALL).count(), metrics, "{name}: {expression}");
        }
    }

    #[test]
    fn there_are_all_dashboards_of_a_chat() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../charts/rookery-operator/files/dashboards");
        let files =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let there: BTreeSet<String> = files.filter(|name| name != "operator.json").collect();
        let own = DASHBOARDS.iter().map(|(name, _)| format!("{name}.json")).collect();
        assert_eq!(there, own);
    }

    #[test]
    fn two_chats_have_nothing_in_common() {
        let spec = serde_json::from_value(json!({
            "version": "1",
            "monitoring": {
                "podMonitor": { "enabled": true, "labels": { "release": "main", "rookery.chat/cluster": "other" } },
                "prometheusRule": { "enabled": true }, "dashboards": { "enabled": true },
            },
        }))
        .unwrap();
        let shards = declared(&spec);
        let of = |name: &str| {
            let stamps = BTreeMap::new();
            build(&Inputs {
                name,
                namespace: "chats",
                uid: "u",
                spec: &spec,
                shards: &shards,
                stamps: &stamps,
                etcd_formed: false,
                operator_namespace: "o",
            })
        };
        let (tea, coffee) = (of("tea"), of("coffee"));
        assert_eq!(
            tea.iter().map(|manifest| &*manifest.name).collect::<Vec<_>>(),
            ["tea-pods", "tea-alerts", "tea-dashboard-cluster", "tea-dashboard-node", "tea-dashboard-sides"]
        );
        let labels = &tea[0].value["metadata"]["labels"];
        assert_eq!((&labels["release"], &labels[CLUSTER]), (&json!("main"), &json!("tea")));
        let text = tea[1].value.to_string();
        assert!(
            text.contains("rookery_nats_connected{namespace=\\\"chats\\\", chatcluster=\\\"tea\\\"}"),
            "{text}"
        );
        assert!(!text.contains("rookery_operator_"));
        let dashboard = |all: &[Manifest], name: &str| -> Value {
            serde_json::from_str(all[2].value["data"][format!("chats-{name}-cluster.json")].as_str().unwrap())
                .unwrap()
        };
        let (tea, coffee) = (dashboard(&tea, "tea"), dashboard(&coffee, "coffee"));
        assert_ne!(tea["uid"], coffee["uid"]);
        let variables = tea["templating"]["list"].as_array().unwrap();
        let own = variables.iter().find(|variable| variable["name"] == "chatcluster").unwrap();
        assert_eq!(own["current"]["value"], "tea");
    }
}
