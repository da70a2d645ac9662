//! Issuers: where each publishes its keys (OpenID Connect Discovery), and those that are known.

use std::{
    collections::BTreeMap,
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwapOption;
use jsonwebtoken::{
    Algorithm, DecodingKey, Header,
    jwk::{Jwk, KeyAlgorithm, PublicKeyUse},
};
use reqwest::{Certificate, Client, Url, redirect::Policy};
use serde::Deserialize;
use serde_json::Value;
use tokio::sync::Mutex;

use super::{
    IssuerSettings,
    id_token::{self, Person, invalid},
    settings::is_safe,
};
use crate::{
    accounts::{Secret, metrics::AccountsMetrics, tries::Tries},
    problem::Problem,
};

/// For one answer of an issuer, to its end.
const PATIENCE: Duration = Duration::from_secs(5);
/// An answer has at most so many bytes.
const LONGEST: usize = 256 << 10;
/// Keys are read again after this time: one that the issuer has withdrawn is believed no longer.
const FRESH: Duration = Duration::from_secs(600);
/// While the issuer does not answer, its keys are believed for so long.
const KEPT: Duration = Duration::from_secs(86_400);
/// A key unknown here may be a new one: an issuer is asked at most so often in such a time, whatever keys tokens name.
const ASKED: (u32, Duration) = (5, Duration::from_secs(10));
/// Keys of an issuer that are looked at.
const MOST: usize = 100;

/// All issuers.
pub(in crate::accounts) struct Issuers(Vec<Issuer>);

impl Issuers {
    /// # Errors
    /// A sentence: the CA certificates of one cannot be read.
    pub(in crate::accounts) fn new(
        settings: &BTreeMap<String, IssuerSettings>,
        metrics: &AccountsMetrics,
    ) -> Result<Self, String> {
        let issuer = |(name, settings): (&String, &IssuerSettings)| {
            Issuer::new(name, settings, metrics.clone())
                .map_err(|why| format!("accounts.external_issuers.{name}: {why}"))
        };
        settings.iter().map(issuer).collect::<Result<_, _>>().map(Self)
    }

    /// Asks all for their keys, so that the log says early what is wrong.
    pub(in crate::accounts) async fn look(&self) {
        for issuer in &self.0 {
            // What went wrong is logged there.
            let _ = issuer.keys(|_| false).await;
        }
    }

    /// Whose an ID token is.
    ///
    /// # Errors
    /// 401 `id_token_invalid`; `unavailable` when the issuer's keys cannot be read.
    pub(super) async fn read(&self, token: &Secret, nonce: Option<&str>) -> Result<Person, Problem> {
        let (claimed, header) = id_token::claimed(token.expose())?;
        let issuer = self.0.iter().find(|issuer| issuer.settings.url == claimed);
        let issuer =
            issuer.ok_or_else(|| invalid("The ID token's issuer is none that this service knows."))?;
        let keys = issuer.keys(|keys| keys.find(&header).is_some()).await?;
        let key = keys
            .find(&header)
            .ok_or_else(|| invalid("The ID token is signed with none of its issuer's keys."))?;
        id_token::read(token.expose(), &header, key, &issuer.settings, nonce)
    }
}

struct Issuer {
    name: String,
    settings: IssuerSettings,
    client: Client,
    metrics: AccountsMetrics,
    keys: ArcSwapOption<Keys>,
    /// Held while it is asked: whoever else needs its keys waits for that answer.
    asked: Mutex<Asked>,
}

/// How an issuer was asked.
struct Asked {
    tries: Tries,
    /// Whether it has answered the last time.
    answered: bool,
}

/// What an issuer has published.
struct Keys {
    since: Instant,
    all: Vec<Key>,
}

struct Key {
    id: Option<String>,
    /// The only one that it is for.
    algorithm: Option<KeyAlgorithm>,
    decoding: DecodingKey,
}

impl Keys {
    /// The key that a token names; where it names none, the only one that it can be.
    fn find(&self, header: &Header) -> Option<&DecodingKey> {
        let fits = |key: &&Key| {
            key.decoding.family() == header.alg.family()
                && key.algorithm.is_none_or(|only| only == KeyAlgorithm::from(header.alg))
        };
        let mut fitting = self.all.iter().filter(fits);
        let found = match &header.kid {
            Some(id) => fitting.find(|key| key.id.as_ref() == Some(id)),
            None => fitting.next().filter(|_| fitting.next().is_none()),
        };
        found.map(|key| &key.decoding)
    }
}

impl Issuer {
    fn new(name: &str, settings: &IssuerSettings, metrics: AccountsMetrics) -> Result<Self, String> {
        let mut client = Client::builder()
            .timeout(PATIENCE)
            .redirect(Policy::none())
            .user_agent(concat!("rookery-node/", env!("CARGO_PKG_VERSION")));
        if let Some(path) = &settings.ca_file {
            let pem =
                std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
            let all = Certificate::from_pem_bundle(&pem).ok().filter(|all| !all.is_empty());
            let all = all.ok_or_else(|| format!("{} has no PEM certificates", path.display()))?;
            client = client.tls_certs_only(all);
        }
        let client = client.build().map_err(|error| error.to_string())?;
        let (name, settings) = (name.to_owned(), settings.clone());
        let asked = Mutex::new(Asked { tries: Tries::new(ASKED), answered: false });
        Ok(Self { name, settings, client, metrics, keys: ArcSwapOption::empty(), asked })
    }

    /// Its keys: those that are known if they are `enough` and fresh, or it is asked.
    async fn keys(&self, enough: impl Fn(&Keys) -> bool) -> Result<Arc<Keys>, Problem> {
        let known = || self.keys.load_full().filter(|keys| keys.since.elapsed() < FRESH && enough(keys));
        if let Some(keys) = known() {
            return Ok(keys);
        }
        let mut asked = self.asked.lock().await;
        // Perhaps somebody else has asked meanwhile.
        if let Some(keys) = known() {
            return Ok(keys);
        }
        if asked.tries.once_more() {
            let read = self.read().await;
            asked.answered = read.is_ok();
            self.metrics.issuer_asked(&self.name, read.is_ok());
            match read {
                Ok(keys) => self.keys.store(Some(Arc::new(keys))),
                Err(why) => {
                    tracing::warn!(
                        issuer = self.name,
                        url = self.settings.url,
                        why,
                        "an issuer's keys cannot be read"
                    );
                }
            }
        }
        // Where it is away, nobody knows whether a key that is missed is a new one of its.
        let kept = self
            .keys
            .load_full()
            .filter(|keys| keys.since.elapsed() < KEPT && (asked.answered || enough(keys)));
        kept.ok_or_else(|| Problem::unavailable("The issuer of this login cannot be reached now; try again."))
    }

    async fn read(&self) -> Result<Keys, String> {
        #[derive(Deserialize)]
        struct Configuration {
            issuer: String,
            jwks_uri: String,
        }
        #[derive(Deserialize)]
        struct Set {
            keys: Vec<Value>,
        }
        let url = format!("{}/.well-known/openid-configuration", self.settings.url.trim_end_matches('/'));
        let configuration: Configuration = self.get(&url).await?;
        if configuration.issuer != self.settings.url {
            return Err(format!("{url} is that of the issuer {:?}", configuration.issuer));
        }
        let place = configuration.jwks_uri;
        if !Url::parse(&place).is_ok_and(|place| is_safe(&place)) {
            return Err(format!("{url} names {place:?} as jwks_uri, which is no https address"));
        }
        let set: Set = self.get(&place).await?;
        let all: Vec<_> = set.keys.into_iter().take(MOST).filter_map(key).collect();
        if all.is_empty() {
            return Err(format!("{place} has no key that is understood"));
        }
        Ok(Keys { since: Instant::now(), all })
    }

    async fn get<T: for<'de> Deserialize<'de>>(&self, url: &str) -> Result<T, String> {
        let mut response = self.client.get(url).send().await.map_err(|error| why(url, error))?;
        if !response.status().is_success() {
            return Err(format!("{url} answers {}", response.status()));
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|error| why(url, error))? {
            if body.len() + chunk.len() > LONGEST {
                return Err(format!("{url} answers more than {LONGEST} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        serde_json::from_slice(&body).map_err(|error| format!("{url} answers something else: {error}"))
    }
}

/// With its causes: "error sending request" alone helps nobody.
fn why(url: &str, error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = format!("{url}: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// A published key, if it is one that checks signatures. What else is published is none of our business.
fn key(published: Value) -> Option<Key> {
    let jwk: Jwk = serde_json::from_value(published).ok()?;
    let signs = jwk.common.public_key_use.as_ref().is_none_or(|only| *only == PublicKeyUse::Signature);
    let decoding = DecodingKey::from_jwk(&jwk).ok().filter(|_| signs)?;
    // A shared secret is none of what is published on purpose.
    if decoding.family() == Algorithm::HS256.family() {
        return None;
    }
    Some(Key { id: jwk.common.key_id, algorithm: jwk.common.key_algorithm, decoding })
}
