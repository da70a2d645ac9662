//! Azure AI Translator, which takes many targets in one call:
//! <https://learn.microsoft.com/azure/ai-services/translator/text-translation/reference/v3/translate>.

use std::time::Duration;

use async_trait::async_trait;
use rookery_service::secret::Secret;
use serde_json::{Value, json};

use super::{Languages, http};
use crate::{
    engine::{Answers, Batch, Engine, EngineError, Most},
    settings::AzureSettings,
    text::Lang,
};

/// See the module's text.
pub struct Azure {
    client: reqwest::Client,
    url: String,
    region: String,
    key: Secret,
    languages: Languages,
}

fn code(lang: Lang) -> &'static str {
    // Only where it differs from ours.
    match lang.as_str() {
        "zh" => "zh-Hans",
        "zh-hant" => "zh-Hant",
        "no" => "nb",
        "sr" => "sr-Cyrl",
        _ => "",
    }
}

fn name(lang: &Lang) -> &str {
    match code(*lang) {
        "" => lang.as_str(),
        code => code,
    }
}

impl Azure {
    /// As settings say; a call may take `timeout`.
    ///
    /// # Errors
    /// A sentence: the file with the key cannot be read.
    pub fn new(settings: &AzureSettings, timeout: Duration) -> Result<Self, String> {
        let remote = &settings.remote;
        Ok(Self {
            client: http::client(timeout)?,
            url: format!("{}/translate", remote.url.trim_end_matches('/')),
            region: settings.region.clone(),
            key: remote.api_key.or_file(remote.api_key_file.as_deref())?,
            languages: Languages::new(remote),
        })
    }
}

#[async_trait]
impl Engine for Azure {
    fn name(&self) -> &'static str {
        "azure"
    }

    fn version(&self, _: Lang, _: Lang) -> String {
        "3".to_owned()
    }

    fn has(&self, source: Lang, target: Lang) -> bool {
        self.languages.have(source, target)
    }

    fn is_paid(&self) -> bool {
        true
    }

    fn takes_many_targets(&self) -> bool {
        true
    }

    fn most_per_call(&self) -> Most {
        Most { lines: 1_000, characters: 50_000 }
    }

    async fn translate(&self, batch: Batch) -> Result<Answers, EngineError> {
        let mut query = format!("api-version=3.0&from={}", name(&batch.source));
        for target in &batch.targets {
            query.push_str("&to=");
            query.push_str(name(target));
        }
        let body: Vec<_> = batch.texts.iter().map(|text| json!({ "Text": text })).collect();
        let mut request = self
            .client
            .post(format!("{}?{query}", self.url))
            .header("ocp-apim-subscription-key", self.key.expose())
            .json(&body);
        if !self.region.is_empty() {
            request = request.header("ocp-apim-subscription-region", &self.region);
        }
        let answer = http::ask(request).await?;
        let of = |target: &Lang| {
            let wanted = name(target);
            http::texts(Some(&answer), |item| {
                let translations = item.get("translations")?.as_array()?;
                let one =
                    translations.iter().find(|one| one.get("to").and_then(Value::as_str) == Some(wanted))?;
                one.get("text")?.as_str()
            })
        };
        batch.targets.iter().map(of).collect()
    }
}
