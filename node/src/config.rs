//! Everything that can be set in the node.
//!
//! What a setting means is said where it is used (`settings.rs` of each part); how settings are read, in
//! `rookery-service`.

pub use rookery_service::config::{ConfigError, Configuration, load, to_toml};
use serde::{Deserialize, Serialize};

use crate::settings::Wrong;

/// Everything that can be set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Addresses and files of the process.
    pub server: crate::server::ServerSettings,
    /// Logs.
    pub log: crate::telemetry::LogSettings,
    /// HTTP.
    pub http: crate::edge::http::HttpSettings,
    /// Accounts.
    pub accounts: crate::accounts::AccountsSettings,
    /// Sockets.
    pub edge: crate::edge::EdgeSettings,
    /// Rooms and their owners.
    pub rooms: crate::rooms::RoomsSettings,
    /// Live delivery.
    pub live: crate::live::LiveSettings,
    /// Mails about what is unread.
    pub notices: crate::notices::NoticesSettings,
    /// Sending mails from this process, in standalone.
    pub mailer: rookery_mailer::local::LocalSettings,
    /// Calls between nodes.
    pub peer: crate::peer::PeerSettings,
    /// The embedded store.
    pub store: crate::backend::embedded::StoreSettings,
    /// What this node is in its cluster.
    pub cluster: crate::membership::ClusterSettings,
    /// etcd.
    pub etcd: crate::membership::EtcdSettings,
    /// The connection to Redis, in a cluster.
    pub redis: crate::backend::redis::RedisSettings,
    /// NATS, in a cluster.
    pub nats: crate::backend::jetstream::NatsSettings,
    /// Translation.
    pub translation: crate::translation::TranslationSettings,
    /// Engines, where this process translates itself.
    pub translator: rookery_translator::settings::TranslatorSettings,
}

