//! A server that speaks the APIs of all remote services, as they are documented, and translates by Apertium. It refuses what they
//! refuse, and can be told to misbehave.

use std::{
    collections::HashMap,
    io::Write as _,
    net::SocketAddr,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{
    Form, Json, Router,
    body::Bytes,
    extract::{DefaultBodyLimit, Path, RawQuery, State},
    http::{HeaderMap, StatusCode},
    response::{IntoResponse, Response},
    routing::post,
};
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use rookery_translator::{
    engine::{Batch, Engine, EngineError, apertium::Apertium},
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
    /// 503, with this `Retry-After` if there is one.
    Unavailable(Option<u64>),
    /// This status, and its text as an error's message.
    Status(u16, &'static str),
    /// Azure's: 403, and by its code the free tier is used up.
    FreeTier,
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

/// A request with a text that holds this is refused for good.
pub(crate) const UNFIT: &str = "qqunfit";

pub(crate) const KEY: &str = "a-key-that-nobody-may-see";

/// All of them; those of Google by the versions of its API.
pub(crate) const SERVICES: [&str; 5] = ["libretranslate", "deepl", "google", "google v3", "azure"];

/// What one call may have, as each service documents it.
pub(crate) struct Limits {
    pub(crate) lines: usize,
    /// Code points, of all lines together.
    pub(crate) characters: usize,
    /// Of the request.
    pub(crate) bytes: usize,
    /// What is said to more.
    status: u16,
    message: &'static str,
}

/// - LibreTranslate has what its administrator sets; this is what the translator wants at least.
/// - DeepL: <https://developers.deepl.com/docs/resources/usage-limits> and the text parameter of
///   <https://developers.deepl.com/api-reference/translate>.
/// - Google: <https://cloud.google.com/translate/quotas>, "Content limits per request", and the lists' longest lengths in its references.
/// - Azure: <https://learn.microsoft.com/azure/ai-services/translator/service-limits>; the characters for each language.
pub(crate) fn limits(service: &str) -> Limits {
    const NONE: usize = usize::MAX;
    let limits =
        |lines, characters, bytes, status, message| Limits { lines, characters, bytes, status, message };
    match service {
        "libretranslate" => limits(50, 10_000, NONE, 400, "Invalid request: it exceeds a limit"),
        "deepl" => limits(50, NONE, 128 * 1024, 413, "Request Entity Too Large"),
        "google" => limits(128, NONE, 100_000, 400, "Too many text segments"),
        "google v3" => limits(1_024, 30_000, NONE, 400, "Text is too long."),
        "azure" => limits(1_000, 50_000, NONE, 400, "The maximum request size has been exceeded."),
        other => panic!("no such service: {other}"),
    }
}

pub(crate) struct Services {
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
    /// With the file of Google's account.
    folder: tempfile::TempDir,
}

struct Shared {
    apertium: Arc<Apertium>,
    fault: parking_lot::Mutex<Fault>,
    /// Translations into one language that it was asked for.
    calls: AtomicUsize,
    /// Requests, each for any number of languages.
    requests: AtomicUsize,
    /// Those of them that were larger than the service takes.
    too_large: AtomicUsize,
    lines: AtomicUsize,
    /// Who signs what asks for tokens.
    account: parking_lot::Mutex<Option<DecodingKey>>,
    /// The next one who asks for a token is not answered.
    no_token: AtomicBool,
    /// Tokens that were given, numbered from 1, and how many of these are worth nothing any more.
    tokens: AtomicUsize,
    revoked: AtomicUsize,
}

type Shares = State<Arc<Shared>>;

impl Services {
    /// `None`, said loudly, when Apertium is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let shared = Arc::new(Shared {
            apertium: Arc::new(crate::support::apertium().await?),
            fault: parking_lot::Mutex::new(Fault::None),
            calls: AtomicUsize::new(0),
            requests: AtomicUsize::new(0),
            too_large: AtomicUsize::new(0),
            lines: AtomicUsize::new(0),
            account: parking_lot::Mutex::default(),
            no_token: AtomicBool::new(false),
            tokens: AtomicUsize::new(0),
            revoked: AtomicUsize::new(0),
        });
        let router = Router::new()
            .route("/libre/translate", post(libretranslate))
            .route("/deepl/v2/translate", post(deepl))
            .route("/google/language/translate/v2", post(google_v2))
            .route("/google/v3/projects/{project}/locations/{call}", post(google_v3))
            .route("/token", post(token))
            .route("/azure/translate", post(azure))
            .layer(DefaultBodyLimit::disable())
            .with_state(shared.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async { axum::serve(listener, router).await });
        Some(Self { address, shared, folder: tempfile::tempdir().unwrap() })
    }

    /// Those that can be used here.
    pub(crate) fn all(&self) -> Vec<&'static str> {
        let of_google = self.folder.path().join("account.json");
        if !of_google.exists()
            && let Some((key, public)) = rsa_key()
        {
            self.account(&public);
            self.write_account(&key);
        }
        SERVICES.into_iter().filter(|service| *service != "google v3" || of_google.exists()).collect()
    }

    /// Writes the file of Google's account with this private key, as PEM; returns where.
    pub(crate) fn write_account(&self, key: &[u8]) -> std::path::PathBuf {
        let path = self.folder.path().join("account.json");
        let account = json!({
            "type": "service_account", "client_email": ACCOUNT, "private_key": std::str::from_utf8(key).unwrap(),
            "token_uri": format!("http://{}/token", self.address),
        });
        std::fs::write(&path, account.to_string()).unwrap();
        path
    }

    /// No token that was given until now is worth anything any more.
    pub(crate) fn revoke_tokens(&self) {
        self.shared.revoked.store(self.shared.tokens.load(Ordering::SeqCst), Ordering::SeqCst);
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

    /// Requests, each for any number of languages.
    pub(crate) fn requests(&self) -> usize {
        self.shared.requests.load(Ordering::SeqCst)
    }

    /// Those of them that were larger than the service takes.
    pub(crate) fn too_large(&self) -> usize {
        self.shared.too_large.load(Ordering::SeqCst)
    }

    /// Lines that it was asked for.
    pub(crate) fn lines(&self) -> usize {
        self.shared.lines.load(Ordering::SeqCst)
    }

    /// Settings that use one of its services and nothing else.
    pub(crate) fn settings(&self, service: &str) -> TranslatorSettings {
        let mut settings =
            TranslatorSettings { engines: engine(service).to_owned(), ..TranslatorSettings::default() };
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
            "google v3" => {
                settings.google.project = "tea".to_owned();
                settings.google.credentials_file = Some(self.folder.path().join("account.json"));
                settings.google.remote.url = url("google");
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

/// What settings call a service.
pub(crate) fn engine(service: &str) -> &str {
    service.strip_suffix(" v3").unwrap_or(service)
}

/// By the command `openssl`.
fn openssl(arguments: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let mut command = Command::new("openssl");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let Ok(mut running) = command.spawn() else {
        crate::support::skipped("the command openssl is not installed");
        return None;
    };
    running.stdin.take().unwrap().write_all(input).unwrap();
    let made = running.wait_with_output().unwrap();
    assert!(made.status.success() && !made.stdout.is_empty(), "openssl {arguments:?}");
    Some(made.stdout)
}

/// A private key and its public one, as PEM.
pub(crate) fn rsa_key() -> Option<(Vec<u8>, Vec<u8>)> {
    let key = openssl(&["genpkey", "-algorithm", "RSA"], b"")?;
    let public = openssl(&["pkey", "-pubout"], &key)?;
    Some((key, public))
}

fn status(status: u16, message: &str) -> Response {
    let error = json!({ "error": { "code": status, "message": message } });
    (StatusCode::from_u16(status).unwrap(), Json(error)).into_response()
}

impl Shared {
    /// Reads a request, unless it has more than the service takes; `texts` finds what is to be translated in it, and for how many
    /// languages.
    #[allow(clippy::result_large_err, reason = "it is what handlers answer with")]
    fn read(
        &self,
        service: &str,
        body: &[u8],
        texts: impl Fn(&Value) -> (&Value, usize),
    ) -> Result<(Value, Vec<String>), Response> {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let value: Value = serde_json::from_slice(body).unwrap();
        let (list, targets) = texts(&value);
        let text = |item: &Value| item.get("Text").unwrap_or(item).as_str().unwrap().to_owned();
        let texts: Vec<_> = list.as_array().unwrap().iter().map(text).collect();
        let characters: usize = texts.iter().map(|text| text.chars().count()).sum();
        let limits = limits(service);
        let fits = texts.len() <= limits.lines
            && characters * targets <= limits.characters
            && body.len() <= limits.bytes;
        if fits {
            return Ok((value, texts));
        }
        self.too_large.fetch_add(1, Ordering::SeqCst);
        Err(status(limits.status, limits.message))
    }

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
        let after = |seconds: u64, mut answer: Response| {
            answer.headers_mut().insert("retry-after", seconds.into());
            answer
        };
        match fault {
            Fault::Hang => std::future::pending().await,
            Fault::TooMany(None) => return Err(status(429, "Too Many Requests")),
            Fault::TooMany(Some(seconds)) => return Err(after(seconds, status(429, "Too Many Requests"))),
            Fault::Quota => return Err(status(456, "Quota Exceeded")),
            Fault::Unavailable(None) => return Err(status(503, "Unavailable")),
            Fault::Unavailable(Some(seconds)) => return Err(after(seconds, status(503, "Unavailable"))),
            Fault::Status(number, message) => return Err(status(number, message)),
            Fault::FreeTier => {
                let error =
                    json!({"code": 403_001, "message": "The free quota of the subscription is exceeded."});
                return Err((StatusCode::FORBIDDEN, Json(json!({ "error": error }))).into_response());
            }
            Fault::Reason(reason, message) => {
                let error = json!({"code": 403, "message": message, "errors": [
                    {"message": message, "domain": "usageLimits", "reason": reason},
                ]});
                return Err((StatusCode::FORBIDDEN, Json(json!({ "error": error }))).into_response());
            }
            Fault::Broken => return Err(status(500, "Internal")),
            Fault::WrongKey => return Err(status(403, "Forbidden")),
            Fault::NoJson => return Err("<html>maintenance</html>".into_response()),
            Fault::OtherJson => return Err(Json(json!({"ok": [1, 2]})).into_response()),
            Fault::Echo => return Ok(texts),
            Fault::Foreign => return Ok(texts.iter().map(|_| GERMAN.to_owned()).collect()),
            Fault::Slow => tokio::time::sleep(Duration::from_millis(200)).await,
            Fault::None | Fault::FewerLines | Fault::Endless => {}
        }
        if !key_fits {
            return Err(status(401, "Unauthorized"));
        }
        if texts.iter().any(|text| text.contains(UNFIT)) {
            return Err(status(400, "it will not have this text"));
        }
        let (Some(source), Some(target)) = (Lang::parse(source), Lang::parse(target)) else {
            return Err(status(400, "it has no such language"));
        };
        let mut answers = Vec::with_capacity(texts.len());
        // A few at a time: Apertium has its patience for each call, and a busy machine takes its time.
        for few in texts.chunks(4) {
            let batch = Batch { texts: few.into(), source, targets: vec![target] };
            let told = self.apertium.translate(batch).await.map_err(|error| match error {
                EngineError::Unfit(_) => status(400, "it has no such language"),
                other => status(500, &other.to_string()),
            })?;
            answers.extend(told.concat());
        }
        if fault == Fault::FewerLines {
            answers.pop();
        }
        if fault == Fault::Endless {
            answers = answers.into_iter().map(|answer| format!("{answer} ").repeat(100)).collect();
        }
        Ok(answers)
    }
}

fn has(headers: &HeaderMap, name: &str, wanted: &str) -> bool {
    headers.get(name).is_some_and(|value| value == wanted)
}

async fn libretranslate(State(shared): Shares, body: Bytes) -> Result<Json<Value>, Response> {
    let (body, texts) = shared.read("libretranslate", &body, |body| (&body["q"], 1))?;
    assert_eq!(body["format"], "text");
    let (source, target) = (body["source"].as_str().unwrap(), body["target"].as_str().unwrap());
    let texts = shared.translate(body["api_key"] == KEY, texts, source, target).await?;
    Ok(Json(json!({ "translatedText": texts })))
}

async fn deepl(State(shared): Shares, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, Response> {
    let (body, texts) = shared.read("deepl", &body, |body| (&body["text"], 1))?;
    let (source, target) = (body["source_lang"].as_str().unwrap(), body["target_lang"].as_str().unwrap());
    assert!(source.chars().all(char::is_uppercase) && target != "EN", "a target must say which English");
    let fits = has(&headers, "authorization", &format!("DeepL-Auth-Key {KEY}"));
    let texts = shared.translate(fits, texts, source, target).await?;
    let texts: Vec<_> =
        texts.iter().map(|text| json!({ "detected_source_language": source, "text": text })).collect();
    Ok(Json(json!({ "translations": texts })))
}

async fn google_v2(State(shared): Shares, headers: HeaderMap, body: Bytes) -> Result<Json<Value>, Response> {
    let (body, texts) = shared.read("google", &body, |body| (&body["q"], 1))?;
    assert_eq!(body["format"], "text");
    let (source, target) = (body["source"].as_str().unwrap(), body["target"].as_str().unwrap());
    let texts = shared.translate(has(&headers, "x-goog-api-key", KEY), texts, source, target).await?;
    let texts: Vec<_> = texts.iter().map(|text| json!({ "translatedText": text })).collect();
    Ok(Json(json!({ "data": { "translations": texts } })))
}

async fn google_v3(
    State(shared): Shares,
    Path((project, call)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Response> {
    let (body, texts) = shared.read("google v3", &body, |body| (&body["contents"], 1))?;
    assert_eq!((&*project, &*call), ("tea", "global:translateText"));
    assert_eq!(body["mimeType"], "text/plain");
    let (source, target) =
        (body["sourceLanguageCode"].as_str().unwrap(), body["targetLanguageCode"].as_str().unwrap());
    let token = headers["authorization"].to_str().unwrap();
    let number = token.strip_prefix("Bearer ").and_then(|token| token.strip_prefix(KEY)?.parse().ok());
    let fits = number.is_some_and(|number: usize| number > shared.revoked.load(Ordering::SeqCst));
    let texts = shared.translate(fits, texts, source, target).await?;
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
    let number = shared.tokens.fetch_add(1, Ordering::SeqCst) + 1;
    Ok(Json(json!({ "access_token": format!("{KEY}{number}"), "expires_in": 3600, "token_type": "Bearer" })))
}

async fn azure(
    State(shared): Shares,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<Value>, Response> {
    let query = query.unwrap_or_default();
    let values = |key: &str| -> Vec<String> {
        query
            .split('&')
            .filter_map(|pair| pair.strip_prefix(key)?.strip_prefix('=').map(str::to_owned))
            .collect()
    };
    assert_eq!(values("api-version"), ["3.0"]);
    assert!(has(&headers, "ocp-apim-subscription-region", "westeurope"));
    let (_, texts) = shared.read("azure", &body, |body| (body, values("to").len()))?;
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
