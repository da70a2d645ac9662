//! Configuration: defaults, then a file, then the environment, then flags; each layer wins over those before it.
//!
//! Here belongs reading and checking all settings; what a setting means is said where it is used
//! (`settings.rs` of each part). Every error names the key and where it was set.

use std::{collections::BTreeMap, fmt, path::Path};

use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use crate::settings::Wrong;

/// Environment variables that set keys start so; two underscores part the levels of a key:
/// `ROOKERY_LOG__FORMAT=json` sets `log.format`.
pub const ENV_PREFIX: &str = "ROOKERY_";

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
}

impl Settings {
    fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        wrong.extend(self.server.check());
        wrong.extend(self.log.check());
        wrong.extend(self.http.check());
        wrong.extend(self.accounts.check());
        wrong.extend(self.edge.check());
        wrong.extend(self.rooms.check());
        wrong.extend(self.live.check());
        wrong.extend(self.peer.check());
        wrong.extend(self.store.check());
        wrong.extend(self.cluster.check());
        wrong.extend(self.etcd.check());
        wrong.extend(self.redis.check());
        wrong.extend(self.nats.check());
        wrong
    }
}

/// Where a value came from, for error messages.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Layer {
    File(String),
    Environment,
    Flags,
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(name) => write!(f, "file {name}"),
            Self::Environment => f.write_str("environment"),
            Self::Flags => f.write_str("command line"),
        }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration file {path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML.
    #[error("the configuration file {path} is not valid TOML: {why}")]
    Syntax {
        /// Which.
        path: String,
        /// Line, column and what is wrong there.
        why: String,
    },
    /// A key is unknown or has a value of the wrong type.
    #[error("{key} ({from}): {why}")]
    Key {
        /// Path of the key.
        key: String,
        /// Which layer set it.
        from: String,
        /// What is wrong.
        why: String,
    },
    /// Values that cannot work.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
    Values(Vec<Wrong>),
}

/// Reads and checks the configuration.
///
/// `file` is optional; `environment` is all variables of the process; `flags` are keys (`server.listen`) with values.
///
/// # Errors
/// [`ConfigError`], naming the key that is wrong and the layer that set it.
pub fn load(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    flags: &BTreeMap<&str, String>,
) -> Result<Settings, ConfigError> {
    let mut layers = Vec::new();
    if let Some(path) = file {
        layers.push((Layer::File(path.display().to_string()), read_file(path)?));
    }
    layers.push((Layer::Environment, from_environment(environment)));
    layers.push((Layer::Flags, from_flags(flags)));

    let mut merged = Table::new();
    for (_, table) in &layers {
        merge(&mut merged, table);
    }
    let settings: Settings = serde_path_to_error::deserialize(merged).map_err(|error| {
        let mut key = error.path().to_string();
        let why = error.inner().to_string();
        // Of an unknown key serde knows only the table it stands in; its name is in the message.
        if let Some(name) = why.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next())
            && key.rsplit('.').next() != Some(name)
        {
            key = if key == "." { name.to_owned() } else { format!("{key}.{name}") };
        }
        ConfigError::Key { from: origin(&layers, &key), key, why: why.trim().to_owned() }
    })?;
    let wrong = settings.check();
    if wrong.is_empty() { Ok(settings) } else { Err(ConfigError::Values(wrong)) }
}

fn read_file(path: &Path) -> Result<Table, ConfigError> {
    let name = path.display().to_string();
    let text =
        std::fs::read_to_string(path).map_err(|source| ConfigError::File { path: name.clone(), source })?;
    text.parse().map_err(|error: toml::de::Error| ConfigError::Syntax { path: name, why: error.to_string() })
}

fn from_environment(variables: impl Iterator<Item = (String, String)>) -> Table {
    let mut table = Table::new();
    for (name, value) in variables {
        if let Some(key) = name.strip_prefix(ENV_PREFIX)
            && key.contains("__")
        {
            let path: Vec<String> = key.split("__").map(str::to_ascii_lowercase).collect();
            insert(&mut table, &path, scalar(&value));
        }
    }
    table
}

fn from_flags(flags: &BTreeMap<&str, String>) -> Table {
    let mut table = Table::new();
    for (key, value) in flags {
        let path: Vec<String> = key.split('.').map(str::to_owned).collect();
        insert(&mut table, &path, Value::String(value.clone()));
    }
    table
}

/// A value as TOML reads it (`12`, `true`, `["a"]`), or else the text itself.
fn scalar(text: &str) -> Value {
    format!("value = {text}")
        .parse::<Table>()
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| Value::String(text.to_owned()))
}

fn insert(table: &mut Table, path: &[String], value: Value) {
    match path {
        [] => {}
        [last] => {
            table.insert(last.clone(), value);
        }
        [first, rest @ ..] => {
            let inner = table.entry(first.clone()).or_insert_with(|| Value::Table(Table::new()));
            if !inner.is_table() {
                *inner = Value::Table(Table::new());
            }
            if let Some(inner) = inner.as_table_mut() {
                insert(inner, rest, value);
            }
        }
    }
}

fn merge(into: &mut Table, from: &Table) {
    for (key, value) in from {
        match (into.get_mut(key), value) {
            (Some(Value::Table(old)), Value::Table(new)) => merge(old, new),
            _ => {
                into.insert(key.clone(), value.clone());
            }
        }
    }
}

/// The last layer that sets `key`.
fn origin(layers: &[(Layer, Table)], key: &str) -> String {
    layers
        .iter()
        .rev()
        .find(|(_, table)| {
            let mut parts = key.split('.');
            let first = parts.next().and_then(|part| table.get(part));
            parts.try_fold(first, |value, part| value.map(|value| value.get(part))).flatten().is_some()
        })
        .map_or_else(|| "configuration".to_owned(), |(layer, _)| layer.to_string())
}

/// All settings as TOML, as they are in force: what `rookery-node config` prints.
///
/// # Errors
/// None in practice: every setting has a TOML form.
pub fn to_toml(settings: &Settings) -> Result<String, toml::ser::Error> {
    toml::to_string_pretty(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

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

    /// Keys of all tables below `prefix`.
    fn keys(prefix: &str, table: &Table, into: &mut Vec<String>) {
        for (key, value) in table {
            match value {
                Value::Table(inner) => keys(&format!("{prefix}{key}."), inner, into),
                _ => into.push(format!("{prefix}{key}")),
            }
        }
    }

    #[test]
    fn every_setting_is_documented_with_its_default() {
        let documented = include_str!("../../docs/configuration.md");
        let mut all = Vec::new();
        let table: Table = to_toml(&Settings::default()).unwrap().parse().unwrap();
        keys("", &table, &mut all);
        for key in all {
            let (section, name) = key.rsplit_once('.').unwrap();
            let text = documented.split(&format!("## `[{section}]`")).nth(1);
            let text = text.unwrap_or_else(|| panic!("docs/configuration.md has no section [{section}]"));
            let rows = text.split("\n## ").next().unwrap();
            assert!(rows.contains(&format!("| `{name}` |")), "docs/configuration.md does not explain {key}");
        }
    }

    #[test]
    fn what_is_printed_is_read_back() {
        let settings = Settings::default();
        let (_dir, path) = file(&to_toml(&settings).unwrap());
        assert_eq!(load(Some(&path), environment(&[]), &BTreeMap::new()).unwrap(), settings);
    }
}
