//! Codes that prove that somebody reads his mail.
//!
//! Only a keyed hash of a code is stored. Tries are counted before comparing, so that many at once cannot get more than
//! their share. A subject without a code is treated as one whose code nobody knows: the answers are the same.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Serialize, de::DeserializeOwned};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use super::{Secret, random, settings::AccountsSettings};
use crate::{backend::Ephemeral, problem::Problem};

/// That a code was used is remembered for so long.
const USED: Duration = Duration::from_secs(1);
/// Wrong tries that a code survives.
const TRIES: u64 = 5;

/// What a code is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// The subject is a canonical e-mail address.
    Register,
    /// The subject is a challenge.
    Login,
    /// The subject is a canonical e-mail address.
    Reset,
}

impl Purpose {
    fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Login => "login",
            Self::Reset => "reset",
        }
    }

    /// How long a code lives.
    pub(super) fn life(self, settings: &AccountsSettings) -> Duration {
        let minutes = match self {
            Self::Register => settings.register_code_minutes,
            Self::Login => settings.login_code_minutes,
            Self::Reset => settings.reset_code_minutes,
        };
        Duration::from_secs(minutes * 60)
    }
}

#[derive(serde::Serialize, serde::Deserialize)]
struct Record<T> {
    nonce: String,
    mac: String,
    /// `None`: a decoy, whose code was given to nobody.
    payload: Option<T>,
}

/// A code that was right and is not used up yet.
pub(super) struct Checked<T> {
    /// What was stored with it.
    pub(super) payload: T,
    key: String,
    raw: Bytes,
}

/// Codes.
pub(super) struct Codes {
    ephemeral: Arc<dyn Ephemeral>,
    secret: [u8; 32],
    settings: Arc<AccountsSettings>,
}

impl Codes {
    pub(super) fn new(
        ephemeral: Arc<dyn Ephemeral>,
        secret: [u8; 32],
        settings: Arc<AccountsSettings>,
    ) -> Self {
        Self { ephemeral, secret, settings }
    }

    /// Makes a code for `subject`, which replaces an older one. Without a `payload` it is a decoy.
    ///
    /// # Errors
    /// `unavailable`, `internal`.
    pub(super) async fn issue<T: Serialize>(
        &self,
        purpose: Purpose,
        subject: &str,
        payload: Option<T>,
    ) -> Result<String, Problem> {
        let code = random::digits(self.settings.code_digits)?;
        let nonce = random::token()?;
        let record =
            Record { mac: self.mac(&["code", purpose.name(), subject, &nonce, &code]), nonce, payload };
        let raw = serde_json::to_vec(&record).map_err(|_| Problem::internal())?;
        self.ephemeral.put(&self.key(purpose, subject), raw.into(), purpose.life(&self.settings)).await?;
        Ok(code)
    }

    /// What is stored with the code that waits for `subject`, if there is one and it is no decoy.
    ///
    /// # Errors
    /// `unavailable`.
    pub(super) async fn pending<T: DeserializeOwned>(
        &self,
        purpose: Purpose,
        subject: &str,
    ) -> Result<Option<T>, Problem> {
        let raw = self.ephemeral.get(&self.key(purpose, subject)).await?;
        Ok(raw
            .and_then(|raw| serde_json::from_slice::<Record<T>>(&raw).ok())
            .and_then(|record| record.payload))
    }

    /// Compares a code, and counts the try.
    ///
    /// # Errors
    /// 400 `code_invalid`: wrong, expired or used. 429 `too_many_attempts`: five wrong ones before; the code is dead.
    pub(super) async fn check<T: DeserializeOwned>(
        &self,
        purpose: Purpose,
        subject: &str,
        code: &Secret,
    ) -> Result<Checked<T>, Problem> {
        let key = self.key(purpose, subject);
        let raw = self.ephemeral.get(&key).await?.unwrap_or_default();
        let record: Option<Record<T>> = serde_json::from_slice(&raw).ok();
        let nonce = record.as_ref().map_or("-", |record| &record.nonce);
        let life = purpose.life(&self.settings);
        if self.ephemeral.count(&format!("tries:{key}:{nonce}"), life).await? > TRIES {
            return Err(Problem::new(
                429,
                "too_many_attempts",
                "Too many wrong codes: this one is dead. Ask for a new one.",
            )
            .retry_after(life));
        }
        let digits = code.expose().trim();
        let given = self.mac(&["code", purpose.name(), subject, nonce, digits]);
        let expected = record.as_ref().map_or("", |record| &record.mac);
        let right = bool::from(given.as_bytes().ct_eq(expected.as_bytes()));
        match record.and_then(|record| record.payload) {
            Some(payload) if right => Ok(Checked { payload, key, raw }),
            _ => Err(code_invalid()),
        }
    }

    /// Uses a code up: of several at once, one succeeds.
    ///
    /// # Errors
    /// 400 `code_invalid`: used or replaced since it was checked.
    pub(super) async fn consume<T>(&self, checked: &Checked<T>) -> Result<(), Problem> {
        // There is no conditional delete; an empty value is no code, and soon gone.
        let (key, raw) = (&checked.key, Some(checked.raw.clone()));
        let used = self.ephemeral.swap(key, raw, Bytes::new(), USED).await?;
        if used { Ok(()) } else { Err(code_invalid()) }
    }

    /// Makes a code that was used up good again, for as long as a new one: what it was used for could not be done. Not if there
    /// is another one by now, or Redis is away, too.
    pub(super) async fn give_back<T>(&self, purpose: Purpose, checked: &Checked<T>) {
        let life = purpose.life(&self.settings);
        for now in [Some(Bytes::new()), None] {
            let back = self.ephemeral.swap(&checked.key, now, checked.raw.clone(), life).await;
            if !matches!(back, Ok(false)) {
                return;
            }
        }
    }

    /// Keys tell no addresses.
    fn key(&self, purpose: Purpose, subject: &str) -> String {
        format!("code:{}:{}", purpose.name(), self.mac(&["subject", purpose.name(), subject]))
    }

    /// A keyed hash of parts.
    fn mac(&self, parts: &[&str]) -> String {
        mac(&self.secret, parts)
    }
}

/// HMAC-SHA256 over parts, each with its length before it, so that no two lists give the same bytes.
pub(super) fn mac(secret: &[u8; 32], parts: &[&str]) -> String {
    // The block of SHA-256 is longer than the key: as every length, it is accepted.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret) else { return String::new() };
    for part in parts {
        mac.update(&(part.len() as u64).to_le_bytes());
        mac.update(part.as_bytes());
    }
    URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
}

pub(super) fn code_invalid() -> Problem {
    Problem::new(400, "code_invalid", "The code is wrong or has expired.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn macs_differ_by_every_part() {
        let one = mac(&[1; 32], &["code", "a", "bc"]);
        assert_eq!(one.len(), 43);
        assert_ne!(one, mac(&[1; 32], &["code", "ab", "c"]));
        assert_ne!(one, mac(&[2; 32], &["code", "a", "bc"]));
        assert_eq!(one, mac(&[1; 32], &["code", "a", "bc"]));
    }
}
