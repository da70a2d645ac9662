//! Passwords: which are accepted, and how they are kept.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher, PasswordVerifier, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use super::{metrics::AccountsMetrics, random, secret::Secret, settings::AccountsSettings};
use crate::problem::Problem;

/// The worst of those with at least 8 characters, in lower case; from what leaks have had at their top for years.
const WORST: &[&str] = &[
    "00000000",
    "0987654321",
    "11111111",
    "1111111111",
    "11223344",
    "12121212",
    "123123123",
    "12341234",
    "12344321",
    "1234567890",
    "123456789",
    "12345678",
    "1234567891",
    "123456789a",
    "1234qwer",
    "123qwe123",
    "147258369",
    "1q2w3e4r",
    "1q2w3e4r5t",
    "1qaz2wsx",
    "22222222",
    "55555555",
    "66666666",
    "77777777",
    "87654321",
    "88888888",
    "987654321",
    "99999999",
    "a1234567",
    "a12345678",
    "a123456789",
    "aa123456",
    "aaaaaaaa",
    "abc12345",
    "abcd1234",
    "abcdefgh",
    "administrator",
    "asdfasdf",
    "asdfghjkl",
    "babygirl",
    "baseball",
    "basketball",
    "butterfly",
    "changeme",
    "chocolate",
    "computer",
    "corvette",
    "creative",
    "danielle",
    "dragon123",
    "elephant",
    "football",
    "iloveyou",
    "iloveyou1",
    "internet",
    "jennifer",
    "jonathan",
    "letmein1",
    "liverpool",
    "lovelove",
    "marlboro",
    "michelle",
    "midnight",
    "password",
    "password1",
    "password12",
    "password123",
    "passw0rd",
    "p@ssw0rd",
    "p@ssword",
    "pokemon1",
    "princess",
    "princess1",
    "q1w2e3r4",
    "qazwsxedc",
    "qwer1234",
    "qwerty12",
    "qwerty123",
    "qwertyui",
    "qwertyuiop",
    "samantha",
    "spiderman",
    "starwars",
    "sunshine",
    "superman",
    "swordfish",
    "test1234",
    "trustno1",
    "victoria",
    "welcome1",
    "whatever",
    "zaq12wsx",
    "zxcvbnm1",
    "zxcvbnm123",
];

/// Checks a new password by the rules of NIST SP 800-63B, 3.1.1: length, no list of required kinds of characters, none
/// that everybody tries first.
///
/// # Errors
/// A sentence that says what is wrong.
pub(super) fn check(password: &Secret, email: &str, username: Option<&str>) -> Result<(), &'static str> {
    let password = password.expose();
    match password.chars().count() {
        0..8 => return Err("A password has at least 8 characters."),
        8..=128 => {}
        _ => return Err("A password has at most 128 characters."),
    }
    let folded = password.to_lowercase();
    let local = email.split('@').next().unwrap_or_default();
    if folded == email.to_lowercase() || folded == local.to_lowercase() {
        return Err("The password is your e-mail address.");
    }
    if username.is_some_and(|name| folded == name.to_lowercase()) {
        return Err("The password is your username.");
    }
    let mut characters = folded.chars();
    let first = characters.next();
    if WORST.contains(&folded.as_str()) || characters.all(|c| Some(c) == first) {
        return Err("This password is one of those that are tried first; choose another one.");
    }
    Ok(())
}

/// Hashes passwords by argon2id, so many at once: each takes 19 MiB and tens of milliseconds of a core.
pub(super) struct Hasher {
    threads: Arc<Semaphore>,
    /// Places for those that run and those that wait.
    places: Arc<Semaphore>,
    metrics: AccountsMetrics,
    /// What a password is compared with when there is no such user, so that the answer takes as long.
    nobody: String,
}

/// OWASP Password Storage Cheat Sheet: 19 MiB, two passes, one lane.
fn argon2() -> Argon2<'static> {
    let params = Params::new(19 * 1024, 2, 1, None).unwrap_or_default();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn hash_now(password: &[u8]) -> Result<String, Problem> {
    let salt = random::bytes::<16>()?;
    let hash = argon2().hash_password_with_salt(password, &salt).map_err(|error| {
        tracing::error!(%error, "a password cannot be hashed");
        Problem::internal()
    })?;
    Ok(hash.to_string())
}

fn verify_now(password: &[u8], hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| argon2().verify_password(password, &hash).is_ok())
}

