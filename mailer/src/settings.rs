//! Everything that can be set in `rookery-mailer`.

use std::net::SocketAddr;

use rookery_service::{LogSettings, config::Configuration, settings::Wrong};
use serde::{Deserialize, Serialize};

use crate::{compose::MailSettings, queue::NatsSettings, retry::RetrySettings, smtp::SmtpSettings};

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The process.
    pub server: ServerSettings,
    /// Logs.
    pub log: LogSettings,
    /// Whose mails.
    pub cluster: ClusterSettings,
    /// NATS.
    pub nats: NatsSettings,
    /// The SMTP server.
    pub smtp: SmtpSettings,
    /// What mails are like.
    pub mail: MailSettings,
    /// Retries.
    pub retry: RetrySettings,
}

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// Where `/livez`, `/readyz` and `/metrics` are.
    pub management: SocketAddr,
    /// After SIGTERM, mails under way have so many seconds. 1 to 3,600.
    pub drain_seconds: u64,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self { management: ([127, 0, 0, 1], 9091).into(), drain_seconds: 40 }
    }
}

/// `[cluster]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterSettings {
    /// Name of the cluster, as its nodes have it.
    pub name: String,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        Self { name: "rookery".to_owned() }
    }
}

impl Configuration for Settings {
    fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut no = |key: &str, why: &str| wrong.push(Wrong { key: key.to_owned(), why: why.to_owned() });
        if !(1..=3600).contains(&self.server.drain_seconds) {
            no("server.drain_seconds", "must be 1 to 3600");
        }
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        if !(1..=32).contains(&self.cluster.name.len()) || !self.cluster.name.bytes().all(plain) {
            no("cluster.name", "must be 1-32 of a-z, 0-9 and -");
        }
        wrong.extend(self.log.check());
        wrong.extend(self.nats.check());
        wrong.extend(self.smtp.check());
        wrong.extend(self.mail.check());
        wrong.extend(self.retry.check());
        wrong
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn what_the_operator_declares_is_understood() {
        for declared in rookery_testbed::declared("mailer.toml") {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("mailer.toml");
            std::fs::write(&path, &declared).unwrap();
            let settings: Settings =
                rookery_service::config::load(Some(&path), std::iter::empty(), &BTreeMap::new()).unwrap();
            assert_eq!(settings.check(), [], "{declared}");
        }
    }
}
