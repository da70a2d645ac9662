//! etcd: a member for each pod. It holds who is there, and which rooms are pinned where.
//!
//! A member that has lost its volume cannot come back as the one that it was: the others would wait for what it has promised. It is
//! removed and added again (docs/operator.md says how), and then begins as a member of a cluster that exists. So what a member without
//! data takes the cluster for is not in the pods' template but in a ConfigMap, which is read at each start of a container: `new` until
//! all members were there once.

use rookery_crds::cluster::EtcdManaged;
use serde_json::{Value, json};

use super::{
    Inputs, Manifest, config,
    nats::headless,
    pods::{self, Pod, THEIRS},
};

const COMPONENT: &str = "etcd";
const GRACE: i32 = 30;
/// Key of the ConfigMap with the state of the cluster, as etcd has it.
const STATE: &str = "initial-cluster-state";

pub(super) fn build(inputs: &Inputs<'_>, etcd: &EtcdManaged) -> Vec<Manifest> {
    let names = inputs.names();
    let name = names.part(COMPONENT);
    let all: Vec<_> = (0..etcd.replicas)
        .map(|number| format!("{name}-{number}=http://{}:2380", config::server(inputs, COMPONENT, number)))
        .collect();
    let own = format!("$(POD_NAME).{name}.{}.svc", inputs.namespace);
    let command = [
        "etcd".to_owned(),
        "--name=$(POD_NAME)".to_owned(),
        // A folder of its own: etcd wants it closed to others.
        "--data-dir=/data/etcd".to_owned(),
        "--listen-client-urls=http://0.0.0.0:2379".to_owned(),
        format!("--advertise-client-urls=http://{own}:2379"),
        "--listen-peer-urls=http://0.0.0.0:2380".to_owned(),
        format!("--initial-advertise-peer-urls=http://{own}:2380"),
        format!("--initial-cluster={}", all.join(",")),
        format!("--initial-cluster-token={}-{}", inputs.namespace, inputs.name),
        format!("--initial-cluster-state={}", if etcd.replicas > 1 { "$(CLUSTER_STATE)" } else { "new" }),
        format!("--quota-backend-bytes={}", quota(&etcd.storage.size)),
        "--listen-metrics-urls=http://0.0.0.0:2381".to_owned(),
        "--auto-compaction-mode=periodic".to_owned(),
        "--auto-compaction-retention=1h".to_owned(),
    ];
    let mut env = vec![pods::env_pod_name("POD_NAME")];
    let mut all = Vec::new();
    // One that is alone may always begin anew.
    if etcd.replicas > 1 {
        let state = if inputs.etcd_formed { "existing" } else { "new" };
        all.push(Manifest::new(
            inputs,
            "ConfigMap",
            COMPONENT,
            name.clone(),
            json!({ "data": { STATE: state } }),
        ));
        let from = json!({ "configMapKeyRef": { "name": name, "key": STATE } });
        env.push(json!({ "name": "CLUSTER_STATE", "valueFrom": from }));
    }
    let pod = Pod {
        component: COMPONENT,
        image: &etcd.image,
        command: json!(command),
        user: THEIRS,
        env,
        ports: &[("client", 2379), ("peer", 2380), ("metrics", 2381)],
        container: json!({
            "startupProbe": pods::probe("/readyz", "metrics", 2, 150),
            "readinessProbe": pods::probe("/readyz", "metrics", 5, 3),
            "livenessProbe": pods::probe("/livez", "metrics", 10, 6),
        }),
        volumes: Vec::new(),
        claims: vec![json!({ "name": "data", "mountPath": "/data" })],
        resources: etcd.resources.as_ref(),
        requests: ("100m", "128Mi"),
        scheduling: &etcd.scheduling,
        dedicated: None,
        apart: (etcd.replicas > 1).then_some(etcd.anti_affinity),
        grace: GRACE,
        labels: Vec::new(),
        outside: Vec::new(),
    };
    let body = json!({ "spec": {
        "replicas": etcd.replicas,
        "serviceName": name,
        "podManagementPolicy": "Parallel",
        "updateStrategy": { "type": "RollingUpdate" },
        "persistentVolumeClaimRetentionPolicy": pods::keep(&etcd.storage),
        "revisionHistoryLimit": 5,
        "selector": { "matchLabels": names.selector(COMPONENT) },
        "template": pod.template(inputs),
        "volumeClaimTemplates": [pods::claim(inputs, COMPONENT, &etcd.storage)],
    } });
    all.extend([
        headless(inputs, COMPONENT, &[("client", 2379), ("peer", 2380), ("metrics", 2381)]),
        Manifest::new(inputs, "StatefulSet", COMPONENT, name, body),
    ]);
    all
}

/// Whether all members have been there once: by their number now, or by what was noted then.
pub fn is_formed(config_map: Option<&Value>, stateful_set: Option<&Value>) -> bool {
    let noted = config_map.is_some_and(|map| map["data"][STATE] == "existing");
    let number = |set: &Value, path: &str| set.pointer(path).and_then(Value::as_i64).unwrap_or_default();
    let all_ready = |set: &Value| {
        let wanted = number(set, "/spec/replicas");
        wanted > 0 && number(set, "/status/readyReplicas") >= wanted
    };
    noted || stateful_set.is_some_and(all_ready)
}

/// How much a member may hold, in bytes: a third of its volume. When it gets a copy from another member it has that besides its own for a
/// while, and its log.
fn quota(size: &str) -> u64 {
    let digits = size.find(|c: char| !c.is_ascii_digit()).unwrap_or(size.len());
    let (number, unit) = size.split_at(digits);
    let shift = match unit {
        "Gi" => 30,
        "Ti" => 40,
        _ => 20,
    };
    // More than 8 GiB is not for etcd.
    (number.parse::<u64>().unwrap_or(1).saturating_mul(1 << shift) / 3).min(8 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_holds_a_third_of_its_volume() {
        assert_eq!(quota("2Gi"), (2 << 30) / 3);
        assert_eq!(quota("512Mi"), (512 << 20) / 3);
        assert_eq!(quota("1Ti"), 8 << 30);
    }

    #[test]
    fn a_cluster_is_formed_when_all_were_there_once() {
        let set = |ready: i32| json!({ "spec": { "replicas": 3 }, "status": { "readyReplicas": ready } });
        let map = |state: &str| json!({ "data": { STATE: state } });
        assert!(!is_formed(None, None));
        assert!(!is_formed(Some(&map("new")), Some(&set(2))));
        assert!(is_formed(Some(&map("new")), Some(&set(3))));
        assert!(is_formed(Some(&map("existing")), Some(&set(1))));
    }
}
