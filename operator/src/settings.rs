//! Everything that can be set in `rookery-operator`.

use std::{net::SocketAddr, time::Duration};

use rookery_service::{LogSettings, config::Configuration, settings::Wrong};
use serde::{Deserialize, Serialize};

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The process.
    pub server: ServerSettings,
    /// Logs.
    pub log: LogSettings,
    /// The operator.
    pub operator: OperatorSettings,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// Where `/livez`, `/readyz` and `/metrics` are.
    pub management: SocketAddr,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self { management: ([127, 0, 0, 1], 9094).into() }
    }
}

/// `[operator]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OperatorSettings {
    /// Namespaces that it looks after, with spaces between. Empty: all.
    pub namespaces: String,
    /// Namespace of the operator itself, and of its Lease.
    pub lease_namespace: String,
    /// Name of the Lease that says which of several operators works.
    pub lease_name: String,
    /// Another operator takes over when this one was not heard of for so many seconds. 5 to 300.
    pub lease_seconds: u32,
    /// How this one is called in the Lease; empty: the pod's name (`POD_NAME`), or the host's.
    pub identity: String,
    /// ChatClusters that are worked on at the same time, and as many ChatRooms. 1 to 64.
    pub concurrency: u16,
    /// Without a change each ChatCluster and each ChatRoom is looked at again after so many seconds. 10 to 3,600.
    pub resync_seconds: u32,
    /// A ChatRoom that is deleted goes without its room being deleted when no node can be asked for so many seconds. 10 to 86,400.
    pub room_deletion_seconds: u32,
    /// While a node drains it is asked so often how far it is, in milliseconds. 100 to 60,000.
    pub poll_ms: u32,
}

impl Default for OperatorSettings {
    fn default() -> Self {
        Self {
            namespaces: String::new(),
            lease_namespace: "default".to_owned(),
            lease_name: "rookery-operator".to_owned(),
            lease_seconds: 15,
            identity: String::new(),
            concurrency: 4,
            resync_seconds: 300,
            room_deletion_seconds: 300,
            poll_ms: 1000,
        }
    }
}

impl OperatorSettings {
    /// Namespaces, one by one; none: all.
    pub fn namespaces(&self) -> Vec<&str> {
        self.namespaces.split_whitespace().collect()
    }

    /// How this one is called in the Lease.
    pub fn identity(&self) -> String {
        let named = (!self.identity.is_empty()).then(|| self.identity.clone());
        let pod = || std::env::var("POD_NAME").ok().filter(|name| !name.is_empty());
        let host = || std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
        named.or_else(pod).or_else(host).unwrap_or_else(|| format!("rookery-operator-{}", std::process::id()))
    }

    /// How often a node that drains is asked.
    pub fn poll(&self) -> Duration {
        Duration::from_millis(self.poll_ms.into())
    }

    /// When a ChatCluster is looked at again at the latest.
    pub fn resync(&self) -> Duration {
        Duration::from_secs(self.resync_seconds.into())
    }
}

impl Configuration for Settings {
    fn check(&self) -> Vec<Wrong> {
        let mut wrong = self.log.check();
        let mut must = |holds: bool, key: &str, why: &str| {
            if !holds {
                wrong.push(Wrong { key: format!("operator.{key}"), why: why.to_owned() });
            }
        };
        let operator = &self.operator;
        must(!operator.lease_namespace.is_empty(), "lease_namespace", "must name a namespace");
        must(!operator.lease_name.is_empty(), "lease_name", "must name a Lease");
        must((5..=300).contains(&operator.lease_seconds), "lease_seconds", "must be 5 to 300");
        must((1..=64).contains(&operator.concurrency), "concurrency", "must be 1 to 64");
        must((10..=3600).contains(&operator.resync_seconds), "resync_seconds", "must be 10 to 3600");
        let deletion = operator.room_deletion_seconds;
        must((10..=86_400).contains(&deletion), "room_deletion_seconds", "must be 10 to 86400");
        must((100..=60_000).contains(&operator.poll_ms), "poll_ms", "must be 100 to 60000");
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_accepted_and_nonsense_is_named() {
        assert_eq!(Settings::default().check(), []);
        let operator = OperatorSettings { lease_seconds: 1, concurrency: 0, ..OperatorSettings::default() };
        let keys: Vec<_> =
            Settings { operator, ..Settings::default() }.check().into_iter().map(|wrong| wrong.key).collect();
        assert_eq!(keys, ["operator.lease_seconds", "operator.concurrency"]);
    }
}
