//! A server that speaks the APIs of all remote services, as they are documented, and translates by Apertium. It can be told to
//! misbehave.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Form, Json, Router,
    extract::{Path, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rookery_translator::{
    engine::{Batch, Engine, apertium::Apertium},
    settings::TranslatorSettings,
    text::Lang,
};
use serde_json::{Value, json};

/// What it is told to do wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// It takes the request and says nothing.
    Hang,
    /// 429, with this `Retry-After` if there is one.
    TooMany(Option<u64>),
    /// DeepL's: the quota is spent.
    Quota,
    /// Google's: 403 with this reason and message, which is no wrong key.
    Reason(&'static str, &'static str),
    Broken,
    WrongKey,
    /// The text as it was, whatever language was asked for.
    Echo,
    /// In a language that nobody asked for.
    Foreign,
    NoJson,
    /// JSON of another shape.
    OtherJson,
    FewerLines,
    /// The translation over and over.
    Endless,
    /// Answers slowly, but well.
    Slow,
}

/// Google's service account.
pub(crate) const ACCOUNT: &str = "tea@example.iam";

/// What is said in the wrong language.
const GERMAN: &str = "Das Haus ist groß und das Wasser ist kalt, und der Hund ist im Garten.";

pub(crate) const KEY: &str = "a-key-that-nobody-may-see";

pub(crate) struct Services {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    apertium: Arc<Apertium>,
    fault: parking_lot::Mutex<Fault>,
    /// Translations into one language that it was asked for.
    calls: AtomicUsize,
    /// Requests of Azure's API.
    azure: AtomicUsize,
    lines: AtomicUsize,
    /// Who signs what asks for tokens.
    account: parking_lot::Mutex<Option<DecodingKey>>,
    /// The next one who asks for a token is not answered.
    no_token: AtomicBool,
}

type Shares = State<Arc<Shared>>;

impl Services {
    /// `None`, said loudly, when Apertium is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let shared = Arc::new(Shared {
            apertium: Arc::new(crate::support::apertium().await?),
            fault: parking_lot::Mutex::new(Fault::None),
            calls: AtomicUsize::new(0),
            azure: AtomicUsize::new(0),
            lines: AtomicUsize::new(0),
            account: parking_lot::Mutex::default(),
            no_token: AtomicBool::new(false),
        });
        let router = Router::new()
            .route("/libre/translate", post(libretranslate))
            .route("/deepl/v2/translate", post(deepl))
            .route("/google/language/translate/v2", post(google_v2))
            .route("/google/v3/projects/{project}/locations/{call}", post(google_v3))
            .route("/token", post(token))
            .route("/azure/translate", post(azure))
            .with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async { axum::serve(listener, router).await });
        Some(Self { address, shared })
    }

    pub(crate) fn fault(&self, fault: Fault) {
        *self.shared.fault.lock() = fault;
    }

    /// What translates for it.
    pub(crate) fn apertium(&self) -> Arc<Apertium> {
        self.shared.apertium.clone()
    }

    /// Gives tokens to whoever signs with the key that this public one, as PEM, belongs to.
    pub(crate) fn account(&self, key: &[u8]) {
        *self.shared.account.lock() = Some(DecodingKey::from_rsa_pem(key).unwrap());
    }

    /// The next one who asks for a token gets no answer.
    pub(crate) fn no_token(&self) {
        self.shared.no_token.store(true, Ordering::SeqCst);
    }

    pub(crate) fn calls(&self) -> usize {
        self.shared.calls.load(Ordering::SeqCst)
    }

    /// Requests of Azure's API, each for any number of languages.
    pub(crate) fn azure_requests(&self) -> usize {
        self.shared.azure.load(Ordering::SeqCst)
    }

    /// Settings that use one of its services and nothing else.
    pub(crate) fn settings(&self, service: &str) -> TranslatorSettings {
        let mut settings =
            TranslatorSettings { engines: service.to_owned(), ..TranslatorSettings::default() };
        settings.apertium.modes = "".into();
        let url = |path: &str| format!("http://{}/{path}", self.address);
        let key = || KEY.to_owned().into();
        match service {
            "libretranslate" => {
                (settings.libretranslate.url, settings.libretranslate.api_key) = (url("libre"), key());
            }
            "deepl" => (settings.deepl.url, settings.deepl.api_key) = (url("deepl"), key()),
            "google" => {
                settings.google.version = 2;
                (settings.google.remote.url, settings.google.remote.api_key) = (url("google"), key());
            }
            "azure" => {
                settings.azure.region = "westeurope".to_owned();
                (settings.azure.remote.url, settings.azure.remote.api_key) = (url("azure"), key());
            }
            other => panic!("no such service: {other}"),
        }
        settings
    }
}

