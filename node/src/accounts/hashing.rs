//! How passwords are kept: argon2id, on a bounded pool.

use std::sync::Arc;

use argon2::{
    Algorithm, Argon2, Block, Params, Version,
    password_hash::{
        self,
        phc::{Output, ParamsString, PasswordHash, Salt},
    },
};
use parking_lot::Mutex;
use subtle::ConstantTimeEq;
use tokio::sync::Semaphore;

use super::{Secret, metrics::AccountsMetrics, random, settings::AccountsSettings};
use crate::problem::Problem;

/// Length of a hash.
const HASH_BYTES: usize = 32;
/// What a password is compared with when there is no such user, so that the answer takes as long. Nobody knows a
/// password for it; `verify` says no even to one who did.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes passwords by argon2id, so many at once: each takes 19 MiB and tens of milliseconds of a core.
pub(super) struct Hasher {
    threads: Arc<Semaphore>,
    /// Places for those that run and those that wait.
    places: Arc<Semaphore>,
    memory: Arc<Memory>,
    metrics: AccountsMetrics,
}

/// OWASP Password Storage Cheat Sheet: 19 MiB, two passes, one lane.
fn argon2(params: Params) -> Argon2<'static> {
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

fn params() -> Params {
    Params::new(19 * 1024, 2, 1, Some(HASH_BYTES)).unwrap_or_default()
}

/// Working memory of those that run now or ran last. Without it each password would take 19 MiB from the allocator and
/// give them back from whichever thread it ran on, and the process would keep a multiple of that.
type Memory = Mutex<Vec<Vec<Block>>>;

fn derive(memory: &Memory, params: Params, password: &[u8], salt: &[u8]) -> argon2::Result<[u8; HASH_BYTES]> {
    let mut blocks = memory.lock().pop().unwrap_or_default();
    blocks.resize(params.block_count(), Block::default());
    let mut hash = [0; HASH_BYTES];
    let derived = argon2(params).hash_password_into_with_memory(password, salt, &mut hash, &mut blocks);
    memory.lock().push(blocks);
    derived.map(|()| hash)
}

fn hash_now(memory: &Memory, password: &[u8]) -> Result<String, Problem> {
    let salt = random::bytes::<16>()?;
    let phc = derive(memory, params(), password, &salt).map_err(|error| error.to_string()).and_then(|hash| {
        let written = || -> password_hash::Result<PasswordHash> {
            Ok(PasswordHash {
                algorithm: Algorithm::Argon2id.ident(),
                version: Some(Version::V0x13.into()),
                params: ParamsString::try_from(&params())?,
                salt: Some(Salt::new(&salt)?),
                hash: Some(Output::new(&hash)?),
            })
        };
        written().map_err(|error| error.to_string())
    });
    phc.map(|phc| phc.to_string()).map_err(|error| {
        tracing::error!(error, "a password cannot be hashed");
        Problem::internal()
    })
}

fn verify_now(memory: &Memory, password: &[u8], phc: &str) -> bool {
    let Ok(phc) = PasswordHash::new(phc) else { return false };
    let (Ok(params), Some(salt), Some(kept)) = (Params::try_from(&phc), phc.salt, phc.hash) else {
        return false;
    };
    derive(memory, params, password, &salt).is_ok_and(|hash| hash.ct_eq(kept.as_bytes()).into())
}

impl Hasher {
    /// A pool as `settings` say.
    pub(super) fn new(settings: &AccountsSettings, metrics: AccountsMetrics) -> Self {
        let threads = match settings.hashing_threads {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            threads => threads,
        };
        Self {
            threads: Arc::new(Semaphore::new(threads)),
            places: Arc::new(Semaphore::new(threads + settings.hashing_queue)),
            memory: Arc::default(),
            metrics,
        }
    }

    /// The PHC string of a password.
    ///
    /// # Errors
    /// 503 `overloaded` when too many wait.
    pub(super) async fn hash(&self, password: &Secret) -> Result<String, Problem> {
        let password = password.clone();
        let memory = self.memory.clone();
        self.run(move || hash_now(&memory, password.expose().as_bytes())).await?
    }

    /// Whether `password` is that of `hash`. `None`: takes as long and says no.
    ///
    /// # Errors
    /// As [`Self::hash`].
    pub(super) async fn verify(&self, password: &Secret, hash: Option<&str>) -> Result<bool, Problem> {
        let known = hash.is_some();
        let (password, hash) = (password.clone(), hash.unwrap_or(NOBODY).to_owned());
        // Longer ones were never accepted; hashing them would be work for nothing.
        if password.expose().len() > 128 * 4 {
            return Ok(false);
        }
        let memory = self.memory.clone();
        Ok(self.run(move || verify_now(&memory, password.expose().as_bytes(), &hash)).await? && known)
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
    use argon2::password_hash::PasswordVerifier;

    use super::*;

    fn secret(text: &str) -> Secret {
        text.to_owned().into()
    }

    #[tokio::test]
    async fn hashes_and_verifies() {
        let hasher = Hasher::new(&AccountsSettings::default(), AccountsMetrics::default());
        let hash = hasher.hash(&secret("correct horse")).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
        assert!(hasher.verify(&secret("correct horse"), Some(&hash)).await.unwrap());
        assert!(!hasher.verify(&secret("correct horsf"), Some(&hash)).await.unwrap());
        assert!(!hasher.verify(&secret("correct horse"), None).await.unwrap());
        // Others read it as we do.
        assert_eq!(Argon2::default().verify_password(b"correct horse", hash.as_str()), Ok(()));
        assert!(PasswordHash::new(NOBODY).is_ok_and(|nobody| Params::try_from(&nobody).is_ok()));
        assert_ne!(hash, hasher.hash(&secret("correct horse")).await.unwrap());
    }

    #[tokio::test]
    async fn refuses_when_too_many_wait() {
        let settings = AccountsSettings { hashing_threads: 1, hashing_queue: 1, ..Default::default() };
        let hasher = Arc::new(Hasher::new(&settings, AccountsMetrics::default()));
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
