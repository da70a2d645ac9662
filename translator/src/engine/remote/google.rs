//! Google Cloud Translation, version 3 (<https://cloud.google.com/translate/docs/reference/rest/v3/projects.locations/translateText>)
//! and version 2 (<https://cloud.google.com/translate/docs/reference/rest/v2/translate>).

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use reqwest::RequestBuilder;
use rookery_service::secret::Secret;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{Languages, http};
use crate::{
    engine::{Answers, Batch, Engine, EngineError, Most},
    settings::GoogleSettings,
    text::Lang,
};

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-translation";
/// How long a token is asked for, and how long before its end another one is.
const TOKEN_SECONDS: u64 = 3600;
const EARLY: Duration = Duration::from_secs(300);

/// See the module's text.
pub struct Google {
    client: reqwest::Client,
    url: String,
    way: Way,
    languages: Languages,
}

enum Way {
    /// Version 2, by a key.
    Key(Secret),
    /// Version 3, by tokens.
    Account(Box<Account>),
}

/// A service account, with the token that it has now.
struct Account {
    email: String,
    token_url: String,
    key: EncodingKey,
    token: Mutex<Option<(Secret, Instant)>>,
}

/// The parts of a service account's file that matter here.
#[derive(Deserialize)]
struct File {
    client_email: String,
    private_key: Secret,
    token_uri: String,
}

#[derive(Serialize)]
struct Claims<'a> {
    iss: &'a str,
    scope: &'a str,
    aud: &'a str,
    iat: u64,
    exp: u64,
}

fn code(lang: Lang) -> String {
    match lang.as_str() {
        "zh" => "zh-CN".to_owned(),
        "zh-hant" => "zh-TW".to_owned(),
        other => other.to_owned(),
    }
}

impl Google {
    /// As settings say; a call may take `timeout`.
    ///
    /// # Errors
    /// A sentence: the file with the key or with the account cannot be used.
    pub fn new(settings: &GoogleSettings, timeout: Duration) -> Result<Self, String> {
        let remote = &settings.remote;
        let base = remote.url.trim_end_matches('/');
        let (url, way) = if settings.version == 2 {
            let key = remote.api_key.or_file(remote.api_key_file.as_deref())?;
            (format!("{base}/language/translate/v2"), Way::Key(key))
        } else {
            let path = settings.credentials_file.as_deref().ok_or("google.credentials_file is not set")?;
            let name = path.display();
            let text =
                std::fs::read_to_string(path).map_err(|error| format!("cannot read {name}: {error}"))?;
            // Not serde's own words: they may quote the file.
            let file: File =
                serde_json::from_str(&text).map_err(|_| format!("{name} is no service account's key"))?;
            let key = EncodingKey::from_rsa_pem(file.private_key.expose().as_bytes());
            let account = Account {
                key: key.map_err(|_| format!("{name} holds no RSA key"))?,
                email: file.client_email,
                token_url: file.token_uri,
                token: Mutex::default(),
            };
            let place = format!("projects/{}/locations/{}", settings.project, settings.location);
            (format!("{base}/v3/{place}:translateText"), Way::Account(Box::new(account)))
        };
        Ok(Self { client: http::client(timeout)?, url, way, languages: Languages::new(remote) })
    }

    async fn signed(&self, request: RequestBuilder) -> Result<RequestBuilder, EngineError> {
        Ok(match &self.way {
            Way::Key(key) => request.header("x-goog-api-key", key.expose()),
            Way::Account(account) => request.bearer_auth(account.token(&self.client).await?.expose()),
        })
    }
}

impl Account {
    async fn token(&self, client: &reqwest::Client) -> Result<Secret, EngineError> {
        let mut token = self.token.lock().await;
        if let Some((token, until)) = &*token
            && Instant::now() < *until
        {
            return Ok(token.clone());
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let claims = Claims {
            iss: &self.email,
            scope: SCOPE,
            aud: &self.token_url,
            iat: now,
            exp: now + TOKEN_SECONDS,
        };
        let assertion = jsonwebtoken::encode(&Header::new(Algorithm::RS256), &claims, &self.key)
            .map_err(|_| EngineError::Refused("its key cannot sign".into()))?;
        let body =
            format!("grant_type=urn%3Aietf%3Aparams%3Aoauth%3Agrant-type%3Ajwt-bearer&assertion={assertion}");
        let request = client
            .post(&self.token_url)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(body);
        let answer = http::ask(request).await.map_err(|error| match error {
            // Nothing is wrong with the text that it was wanted for.
            EngineError::Unfit(why) => EngineError::Refused(why),
            other => other,
        })?;
        let text = answer.get("access_token").and_then(Value::as_str);
        let text = text.ok_or(EngineError::Garbage("its answer holds no token"))?;
        let seconds = answer.get("expires_in").and_then(Value::as_u64).unwrap_or(TOKEN_SECONDS);
        let fresh = Secret::from(text.to_owned());
        *token = Some((fresh.clone(), Instant::now() + Duration::from_secs(seconds).saturating_sub(EARLY)));
        Ok(fresh)
    }
}

#[async_trait]
impl Engine for Google {
    fn name(&self) -> &'static str {
        "google"
    }

    fn version(&self, _: Lang, _: Lang) -> String {
        match &self.way {
            Way::Key(_) => "2".to_owned(),
            Way::Account(_) => "3".to_owned(),
        }
    }

    fn has(&self, source: Lang, target: Lang) -> bool {
        self.languages.have(source, target)
    }

    fn is_paid(&self) -> bool {
        true
    }

    fn most_per_call(&self) -> Most {
        Most { lines: 100, characters: 30_000 }
    }

    async fn translate(&self, batch: Batch) -> Result<Answers, EngineError> {
        let mut all = Vec::with_capacity(batch.targets.len());
        for target in &batch.targets {
            let (source, target) = (code(batch.source), code(*target));
            let texts = &batch.texts[..];
            let body = match &self.way {
                Way::Key(_) => json!({ "q": texts, "source": source, "target": target, "format": "text" }),
                Way::Account(_) => json!({
                    "contents": texts, "mimeType": "text/plain", "sourceLanguageCode": source, "targetLanguageCode": target,
                }),
            };
            let answer = http::ask(self.signed(self.client.post(&self.url).json(&body)).await?).await;
            if let (Way::Account(account), Err(EngineError::Refused(_))) = (&self.way, &answer) {
                // It may have been revoked: the next call shows another one.
                *account.token.lock().await = None;
            }
            let answer = answer?;
            let list = match &self.way {
                Way::Key(_) => answer.get("data").and_then(|data| data.get("translations")),
                Way::Account(_) => answer.get("translations"),
            };
            all.push(http::texts(list, |item| item.get("translatedText")?.as_str())?);
        }
        Ok(all)
    }
}