impl Shared {
    /// Translates lines, unless it is told not to. The key was looked at.
    async fn translate(
        &self,
        key_fits: bool,
        texts: Vec<String>,
        source: &str,
        target: &str,
    ) -> Result<Vec<String>, Response> {
        self.calls.fetch_add(1, Ordering::SeqCst);
        self.lines.fetch_add(texts.len(), Ordering::SeqCst);
        let fault = *self.fault.lock();
        let status = |status: u16| StatusCode::from_u16(status).unwrap().into_response();
        match fault {
            Fault::Hang => std::future::pending().await,
            Fault::TooMany(None) => return Err(status(429)),
            Fault::TooMany(Some(seconds)) => {
                return Err(
                    (StatusCode::TOO_MANY_REQUESTS, [("retry-after", seconds.to_string())]).into_response()
                );
            }
            Fault::Quota => return Err(status(456)),
            Fault::Reason(reason, message) => {
                let error = json!({"code": 403, "message": message, "errors": [
                    {"message": message, "domain": "usageLimits", "reason": reason},
                ]});
                return Err((StatusCode::FORBIDDEN, Json(json!({ "error": error }))).into_response());
            }
            Fault::Broken => return Err(status(500)),
            Fault::WrongKey => return Err(status(403)),
            Fault::NoJson => return Err("<html>maintenance</html>".into_response()),
            Fault::OtherJson => return Err(Json(json!({"ok": [1, 2]})).into_response()),
            Fault::Echo => return Ok(texts),
            Fault::Foreign => return Ok(texts.iter().map(|_| GERMAN.to_owned()).collect()),
            Fault::Slow => tokio::time::sleep(Duration::from_millis(200)).await,
            Fault::None | Fault::FewerLines | Fault::Endless => {}
        }
        if !key_fits {
            return Err(status(401));
        }
        let (Some(source), Some(target)) = (Lang::parse(source), Lang::parse(target)) else {
            return Err(status(400));
        };
        let batch = Batch { texts: texts.into(), source, targets: vec![target] };
        let mut answers = self.apertium.translate(batch).await.map_err(|_| status(400))?.remove(0);
        if fault == Fault::FewerLines {
            answers.pop();
        }
        if fault == Fault::Endless {
            answers = answers.into_iter().map(|answer| format!("{answer} ").repeat(100)).collect();
        }
        Ok(answers)
    }
}

fn strings(value: &Value) -> Vec<String> {
    value.as_array().unwrap().iter().map(|text| text.as_str().unwrap().to_owned()).collect()
}

fn has(headers: &HeaderMap, name: &str, wanted: &str) -> bool {
    headers.get(name).is_some_and(|value| value == wanted)
}

async fn libretranslate(State(shared): Shares, Json(body): Json<Value>) -> Result<Json<Value>, Response> {
    assert_eq!(body["format"], "text");
    let (source, target) = (body["source"].as_str().unwrap(), body["target"].as_str().unwrap());
    let texts = shared.translate(body["api_key"] == KEY, strings(&body["q"]), source, target).await?;
    Ok(Json(json!({ "translatedText": texts })))
}

