//! LibreTranslate: <https://docs.libretranslate.com/>.

use std::time::Duration;

use async_trait::async_trait;
use rookery_service::secret::Secret;
use serde_json::{Value, json};

use super::{Languages, http};
use crate::{
    engine::{Answers, Batch, Engine, EngineError, Most},
    settings::RemoteSettings,
    text::Lang,
};

/// See the module's text.
pub struct LibreTranslate {
    client: reqwest::Client,
    url: String,
    key: Secret,
    languages: Languages,
}

fn code(lang: Lang) -> String {
    match lang.as_str() {
        "zh" => "zh-Hans".to_owned(),
        "zh-hant" => "zh-Hant".to_owned(),
        other => other.to_owned(),
    }
}

impl LibreTranslate {
    /// As settings say; a call may take `timeout`.
    ///
    /// # Errors
    /// A sentence: the file with the key cannot be read.
    pub fn new(settings: &RemoteSettings, timeout: Duration) -> Result<Self, String> {
        Ok(Self {
            client: http::client(timeout)?,
            url: format!("{}/translate", settings.url.trim_end_matches('/')),
            key: settings.api_key.or_file(settings.api_key_file.as_deref())?,
            languages: Languages::new(settings),
        })
    }
}

#[async_trait]
impl Engine for LibreTranslate {
    fn name(&self) -> &'static str {
        "libretranslate"
    }

    fn version(&self, _: Lang, _: Lang) -> String {
        "1".to_owned()
    }

    fn has(&self, source: Lang, target: Lang) -> bool {
        self.languages.have(source, target)
    }

    fn is_paid(&self) -> bool {
        !self.key.is_empty()
    }

    fn most_per_call(&self) -> Most {
        Most { lines: 50, characters: 10_000 }
    }

    async fn translate(&self, batch: Batch) -> Result<Answers, EngineError> {
        let mut all = Vec::with_capacity(batch.targets.len());
        for target in &batch.targets {
            let mut body = json!({
                "q": &batch.texts[..], "source": code(batch.source), "target": code(*target), "format": "text",
            });
            if !self.key.is_empty() {
                body["api_key"] = json!(self.key.expose());
            }
            let answer = http::ask(self.client.post(&self.url).json(&body)).await?;
            all.push(http::texts(answer.get("translatedText"), Value::as_str)?);
        }
        Ok(all)
    }
}
