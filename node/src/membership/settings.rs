//! Settings of the cluster and of etcd.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use crate::{secret::Secret, settings::Wrong};

/// `[cluster]`: what this node is in its cluster.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterSettings {
    /// Name of the cluster: 1-32 of `a-z 0-9 -`. Prefix of everything that it keeps in etcd, NATS and Redis.
    pub name: String,
    /// This node's shard: 1-32 of `a-z 0-9 -`.
    pub shard: String,
    /// Its share of the shard's rooms, compared with the other nodes'; 0: none.
    pub weight: u32,
    /// Its shard's share of all rooms, compared with the other shards; 0: only rooms that are pinned there. The same on all
    /// nodes of the shard.
    pub shard_weight: u32,
    /// `host:port` by which other nodes reach `peer.listen`, or an IP address, which has the same port. Empty: that address itself.
    pub advertise: String,
    /// The others take this node for gone when etcd has not heard of it for so many seconds.
    pub lease_seconds: u32,
    /// At the start, so many seconds are waited for etcd and NATS.
    pub start_seconds: u32,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self {
            name: "rookery".to_owned(),
            shard: "main".to_owned(),
            weight: 1,
            shard_weight: 1,
            advertise: String::new(),
            lease_seconds: 3,
            start_seconds: 120,
        }
    }
}

fn is_label(text: &str) -> bool {
    (1..=32).contains(&text.len())
        && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
}

impl ClusterSettings {
    /// What cannot work.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut must = |holds: bool, key: &str, why: &str| {
            if !holds {
                wrong.push(Wrong { key: format!("cluster.{key}"), why: why.to_owned() });
            }
        };
        must(is_label(&self.name), "name", "must be 1-32 of a-z, 0-9 and -");
        must(is_label(&self.shard), "shard", "must be 1-32 of a-z, 0-9 and -");
        must(self.weight <= 1000, "weight", "must be at most 1000");
        must(self.shard_weight <= 1000, "shard_weight", "must be at most 1000");
        let advertised = self.advertise.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty() && host.len() <= 253 && port.parse::<u16>().is_ok_and(|port| port > 0)
        });
        let advertised = advertised || self.advertise.is_empty() || self.advertise.parse::<IpAddr>().is_ok();
        must(advertised, "advertise", "must be host:port, or an IP address");
        // etcd rounds shorter ones up to 2 s.
        must((2..=60).contains(&self.lease_seconds), "lease_seconds", "must be 2 to 60");
        must((1..=3600).contains(&self.start_seconds), "start_seconds", "must be 1 to 3600");
        wrong
    }

    /// Where other nodes reach this one, which listens there.
    pub fn advertised(&self, listens: SocketAddr) -> String {
        match self.advertise.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, listens.port()).to_string(),
            Err(_) if self.advertise.is_empty() => listens.to_string(),
            Err(_) => self.advertise.clone(),
        }
    }

    /// How long etcd is to remember this node.
    pub fn lease(&self) -> Duration {
        Duration::from_secs(self.lease_seconds.into())
    }
}

/// `[etcd]`
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EtcdSettings {
    /// Its members: `host:port`, `http://...` or `https://...`.
    pub endpoints: Vec<String>,
    /// User; empty: none.
    pub username: String,
    /// His password. Never shown.
    pub password: Secret,
    /// File with his password, read at the start; wins over `password`.
    pub password_file: Option<PathBuf>,
    /// Certificate (PEM) of the authority that signed etcd's certificates.
    pub tls_ca: Option<PathBuf>,
    /// This node's certificate (PEM), if etcd asks for one.
    pub tls_cert: Option<PathBuf>,
    /// Its key (PEM).
    pub tls_key: Option<PathBuf>,
    /// The view is read again every so many seconds, whatever the watch says.
    pub relist_seconds: u32,
}

