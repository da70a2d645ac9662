//! How clients come in: Ingress and HTTPRoute. WebSockets stay open for hours: timeouts of requests are not for them.

use serde_json::{Value, json};

use super::{Inputs, Manifest};

const COMPONENT: &str = "node";
/// A WebSocket on which nothing is said for so many seconds is dropped by the proxy; the node pings every 25.
const IDLE_SECONDS: &str = "3600";

pub(super) fn build(inputs: &Inputs<'_>) -> Vec<Manifest> {
    [ingress(inputs), route(inputs)].into_iter().flatten().collect()
}

fn ingress(inputs: &Inputs<'_>) -> Option<Manifest> {
    let ingress = inputs.spec.ingress.as_ref()?;
    let mut annotations = json!({
        "nginx.ingress.kubernetes.io/proxy-read-timeout": IDLE_SECONDS,
        "nginx.ingress.kubernetes.io/proxy-send-timeout": IDLE_SECONDS,
    });
    for (key, text) in &ingress.annotations {
        annotations[key] = text.clone().into();
    }
    let mut spec = json!({ "rules": [{
        "host": ingress.host,
        "http": { "paths": [{
            "path": "/",
            "pathType": "Prefix",
            "backend": { "service": { "name": inputs.names().client(), "port": { "name": "http" } } },
        }] },
    }] });
    if let Some(class) = &ingress.class_name {
        spec["ingressClassName"] = class.clone().into();
    }
    if let Some(secret) = &ingress.tls_secret_name {
        spec["tls"] = json!([{ "hosts": [ingress.host], "secretName": secret }]);
    }
    let manifest =
        Manifest::new(inputs, "Ingress", COMPONENT, inputs.names().client(), json!({ "spec": spec }));
    Some(manifest.annotations(annotations))
}

fn route(inputs: &Inputs<'_>) -> Option<Manifest> {
    let gateway = inputs.spec.gateway.as_ref()?;
    let parents: Vec<Value> = gateway
        .parent_refs
        .iter()
        .map(|parent| {
            let mut reference =
                json!({ "group": "gateway.networking.k8s.io", "kind": "Gateway", "name": parent.name });
            if let Some(namespace) = &parent.namespace {
                reference["namespace"] = namespace.clone().into();
            }
            if let Some(section) = &parent.section_name {
                reference["sectionName"] = section.clone().into();
            }
            reference
        })
        .collect();
    let mut spec = json!({
        "parentRefs": parents,
        "rules": [{
            "matches": [{ "path": { "type": "PathPrefix", "value": "/" } }],
            "backendRefs": [{
                "group": "", "kind": "Service", "name": inputs.names().client(), "port": 80, "weight": 1,
            }],
            // None: a request of a WebSocket lasts as long as its connection.
            "timeouts": { "request": "0s" },
        }],
    });
    if !gateway.hostnames.is_empty() {
        spec["hostnames"] = json!(gateway.hostnames);
    }
    Some(Manifest::new(inputs, "HTTPRoute", COMPONENT, inputs.names().client(), json!({ "spec": spec })))
}
