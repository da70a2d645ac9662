//! Settings of the connection to Redis.

use std::{path::PathBuf, time::Duration};

use serde::{Deserialize, Serialize};

use super::address::Address;
use crate::settings::Wrong;

/// `[redis]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RedisSettings {
    /// Where Redis is: see [`Address`]. Holds no password.
    pub url: String,
    /// User of Redis' access control lists; none: the default user.
    pub username: Option<String>,
    /// File with the password, without the line's end.
    pub password_file: Option<PathBuf>,
    /// File with the password of the sentinels, if they want one.
    pub sentinel_password_file: Option<PathBuf>,
    /// PEM file with the authorities that are trusted, instead of the system's.
    pub tls_ca: Option<PathBuf>,
    /// PEM file with this node's certificate. With `tls_key`.
    pub tls_cert: Option<PathBuf>,
    /// PEM file with its private key.
    pub tls_key: Option<PathBuf>,
    /// A call that has no answer after so many milliseconds has failed.
    pub timeout_ms: u64,
    /// Making a connection takes at most so many milliseconds.
    pub connect_timeout_ms: u64,
    /// The connection is tried so often, in milliseconds.
    pub ping_ms: u64,
    /// Calls under way at the same time; more fail at once.
    pub concurrent_calls: usize,
}

impl Default for RedisSettings {
    fn default() -> Self {
        Self {
            url: "redis://127.0.0.1:6379".into(),
            username: None,
            password_file: None,
            sentinel_password_file: None,
            tls_ca: None,
            tls_cert: None,
            tls_key: None,
            timeout_ms: 500,
            connect_timeout_ms: 2_000,
            ping_ms: 1_000,
            concurrent_calls: 4_096,
        }
    }
}

impl RedisSettings {
    /// What cannot work.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut say = |key: &str, why: String| wrong.push(Wrong { key: format!("redis.{key}"), why });
        for (key, value, low, high) in [
            ("timeout_ms", self.timeout_ms, 10, 60_000),
            ("connect_timeout_ms", self.connect_timeout_ms, 10, 60_000),
            ("ping_ms", self.ping_ms, 10, 60_000),
            ("concurrent_calls", self.concurrent_calls as u64, 1, 1_000_000),
        ] {
            if !(low..=high).contains(&value) {
                say(key, format!("must be {low} to {high}"));
            }
        }
        if self.tls_cert.is_some() != self.tls_key.is_some() {
            say("tls_key", "a certificate and its key go together: set both or none".into());
        }
        match Address::parse(&self.url) {
            Err(why) => say("url", why.into()),
            Ok(address) => {
                if !address.tls && (self.tls_ca.is_some() || self.tls_cert.is_some()) {
                    say("url", "must begin with rediss, since files for TLS are named".into());
                }
            }
        }
        wrong
    }

    pub(super) fn timeout(&self) -> Duration {
        Duration::from_millis(self.timeout_ms)
    }

    pub(super) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub(super) fn ping(&self) -> Duration {
        Duration::from_millis(self.ping_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_accepted_and_nonsense_is_named() {
        assert_eq!(RedisSettings::default().check(), []);
        let wrong = RedisSettings {
            url: "redis://:secret@host".into(),
            timeout_ms: 0,
            tls_cert: Some("cert.pem".into()),
            ..RedisSettings::default()
        };
        let wrong = wrong.check();
        let keys: Vec<_> = wrong.iter().map(|wrong| wrong.key.as_str()).collect();
        assert_eq!(keys, ["redis.timeout_ms", "redis.tls_key", "redis.url"]);
        assert!(!wrong[2].why.contains("secret"));
    }
}
