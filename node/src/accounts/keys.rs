//! The keys that sign access tokens, and what a token says.
//!
//! A new key is made after some time; the public part of an old one is kept until the last token that it signed has expired.

use std::{collections::HashMap, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use jsonwebtoken::{
    Algorithm, DecodingKey, EncodingKey, Header, Validation, decode, decode_header, encode, errors::ErrorKind,
};
use parking_lot::Mutex;
use rookery_protocol::id::{SessionId, UserId};

use super::{now, random, settings::AccountsSettings, tries::Tries};
use crate::{
    backend::{
        Expect, Row, Rows, Table, Written,
        bus::{News, Tell},
    },
    problem::Problem,
};

/// Longest token that is looked at, in bytes; ours have about 350.
const LONGEST: usize = 2048;
/// Prefix of the keys' rows.
const SIGNING: &str = "signing/";
/// Row of the secret that codes and refresh tokens are hashed with.
const MAC: &str = "mac";
/// A key unknown here may be a new one of another node: looked up at most so often in such a time.
const RELOADS: (u32, Duration) = (5, Duration::from_secs(10));
/// Clocks of nodes may differ by so much; no leeway is given to `exp`.
const CLOCKS_DIFFER: Duration = Duration::from_secs(60);

/// What an access token says.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Claims {
    iss: String,
    aud: String,
    /// The user.
    pub(super) sub: UserId,
    /// The login.
    pub(super) sid: SessionId,
    iat: u64,
    /// Unix seconds.
    pub(super) exp: u64,
}

/// A key as stored. Not `Debug`.
#[derive(Clone, serde::Serialize, serde::Deserialize)]
struct Stored {
    kid: String,
    /// Unix milliseconds.
    created_at: i64,
    /// PKCS #8, base64url.
    pkcs8: String,
}

/// The keys in force.
struct Ring {
    kid: String,
    signer: EncodingKey,
    /// When `signer` was made, Unix milliseconds.
    created_at: i64,
    verifiers: HashMap<String, DecodingKey>,
    jwks: Bytes,
}

/// The keys.
pub(super) struct Keys {
    rows: Arc<dyn Rows>,
    settings: Arc<AccountsSettings>,
    validation: Validation,
    ring: ArcSwap<Ring>,
    /// Looks for unknown keys.
    reloads: Mutex<Tries>,
    news: Arc<Tell>,
}

impl Keys {
    /// Reads the keys, and makes one where there is none.
    pub(super) async fn load(
        rows: Arc<dyn Rows>,
        settings: Arc<AccountsSettings>,
        news: Arc<Tell>,
    ) -> Result<Self, Problem> {
        let mut validation = Validation::new(Algorithm::EdDSA);
        validation.leeway = 0;
        validation.set_issuer(&[&settings.issuer]);
        validation.set_audience(&[&settings.audience]);
        validation.set_required_spec_claims(&["exp", "iss", "aud", "sub"]);
        let (ring, _) = read(&*rows, &settings).await?;
        Ok(Self {
            rows,
            settings,
            validation,
            ring: ArcSwap::from_pointee(ring),
            reloads: Mutex::new(Tries::new(RELOADS)),
            news,
        })
    }

    /// Reads the keys again: makes a new one when it is time, and drops those that no token needs.
    pub(super) async fn reload(&self) -> Result<(), Problem> {
        let (ring, made) = read(&*self.rows, &self.settings).await?;
        self.ring.store(Arc::new(ring));
        if made {
            self.news.tell(News::KeysChanged);
        }
        Ok(())
    }

    /// The public keys, as a JSON Web Key Set (RFC 7517).
    pub(super) fn jwks(&self) -> Bytes {
        self.ring.load().jwks.clone()
    }

    /// An access token, and when it ends (Unix seconds).
    pub(super) async fn sign(&self, user: UserId, session: SessionId) -> Result<(String, Claims), Problem> {
        if rotation_is_due(&self.settings, self.ring.load().created_at) {
            self.reload().await?;
        }
        let ring = self.ring.load();
        let iat = u64::try_from(now() / 1000).unwrap_or_default();
        let claims = Claims {
            iss: self.settings.issuer.clone(),
            aud: self.settings.audience.clone(),
            sub: user,
            sid: session,
            iat,
            exp: iat + self.settings.access_token_seconds,
        };
        let header = Header { kid: Some(ring.kid.clone()), ..Header::new(Algorithm::EdDSA) };
        let token = encode(&header, &claims, &ring.signer).map_err(|error| {
            tracing::error!(%error, "an access token cannot be signed");
            Problem::internal()
        })?;
        Ok((token, claims))
    }

