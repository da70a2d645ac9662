//! No field is forgotten: each one of the definition, taken out of a ChatCluster that has it, or else changed, changes what is made.

// What is not as it must be ends a test, in helpers, too.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};

use rookery_crds::{ChatCluster, ChatClusterSpec, yaml};
use rookery_operator::build::{Inputs, build, declared};
use serde_json::{Value, json};

/// Fields that no object shows, and why.
const ELSEWHERE: [(&str, &str); 6] = [
    ("/paused", "whether anything is written at all"),
    ("/rollout/readyDeadlineSeconds", "when the operator tells that a node is late"),
    ("/nats/external/allowPlaintextPassword", "what the API server takes"),
    ("/etcd/external/allowPlaintextPassword", "what the API server takes"),
    ("/redis/external/allowPlaintextPassword", "what the API server takes"),
    ("/redis/managed/replicas", "there is one"),
];

fn external() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/external.yaml");
    let cluster: ChatCluster = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut spec = serde_json::to_value(&cluster.spec).unwrap();
    let nats = &mut spec["nats"]["external"];
    nats["monitoringUrls"] = json!([]);
    nats["trustSync"] = true.into();
    spec
}

/// On a NATS with another kind of credentials.
fn other_external() -> Value {
    let mut spec = external();
    let nats = &mut spec["nats"]["external"];
    nats.as_object_mut().unwrap().remove("credentialsSecret");
    nats["userSecret"] = json!({ "name": "nats-user" });
    nats["monitoringUrls"] = json!(["http://nats-a.example.org:8222"]);
    spec["redis"]["external"] = json!({
        "url": "rediss://redis.example.org:6379/1", "tls": { "caSecret": { "name": "authority", "key": "redis.crt" }, "clientSecret": { "name": "redis-client" } },
    });
    spec["etcd"]["external"]["tls"]["clientSecret"] = json!({ "name": "etcd-client" });
    spec
}

/// Everything of managed servers, and of what the example has not.
fn managed() -> Value {
    let resources = || json!({ "requests": { "cpu": "101m", "memory": "101Mi" }, "limits": { "cpu": "3", "memory": "3Gi" } });
    let scheduling = || {
        json!({
            "nodeSelector": { "disk": "fast" }, "priorityClassName": "chat",
            "tolerations": [{ "key": "chat", "operator": "Equal", "value": "yes", "effect": "NoExecute", "tolerationSeconds": 7 }],
        })
    };
    let storage = || json!({ "size": "7Gi", "className": "fast", "whenDeleted": "Delete" });
    let limit = || json!({ "perAddress": "7/60s", "perAccount": "7/61s", "global": "7/62s" });
    let server = |image: &str| json!({ "image": image, "storage": storage(), "resources": resources(), "scheduling": scheduling() });
    let with = |mut server: Value, more: Value| {
        server.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        server
    };
    let part = || json!({ "enabled": true, "labels": { "release": "main" } });
    json!({
        "version": "1.2.3",
        "images": {
            "node": "registry.example.org/node:1", "mailer": "registry.example.org/mailer:1",
            "translator": "registry.example.org/translator:1", "pullPolicy": "Always", "pullSecrets": [{ "name": "registry" }],
        },
        "replicas": 4,
        "shards": [
            { "name": "blue", "replicas": 2, "weight": 3, "dedicated": { "key": "pool", "value": "blue" }, "resources": resources(), "scheduling": scheduling() },
            { "name": "green" },
        ],
        "resources": resources(),
        "scheduling": scheduling(),
        "log": { "replicas": 1, "streams": 9, "retentionDays": 7 },
        "nats": { "managed": with(server("nats:2.16"), json!({ "replicas": 5, "antiAffinity": "Preferred" })) },
        "etcd": { "managed": with(server("etcd:3.6"), json!({ "replicas": 5, "antiAffinity": "Preferred" })) },
        "redis": { "managed": with(server("redis:8"), json!({ "replicas": 1 })) },
        "ingress": { "host": "chat.example.org", "className": "nginx", "tlsSecretName": "tls", "annotations": { "a": "b" } },
        "publicUrl": "https://tea.example.org",
        "auth": {
            "issuer": "me", "audience": "you", "accessTokenSeconds": 77, "refreshTokenDays": 7, "keyRotationDays": 7, "codeDigits": 7,
            "codeMinutes": 7, "requireLoginCode": true, "sessionsPerUser": 7, "allowedOrigins": ["https://a"], "trustedProxies": ["10.7.0.0/16"],
            "devMailbox": true,
            "externalIssuers": [{
                "name": "acme", "url": "https://login.example.org", "audiences": ["chat-web"], "trustEmail": true,
                "caSecret": { "name": "authority", "key": "acme.crt" },
            }],
            "limits": {
                "register": limit(), "verify": limit(), "resend": limit(), "login": limit(), "loginVerify": limit(), "refresh": limit(),
                "forgot": limit(), "reset": limit(), "ticket": limit(), "external": limit(),
            },
        },
        "limits": {},
        "mailer": {
            "replicas": 3, "from": "a@example.org", "replyTo": "b@example.org", "service": "Tea",
            "smtp": {
                "host": "smtp.example.org", "port": 77, "security": "Implicit", "user": "u", "passwordSecret": { "name": "smtp", "key": "password" },
                "caSecret": { "name": "authority", "key": "smtp.crt" }, "connections": 7,
            },
            "templatesRef": { "name": "templates" }, "resources": resources(),
        },
        "translator": {
            "replicas": 3, "languages": ["en", "ca"], "resources": resources(),
            "deepl": { "url": "https://d", "keySecret": { "name": "engines", "key": "deepl" }, "languages": ["en"], "dayCharacters": 7 },
            "google": { "url": "https://g", "keySecret": { "name": "engines", "key": "google" }, "languages": ["en"], "dayCharacters": 7 },
            "azure": { "url": "https://a", "keySecret": { "name": "engines", "key": "azure" }, "region": "here", "languages": ["en"], "dayCharacters": 7 },
            "libreTranslate": { "url": "https://l", "keySecret": { "name": "engines", "key": "libre" }, "languages": ["en"], "dayCharacters": 7 },
        },
        "monitoring": { "podMonitor": part(), "prometheusRule": part(), "dashboards": part() },
        "rollout": { "drainWindowSeconds": 7, "evictionsPerSecond": 7, "drainDeadlineSeconds": 77, "readyDeadlineSeconds": 77 },
        "networkPolicy": { "enabled": true, "clientsFrom": ["ingress"], "metricsFrom": ["monitoring"] },
        "paused": true,
    })
}

