//! Nodes: a StatefulSet for each shard, the Services by which clients and nodes find them, their configuration.

use rookery_crds::cluster::{AuthLimits, CallLimits};
use serde_json::{Value, json};

use super::{
    CLIENT_PORT, Inputs, MANAGEMENT_PORT, Manifest, OPERATOR_TOKEN, PEER_PORT, SHARD, Shard, VERSION, access,
    config::{self, Access},
    pods::{self, OURS, Pod, Volume},
};

const COMPONENT: &str = "node";
/// What a node needs beside its window and deadlines: telling etcd, closing its streams.
const SPARE: i32 = 15;
/// Where the operator's token is mounted.
const OPERATOR_FOLDER: &str = "/run/rookery/operator";
/// A node waits so long for NATS and etcd, which may be made along with it, before it ends and is started again.
const START_SECONDS: i32 = 600;

/// Seconds within which a node that is told to stop has stopped, whatever happens: clients are told to go within the window, and
/// handing over rooms and ending what is under way have one deadline.
pub(super) fn grace(inputs: &Inputs<'_>) -> i32 {
    let rollout = &inputs.spec.rollout;
    rollout.drain_window_seconds + rollout.drain_deadline_seconds + SPARE
}

pub(super) fn build(inputs: &Inputs<'_>) -> Vec<Manifest> {
    let names = inputs.names();
    let (nats, monitors) = config::nats(inputs);
    let (etcd, redis, issuers) = (config::etcd(inputs), config::redis(inputs), config::issuers(inputs));
    let text = config::toml(&settings(inputs, [&nats, &etcd, &redis, &issuers], &monitors));
    let conf = Manifest::config(inputs, COMPONENT, "node.toml", &text);
    let sets: Vec<_> = inputs.shards.iter().map(|shard| stateful_set(inputs, shard, &conf.name)).collect();
    let mut all = vec![
        conf,
        Manifest::new(
            inputs,
            "Service",
            COMPONENT,
            names.peers(),
            json!({ "spec": {
                "clusterIP": "None",
                // Nodes find each other while they start, and while they drain.
                "publishNotReadyAddresses": true,
                "selector": names.selector(COMPONENT),
                "ports": [
                    { "name": "peer", "port": PEER_PORT, "targetPort": "peer", "protocol": "TCP" },
                    { "name": "management", "port": MANAGEMENT_PORT, "targetPort": "management", "protocol": "TCP" },
                ],
            } }),
        ),
        Manifest::new(
            inputs,
            "Service",
            COMPONENT,
            names.client(),
            json!({ "spec": {
                "type": "ClusterIP",
                "selector": names.selector(COMPONENT),
                "ports": [{ "name": "http", "port": 80, "targetPort": "http", "protocol": "TCP", "appProtocol": "http" }],
            } }),
        ),
    ];
    all.extend(sets);
    all
}

fn settings(inputs: &Inputs<'_>, access: [&Access; 4], monitors: &[String]) -> Value {
    let spec = inputs.spec;
    let [nats, etcd, redis, issuers] = access.map(|access| access.settings.clone());
    let mut nats = nats;
    nats["log_streams"] = spec.log.streams.into();
    nats["connect_seconds"] = START_SECONDS.into();
    nats["monitoring_urls"] = monitors.into();
    if spec.nats.external.as_ref().is_some_and(|external| external.trust_sync) {
        nats["require_sync_always"] = false.into();
    }
    let auth = &spec.auth;
    let mut settings = json!({
        "server": {
            "listen": format!("0.0.0.0:{CLIENT_PORT}"),
            "management": format!("0.0.0.0:{MANAGEMENT_PORT}"),
            "drain_window_seconds": spec.rollout.drain_window_seconds,
            "drain_deadline_seconds": spec.rollout.drain_deadline_seconds,
        },
        "log": { "format": "json" },
        "http": {
            "allowed_origins": auth.allowed_origins,
            "trusted_proxies": access::trusted_proxies(spec),
            "dev_mailbox": auth.dev_mailbox,
        },
        "cluster": { "name": inputs.cluster_name(), "start_seconds": START_SECONDS },
        "peer": {
            "listen": format!("0.0.0.0:{PEER_PORT}"),
            "operator_token_file": format!("{OPERATOR_FOLDER}/token"),
        },
        "accounts": {
            "issuer": auth.issuer,
            "audience": auth.audience,
            "access_token_seconds": auth.access_token_seconds,
            "refresh_token_days": auth.refresh_token_days,
            "key_rotation_days": auth.key_rotation_days,
            "code_digits": auth.code_digits,
            "register_code_minutes": auth.code_minutes,
            "login_code_minutes": auth.code_minutes,
            "reset_code_minutes": auth.code_minutes,
            "require_login_code": auth.require_login_code,
            "sessions_per_user": auth.sessions_per_user,
        },
        "translation": { "mode": if spec.translator.is_some() { "nats" } else { "off" } },
        "nats": nats,
        "etcd": etcd,
        "redis": redis,
    });
    // What is not said here is as the node has it. Nothing is said that was not asked for: the node may be older than this operator.
    let mut set = |table: &str, key: &str, value: Option<Value>| {
        if let Some(value) = value {
            settings[table][key] = value;
        }
    };
    set("http", "public_url", access::public_url(spec).map(Value::from));
    let issuers = (!auth.external_issuers.is_empty()).then_some(issuers);
    set("accounts", "external_issuers", issuers);
    let days = spec.log.retention_days.filter(|days| *days > 0);
    set("rooms", "retention_days", days.map(Value::from));
    let limits = &spec.limits;
    for (table, key, value) in [
        ("server", "drain_per_second", spec.rollout.evictions_per_second),
        ("edge", "max_connections", limits.connections),
        ("edge", "max_connections_per_address", limits.connections_per_address),
        ("edge", "frames_per_second", limits.frames_per_second),
        ("edge", "sends_per_second", limits.sends_per_second),
        ("rooms", "text_chars", limits.message_characters),
        ("rooms", "members", limits.room_members),
        ("rooms", "rooms_per_user", limits.rooms_per_user),
    ] {
        set(table, key, value.map(Value::from));
    }
    let mut rate = |key: String, rate: Option<&String>| {
        if let Some(rate) = rate {
            settings["accounts"]["limits"][key] = rate.clone().into();
        }
    };
    rate("write_per_account".to_owned(), limits.writes_per_user.as_ref());
    rate("list_per_account".to_owned(), limits.lists_per_user.as_ref());
    for (call, limits) in auth_limits(&auth.limits) {
        rate(format!("{call}_per_address"), limits.per_address.as_ref());
        rate(format!("{call}_per_account"), limits.per_account.as_ref());
        rate(format!("{call}_global"), limits.global.as_ref());
    }
    settings
}

