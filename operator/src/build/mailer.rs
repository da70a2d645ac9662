//! The mailer.

use rookery_crds::cluster::MailerSpec;
use serde_json::{Value, json};

use super::{
    Inputs, MANAGEMENT_PORT, Manifest, config,
    pods::{self, OURS, Pod, Volume},
};

const COMPONENT: &str = "mailer";
/// Mails under way are ended within this time, in seconds: the mailer's own default.
const DRAIN: i32 = 40;

pub(super) fn build(inputs: &Inputs<'_>, mailer: &MailerSpec) -> Vec<Manifest> {
    let names = inputs.names();
    let name = names.part(COMPONENT);
    let (nats, _) = config::nats(inputs);
    let mut outside = nats.outside.clone();
    let mut volumes = vec![Volume::config("config", &name, "/etc/rookery")];
    volumes.extend(nats.volumes);

    let smtp = &mailer.smtp;
    let mut server =
        json!({ "host": smtp.host, "security": smtp.security.name(), "connections": smtp.connections });
    if let Some(port) = smtp.port {
        server["port"] = port.into();
    }
    if let (Some(user), Some(secret)) = (&smtp.user, &smtp.password_secret) {
        server["user"] = user.clone().into();
        server["password_file"] = "/run/rookery/smtp-password/password".into();
        // Read again when it changes: no restart for that, so it is no part of the hash.
        volumes.push(Volume::secret(
            "smtp-password",
            &secret.name,
            "/run/rookery/smtp-password",
            &[(&secret.key, "password")],
        ));
    }
    if let Some(secret) = &smtp.ca_secret {
        server["tls_ca"] = "/run/rookery/smtp-ca/ca.pem".into();
        volumes.push(Volume::secret(
            "smtp-ca",
            &secret.name,
            "/run/rookery/smtp-ca",
            &[(&secret.key, "ca.pem")],
        ));
        outside.push(format!("Secret/{}", secret.name));
    }
    let mut mail = json!({ "from": mailer.from, "service": mailer.service });
    if let Some(reply_to) = &mailer.reply_to {
        mail["reply_to"] = reply_to.clone().into();
    }
    if let Some(templates) = &mailer.templates_ref {
        mail["templates"] = "/etc/rookery-templates".into();
        volumes.push(Volume::config("templates", &templates.name, "/etc/rookery-templates"));
        outside.push(format!("ConfigMap/{}", templates.name));
    }
    let text = config::toml(&json!({
        "server": { "management": format!("0.0.0.0:{MANAGEMENT_PORT}"), "drain_seconds": DRAIN },
        "log": { "format": "json" },
        "cluster": { "name": inputs.name },
        "nats": nats.settings,
        "smtp": server,
        "mail": mail,
    }));
    let images = &inputs.spec.images;
    let image = images
        .mailer
        .clone()
        .unwrap_or_else(|| format!("{}/mailer:{}", images.repository, inputs.spec.version));
    let pod = Pod {
        component: COMPONENT,
        image: &image,
        command: json!(["rookery-mailer", "run", "--config", "/etc/rookery/mailer.toml"]),
        user: OURS,
        env: config::nats_user(inputs).into_iter().collect(),
        ports: &[("management", MANAGEMENT_PORT)],
        container: probes(),
        volumes,
        claims: Vec::new(),
        resources: mailer.resources.as_ref(),
        scheduling: &inputs.spec.scheduling,
        grace: DRAIN + 10,
        labels: Vec::new(),
        config_hash: pods::config_hash(inputs, &[&text], &outside),
    };
    vec![
        Manifest::new(
            inputs,
            "ConfigMap",
            COMPONENT,
            name.clone(),
            json!({ "data": { "mailer.toml": text } }),
        ),
        Manifest::new(
            inputs,
            "Deployment",
            COMPONENT,
            name,
            deployment(inputs, COMPONENT, mailer.replicas, pod),
        ),
    ]
}

/// Probes of a side service of ours.
pub(super) fn probes() -> Value {
    json!({
        "livenessProbe": pods::probe("/livez", "management", 10, 6),
        "readinessProbe": pods::probe("/readyz", "management", 5, 3),
    })
}

/// A Deployment of a side service of ours.
pub(super) fn deployment(inputs: &Inputs<'_>, component: &str, replicas: i32, pod: Pod<'_>) -> Value {
    json!({ "spec": {
        "replicas": replicas,
        "revisionHistoryLimit": 5,
        "strategy": { "type": "RollingUpdate", "rollingUpdate": { "maxUnavailable": 0, "maxSurge": 1 } },
        "selector": { "matchLabels": inputs.names().selector(component) },
        "template": pod.template(inputs),
    } })
}