impl Default for EtcdSettings {
    fn default() -> Self {
        Self {
            endpoints: vec!["127.0.0.1:2379".to_owned()],
            username: String::new(),
            password: Secret::default(),
            password_file: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            relist_seconds: 2,
        }
    }
}

impl EtcdSettings {
    /// What cannot work.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut must = |holds: bool, key: &str, why: &str| {
            if !holds {
                wrong.push(Wrong { key: format!("etcd.{key}"), why: why.to_owned() });
            }
        };
        must((1..=16).contains(&self.endpoints.len()), "endpoints", "must be 1 to 16 addresses");
        for endpoint in &self.endpoints {
            let tls = endpoint.starts_with("https://");
            let bare = endpoint.strip_prefix("https://").or_else(|| endpoint.strip_prefix("http://"));
            let port = bare.unwrap_or(endpoint).rsplit_once(':').map(|(_, port)| port.trim_end_matches('/'));
            let port = port.is_some_and(|port| port.parse::<u16>().is_ok());
            must(port, "endpoints", "must be host:port, http://host:port or https://host:port");
            let plain = endpoint.starts_with("http://") && self.tls_ca.is_some();
            must(!plain, "endpoints", "must be https:// (or without a scheme) when etcd.tls_ca is set");
            must(!tls || self.tls_ca.is_some(), "tls_ca", "must be set for https:// endpoints");
        }
        must(self.tls_cert.is_some() == self.tls_key.is_some(), "tls_key", "must be set along with tls_cert");
        must(self.tls_cert.is_none() || self.tls_ca.is_some(), "tls_ca", "must be set along with tls_cert");
        let password = !self.password.is_empty() || self.password_file.is_some();
        must(password != self.username.is_empty(), "username", "must be set along with a password");
        must((1..=60).contains(&self.relist_seconds), "relist_seconds", "must be 1 to 60");
        wrong
    }

    /// Time between two lists.
    pub fn relist(&self) -> Duration {
        Duration::from_secs(self.relist_seconds.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_accepted_and_nonsense_is_named() {
        assert_eq!((ClusterSettings::default().check(), EtcdSettings::default().check()), (vec![], vec![]));
        let cluster = ClusterSettings {
            name: "A b".into(),
            shard: String::new(),
            advertise: "nowhere".into(),
            lease_seconds: 1,
            ..ClusterSettings::default()
        };
        let keys: Vec<_> = cluster.check().into_iter().map(|wrong| wrong.key).collect();
        assert_eq!(keys, ["cluster.name", "cluster.shard", "cluster.advertise", "cluster.lease_seconds"]);
        let etcd = EtcdSettings {
            endpoints: vec!["https://a:1".into(), "b".into()],
            username: "ada".into(),
            ..EtcdSettings::default()
        };
        let keys: Vec<_> = etcd.check().into_iter().map(|wrong| wrong.key).collect();
        assert_eq!(keys, ["etcd.tls_ca", "etcd.endpoints", "etcd.username"]);
    }

    #[test]
    fn passwords_are_never_shown() {
        let etcd = EtcdSettings { password: "hush".to_owned().into(), ..EtcdSettings::default() };
        assert!(!format!("{etcd:?}").contains("hush"));
        assert!(!toml::to_string(&etcd).unwrap().contains("hush"));
    }

    #[test]
    fn an_ip_address_is_advertised_with_the_port_that_is_listened_on() {
        let listens = "0.0.0.0:7070".parse().unwrap();
        for (given, told) in [
            ("", "0.0.0.0:7070"),
            ("node-1.example.org:7171", "node-1.example.org:7171"),
            ("10.0.0.11:7171", "10.0.0.11:7171"),
            ("10.0.0.11", "10.0.0.11:7070"),
            ("fd00::5", "[fd00::5]:7070"),
        ] {
            let settings = ClusterSettings { advertise: given.to_owned(), ..ClusterSettings::default() };
            assert_eq!((settings.check(), settings.advertised(listens)), (vec![], told.to_owned()));
        }
    }
}
