//! How our programs reach NATS, etcd, Redis and external issuers: settings, and the files that these name.

use rookery_crds::cluster::Tls;
use serde_json::{Value, json};

use super::{
    Inputs,
    pods::{self, Volume},
};

/// Settings of one connection, with what has to be mounted for it.
#[derive(Default)]
pub(super) struct Access {
    /// The table in the program's settings.
    pub(super) settings: Value,
    pub(super) volumes: Vec<Volume>,
    /// What is outside and read at the start, as in [`Inputs::stamps`].
    pub(super) outside: Vec<String>,
}

/// Where files of a part are mounted.
fn folder(part: &str, what: &str) -> String {
    format!("/run/rookery/{part}-{what}")
}

/// What a key of a Secret is called in [`Inputs::stamps`].
pub(super) fn secret_key(name: &str, key: &str) -> String {
    format!("Secret/{name}/{key}")
}

impl Access {
    fn file(&mut self, part: &str, what: &str, secret: &str, items: &[(&str, &str)]) -> String {
        let path = folder(part, what);
        self.volumes.push(Volume::secret(&format!("{part}-{what}"), secret, &path, items));
        self.outside.extend(items.iter().map(|(key, _)| secret_key(secret, key)));
        path
    }

    fn tls(&mut self, part: &str, tls: Option<&Tls>) {
        let Some(tls) = tls else { return };
        let path = self.file(part, "ca", &tls.ca_secret.name, &[(&tls.ca_secret.key, "ca.pem")]);
        self.settings["tls_ca"] = format!("{path}/ca.pem").into();
        if let Some(client) = &tls.client_secret {
            let path =
                self.file(part, "cert", &client.name, &[("tls.crt", "tls.crt"), ("tls.key", "tls.key")]);
            self.settings["tls_cert"] = format!("{path}/tls.crt").into();
            self.settings["tls_key"] = format!("{path}/tls.key").into();
        }
    }
}

/// The name of one server of a StatefulSet of ours, as others reach it.
pub(super) fn server(inputs: &Inputs<'_>, part: &str, number: i32) -> String {
    let set = inputs.names().part(part);
    format!("{set}-{number}.{set}.{}.svc", inputs.namespace)
}

/// NATS, for a user of this name.
pub(super) fn nats(inputs: &Inputs<'_>) -> (Access, Vec<String>) {
    let mut access = Access { settings: json!({}), ..Access::default() };
    let mut monitors = Vec::new();
    if let Some(nats) = inputs.nats() {
        let urls: Vec<_> = (0..nats.replicas)
            .map(|number| format!("nats://{}:4222", server(inputs, "nats", number)))
            .collect();
        monitors = (0..nats.replicas)
            .map(|number| format!("http://{}:8222", server(inputs, "nats", number)))
            .collect();
        let path = access.file("nats", "user", &inputs.names().internal(), &[("nats-password", "password")]);
        access.settings["urls"] = urls.into();
        access.settings["user"] = "rookery".into();
        access.settings["password_file"] = format!("{path}/password").into();
    } else if let Some(nats) = &inputs.spec.nats.external {
        access.settings["urls"] = nats.urls.clone().into();
        monitors.clone_from(&nats.monitoring_urls);
        if let Some(secret) = &nats.user_secret {
            // A name cannot be read from a file: it is put in by the environment.
            let path = access.file("nats", "user", &secret.name, &[("password", "password")]);
            access.outside.push(secret_key(&secret.name, "username"));
            access.settings["password_file"] = format!("{path}/password").into();
        }
        if let Some(secret) = &nats.credentials_secret {
            let path = access.file("nats", "credentials", &secret.name, &[(&secret.key, "user.creds")]);
            access.settings["credentials_file"] = format!("{path}/user.creds").into();
        }
        access.tls("nats", nats.tls.as_ref());
    }
    access.settings["replicas"] = inputs.spec.log.replicas.into();
    (access, monitors)
}

/// The user's name of an external NATS, as environment variables.
pub(super) fn nats_user(inputs: &Inputs<'_>) -> Vec<Value> {
    let secret = inputs.spec.nats.external.as_ref().and_then(|nats| nats.user_secret.as_ref());
    secret.map_or_else(Vec::new, |secret| username("NATS_USERNAME", "ROOKERY_NATS__USER", &secret.name))
}

