//! What side services of ours (the mailer, the translator) have in common: settings in a ConfigMap, and a Deployment.

use rookery_crds::cluster::Resources;
use serde_json::{Value, json};

use super::{
    Inputs, MANAGEMENT_PORT, Manifest, config,
    pods::{self, OURS, Pod, Volume},
};

/// A side service.
pub(super) struct Side<'a> {
    /// Its component, which names its program, its image and its settings file, too.
    pub(super) component: &'a str,
    /// The image that the cluster chose for it.
    pub(super) image: Option<&'a String>,
    /// What its program is told to do.
    pub(super) command: &'a str,
    pub(super) replicas: i32,
    /// Seconds that it takes to stop.
    pub(super) drain: i32,
    /// Its settings.
    pub(super) settings: &'a Value,
    /// Besides the settings.
    pub(super) volumes: Vec<Volume>,
    /// What is outside and read at the start, as in [`Inputs::stamps`].
    pub(super) outside: Vec<String>,
    pub(super) resources: Option<&'a Resources>,
}

pub(super) fn build(inputs: &Inputs<'_>, side: Side<'_>) -> Vec<Manifest> {
    let Side { component, image, command, replicas, drain, settings, volumes, outside, resources } = side;
    let name = inputs.names().part(component);
    let image = inputs.image(component, image);
    let file = format!("{component}.toml");
    let conf = Manifest::config(inputs, component, &file, &config::toml(settings));
    let mut all_volumes = vec![Volume::config("config", &conf.name, "/etc/rookery")];
    all_volumes.extend(volumes);
    let pod = Pod {
        component,
        image: &image,
        command: json!([format!("rookery-{component}"), command, "--config", format!("/etc/rookery/{file}")]),
        user: OURS,
        env: config::nats_user(inputs),
        ports: &[("management", MANAGEMENT_PORT)],
        container: json!({
            "livenessProbe": pods::probe("/livez", "management", 10, 6),
            "readinessProbe": pods::probe("/readyz", "management", 5, 3),
        }),
        volumes: all_volumes,
        claims: Vec::new(),
        resources,
        requests: ("50m", "64Mi"),
        scheduling: &inputs.spec.scheduling,
        dedicated: None,
        apart: None,
        grace: drain + 10,
        labels: Vec::new(),
        outside,
    };
    let deployment = json!({ "spec": {
        "replicas": replicas,
        "revisionHistoryLimit": 5,
        "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
        "selector": { "matchLabels": inputs.names().selector(component) },
        "template": pod.template(inputs),
    } });
    vec![conf, Manifest::new(inputs, "Deployment", component, name, deployment)]
}
