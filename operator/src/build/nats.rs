//! NATS servers: JetStream on disk, every write synced before it is acknowledged.

use rookery_crds::cluster::NatsManaged;
use serde_json::json;

use super::{
    Inputs, Manifest, config,
    pods::{self, Pod, THEIRS, Volume},
};

const COMPONENT: &str = "nats";
/// Clients move over to the other servers within this time before a server stops, in seconds.
const LAME_DUCK: i32 = 30;
/// After that: leaders of streams are moved, files are closed.
const SPARE: i32 = 60;

pub(super) fn build(inputs: &Inputs<'_>, nats: &NatsManaged) -> Vec<Manifest> {
    let names = inputs.names();
    let name = names.part(COMPONENT);
    let conf = Manifest::config(inputs, COMPONENT, "nats.conf", &conf(inputs, nats));
    let internal = names.internal();
    let pod = Pod {
        component: COMPONENT,
        image: &nats.image,
        command: json!(["nats-server", "--config", "/etc/nats/nats.conf"]),
        user: THEIRS,
        env: vec![
            pods::env_pod_name("POD_NAME"),
            json!({ "name": "NATS_PASSWORD", "valueFrom": { "secretKeyRef": { "name": internal, "key": "nats-password" } } }),
        ],
        ports: &[("client", 4222), ("cluster", 6222), ("monitor", 8222)],
        container: json!({
            // Not ready before it has caught up: the next one is not stopped before that.
            "startupProbe": pods::probe("/healthz", "monitor", 2, 150),
            "readinessProbe": pods::probe("/healthz?js-server-only=true", "monitor", 5, 3),
            "livenessProbe": pods::probe("/healthz?js-enabled-only=true", "monitor", 30, 3),
            // Lame duck: leaders move before clients lose their connections. SIGTERM is ignored meanwhile.
            "lifecycle": { "preStop": { "exec": { "command": ["nats-server", "--signal", "ldm=/run/nats/nats.pid"] } } },
        }),
        volumes: vec![Volume::config("config", &conf.name, "/etc/nats"), Volume::empty("pid", "/run/nats")],
        claims: vec![json!({ "name": "data", "mountPath": "/data" })],
        resources: nats.resources.as_ref(),
        scheduling: &nats.scheduling,
        grace: LAME_DUCK + SPARE,
        labels: Vec::new(),
        outside: vec![config::secret_key(&internal, "nats-password")],
    };
    let body = json!({ "spec": {
        "replicas": nats.replicas,
        "serviceName": name,
        // They wait for each other: one at a time would wait for ever.
        "podManagementPolicy": "Parallel",
        "updateStrategy": { "type": "RollingUpdate" },
        "persistentVolumeClaimRetentionPolicy": pods::keep(&nats.storage),
        "revisionHistoryLimit": 5,
        "selector": { "matchLabels": names.selector(COMPONENT) },
        "template": pod.template(inputs),
        "volumeClaimTemplates": [pods::claim(inputs, COMPONENT, &nats.storage)],
    } });
    vec![
        conf,
        headless(inputs, COMPONENT, &[("client", 4222), ("cluster", 6222), ("monitor", 8222)]),
        Manifest::new(inputs, "StatefulSet", COMPONENT, name, body),
    ]
}

/// The Service that gives each pod of a StatefulSet its name.
pub(super) fn headless(inputs: &Inputs<'_>, component: &str, ports: &[(&str, i32)]) -> Manifest {
    let names = inputs.names();
    let ports: Vec<_> = ports
        .iter()
        .map(|(name, port)| json!({ "name": name, "port": port, "targetPort": name, "protocol": "TCP" }))
        .collect();
    let body = json!({ "spec": {
        "clusterIP": "None",
        // They find each other before they are ready.
        "publishNotReadyAddresses": true,
        "selector": names.selector(component),
        "ports": ports,
    } });
    Manifest::new(inputs, "Service", component, names.part(component), body)
}

fn conf(inputs: &Inputs<'_>, nats: &NatsManaged) -> String {
    let routes: String = (0..nats.replicas)
        .map(|number| format!("    \"nats://{}:6222\"\n", config::server(inputs, COMPONENT, number)))
        .collect();
    let cluster = match nats.replicas {
        1 => String::new(),
        _ => format!(
            "cluster {{\n  name: \"{}\"\n  listen: \"0.0.0.0:6222\"\n  no_advertise: true\n  routes: [\n{routes}  ]\n}}\n",
            inputs.name
        ),
    };
    // A quorum of servers that say nothing must be noticed in seconds; and what is acknowledged must be on disk.
    format!(
        "server_name: $POD_NAME\n\
         listen: \"0.0.0.0:4222\"\n\
         http: \"0.0.0.0:8222\"\n\
         pid_file: \"/run/nats/nats.pid\"\n\
         ping_interval: \"2s\"\n\
         lame_duck_duration: \"{LAME_DUCK}s\"\n\
         lame_duck_grace_period: \"5s\"\n\
         authorization {{\n  user: rookery\n  password: $NATS_PASSWORD\n}}\n\
         jetstream {{\n  store_dir: \"/data\"\n  sync_interval: always\n}}\n\
         {cluster}"
    )
}
