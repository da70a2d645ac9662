//! How clients come in: Ingress and HTTPRoute. WebSockets stay open for hours: timeouts of requests are not for them.

use rookery_crds::ChatClusterSpec;
use serde_json::{Value, json};

use super::{Inputs, Manifest};

const COMPONENT: &str = "node";
/// A WebSocket on which nothing is said for so many seconds is dropped by the proxy; the node pings every 25.
const IDLE_SECONDS: &str = "3600";

/// Where proxies of a cluster run: networks that nobody has on the internet.
const PRIVATE: [&str; 5] = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"];

/// Proxies whose word about their clients is believed. Behind an ingress all clients would be one otherwise, with one client's limits.
pub(super) fn trusted_proxies(spec: &ChatClusterSpec) -> Vec<String> {
    let behind = spec.ingress.is_some() || spec.gateway.is_some();
    let usual = || if behind { PRIVATE.map(str::to_owned).to_vec() } else { Vec::new() };
    spec.auth.trusted_proxies.clone().unwrap_or_else(usual)
}

/// What links in mails begin with.
pub fn public_url(spec: &ChatClusterSpec) -> Option<String> {
    let ingress = spec.ingress.as_ref().map(|ingress| {
        let scheme = if ingress.tls_secret_name.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", ingress.host)
    });
    let names = spec.gateway.iter().flat_map(|gateway| &gateway.hostnames);
    let gateway = names.into_iter().find(|name| !name.starts_with('*')).map(|name| format!("https://{name}"));
    spec.public_url.clone().or(ingress).or(gateway)
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(more: &Value) -> ChatClusterSpec {
        let mut spec = json!({ "version": "1" });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        serde_json::from_value(spec).unwrap()
    }

    #[test]
    fn links_begin_with_what_people_know() {
        let url = |more: Value| public_url(&spec(&more));
        assert_eq!(url(json!({})), None);
        assert_eq!(url(json!({ "ingress": { "host": "a.b" } })).unwrap(), "http://a.b");
        assert_eq!(
            url(json!({ "ingress": { "host": "a.b", "tlsSecretName": "t" } })).unwrap(),
            "https://a.b"
        );
        let gateway = |names: Value| json!({ "gateway": { "parentRefs": [], "hostnames": names } });
        assert_eq!(url(gateway(json!(["*.a.b", "c.d"]))).unwrap(), "https://c.d");
        assert_eq!(url(gateway(json!(["*.a.b"]))), None);
        let said = json!({ "ingress": { "host": "a.b" }, "publicUrl": "https://x.y" });
        assert_eq!(url(said).unwrap(), "https://x.y");
    }

    #[test]
    fn proxies_are_believed_where_there_are_any() {
        let proxies = |more: Value| trusted_proxies(&spec(&more));
        assert_eq!(proxies(json!({})), Vec::<String>::new());
        assert_eq!(proxies(json!({ "ingress": { "host": "a.b" } })), PRIVATE);
        let nobody = json!({ "ingress": { "host": "a.b" }, "auth": { "trustedProxies": [] } });
        assert_eq!(proxies(nobody), Vec::<String>::new());
        let some = json!({ "auth": { "trustedProxies": ["10.1.0.0/16"] } });
        assert_eq!(proxies(some), ["10.1.0.0/16"]);
    }
}
