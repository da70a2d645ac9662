//! The translator.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Resources, SecretKey};

/// The translator. Engines are asked in the order deepl, google, azure, libreTranslate; one that fails is passed over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.deepl) || has(self.google) || has(self.azure) || has(self.libreTranslate)")
        .message("spec.translator must have an engine: deepl, google, azure or libreTranslate")
)]
pub struct TranslatorSpec {
    /// How many share the work.
    #[serde(default = "two")]
    #[schemars(range(min = 0, max = 50))]
    pub replicas: i32,
    /// Languages that are translated, as codes, where an engine does not say its own. Empty: all that it knows.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 200),
        inner(length(max = 16), regex(pattern = r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$"))
    )]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub languages: Vec<String>,
    /// DeepL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deepl: Option<EngineSpec>,
    /// Google Cloud Translation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub google: Option<GoogleSpec>,
    /// Azure AI Translator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub azure: Option<AzureSpec>,
    /// A LibreTranslate that is there already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub libre_translate: Option<LibreTranslateSpec>,
    /// CPU and memory of each.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resources: Option<Resources>,
}

fn two() -> i32 {
    2
}

/// What an engine is used for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EngineUsage {
    /// Languages that it is used for, as codes. Empty: those of spec.translator.languages.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(
        length(max = 200),
        inner(length(max = 16), regex(pattern = r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{2,8})*$"))
    )]
    #[schemars(extend("x-kubernetes-list-type" = "set"))]
    pub languages: Vec<String>,
    /// Characters that may be spent in a day (UTC), by all translators together. 0: as many as are asked for.
    #[serde(default)]
    #[schemars(range(min = 0, max = 1_000_000_000_000i64))]
    pub day_characters: i64,
}

/// An engine behind a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct EngineSpec {
    /// Its address, without a path: `https://api.deepl.com`.
    #[schemars(length(max = 300), regex(pattern = r"^https?://[^\s@/]+$"))]
    pub url: String,
    /// Its key.
    pub key_secret: SecretKey,
    /// What it is used for.
    #[serde(flatten)]
    pub usage: EngineUsage,
}

/// Google Cloud Translation: version 3 by a service account, or version 2 by a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.credentialsSecret) != has(self.keySecret)")
        .message("spec.translator.google must have credentialsSecret (version 3) or keySecret (version 2), and not both"),
    validation = Rule::new("has(self.credentialsSecret) == has(self.project)")
        .message("spec.translator.google must have project, which pays, where it has credentialsSecret, and nowhere else"),
    validation = Rule::new("has(self.credentialsSecret) || !has(self.location)")
        .message("spec.translator.google may have location only where it has credentialsSecret: version 2 knows none")
)]
pub struct GoogleSpec {
    /// Its address, without a path.
    #[serde(default = "google")]
    #[schemars(length(max = 300), regex(pattern = r"^https?://[^\s@/]+$"))]
    pub url: String,
    /// For version 3: the JSON file of a service account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credentials_secret: Option<SecretKey>,
    /// For version 3: the project that pays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 100), regex(pattern = r"^[a-z0-9][a-z0-9.:-]*$"))]
    pub project: Option<String>,
    /// For version 3: where it is translated. By default global.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[a-z0-9-]+$"))]
    pub location: Option<String>,
    /// For version 2: its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret: Option<SecretKey>,
    /// What it is used for.
    #[serde(flatten)]
    pub usage: EngineUsage,
}

fn google() -> String {
    "https://translation.googleapis.com".to_owned()
}

/// Azure AI Translator.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AzureSpec {
    /// Its address, without a path: `https://api.cognitive.microsofttranslator.com`.
    #[schemars(length(max = 300), regex(pattern = r"^https?://[^\s@/]+$"))]
    pub url: String,
    /// Its key.
    pub key_secret: SecretKey,
    /// Region of the resource, unless it is global.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64), regex(pattern = r"^[a-z0-9]+$"))]
    pub region: Option<String>,
    /// What it is used for.
    #[serde(flatten)]
    pub usage: EngineUsage,
}

/// A LibreTranslate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LibreTranslateSpec {
    /// Its address, without a path.
    #[schemars(length(max = 300), regex(pattern = r"^https?://[^\s@/]+$"))]
    pub url: String,
    /// Its key, if it wants one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key_secret: Option<SecretKey>,
    /// What it is used for.
    #[serde(flatten)]
    pub usage: EngineUsage,
}