/// The user's name of an external etcd, as environment variables.
pub(super) fn etcd_user(inputs: &Inputs<'_>) -> Vec<Value> {
    let secret = inputs.spec.etcd.external.as_ref().and_then(|etcd| etcd.user_secret.as_ref());
    secret.map_or_else(Vec::new, |secret| username("ETCD_USERNAME", "ROOKERY_ETCD__USERNAME", &secret.name))
}

/// Programs read variables as TOML, where `123` is no text: the name gets quotes. What is not to be in between, validation says.
fn username(word: &str, variable: &str, secret: &str) -> Vec<Value> {
    vec![pods::env_secret(word, secret, "username"), pods::env(variable, &format!("'$({word})'"))]
}

/// etcd.
pub(super) fn etcd(inputs: &Inputs<'_>) -> Access {
    let mut access = Access { settings: json!({}), ..Access::default() };
    if let Some(etcd) = inputs.etcd() {
        let endpoints: Vec<_> = (0..etcd.replicas)
            .map(|number| format!("http://{}:2379", server(inputs, "etcd", number)))
            .collect();
        access.settings["endpoints"] = endpoints.into();
    } else if let Some(etcd) = &inputs.spec.etcd.external {
        access.settings["endpoints"] = etcd.endpoints.clone().into();
        if let Some(secret) = &etcd.user_secret {
            let path = access.file("etcd", "user", &secret.name, &[("password", "password")]);
            access.outside.push(secret_key(&secret.name, "username"));
            access.settings["password_file"] = format!("{path}/password").into();
        }
        access.tls("etcd", etcd.tls.as_ref());
    }
    access
}

/// Redis.
pub(super) fn redis(inputs: &Inputs<'_>) -> Access {
    let mut access = Access { settings: json!({}), ..Access::default() };
    if inputs.redis().is_some() {
        let host = format!("{}.{}.svc", inputs.names().part("redis"), inputs.namespace);
        let path =
            access.file("redis", "user", &inputs.names().internal(), &[("redis-password", "password")]);
        access.settings["url"] = format!("redis://{host}:6379").into();
        access.settings["password_file"] = format!("{path}/password").into();
    } else if let Some(redis) = &inputs.spec.redis.external {
        access.settings["url"] = redis.url.clone().into();
        if let Some(name) = &redis.username {
            access.settings["username"] = name.clone().into();
        }
        if let Some(secret) = &redis.password_secret {
            let path = access.file("redis", "user", &secret.name, &[(&secret.key, "password")]);
            access.settings["password_file"] = format!("{path}/password").into();
        }
        if let Some(secret) = &redis.sentinel_password_secret {
            let path = access.file("redis", "sentinel", &secret.name, &[(&secret.key, "password")]);
            access.settings["sentinel_password_file"] = format!("{path}/password").into();
        }
        access.tls("redis", redis.tls.as_ref());
    }
    access
}

/// External issuers, as tables by their names.
pub(super) fn issuers(inputs: &Inputs<'_>) -> Access {
    let mut access = Access { settings: json!({}), ..Access::default() };
    let mut issuers: Vec<_> = inputs.spec.auth.external_issuers.iter().collect();
    // In another order they are the same: no node is replaced for that.
    issuers.sort_unstable_by_key(|issuer| &issuer.name);
    for issuer in issuers {
        let mut settings = json!({
            "url": issuer.url,
            "audiences": issuer.audiences,
            "trust_email": issuer.trust_email,
        });
        if let Some(secret) = &issuer.ca_secret {
            let part = format!("issuer-{}", issuer.name);
            let path = access.file(&part, "ca", &secret.name, &[(&secret.key, "ca.pem")]);
            settings["ca_file"] = format!("{path}/ca.pem").into();
        }
        access.settings[&issuer.name] = settings;
    }
    access
}

/// Settings as a file.
pub(super) fn toml(settings: &Value) -> String {
    // Text, numbers, lists and tables of these: all of it has a TOML form. Tests read every golden one back.
    toml::to_string_pretty(settings).unwrap_or_default()
}