async fn deepl(
    State(shared): Shares,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Response> {
    let (source, target) = (body["source_lang"].as_str().unwrap(), body["target_lang"].as_str().unwrap());
    assert!(source.chars().all(char::is_uppercase) && target != "EN", "a target must say which English");
    let fits = has(&headers, "authorization", &format!("DeepL-Auth-Key {KEY}"));
    let texts = shared.translate(fits, strings(&body["text"]), source, target).await?;
    let texts: Vec<_> =
        texts.iter().map(|text| json!({ "detected_source_language": source, "text": text })).collect();
    Ok(Json(json!({ "translations": texts })))
}

async fn google_v2(
    State(shared): Shares,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Response> {
    assert_eq!(body["format"], "text");
    let (source, target) = (body["source"].as_str().unwrap(), body["target"].as_str().unwrap());
    let texts =
        shared.translate(has(&headers, "x-goog-api-key", KEY), strings(&body["q"]), source, target).await?;
    let texts: Vec<_> = texts.iter().map(|text| json!({ "translatedText": text })).collect();
    Ok(Json(json!({ "data": { "translations": texts } })))
}

async fn google_v3(
    State(shared): Shares,
    Path((project, call)): Path<(String, String)>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Response> {
    assert_eq!((&*project, &*call), ("tea", "global:translateText"));
    assert_eq!(body["mimeType"], "text/plain");
    let (source, target) =
        (body["sourceLanguageCode"].as_str().unwrap(), body["targetLanguageCode"].as_str().unwrap());
    let fits = has(&headers, "authorization", &format!("Bearer {KEY}"));
    let texts = shared.translate(fits, strings(&body["contents"]), source, target).await?;
    let texts: Vec<_> = texts.iter().map(|text| json!({ "translatedText": text })).collect();
    Ok(Json(json!({ "translations": texts })))
}

async fn token(
    State(shared): Shares,
    headers: HeaderMap,
    Form(asked): Form<HashMap<String, String>>,
) -> Result<Json<Value>, StatusCode> {
    if shared.no_token.swap(false, Ordering::SeqCst) {
        std::future::pending::<()>().await;
    }
    assert_eq!(asked["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
    let host = headers["host"].to_str().unwrap();
    let mut wanted = Validation::new(Algorithm::RS256);
    wanted.set_audience(&[format!("http://{host}/token")]);
    wanted.set_issuer(&[ACCOUNT]);
    wanted.set_required_spec_claims(&["iss", "aud", "exp"]);
    let key = shared.account.lock().clone().ok_or(StatusCode::UNAUTHORIZED)?;
    let token = jsonwebtoken::decode::<Value>(&asked["assertion"], &key, &wanted);
    let claims = token.map_err(|_| StatusCode::UNAUTHORIZED)?.claims;
    assert_eq!(claims["scope"], "https://www.googleapis.com/auth/cloud-translation");
    let life = claims["exp"].as_u64().unwrap() - claims["iat"].as_u64().unwrap();
    assert!(life <= 3600, "Google gives no token for longer: {life}");
    Ok(Json(json!({ "access_token": KEY, "expires_in": 3600, "token_type": "Bearer" })))
}

async fn azure(
    State(shared): Shares,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Result<Json<Value>, Response> {
    shared.azure.fetch_add(1, Ordering::SeqCst);
    let query = query.unwrap_or_default();
    let values = |key: &str| -> Vec<String> {
        query
            .split('&')
            .filter_map(|pair| pair.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
            .collect()
    };
    assert_eq!(values("api-version"), ["3.0"]);
    assert!(has(&headers, "ocp-apim-subscription-region", "westeurope"));
    let texts: Vec<_> =
        body.as_array().unwrap().iter().map(|item| item["Text"].as_str().unwrap().to_owned()).collect();
    let fits = has(&headers, "ocp-apim-subscription-key", KEY);
    let mut items = vec![Vec::new(); texts.len()];
    for target in values("to") {
        let answers = shared.translate(fits, texts.clone(), &values("from")[0], &target).await?;
        for (item, text) in items.iter_mut().zip(answers) {
            item.push(json!({ "text": text, "to": target }));
        }
    }
    Ok(Json(items.into_iter().map(|translations| json!({ "translations": translations })).collect()))
}