/// Calls whose limits are declared, as the node calls them.
fn auth_limits(limits: &AuthLimits) -> impl Iterator<Item = (&'static str, &CallLimits)> {
    let all = [
        ("register", &limits.register),
        ("verify", &limits.verify),
        ("resend", &limits.resend),
        ("login", &limits.login),
        ("login_verify", &limits.login_verify),
        ("refresh", &limits.refresh),
        ("forgot", &limits.forgot),
        ("reset", &limits.reset),
        ("ticket", &limits.ticket),
        ("external", &limits.external),
    ];
    all.into_iter().filter_map(|(call, limits)| Some((call, limits.as_ref()?)))
}

fn stateful_set(inputs: &Inputs<'_>, shard: &Shard, conf: &str) -> Manifest {
    let names = inputs.names();
    let spec = inputs.spec;
    let name = &shard.spec.name;
    let image = inputs.image(COMPONENT, spec.images.node.as_ref());
    let (nats, _) = config::nats(inputs);
    let accesses = [nats, config::etcd(inputs), config::redis(inputs), config::issuers(inputs)];
    let mut volumes = vec![Volume::config("config", conf, "/etc/rookery")];
    // Read again for each call: another one restarts nothing.
    let token = [(OPERATOR_TOKEN, "token")];
    volumes.push(Volume::secret("operator", &names.internal(), OPERATOR_FOLDER, &token));
    let mut outside = Vec::new();
    for access in accesses {
        volumes.extend(access.volumes);
        outside.extend(access.outside);
    }
    let mut env = vec![
        pods::env_pod_name("ROOKERY_SERVER__NODE"),
        // As TOML: a shard may be called like a value of another type.
        pods::env("ROOKERY_CLUSTER__SHARD", &format!("\"{name}\"")),
        // Not its name: that is known only some time after the pod serves, and others would take it for gone until then.
        pods::env_pod("ROOKERY_CLUSTER__ADVERTISE", "status.podIP"),
    ];
    if let Some(weight) = shard.spec.weight.filter(|weight| *weight != 1) {
        env.push(pods::env("ROOKERY_CLUSTER__SHARD_WEIGHT", &weight.to_string()));
    }
    env.extend(config::nats_user(inputs));
    env.extend(config::etcd_user(inputs));
    let pod = Pod {
        component: COMPONENT,
        image: &image,
        command: json!(["rookery-node", "cluster", "--config", "/etc/rookery/node.toml"]),
        user: OURS,
        env,
        ports: &[("http", CLIENT_PORT), ("peer", PEER_PORT), ("management", MANAGEMENT_PORT)],
        container: json!({
            "livenessProbe": pods::probe("/livez", "management", 10, 6),
            "readinessProbe": pods::probe("/readyz", "management", 2, 2),
        }),
        volumes,
        claims: Vec::new(),
        resources: shard.spec.resources.as_ref().or(spec.resources.as_ref()),
        requests: ("250m", "256Mi"),
        scheduling: shard.spec.scheduling.as_ref().unwrap_or(&spec.scheduling),
        dedicated: shard.spec.dedicated.as_ref(),
        apart: None,
        grace: grace(inputs),
        labels: vec![(SHARD, name.clone()), (VERSION, spec.version.clone())],
        outside,
    };
    let mut selector = names.selector(COMPONENT);
    selector[SHARD] = name.clone().into();
    let body = json!({ "spec": {
        "replicas": shard.replicas,
        "serviceName": names.peers(),
        // A broken node must not keep others from starting; and which pod is replaced when, the operator says.
        "podManagementPolicy": "Parallel",
        "updateStrategy": { "type": "OnDelete" },
        "revisionHistoryLimit": 5,
        "selector": { "matchLabels": selector },
        "template": pod.template(inputs),
    } });
    Manifest::new(inputs, "StatefulSet", COMPONENT, names.part(name), body).label(SHARD, name)
}
