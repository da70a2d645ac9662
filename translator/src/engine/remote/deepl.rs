//! DeepL: <https://developers.deepl.com/docs/api-reference/translate>.

use std::time::Duration;

use async_trait::async_trait;
use rookery_service::secret::Secret;
use serde_json::json;

use super::{Languages, http};
use crate::{
    engine::{Answers, Batch, Engine, EngineError, Most},
    settings::RemoteSettings,
    text::Lang,
};

/// See the module's text.
pub struct Deepl {
    client: reqwest::Client,
    url: String,
    key: Secret,
    languages: Languages,
}

/// A target must say which English and which Portuguese.
fn target_code(lang: Lang) -> String {
    match lang.as_str() {
        "en" => "EN-US".to_owned(),
        "pt" => "PT-BR".to_owned(),
        "zh" => "ZH-HANS".to_owned(),
        "zh-hant" => "ZH-HANT".to_owned(),
        "no" => "NB".to_owned(),
        other => other.to_ascii_uppercase(),
    }
}

fn source_code(lang: Lang) -> String {
    match lang.as_str() {
        "zh-hant" => "ZH".to_owned(),
        "no" => "NB".to_owned(),
        other => other.to_ascii_uppercase(),
    }
}

impl Deepl {
    /// As settings say; a call may take `timeout`.
    ///
    /// # Errors
    /// A sentence: the file with the key cannot be read.
    pub fn new(settings: &RemoteSettings, timeout: Duration) -> Result<Self, String> {
        Ok(Self {
            client: http::client(timeout)?,
            url: format!("{}/v2/translate", settings.url.trim_end_matches('/')),
            key: settings.api_key.or_file(settings.api_key_file.as_deref())?,
            languages: Languages::new(settings),
        })
    }
}

#[async_trait]
impl Engine for Deepl {
    fn name(&self) -> &'static str {
        "deepl"
    }

    fn version(&self, _: Lang, _: Lang) -> String {
        "2".to_owned()
    }

    fn has(&self, source: Lang, target: Lang) -> bool {
        self.languages.have(source, target)
    }

    fn is_paid(&self) -> bool {
        true
    }

    fn most_per_call(&self) -> Most {
        Most { lines: 50, characters: 30_000 }
    }

    async fn translate(&self, batch: Batch) -> Result<Answers, EngineError> {
        let mut all = Vec::with_capacity(batch.targets.len());
        for target in &batch.targets {
            let body = json!({
                "text": &batch.texts[..], "source_lang": source_code(batch.source), "target_lang": target_code(*target),
            });
            let key = format!("DeepL-Auth-Key {}", self.key.expose());
            let answer =
                http::ask(self.client.post(&self.url).header("authorization", key).json(&body)).await?;
            all.push(http::texts(answer.get("translations"), |item| item.get("text")?.as_str())?);
        }
        Ok(all)
    }
}
