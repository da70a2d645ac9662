//! Two ChatClusters on the same servers under the same name would be one chat, each with half of its nodes: the younger one is kept from
//! that.

use std::collections::BTreeSet;

use kube::{Api, ResourceExt, api::ListParams};
use rookery_crds::{ChatCluster, ChatClusterSpec};

use super::{Look, LookError, Problem, api};

/// Addresses of servers that are there already.
fn servers(spec: &ChatClusterSpec) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    if let Some(nats) = &spec.nats.external {
        all.extend(nats.urls.iter().map(|url| host(url)));
    }
    if let Some(etcd) = &spec.etcd.external {
        all.extend(etcd.endpoints.iter().map(|url| host(url)));
    }
    if let Some(redis) = &spec.redis.external {
        // Several hosts and a database: `redis+sentinel://a:1,b:2/name/0`.
        let (hosts, database) = split(&redis.url);
        all.extend(hosts.split(',').map(|host| format!("redis {host}/{database}")));
    }
    all
}

fn split(url: &str) -> (String, String) {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest).to_lowercase();
    let (hosts, path) = rest.split_once('/').unwrap_or((&rest, ""));
    (hosts.to_owned(), path.trim_end_matches('/').to_owned())
}

fn host(url: &str) -> String {
    split(url).0
}

/// The name under which a ChatCluster keeps what it has.
pub(super) fn name(cluster: &ChatCluster) -> String {
    cluster.spec.cluster_name.clone().unwrap_or_else(|| cluster.name_any())
}

/// Who came first: nobody can change it.
fn age(cluster: &ChatCluster) -> (Option<String>, String) {
    let made = cluster.metadata.creation_timestamp.as_ref().map(|time| time.0.to_string());
    (made, cluster.uid().unwrap_or_default())
}

/// Whether an older one is there that it would be mixed up with.
fn mixed_up(cluster: &ChatCluster, others: &[impl AsRef<ChatCluster>]) -> Option<Problem> {
    let own = servers(&cluster.spec);
    let other = others.iter().map(AsRef::as_ref).find(|other| {
        age(other) < age(cluster)
            && other.metadata.deletion_timestamp.is_none()
            && name(other) == name(cluster)
            && !own.is_disjoint(&servers(&other.spec))
    })?;
    let message = format!(
        "ChatCluster {} in namespace {} is on the same servers under the same name, {}: they would be one chat. Give this one a spec.clusterName \
         of its own (it is made anew for that), or other servers",
        other.name_any(),
        other.namespace().unwrap_or_default(),
        name(cluster),
    );
    let parts = ["node", "mailer", "translator"].map(str::to_owned).into();
    Some(Problem::new("ServersShared", message).of(parts))
}

pub(super) async fn validate(look: &Look<'_>) -> Result<Option<Problem>, LookError> {
    let Look { context, cluster, .. } = *look;
    if servers(&cluster.spec).is_empty() {
        return Ok(None);
    }
    let stores = context.all_stores();
    if !stores.is_empty() {
        let others: Vec<_> = stores.iter().flat_map(|stores| stores.clusters.state()).collect();
        return Ok(mixed_up(cluster, &others));
    }
    let namespaces = context.settings.namespaces();
    let apis: Vec<Api<ChatCluster>> = match namespaces.as_slice() {
        [] => vec![Api::all(context.client.clone())],
        some => some.iter().map(|name| Api::namespaced(context.client.clone(), name)).collect(),
    };
    let mut others = Vec::new();
    for clusters in apis {
        let list = clusters.list(&ListParams::default()).await.map_err(api("list ChatClusters"))?;
        others.extend(list.items.into_iter().map(Box::new));
    }
    Ok(mixed_up(cluster, &others))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn cluster(namespace: &str, made: &str, more: &Value) -> Box<ChatCluster> {
        let mut spec = json!({
            "version": "1",
            "nats": { "external": { "urls": ["nats://A.example.org:4222", "nats://b:4222"], "trustSync": true } },
            "etcd": { "external": { "endpoints": ["http://e:2379"] } },
            "redis": { "external": { "url": "redis://r:6379/1" } },
        });
        for (key, value) in more.as_object().unwrap() {
            spec[key] = value.clone();
        }
        let metadata =
            json!({ "name": "chat", "namespace": namespace, "uid": namespace, "creationTimestamp": made });
        serde_json::from_value(json!({
            "apiVersion": "rookery.chat/v1alpha1", "kind": "ChatCluster", "metadata": metadata, "spec": spec,
        }))
        .unwrap()
    }

    #[test]
    fn the_younger_of_two_that_would_be_one_chat_is_kept_back() {
        const EARLY: &str = "2026-01-01T00:00:00Z";
        const LATE: &str = "2026-01-02T00:00:00Z";
        let others = |nats: &str, etcd: &str, redis: &str| {
            json!({
                "nats": { "external": { "urls": [nats], "trustSync": true } },
                "etcd": { "external": { "endpoints": [etcd] } },
                "redis": { "external": { "url": redis } },
            })
        };
        let first = [cluster("one", EARLY, &json!({}))];
        let problem = mixed_up(&cluster("two", LATE, &json!({})), &first).unwrap();
        assert!(problem.message.contains("ChatCluster chat in namespace one"), "{problem:?}");
        assert_eq!(mixed_up(&first[0], &[cluster("two", LATE, &json!({}))]), None);
        assert_eq!(mixed_up(&first[0], &first), None, "oneself");
        for (other, mixed) in [
            (json!({ "clusterName": "another" }), false),
            (others("nats://x:1", "http://x:1", "redis://x:1"), false),
            (others("tls://a.example.org:4222", "http://x:1", "redis://x:1"), true),
            (others("nats://x:1", "https://E:2379", "redis://x:1"), true),
            (others("nats://x:1", "http://x:1", "rediss+sentinel://y:1,r:6379/1"), true),
            (others("nats://x:1", "http://x:1", "redis://r:6379/2"), false),
            (json!({ "nats": {}, "etcd": {}, "redis": {} }), false),
        ] {
            let problem = mixed_up(&cluster("two", LATE, &other), &first);
            assert_eq!(problem.is_some(), mixed, "{other}");
        }
    }
}