/// The same without NetworkPolicies.
fn open() -> Value {
    let mut spec = managed();
    spec["networkPolicy"] = json!({ "enabled": false });
    spec
}

/// What is made; `None`: the definition does not take it.
fn made(spec: &Value) -> Option<String> {
    let spec: ChatClusterSpec = serde_json::from_value(spec.clone()).ok()?;
    let (shards, stamps) = (declared(&spec), BTreeMap::new());
    let manifests = build(&Inputs {
        name: "tea",
        namespace: "chats",
        uid: "u",
        spec: &spec,
        shards: &shards,
        stamps: &stamps,
        etcd_formed: false,
        operator_namespace: "o",
    });
    Some(manifests.iter().map(|manifest| manifest.value.to_string()).collect())
}

/// Fields of a schema that hold no others, as JSON pointers; of lists the first.
fn leaves(path: &str, schema: &Value, all: &mut BTreeSet<String>) {
    if let Some(fields) = schema["properties"].as_object() {
        for (name, field) in fields {
            leaves(&format!("{path}/{name}"), field, all);
        }
    } else if schema["items"]["properties"].is_object() {
        leaves(&format!("{path}/0"), &schema["items"], all);
    } else {
        all.insert(path.to_owned());
    }
}

/// Without it; or, where it must be there, with another value.
fn without(spec: &Value, path: &str) -> Option<String> {
    let (parent, name) = path.rsplit_once('/').unwrap();
    let mut less = spec.clone();
    less.pointer_mut(parent)?.as_object_mut()?.remove(name)?;
    if let Some(made) = made(&less) {
        return Some(made);
    }
    let mut other = spec.clone();
    let value = other.pointer_mut(path)?;
    *value = match value.clone() {
        Value::String(text) => format!("{text}x").into(),
        Value::Array(list) => list.into_iter().chain(["https://x:1".into()]).collect(),
        other => panic!("{path} must be there, and is {other}"),
    };
    made(&other)
}

#[test]
fn each_field_changes_something() {
    let crd = serde_json::to_value(&yaml::definitions()[0]).unwrap();
    let schema = &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"];
    let mut all = BTreeSet::new();
    leaves("", schema, &mut all);
    assert!(all.len() > 200, "{}", all.len());
    let specs: Vec<_> = [external(), other_external(), managed(), open()]
        .into_iter()
        .map(|spec| {
            let made = made(&spec).unwrap();
            (spec, made)
        })
        .collect();
    let changes = |path: &str| {
        specs.iter().any(|(spec, before)| without(spec, path).is_some_and(|after| after != *before))
    };
    let elsewhere = |path: &str| ELSEWHERE.iter().any(|(other, _)| *other == path);
    let forgotten: Vec<_> = all.iter().filter(|path| !elsewhere(path) && !changes(path)).collect();
    assert!(forgotten.is_empty(), "taken out, these change nothing: {forgotten:#?}");
    for (path, why) in ELSEWHERE {
        assert!(all.contains(path) && !changes(path), "{path}: {why}");
    }
}