    /// Reads a token whose signature, issuer, audience and time are right.
    pub(super) async fn verify(&self, token: &str) -> Result<Claims, Problem> {
        if token.len() > LONGEST {
            return Err(token_invalid());
        }
        let header = decode_header(token).map_err(|_| token_invalid())?;
        let kid = header.kid.ok_or_else(token_invalid)?;
        let mut ring = self.ring.load_full();
        if !ring.verifiers.contains_key(&kid) && self.reloads.lock().once_more() {
            self.reload().await?;
            ring = self.ring.load_full();
        }
        let key = ring.verifiers.get(&kid).ok_or_else(token_invalid)?;
        match decode::<Claims>(token, key, &self.validation) {
            Ok(data) => Ok(data.claims),
            Err(error) if matches!(error.kind(), ErrorKind::ExpiredSignature) => Err(token_expired()),
            Err(_) => Err(token_invalid()),
        }
    }
}

pub(super) fn token_invalid() -> Problem {
    Problem::new(401, "token_invalid", "The access token is not valid; log in again.")
}

pub(super) fn token_expired() -> Problem {
    Problem::new(401, "token_expired", "The access token has expired; use the refresh token.")
}

fn rotation_is_due(settings: &AccountsSettings, created_at: i64) -> bool {
    let life = Duration::from_secs(settings.key_rotation_days * 86_400);
    u128::try_from(now().saturating_sub(created_at)).is_ok_and(|age| age >= life.as_millis())
}

/// Reads all keys, newest last; adds and removes what is due. Also says whether it added one.
async fn read(rows: &dyn Rows, settings: &AccountsSettings) -> Result<(Ring, bool), Problem> {
    let mut keys = all(rows).await?;
    let mut made = false;
    if keys.last().is_none_or(|(_, newest)| rotation_is_due(settings, newest.created_at)) {
        let new = generate()?;
        let value = serde_json::to_vec(&new).map_err(|_| Problem::internal())?;
        // One successor for each key: of several nodes that find it is time, one makes it, and all use it.
        let successor = row_key(keys.last().map_or("first", |(_, newest)| &newest.kid));
        let row = Row { table: Table::Secrets, key: successor, value: Some(value.into()) };
        if rows.write(vec![(row, Expect::Absent)]).await? == Written::Done {
            tracing::info!(kid = new.kid, "a new key signs access tokens");
            made = true;
        }
        keys = all(rows).await?;
    }
    // A key signs until the next one is made; its tokens then live on for a while.
    let kept_for = settings.access_token_life() + CLOCKS_DIFFER;
    let needed = |successor: &Stored| {
        u128::try_from(now().saturating_sub(successor.created_at)).unwrap_or(0) < kept_for.as_millis()
    };
    let dropped = keys.windows(2).take_while(|pair| !needed(&pair[1].1)).count();
    for (key, _) in keys.drain(..dropped) {
        let row = Row { table: Table::Secrets, key, value: None };
        rows.write(vec![(row, Expect::Any)]).await?;
    }
    Ok((ring(keys.iter().map(|(_, key)| key))?, made))
}

/// All keys with those of their rows, newest last.
async fn all(rows: &dyn Rows) -> Result<Vec<(Bytes, Stored)>, Problem> {
    let mut keys = Vec::new();
    for entry in rows.scan(Table::Secrets, SIGNING.as_bytes(), None, 1000).await? {
        let stored = serde_json::from_slice::<Stored>(&entry.value).map_err(|error| {
            // Not the value: it is secret.
            tracing::error!(line = error.line(), "a stored signing key cannot be read");
            Problem::internal()
        })?;
        keys.push((entry.key, stored));
    }
    keys.sort_by(|(_, a), (_, b)| (a.created_at, &a.kid).cmp(&(b.created_at, &b.kid)));
    Ok(keys)
}

/// The row of the key that comes after the one with this id.
fn row_key(before: &str) -> Bytes {
    format!("{SIGNING}after/{before}").into()
}

fn generate() -> Result<Stored, Problem> {
    let pkcs8 =
        Ed25519KeyPair::generate().and_then(|pair| pair.to_pkcs8()).map_err(|_| Problem::internal())?;
    Ok(Stored {
        kid: URL_SAFE_NO_PAD.encode(random::bytes::<12>()?),
        created_at: now(),
        pkcs8: URL_SAFE_NO_PAD.encode(pkcs8.as_ref()),
    })
}