impl Hasher {
    /// # Errors
    /// `internal` when nothing can be hashed at all.
    pub(super) fn new(settings: &AccountsSettings, metrics: AccountsMetrics) -> Result<Self, Problem> {
        let threads = match settings.hashing_threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        Ok(Self {
            threads: Arc::new(Semaphore::new(threads)),
            places: Arc::new(Semaphore::new(threads + settings.hashing_queue)),
            metrics,
            nobody: hash_now(random::token()?.as_bytes())?,
        })
    }

    /// The PHC string of a password.
    ///
    /// # Errors
    /// 503 `overloaded` when too many wait.
    pub(super) async fn hash(&self, password: &Secret) -> Result<String, Problem> {
        let password = password.clone();
        self.run(move || hash_now(password.expose().as_bytes())).await?
    }

    /// Whether `password` is that of `hash`. `None`: takes as long and says no.
    ///
    /// # Errors
    /// As [`Self::hash`].
    pub(super) async fn verify(&self, password: &Secret, hash: Option<&str>) -> Result<bool, Problem> {
        let known = hash.is_some();
        let (password, hash) = (password.clone(), hash.unwrap_or(&self.nobody).to_owned());
        // Longer ones were never accepted; hashing them would be work for nothing.
        if password.expose().len() > 128 * 4 {
            return Ok(false);
        }
        Ok(self.run(move || verify_now(password.expose().as_bytes(), &hash)).await? && known)
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Result<T, Problem> {
        let Ok(place) = self.places.clone().try_acquire_owned() else {
            self.metrics.hashing_refused.inc();
            return Err(Problem {
                code: "overloaded",
                ..Problem::unavailable("Too many logins at once; try again in a moment.")
            });
        };
        let _counted = Counted::new(&self.metrics);
        let thread = self.threads.clone().acquire_owned().await.map_err(|_| Problem::internal())?;
        tokio::task::spawn_blocking(move || {
            // Both are held until the work is over, even if nobody waits for it any more.
            let _held = (place, thread);
            work()
        })
        .await
        .map_err(|_| Problem::internal())
    }
}

/// Counts a password while it waits or is hashed.
struct Counted<'a>(&'a AccountsMetrics);

impl<'a> Counted<'a> {
    fn new(metrics: &'a AccountsMetrics) -> Self {
        metrics.hashing.inc();
        Self(metrics)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.hashing.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret(text: &str) -> Secret {
        text.to_owned().into()
    }

    #[test]
    fn rules() {
        let check = |text: &str| check(&secret(text), "ada.lovelace@example.org", Some("countess-ada"));
        assert_eq!(check("correct horse battery staple"), Ok(()));
        assert_eq!(check("пароль-длинный"), Ok(()));
        assert_eq!(check(&"ab".repeat(64)), Ok(()));
        for text in [
            "",
            "short12",
            "password",
            "Password123",
            "12345678",
            "aaaaaaaaaaaa",
            "Ada.Lovelace",
            "COUNTESS-ADA",
            "ada.lovelace@example.org",
            &"ab".repeat(65),
        ] {
            assert!(check(text).is_err(), "{text}");
        }
    }

    #[tokio::test]
    async fn hashes_and_verifies() {
        let hasher = Hasher::new(&AccountsSettings::default(), AccountsMetrics::default()).unwrap();
        let hash = hasher.hash(&secret("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hasher.verify(&secret("correct horse"), Some(&hash)).await.unwrap());
        assert!(!hasher.verify(&secret("correct horsf"), Some(&hash)).await.unwrap());
        assert!(!hasher.verify(&secret("correct horse"), None).await.unwrap());
        assert_ne!(hash, hasher.hash(&secret("correct horse")).await.unwrap());
    }

    #[tokio::test]
    async fn refuses_when_too_many_wait() {
        let settings = AccountsSettings { hashing_threads: 1, hashing_queue: 1, ..Default::default() };
        let hasher = Arc::new(Hasher::new(&settings, AccountsMetrics::default()).unwrap());
        let all: Vec<_> = (0..8)
            .map(|_| {
                let hasher = hasher.clone();
                tokio::spawn(async move { hasher.hash(&secret("correct horse")).await })
            })
            .collect();
        let mut refused = 0;
        for one in all {
            if let Err(problem) = one.await.unwrap() {
                assert_eq!((problem.status, problem.code), (503, "overloaded"));
                refused += 1;
            }
        }
        assert!(refused > 0);
        assert!(hasher.hash(&secret("correct horse")).await.is_ok());
    }
}
