//! How NATS is reached and what its streams are like.

use std::path::PathBuf;

use serde::{Deserialize, Deserializer, Serialize};

use crate::{secret::Secret, settings::Wrong};

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
    /// PEM file with this node's certificate. With `tls_key`.
    pub tls_cert: Option<PathBuf>,
    /// PEM file with its private key.
    pub tls_key: Option<PathBuf>,
    /// Servers that keep each stream: 1, 3 or 5.
    pub replicas: usize,
    /// Streams that rooms are spread over. Cannot be changed once a cluster has streams.
    pub log_streams: u16,
    /// Refuse servers that say, at `monitoring_urls`, that they do not sync each write to disk.
    pub require_sync_always: bool,
    /// The servers' monitoring addresses, `http://host:8222`: only there do they tell their `sync_interval`, and those that the node is
    /// not connected to their version.
    #[serde(deserialize_with = "list")]
    pub monitoring_urls: Vec<String>,
    /// At the start, servers are tried for so many seconds. 1 to 600.
    pub connect_seconds: u64,
    /// One try of an append has so many milliseconds; then its outcome is unknown. 100 to 30,000.
    pub append_timeout_ms: u64,
    /// A read is tried again and given up after so many milliseconds. 100 to 60,000.
    pub read_timeout_ms: u64,
    /// Memory for records read before, in MiB. 1 to 65,536.
    pub history_cache_mib: u64,
    /// A server is asked so often whether it is there, in milliseconds; after three silent times another is tried. 100 to 60,000.
    pub ping_ms: u64,
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
            log_streams: 8,
            require_sync_always: true,
            monitoring_urls: Vec::new(),
            connect_seconds: 30,
            append_timeout_ms: 2_000,
            read_timeout_ms: 4_000,
            history_cache_mib: 64,
            ping_ms: 1_000,
        }
    }
}

impl NatsSettings {
    /// What cannot work.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut no = |key: &str, why: String| wrong.push(Wrong { key: format!("nats.{key}"), why });
        if self.urls.is_empty() {
            no("urls", "must name a server".into());
        }
        for url in &self.urls {
            if url.parse::<async_nats::ServerAddr>().is_err() {
                // Not the text: it may hold a password.
                no("urls", "must be like nats://host:port".into());
            }
        }
        for url in &self.monitoring_urls {
            if !url.starts_with("http://") {
                no("monitoring_urls", format!("must be like http://host:8222, not {url}"));
            }
        }
        if ![1, 3, 5].contains(&self.replicas) {
            no("replicas", "must be 1, 3 or 5".into());
        }
        if !(1..=256).contains(&self.log_streams) {
            no("log_streams", "must be 1 to 256".into());
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            no("tls_key", "must be given together with tls_cert".into());
        }
        if (!self.password.is_empty() || self.password_file.is_some()) && self.user.is_none() {
            no("user", "must be given together with the password".into());
        }
        if self.user.is_some() && self.credentials_file.is_some() {
            no("credentials_file", "cannot be given together with user".into());
        }
        for (key, value, low, high) in [
            ("connect_seconds", self.connect_seconds, 1, 600),
            ("append_timeout_ms", self.append_timeout_ms, 100, 30_000),
            ("read_timeout_ms", self.read_timeout_ms, 100, 60_000),
            ("history_cache_mib", self.history_cache_mib, 1, 65_536),
            ("ping_ms", self.ping_ms, 100, 60_000),
        ] {
            if !(low..=high).contains(&value) {
                no(key, format!("must be {low} to {high}"));
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_accepted_and_nonsense_is_named() {
        assert_eq!(NatsSettings::default().check(), []);
        let wrong = NatsSettings {
            replicas: 2,
            urls: vec!["http://user:secret@x".into(), "nats://ok:1".into()],
            password: Secret::from("hidden".to_owned()),
            ..NatsSettings::default()
        };
        let keys: Vec<_> = wrong.check().into_iter().map(|wrong| wrong.key).collect();
        assert_eq!(keys, ["nats.urls", "nats.replicas", "nats.user"]);
        let told = format!("{:?} {:?}", wrong.check(), wrong.password);
        assert!(!told.contains("secret") && !told.contains("hidden"), "{told}");
    }

    #[test]
    fn servers_may_be_one_text() {
        let settings: NatsSettings = toml::from_str("urls = 'nats://a:1, nats://b:2'").unwrap();
        assert_eq!(settings.urls, ["nats://a:1", "nats://b:2"]);
        let settings: NatsSettings = toml::from_str("urls = ['nats://a:1']").unwrap();
        assert_eq!(settings.urls, ["nats://a:1"]);
    }
}
