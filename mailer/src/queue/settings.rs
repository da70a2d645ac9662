//! How NATS is reached.

use std::path::PathBuf;

use rookery_service::{secret::Secret, settings::Wrong};
use serde::{Deserialize, Deserializer, Serialize};

/// `[nats]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatsSettings {
    /// Servers, `nats://host:port` or `tls://host:port`; a list, or one text with commas between them.
    #[serde(deserialize_with = "list")]
    pub urls: Vec<String>,
    /// User, if the servers want one.
    pub user: Option<String>,
    /// Its password. Never printed; better in a file.
    pub password: Secret,
    /// File whose first line is the password; wins over `password`.
    pub password_file: Option<PathBuf>,
    /// File with credentials (a JWT and its seed, as `nsc` writes them).
    pub credentials_file: Option<PathBuf>,
    /// PEM file with the authorities that sign the servers' certificates. Given: TLS is required.
    pub tls_ca: Option<PathBuf>,
    /// PEM file with this process's certificate. With `tls_key`.
    pub tls_cert: Option<PathBuf>,
    /// PEM file with its private key.
    pub tls_key: Option<PathBuf>,
    /// Servers that keep the mailer's streams: 1, 3 or 5, as with the nodes.
    pub replicas: usize,
    /// At the start, NATS and the outbox are waited for, for so many seconds. 1 to 3,600.
    pub connect_seconds: u64,
}

impl Default for NatsSettings {
    fn default() -> Self {
        Self {
            urls: vec!["nats://127.0.0.1:4222".into()],
            user: None,
            password: Secret::default(),
            password_file: None,
            credentials_file: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            replicas: 3,
            connect_seconds: 120,
        }
    }
}

impl NatsSettings {
    /// What cannot work.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut no =
            |key: &str, why: &str| wrong.push(Wrong { key: format!("nats.{key}"), why: why.to_owned() });
        if self.urls.is_empty() {
            no("urls", "must name a server");
        }
        // Not the text: it may hold a password.
        if self.urls.iter().any(|url| url.parse::<async_nats::ServerAddr>().is_err()) {
            no("urls", "must be like nats://host:port");
        }
        if ![1, 3, 5].contains(&self.replicas) {
            no("replicas", "must be 1, 3 or 5");
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            no("tls_key", "must be given together with tls_cert");
        }
        if (!self.password.is_empty() || self.password_file.is_some()) && self.user.is_none() {
            no("user", "must be given together with the password");
        }
        if self.user.is_some() && self.credentials_file.is_some() {
            no("credentials_file", "cannot be given together with user");
        }
        if !(1..=3600).contains(&self.connect_seconds) {
            no("connect_seconds", "must be 1 to 3600");
        }
        wrong
    }
}

/// A list, or one text with commas: environment variables have only text.
fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Given {
        Text(String),
        List(Vec<String>),
    }
    Ok(match Given::deserialize(deserializer)? {
        Given::Text(text) => {
            text.split(',').map(str::trim).filter(|part| !part.is_empty()).map(str::to_owned).collect()
        }
        Given::List(list) => list,
    })
}
