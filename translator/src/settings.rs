//! `[translator]`: which engines there are, in which order they are asked, and what they may cost.

use std::{collections::BTreeMap, path::PathBuf};

use rookery_service::{secret::Secret, settings::Wrong};
use serde::{Deserialize, Serialize};

use crate::text::Lang;

/// All engines, by the names that settings, answers and metrics use.
pub const ENGINES: [&str; 6] = ["firefox", "apertium", "libretranslate", "deepl", "google", "azure"];

/// Characters that may be spent in a day on a paid service for which nothing is said: some ten dollars at usual prices. Whoever
/// forgets to say it is to notice that translations end, and not by a bill.
pub const PAID_DAY: u64 = 500_000;

/// `[translator]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TranslatorSettings {
    /// Engines in the order in which they are asked, with spaces between. Those that are not set up are passed over.
    pub engines: String,
    /// Another order for some pairs, with spaces between its engines: `en-es = "deepl apertium"`, `*-ca = "apertium"`. An empty
    /// one: this pair is not translated.
    pub order: BTreeMap<String, String>,
    /// Texts longer than so many bytes are not translated.
    pub text_bytes: usize,
    /// Texts that are translated at the same time; more are told to come later.
    pub concurrent: usize,
    /// Engines of this machine get the processor time that nobody else on it wants.
    pub idle_class: bool,
    /// A call to an engine may take so many milliseconds.
    pub timeout_ms: u64,
    /// After so many failures in a row an engine is left alone for a while.
    pub breaker_failures: u32,
    /// For so many seconds at first, twice as long each time that it still fails, a minute at most.
    pub breaker_seconds: u64,
    /// Translations kept in this process, in MiB.
    pub cache_mib: u64,
    /// Translations in Redis are kept for so many days.
    pub cache_days: u64,
    /// Firefox Translations.
    pub firefox: FirefoxSettings,
    /// Apertium.
    pub apertium: ApertiumSettings,
    /// LibreTranslate.
    pub libretranslate: RemoteSettings,
    /// DeepL.
    pub deepl: RemoteSettings,
    /// Google Cloud Translation.
    pub google: GoogleSettings,
    /// Azure AI Translator.
    pub azure: AzureSettings,
}

/// `[translator.firefox]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FirefoxSettings {
    /// Folder with models, or with a folder for each. Empty: none.
    pub models: PathBuf,
}

/// `[translator.apertium]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ApertiumSettings {
    /// Folder with the modes that are installed. Empty: Apertium is not used.
    pub modes: PathBuf,
}

impl Default for ApertiumSettings {
    fn default() -> Self {
        Self { modes: crate::engine::apertium::MODES.into() }
    }
}

/// `[translator.libretranslate]` and `[translator.deepl]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RemoteSettings {
    /// Address of the service, without a path. Empty: it is not used.
    pub url: String,
    /// Its key.
    pub api_key: Secret,
    /// File with its key.
    pub api_key_file: Option<PathBuf>,
    /// Languages that it is used for, with spaces between. Empty: all.
    pub languages: String,
    /// Characters that may be spent in a minute. 0: as many as are asked for.
    pub minute_characters: u64,
    /// Characters that may be spent in a day (UTC). 0: as many as are asked for. Not set: [`PAID_DAY`] if the service is paid.
    pub day_characters: Option<u64>,
}

/// `[translator.google]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GoogleSettings {
    /// 3: `credentials_file` and `project` are needed. 2: a key is.
    pub version: u8,
    /// For version 3: the project that pays.
    pub project: String,
    /// For version 3: where it is translated.
    pub location: String,
    /// For version 3: JSON file of a service account.
    pub credentials_file: Option<PathBuf>,
    /// The rest, as for the other services.
    #[serde(flatten)]
    pub remote: RemoteSettings,
}

impl Default for GoogleSettings {
    fn default() -> Self {
        Self {
            version: 3,
            project: String::new(),
            location: "global".into(),
            credentials_file: None,
            remote: RemoteSettings::default(),
        }
    }
}

/// `[translator.azure]`
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AzureSettings {
    /// Region of the resource, unless it is global.
    pub region: String,
    /// The rest, as for the other services.
    #[serde(flatten)]
    pub remote: RemoteSettings,
}

