//! etcd: a member for each pod. It holds who is there, and nothing that outlives the nodes.

use rookery_crds::cluster::EtcdManaged;
use serde_json::json;

use super::{
    Inputs, Manifest, config,
    nats::headless,
    pods::{self, Pod, THEIRS},
};

const COMPONENT: &str = "etcd";
const GRACE: i32 = 30;

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
        "--initial-cluster-state=new".to_owned(),
        "--listen-metrics-urls=http://0.0.0.0:2381".to_owned(),
        "--auto-compaction-mode=periodic".to_owned(),
        "--auto-compaction-retention=1h".to_owned(),
    ];
    let pod = Pod {
        component: COMPONENT,
        image: &etcd.image,
        command: json!(command),
        user: THEIRS,
        env: vec![pods::env_pod_name("POD_NAME")],
        ports: &[("client", 2379), ("peer", 2380), ("metrics", 2381)],
        container: json!({
            "startupProbe": pods::probe("/readyz", "metrics", 2, 150),
            "readinessProbe": pods::probe("/readyz", "metrics", 5, 3),
            "livenessProbe": pods::probe("/livez", "metrics", 10, 6),
        }),
        volumes: Vec::new(),
        claims: vec![json!({ "name": "data", "mountPath": "/data" })],
        resources: etcd.resources.as_ref(),
        scheduling: &etcd.scheduling,
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
    vec![
        headless(inputs, COMPONENT, &[("client", 2379), ("peer", 2380), ("metrics", 2381)]),
        Manifest::new(inputs, "StatefulSet", COMPONENT, name, body),
    ]
}
