//! The mailer.

use rookery_crds::cluster::MailerSpec;
use serde_json::json;

use super::{
    Inputs, MANAGEMENT_PORT, Manifest, config,
    pods::Volume,
    side::{self, Side},
};

/// Mails under way are ended within this time, in seconds: the mailer's own default.
const DRAIN: i32 = 40;

pub(super) fn build(inputs: &Inputs<'_>, mailer: &MailerSpec) -> Vec<Manifest> {
    let (nats, _) = config::nats(inputs);
    let mut outside = nats.outside.clone();
    let mut volumes = nats.volumes;

    let smtp = &mailer.smtp;
    let mut server =
        json!({ "host": smtp.host, "security": smtp.security.name(), "connections": smtp.connections });
    if let Some(port) = smtp.port {
        server["port"] = port.into();
    }
    if let (Some(user), Some(secret)) = (&smtp.user, &smtp.password_secret) {
        server["user"] = user.clone().into();
        server["password_file"] = "/run/rookery/smtp-password/password".into();
        // Read again when it changes: no restart for that, so it has no stamp.
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
        outside.push(config::secret_key(&secret.name, &secret.key));
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
    let settings = json!({
        "server": { "management": format!("0.0.0.0:{MANAGEMENT_PORT}"), "drain_seconds": DRAIN },
        "log": { "format": "json" },
        "cluster": { "name": inputs.cluster_name() },
        "nats": nats.settings,
        "smtp": server,
        "mail": mail,
    });
    let side = Side {
        component: "mailer",
        image: inputs.spec.images.mailer.as_ref(),
        command: "run",
        replicas: mailer.replicas,
        drain: DRAIN,
        settings: &settings,
        volumes,
        outside,
        resources: mailer.resources.as_ref(),
    };
    side::build(inputs, side)
}
