//! The schemas of values: every value is in them and documented, and what makes no sense is refused by name.

use std::fs;

use rookery_charts::{Helm, directory, objects};
use serde_json::{Map, Value, json};

use crate::support::RELEASE;

const CHARTS: [&str; 2] = ["rookery-crds", "rookery-operator"];

fn schema(chart: &str) -> Value {
    serde_json::from_str(&fs::read_to_string(directory(chart).join("values.schema.json")).unwrap()).unwrap()
}

fn values(chart: &str) -> Value {
    objects(&fs::read_to_string(directory(chart).join("values.yaml")).unwrap()).unwrap().remove(0)
}

/// Compares an object of `values.yaml` with its schema, and looks into the objects in it.
fn compare(at: &str, values: &Map<String, Value>, schema: &Value) {
    let properties = schema["properties"].as_object().unwrap_or_else(|| panic!("{at} has no properties"));
    assert_eq!(schema["additionalProperties"], false, "{at} takes what it does not know");
    for name in properties.keys().filter(|name| *name != "global") {
        assert!(values.contains_key(name), "{at}.{name} is not in values.yaml");
    }
    for (name, value) in values {
        let at = format!("{at}.{name}");
        let part = properties.get(name).unwrap_or_else(|| panic!("{at} is not in the schema"));
        assert!(
            part["description"].as_str().is_some_and(|text| text.ends_with('.')),
            "{at} is not described"
        );
        match (value, part.get("default")) {
            (_, Some(default)) => assert_eq!(value, default, "{at} has another default in the schema"),
            (Value::Object(inner), None) => compare(&at, inner, part),
            _ => panic!("{at} has no default in the schema"),
        }
    }
}

#[test]
fn every_value_is_described_with_its_default() {
    for chart in CHARTS {
        compare(chart, values(chart).as_object().unwrap(), &schema(chart));
    }
}

#[test]
fn what_makes_no_sense_is_refused_by_name() {
    let Some(helm) = Helm::find_or_say() else { return };
    let wrong = [
        ("rookery-crds", json!({"keep": "yes"}), "/keep"),
        ("rookery-crds", json!({"labels": {"a": 1}}), "/labels/a"),
        ("rookery-crds", json!({"keeps": true}), "keeps"),
        ("rookery-operator", json!({"replica": 2}), "replica"),
        ("rookery-operator", json!({"replicas": -1}), "/replicas"),
        ("rookery-operator", json!({"replicas": "2"}), "/replicas"),
        ("rookery-operator", json!({"scope": "everywhere"}), "/scope"),
        ("rookery-operator", json!({"namespaces": "blue"}), "/namespaces"),
        ("rookery-operator", json!({"namespaces": ["Blue"]}), "/namespaces/0"),
        ("rookery-operator", json!({"namespaces": ["blue", "blue"]}), "/namespaces"),
        ("rookery-operator", json!({"image": {"tag": "a b"}}), "/image/tag"),
        ("rookery-operator", json!({"image": {"digest": "sha256:1"}}), "/image/digest"),
        ("rookery-operator", json!({"image": {"repository": ""}}), "/image/repository"),
        ("rookery-operator", json!({"image": {"pullPolicy": "Sometimes"}}), "/image/pullPolicy"),
        ("rookery-operator", json!({"imagePullSecrets": ["registry"]}), "/imagePullSecrets/0"),
        ("rookery-operator", json!({"fullnameOverride": "Chat"}), "/fullnameOverride"),
        ("rookery-operator", json!({"log": {"format": "xml"}}), "/log/format"),
        ("rookery-operator", json!({"env": [{"name": "A-B"}]}), "/env/0/name"),
        ("rookery-operator", json!({"serviceAccount": {"create": false}}), "/serviceAccount/name"),
        ("rookery-operator", json!({"management": {"port": 80}}), "/management/port"),
        ("rookery-operator", json!({"podMonitor": {"interval": "often"}}), "/podMonitor/interval"),
        (
            "rookery-operator",
            json!({"podDisruptionBudget": {"maxUnavailable": 0}}),
            "/podDisruptionBudget/maxUnavailable",
        ),
        ("rookery-operator", json!({"resources": {"request": {}}}), "request"),
        ("rookery-operator", json!({"terminationGracePeriodSeconds": 1}), "/terminationGracePeriodSeconds"),
    ];
    for (chart, values, named) in wrong {
        let refusal = helm.template(chart, &RELEASE, &values).expect_err(&values.to_string());
        assert!(refusal.contains(named), "{values}: {refusal}");
    }
}