impl Configuration for Settings {
    fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        wrong.extend(self.server.check());
        wrong.extend(self.log.check());
        wrong.extend(self.http.check());
        wrong.extend(self.accounts.check());
        wrong.extend(self.edge.check());
        wrong.extend(self.rooms.check());
        wrong.extend(self.live.check());
        wrong.extend(self.notices.check());
        wrong.extend(self.mailer.check());
        wrong.extend(self.peer.check());
        wrong.extend(self.store.check());
        wrong.extend(self.cluster.check());
        wrong.extend(self.etcd.check());
        wrong.extend(self.redis.check());
        wrong.extend(self.nats.check());
        wrong.extend(self.translator.check());
        wrong
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::Path};

    use serde_json::Value;

    use super::*;

    fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
        flags: &BTreeMap<&str, String>,
    ) -> Result<Settings, ConfigError> {
        super::load(file, environment, flags)
    }

    fn environment(of: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
        of.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect::<Vec<_>>().into_iter()
    }

    fn file(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("rookery.toml");
        std::fs::write(&path, text).unwrap();
        (dir, path)
    }

    #[test]
    fn later_layers_win() {
        let (_dir, path) =
            file("[log]\nformat = \"json\"\nlevel = \"warn\"\n[server]\nlisten = \"127.0.0.1:1\"\n");
        let variables = environment(&[
            ("ROOKERY_LOG__LEVEL", "debug"),
            ("ROOKERY_SERVER__LISTEN", "127.0.0.1:2"),
            ("HOME", "/"),
        ]);
        let flags = BTreeMap::from([("server.listen", "127.0.0.1:3".to_owned())]);
        let settings = load(Some(&path), variables, &flags).unwrap();
        assert_eq!(settings.log.format, crate::telemetry::LogFormat::Json);
        assert_eq!(settings.log.level, "debug");
        assert_eq!(settings.server.listen.to_string(), "127.0.0.1:3");
    }

    #[test]
    fn what_the_operator_declares_is_understood() {
        for declared in rookery_testbed::declared("node.toml") {
            let (_dir, path) = file(&declared);
            // As its StatefulSets add it.
            let mut variables = vec![
                ("ROOKERY_SERVER__NODE", "tea-main-0"),
                ("ROOKERY_CLUSTER__SHARD", "main"),
                ("ROOKERY_CLUSTER__ADVERTISE", "tea-main-0.tea-peers.chats.svc:7070"),
            ];
            if declared.contains("/run/rookery/etcd-user/") {
                variables.push(("ROOKERY_ETCD__USERNAME", "rookery"));
            }
            let settings = load(Some(&path), environment(&variables), &BTreeMap::new()).unwrap();
            assert_eq!(settings.check(), [], "{declared}");
        }
    }

    #[test]
    fn errors_name_key_and_layer() {
        let (_dir, path) = file("[log]\nformat = \"yaml\"\n");
        let error = load(Some(&path), environment(&[]), &BTreeMap::new()).unwrap_err().to_string();
        assert!(error.starts_with("log.format (file ") && error.contains("yaml"), "{error}");

        let error = load(None, environment(&[("ROOKERY_SERVER__LISTN", "x")]), &BTreeMap::new())
            .unwrap_err()
            .to_string();
        assert!(error.starts_with("server.listn (environment): unknown field"), "{error}");

        let flags = BTreeMap::from([("server.listen", "nowhere".to_owned())]);
        let error = load(None, environment(&[]), &flags).unwrap_err().to_string();
        assert!(error.starts_with("server.listen (command line): "), "{error}");
    }

    #[test]
    fn values_out_of_range_are_named_with_their_layers() {
        let (_dir, path) = file("[server]\nthreads = 2000\ndrain_window_seconds = 4000\n");
        let variables = environment(&[("ROOKERY_SERVER__DRAIN_WINDOW_SECONDS", "5000")]);
        let flags = BTreeMap::from([
            ("server.listen", "127.0.0.1:9090".to_owned()),
            ("server.node", "no name".to_owned()),
        ]);
        let error = load(Some(&path), variables, &flags).unwrap_err().to_string();
        let expected = [
            // Nobody set it: it has the address that was given to another.
            "server.management: must differ from server.listen".to_owned(),
            "server.node (command line): must be 1-63 of a-z, A-Z, 0-9, - and .".to_owned(),
            "server.drain_window_seconds (environment): must be at most 3600".to_owned(),
            format!("server.threads (file {}): must be at most 1024", path.display()),
        ];
        assert_eq!(error, expected.join("\n"));
    }

    /// Keys of all tables below `prefix`, and their values.
    fn keys(prefix: &str, table: &Value, into: &mut Vec<(String, Value)>) {
        for (key, value) in table.as_object().unwrap() {
            match value {
                // A table whose keys are its user's to choose.
                Value::Object(inner) if inner.is_empty() => {
                    into.push((format!("{prefix}{key}"), Value::Null));
                }
                Value::Object(_) => keys(&format!("{prefix}{key}."), value, into),
                _ => into.push((format!("{prefix}{key}"), value.clone())),
            }
        }
    }

    #[test]
    fn every_setting_is_documented_with_its_default() {
        let documented = include_str!("../../docs/configuration.md");
        let mut all = Vec::new();
        // Not as TOML, which has no word for what is not set.
        keys("", &serde_json::to_value(Settings::default()).unwrap(), &mut all);
        assert!(all.len() > 100, "{all:?}");
        for (key, default) in all {
            let (section, name) = key.rsplit_once('.').unwrap();
            let text = documented.split(&format!("## `[{section}]`")).nth(1);
            let text = text.unwrap_or_else(|| panic!("docs/configuration.md has no section [{section}]"));
            let mut rows = text.split("\n## ").next().unwrap().lines();
            let row = rows.find_map(|row| row.strip_prefix(&format!("| `{name}` | ")));
            let row = row.unwrap_or_else(|| panic!("docs/configuration.md does not explain {key}"));
            let said = row.split(" | ").next().unwrap();
            let said = match said.strip_prefix('`').and_then(|said| said.strip_suffix('`')) {
                Some(value) => {
                    let table: toml::Table = format!("value = {value}").parse().unwrap();
                    serde_json::to_value(&table["value"]).unwrap()
                }
                None => {
                    assert_eq!(said, "none", "{key}");
                    Value::Null
                }
            };
            assert_eq!(said, default, "docs/configuration.md says another default of {key}");
        }
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let settings = Settings::default();
        let (_dir, path) = file(&to_toml(&settings).unwrap());
        assert_eq!(load(Some(&path), environment(&[]), &BTreeMap::new()).unwrap(), settings);
    }
}
