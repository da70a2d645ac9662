//! One Redis, which writes what it holds to disk.

use rookery_crds::cluster::RedisManaged;
use serde_json::json;

use super::{
    Inputs, Manifest, config,
    pods::{self, Pod, THEIRS, Volume},
};

const COMPONENT: &str = "redis";
const GRACE: i32 = 30;
/// A login is not forgotten to make room; what is written is on disk within a second.
const CONF: &str = "bind * -::*\nport 6379\ndir /data\nappendonly yes\nappendfsync everysec\nmaxmemory-policy noeviction\n\
                    include /run/rookery/redis/redis.conf\n";

pub(super) fn build(inputs: &Inputs<'_>, redis: &RedisManaged) -> Vec<Manifest> {
    let names = inputs.names();
    let name = names.part(COMPONENT);
    let internal = names.internal();
    let conf = Manifest::config(inputs, COMPONENT, "redis.conf", CONF);
    let pod = Pod {
        component: COMPONENT,
        image: &redis.image,
        command: json!(["redis-server", "/etc/redis/redis.conf"]),
        user: THEIRS,
        env: Vec::new(),
        ports: &[("redis", 6379)],
        container: json!({
            "readinessProbe": {
                "tcpSocket": { "port": "redis" }, "periodSeconds": 5, "timeoutSeconds": 3, "failureThreshold": 3,
            },
            "livenessProbe": {
                "tcpSocket": { "port": "redis" }, "periodSeconds": 10, "timeoutSeconds": 3, "failureThreshold": 6,
            },
        }),
        volumes: vec![
            Volume::config("config", &conf.name, "/etc/redis"),
            Volume::secret("password", &internal, "/run/rookery/redis", &[("redis.conf", "redis.conf")]),
        ],
        claims: vec![json!({ "name": "data", "mountPath": "/data" })],
        resources: redis.resources.as_ref(),
        requests: ("50m", "64Mi"),
        scheduling: &redis.scheduling,
        dedicated: None,
        apart: None,
        grace: GRACE,
        labels: Vec::new(),
        outside: vec![config::secret_key(&internal, "redis.conf")],
    };
    let set = json!({ "spec": {
        "replicas": redis.replicas,
        "serviceName": name,
        "updateStrategy": { "type": "RollingUpdate" },
        "persistentVolumeClaimRetentionPolicy": pods::keep(&redis.storage),
        "revisionHistoryLimit": 5,
        "selector": { "matchLabels": names.selector(COMPONENT) },
        "template": pod.template(inputs),
        "volumeClaimTemplates": [pods::claim(inputs, COMPONENT, &redis.storage)],
    } });
    let service = json!({ "spec": {
        "type": "ClusterIP",
        "selector": names.selector(COMPONENT),
        "ports": [{ "name": "redis", "port": 6379, "targetPort": "redis", "protocol": "TCP" }],
    } });
    vec![
        conf,
        Manifest::new(inputs, "Service", COMPONENT, name.clone(), service),
        Manifest::new(inputs, "StatefulSet", COMPONENT, name, set),
    ]
}
