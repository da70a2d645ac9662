//! Configuration: defaults, then a file, then the environment, then flags; each layer wins over those before it.
//!
//! Here belongs how the layers are read; what can be set is each program's own. Every error names the key and where it
//! was set.

use std::{collections::BTreeMap, fmt, path::Path};

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use crate::settings::Wrong;

/// Environment variables that set keys start so; two underscores part the levels of a key:
/// `ROOKERY_LOG__FORMAT=json` sets `log.format`.
pub const ENV_PREFIX: &str = "ROOKERY_";

/// Everything that can be set in one program.
pub trait Configuration: DeserializeOwned {
    /// What cannot work.
    fn check(&self) -> Vec<Wrong>;
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
    Values(Vec<Unusable>),
}

/// Of a value that proves wrong only when it is used, nobody knows any more which layer set it.
impl From<Wrong> for ConfigError {
    fn from(wrong: Wrong) -> Self {
        Self::Values(vec![Unusable { wrong, from: None }])
    }
}

/// A value that cannot work, and where it was set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unusable {
    /// Which, and why.
    pub wrong: Wrong,
    /// Which layer set it; `None`: none did, or it is not known.
    pub from: Option<String>,
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Wrong { key, why } = &self.wrong;
        match &self.from {
            Some(from) => write!(f, "{key} ({from}): {why}"),
            None => write!(f, "{key}: {why}"),
        }
    }
}

/// Reads and checks the configuration.
///
/// `file` is optional; `environment` is all variables of the process; `flags` are keys (`server.listen`) with values.
///
/// # Errors
/// [`ConfigError`], naming the key that is wrong and the layer that set it.
pub fn load<S: Configuration>(
    file: Option<&Path>,
    environment: impl Iterator<Item = (String, String)>,
    flags: &BTreeMap<&str, String>,
) -> Result<S, ConfigError> {
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
    let settings: S = serde_path_to_error::deserialize(merged).map_err(|error| {
        let mut key = error.path().to_string();
        let why = error.inner().to_string();
        // Of an unknown key serde knows only the table it stands in; its name is in the message.
        if let Some(name) = why.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next())
            && key.rsplit('.').next() != Some(name)
        {
            key = if key == "." { name.to_owned() } else { format!("{key}.{name}") };
        }
        let from = origin(&layers, &key).unwrap_or_else(|| "configuration".to_owned());
        ConfigError::Key { from, key, why: why.trim().to_owned() }
    })?;
    let wrong = settings.check();
    if wrong.is_empty() {
        return Ok(settings);
    }
    let located = wrong.into_iter().map(|wrong| Unusable { from: origin(&layers, &wrong.key), wrong });
    Err(ConfigError::Values(located.collect()))
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
fn origin(layers: &[(Layer, Table)], key: &str) -> Option<String> {
    layers
        .iter()
        .rev()
        .find(|(_, table)| {
            let mut parts = key.split('.');
            let first = parts.next().and_then(|part| table.get(part));
            parts.try_fold(first, |value, part| value.map(|value| value.get(part))).flatten().is_some()
        })
        .map(|(layer, _)| layer.to_string())
}

/// All settings as TOML, as they are in force: what a program's `config` command prints.
///
/// # Errors
/// None in practice: every setting has a TOML form.
pub fn to_toml<S: serde::Serialize>(settings: &S) -> Result<String, toml::ser::Error> {
    toml::to_string_pretty(settings)
}
