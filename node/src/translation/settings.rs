//! Settings of translation.

use serde::{Deserialize, Serialize};

/// `[translation]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TranslationSettings {
    /// Who translates.
    pub mode: Mode,
}

/// Who translates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    /// In `standalone` this process, if engines are found on this machine; in a cluster nobody.
    #[default]
    Auto,
    /// Nobody.
    Off,
    /// In a cluster: its translators, over NATS.
    Nats,
}