impl Default for TranslatorSettings {
    fn default() -> Self {
        Self {
            engines: ENGINES.join(" "),
            order: BTreeMap::new(),
            text_bytes: 16 * 1024,
            concurrent: 256,
            idle_class: true,
            timeout_ms: 10_000,
            breaker_failures: 5,
            breaker_seconds: 1,
            cache_mib: 32,
            cache_days: 30,
            firefox: FirefoxSettings::default(),
            apertium: ApertiumSettings::default(),
            libretranslate: RemoteSettings::default(),
            deepl: RemoteSettings::default(),
            google: GoogleSettings::default(),
            azure: AzureSettings::default(),
        }
    }
}

/// Which pairs an order is for: `*` stands for all.
pub(crate) fn pair(key: &str) -> Option<(Option<Lang>, Option<Lang>)> {
    let side = |code: &str| if code == "*" { Some(None) } else { Lang::parse(code).map(Some) };
    let (source, target) = key.split_once('-')?;
    Some((side(source)?, side(target)?))
}

impl TranslatorSettings {
    /// What cannot work.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut no = |key: String, why: String| wrong.push(Wrong { key: format!("translator.{key}"), why });
        let all = self.order.values().chain([&self.engines]);
        for unknown in all.flat_map(|list| list.split_whitespace()).filter(|name| !ENGINES.contains(name)) {
            no("engines".into(), format!("{unknown} is no engine; there are {}", ENGINES.join(", ")));
        }
        for key in self.order.keys().filter(|key| pair(key).is_none()) {
            no(format!("order.{key}"), "must be two languages, such as en-es, or * for one of them".into());
        }
        for (key, value, low, high) in [
            ("text_bytes", self.text_bytes as u64, 1, 64 * 1024),
            ("concurrent", self.concurrent as u64, 1, 65_536),
            ("timeout_ms", self.timeout_ms, 10, 120_000),
            ("breaker_failures", self.breaker_failures.into(), 1, 1000),
            ("breaker_seconds", self.breaker_seconds, 1, 60),
            ("cache_mib", self.cache_mib, 1, 65_536),
            ("cache_days", self.cache_days, 1, 3650),
        ] {
            if !(low..=high).contains(&value) {
                no(key.into(), format!("must be {low} to {high}"));
            }
        }
        let remotes = [
            ("libretranslate", &self.libretranslate),
            ("deepl", &self.deepl),
            ("google", &self.google.remote),
            ("azure", &self.azure.remote),
        ];
        for (name, remote) in remotes {
            let url = &remote.url;
            if !["https://", "http://"].iter().any(|scheme| url.starts_with(scheme)) && !url.is_empty() {
                no(format!("{name}.url"), "must begin with https:// (or http://)".into());
            }
            if url.contains('@') {
                no(format!("{name}.url"), "must hold no user and no password".into());
            }
            if let Some(odd) = remote.languages.split_whitespace().find(|code| Lang::parse(code).is_none()) {
                no(format!("{name}.languages"), format!("{odd} is no language"));
            }
        }
        let google = &self.google;
        if ![2, 3].contains(&google.version) {
            no("google.version".into(), "must be 2 or 3".into());
        }
        if google.version == 3 && !google.remote.url.is_empty() {
            if google.project.is_empty() {
                no("google.project".into(), "must be set for version 3".into());
            }
            if google.credentials_file.is_none() {
                no("google.credentials_file".into(), "must be set for version 3".into());
            }
        }
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_accepted_and_nonsense_is_named() {
        assert_eq!(TranslatorSettings::default().check(), []);
        let wrong: TranslatorSettings = toml::from_str(
            "engines = 'firefox babel'\ncache_mib = 0\n[order]\nx = ''\n[deepl]\nurl = 'ftp://x'\n\
             [google]\nurl = 'https://x'\napi_key = 'hidden'",
        )
        .unwrap();
        let told = wrong.check();
        let keys: Vec<_> = told.iter().map(|wrong| wrong.key.trim_start_matches("translator.")).collect();
        assert_eq!(
            keys,
            ["engines", "order.x", "cache_mib", "deepl.url", "google.project", "google.credentials_file"]
        );
        assert!(!format!("{wrong:?} {told:?}").contains("hidden"));
    }
}