fn ring<'a>(keys: impl Iterator<Item = &'a Stored>) -> Result<Ring, Problem> {
    let mut verifiers = HashMap::new();
    let mut public = Vec::new();
    let mut signer = None;
    for key in keys {
        let pkcs8 = URL_SAFE_NO_PAD.decode(&key.pkcs8).map_err(|_| Problem::internal())?;
        let pair = Ed25519KeyPair::from_pkcs8(&pkcs8).map_err(|_| Problem::internal())?;
        let x = URL_SAFE_NO_PAD.encode(pair.public_key().as_ref());
        let verifier = DecodingKey::from_ed_components(&x).map_err(|_| Problem::internal())?;
        verifiers.insert(key.kid.clone(), verifier);
        // RFC 8037.
        public.push(serde_json::json!({
            "kty": "OKP", "crv": "Ed25519", "use": "sig", "alg": "EdDSA", "kid": key.kid, "x": x,
        }));
        signer = Some((key, EncodingKey::from_ed_der(&pkcs8)));
    }
    let (newest, signer) = signer.ok_or_else(Problem::internal)?;
    public.reverse();
    Ok(Ring {
        kid: newest.kid.clone(),
        signer,
        created_at: newest.created_at,
        verifiers,
        jwks: serde_json::json!({ "keys": public }).to_string().into(),
    })
}

/// The secret that codes and refresh tokens are hashed with; made at the first start.
pub(super) async fn mac_secret(rows: &dyn Rows) -> Result<[u8; 32], Problem> {
    if rows.get(Table::Secrets, MAC.as_bytes()).await?.is_none() {
        let value = Bytes::copy_from_slice(&random::bytes::<32>()?);
        let row = Row { table: Table::Secrets, key: Bytes::from_static(MAC.as_bytes()), value: Some(value) };
        // On a conflict another node was first; its secret is the one that counts.
        rows.write(vec![(row, Expect::Absent)]).await?;
    }
    let entry = rows.get(Table::Secrets, MAC.as_bytes()).await?;
    entry.and_then(|entry| entry.value.as_ref().try_into().ok()).ok_or_else(|| {
        tracing::error!("the stored secret of codes cannot be read");
        Problem::internal()
    })
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::backend::embedded::{Store, StoreMetrics, StoreSettings};

    /// Ids of the public keys, newest first.
    fn kids(keys: &Keys) -> Vec<String> {
        let jwks: serde_json::Value = serde_json::from_slice(&keys.jwks()).unwrap();
        let keys = jwks["keys"].as_array().unwrap();
        keys.iter().map(|key| key["kid"].as_str().unwrap().to_owned()).collect()
    }

    /// As if the newest key had been made so much earlier.
    async fn age(rows: &dyn Rows, by: Duration) {
        let (key, mut newest) = all(rows).await.unwrap().pop().unwrap();
        newest.created_at -= i64::try_from(by.as_millis()).unwrap();
        let value = Some(serde_json::to_vec(&newest).unwrap().into());
        rows.write(vec![(Row { table: Table::Secrets, key, value }, Expect::Any)]).await.unwrap();
    }

    #[tokio::test]
    async fn an_old_key_is_dropped_when_its_last_token_has_expired() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = StoreMetrics::register(&mut Registry::default());
        let store = Store::open(dir.path(), &StoreSettings::default(), metrics).unwrap();
        let settings = Arc::new(AccountsSettings::default());
        let keys = Keys::load(store.clone(), settings.clone(), Arc::default()).await.unwrap();
        let (token, _) = keys.sign(UserId(1), SessionId(2)).await.unwrap();
        let old = kids(&keys);
        assert_eq!(old.len(), 1);

        age(&*store, Duration::from_secs(settings.key_rotation_days * 86_400)).await;
        keys.reload().await.unwrap();
        let both = kids(&keys);
        assert_eq!((both.len(), &both[1..]), (2, &old[..]));
        keys.verify(&token).await.unwrap();

        // The other node's clock may be behind.
        age(&*store, settings.access_token_life()).await;
        keys.reload().await.unwrap();
        assert_eq!(kids(&keys), both);
        keys.verify(&token).await.unwrap();

        age(&*store, CLOCKS_DIFFER).await;
        keys.reload().await.unwrap();
        assert_eq!(kids(&keys), both[..1]);
        assert_eq!(keys.verify(&token).await.unwrap_err().code, "token_invalid");
        assert_eq!(all(&*store).await.unwrap().len(), 1);
    }
}
