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
/// A server that was away has so many seconds to catch up.
const CATCH_UP: i32 = 3600;

pub(super) fn build(inputs: &Inputs<'_>, nats: &NatsManaged) -> Vec<Manifest> {
    let names = inputs.names();
    let name = names.part(COMPONENT);
    let conf = Manifest::config(inputs, COMPONENT, "nats.conf", &conf(inputs, nats));
    let internal = names.internal();
    let mut env =
        vec![pods::env_pod_name("POD_NAME"), pods::env_secret("NATS_PASSWORD", &internal, "nats-password")];
    let mut outside = vec![config::secret_key(&internal, "nats-password")];
    if nats.replicas > 1 {
        env.push(pods::env_secret("NATS_ROUTE_PASSWORD", &internal, "nats-route-password"));
        env.push(pods::env("NATS_ROUTES", &routes(inputs, nats)));
        outside.push(config::secret_key(&internal, "nats-route-password"));
    }
    let pod = Pod {
        component: COMPONENT,
        image: &nats.image,
        command: json!(["nats-server", "--config", "/etc/nats/nats.conf"]),
        user: THEIRS,
        env,
        ports: &[("client", 4222), ("cluster", 6222), ("monitor", 8222)],
        container: json!({
            // Not ready before it has caught up: the next one is not stopped before that. After a long absence that takes its time, and to be
            // killed for it would help nobody.
            "startupProbe": pods::probe("/healthz", "monitor", 2, CATCH_UP / 2),
            "readinessProbe": pods::probe("/healthz?js-server-only=true", "monitor", 5, 3),
            "livenessProbe": pods::probe("/healthz?js-enabled-only=true", "monitor", 30, 3),
            // Lame duck: leaders move before clients lose their connections. SIGTERM is ignored meanwhile.
            "lifecycle": { "preStop": { "exec": { "command": ["nats-server", "--signal", "ldm=/run/nats/nats.pid"] } } },
        }),
        volumes: vec![Volume::config("config", &conf.name, "/etc/nats"), Volume::empty("pid", "/run/nats")],
        claims: vec![json!({ "name": "data", "mountPath": "/data" })],
        resources: nats.resources.as_ref(),
        requests: ("250m", "512Mi"),
        scheduling: &nats.scheduling,
        dedicated: None,
        apart: (nats.replicas > 1).then_some(nats.anti_affinity),
        grace: LAME_DUCK + SPARE,
        labels: Vec::new(),
        outside,
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

/// Where each server finds the others, as it is written in their settings. The password is put in by Kubernetes.
fn routes(inputs: &Inputs<'_>, nats: &NatsManaged) -> String {
    let route = |number: i32| {
        let server = config::server(inputs, COMPONENT, number);
        format!("\"nats-route://route:$(NATS_ROUTE_PASSWORD)@{server}:6222\"")
    };
    format!("[{}]", (0..nats.replicas).map(route).collect::<Vec<_>>().join(", "))
}

fn conf(inputs: &Inputs<'_>, nats: &NatsManaged) -> String {
    let cluster = match nats.replicas {
        1 => String::new(),
        _ => format!(
            "cluster {{\n  name: \"{}\"\n  listen: \"0.0.0.0:6222\"\n  no_advertise: true\n  \
             authorization {{\n    user: route\n    password: $NATS_ROUTE_PASSWORD\n  }}\n  routes: $NATS_ROUTES\n}}\n",
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
