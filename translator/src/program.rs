//! The program's own settings: where it listens and what it connects to.

use std::{net::SocketAddr, path::PathBuf};

use rookery_service::{LogSettings, config::Configuration, secret::Secret, settings::Wrong};
use serde::{Deserialize, Serialize};

use crate::settings::TranslatorSettings;

/// Everything that can be set in the program.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The process.
    pub server: ServerSettings,
    /// Logs.
    pub log: LogSettings,
    /// NATS.
    pub nats: NatsSettings,
    /// Redis.
    pub redis: RedisSettings,
    /// gRPC.
    pub grpc: GrpcSettings,
    /// Engines.
    pub translator: TranslatorSettings,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// Name of the cluster that is served: `cluster.name` of its nodes.
    pub cluster: String,
    /// Where `/livez`, `/readyz` and `/metrics` are.
    pub management: SocketAddr,
    /// After SIGTERM, requests under way have so many seconds to end.
    pub drain_deadline_seconds: u64,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            cluster: "rookery".into(),
            management: ([127, 0, 0, 1], 9092).into(),
            drain_deadline_seconds: 10,
        }
    }
}

/// `[nats]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NatsSettings {
    /// The servers, with commas between. Empty: requests come over gRPC alone.
    pub urls: String,
    /// User.
    pub user: Option<String>,
    /// Its password.
    pub password: Secret,
    /// File with its password.
    pub password_file: Option<PathBuf>,
    /// File with credentials, instead of user and password.
    pub credentials_file: Option<PathBuf>,
    /// PEM file with the authorities that are trusted.
    pub tls_ca: Option<PathBuf>,
    /// PEM file with this program's certificate. With `tls_key`.
    pub tls_cert: Option<PathBuf>,
    /// PEM file with its private key.
    pub tls_key: Option<PathBuf>,
}

impl Default for NatsSettings {
    fn default() -> Self {
        Self {
            urls: "nats://127.0.0.1:4222".into(),
            user: None,
            password: Secret::default(),
            password_file: None,
            credentials_file: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
        }
    }
}

/// `[redis]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisSettings {
    /// `redis://host:port` or `rediss://host:port`, without a password. Empty: translators share nothing.
    pub url: String,
    /// User of Redis' access control lists.
    pub username: Option<String>,
    /// File with the password.
    pub password_file: Option<PathBuf>,
    /// PEM file with the authorities that are trusted.
    pub tls_ca: Option<PathBuf>,
}

/// `[grpc]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GrpcSettings {
    /// Whether requests are taken over gRPC. It asks nobody who he is: let only nodes reach it.
    pub enabled: bool,
    /// Where.
    pub listen: SocketAddr,
    /// Whether it tells what it serves to tools such as grpcurl.
    pub reflection: bool,
}

impl Default for GrpcSettings {
    fn default() -> Self {
        Self { enabled: false, listen: ([127, 0, 0, 1], 9093).into(), reflection: false }
    }
}

impl RedisSettings {
    /// A client, not connected yet.
    ///
    /// # Errors
    /// A sentence that names the setting.
    pub fn client(&self) -> Result<Option<redis::Client>, String> {
        if self.url.is_empty() {
            return Ok(None);
        }
        let wrong = |error: redis::RedisError| format!("redis.url: {:?}", error.kind());
        let info = redis::IntoConnectionInfo::into_connection_info(self.url.as_str()).map_err(wrong)?;
        let mut user = info.redis_settings().clone();
        if let Some(name) = &self.username {
            user = user.set_username(name);
        }
        let password = Secret::default().or_file(self.password_file.as_deref());
        let password = password.map_err(|why| format!("redis.password_file: {why}"))?;
        if !password.is_empty() {
            user = user.set_password(password.expose());
        }
        let info = info.set_redis_settings(user);
        let Some(path) = &self.tls_ca else { return redis::Client::open(info).map(Some).map_err(wrong) };
        let ca = std::fs::read(path)
            .map_err(|error| format!("redis.tls_ca: cannot read {}: {error}", path.display()))?;
        let files = redis::TlsCertificates { client_tls: None, root_cert: Some(ca) };
        redis::Client::build_with_tls(info, files).map(Some).map_err(wrong)
    }
}

impl Configuration for Settings {
    fn check(&self) -> Vec<Wrong> {
        let mut wrong = self.log.check();
        wrong.extend(self.translator.check());
        let mut no = |key: &str, why: &str| wrong.push(Wrong { key: key.to_owned(), why: why.to_owned() });
        let name = &self.server.cluster;
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_') {
            no("server.cluster", "must be of a-z, A-Z, 0-9, - and _");
        }
        if self.nats.urls.is_empty() && !self.grpc.enabled {
            no("nats.urls", "must name a server, unless grpc.enabled is true");
        }
        if self.redis.url.contains('@') {
            no("redis.url", "must hold no user and no password");
        }
        if self.nats.tls_cert.is_some() != self.nats.tls_key.is_some() {
            no("nats.tls_key", "must be given together with nats.tls_cert");
        }
        if self.server.drain_deadline_seconds > 3600 {
            no("server.drain_deadline_seconds", "must be at most 3600");
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_the_operator_declares_is_understood() {
        for declared in rookery_testbed::declared("translator.toml") {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("translator.toml");
            std::fs::write(&path, &declared).unwrap();
            let settings: Settings =
                rookery_service::config::load(Some(&path), std::iter::empty(), &BTreeMap::new()).unwrap();
            assert_eq!(settings.check(), [], "{declared}");
        }
    }
}
