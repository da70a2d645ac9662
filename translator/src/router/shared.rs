//! What translators share in Redis. It may be lost and it may be away: then more is translated and less is counted together.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use redis::{
    AsyncCommands, Client, ExistenceCheck, RedisError, SetExpiry, SetOptions,
    aio::{ConnectionManager, ConnectionManagerConfig},
};

use crate::metrics::TranslatorMetrics;

const CONNECT: Duration = Duration::from_secs(2);
/// Between tries to connect, at most.
const PAUSE: Duration = Duration::from_secs(5);
/// Calls under way.
const CALLS: usize = 1024;

/// See the module's text. Clones share one connection.
#[derive(Clone)]
pub struct SharedStore {
    redis: ConnectionManager,
    prefix: String,
    metrics: TranslatorMetrics,
    timeout: Duration,
    /// Whether the last call was answered.
    well: Arc<AtomicBool>,
}

/// Removes a key if it still has the value that it was given.
const RELEASE: &str =
    "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) end return 0";

impl SharedStore {
    /// An answer that comes later than this is no help.
    pub const TIMEOUT: Duration = Duration::from_millis(500);

    /// Connects when it is first needed. `prefix` stands before every key. Nobody waits longer than `timeout`.
    ///
    /// # Errors
    /// Redis' word for what is wrong with the address.
    pub fn open(
        client: Client,
        prefix: &str,
        metrics: TranslatorMetrics,
        timeout: Duration,
    ) -> Result<Self, RedisError> {
        let config = ConnectionManagerConfig::new()
            .set_response_timeout(Some(timeout))
            .set_connection_timeout(Some(CONNECT.max(timeout)))
            .set_max_delay(PAUSE)
            .set_concurrency_limit(CALLS);
        let redis = ConnectionManager::new_lazy_with_config(client, config)?;
        let well = Arc::new(AtomicBool::new(true));
        Ok(Self { redis, prefix: prefix.to_owned(), metrics, timeout, well })
    }

    fn key(&self, name: &str) -> String {
        format!("{}:translator:{name}", self.prefix)
    }

    async fn within<T>(&self, call: impl Future<Output = Result<T, RedisError>>) -> Option<T> {
        // Also while it connects: nobody waits long for what may be done without.
        let answer = tokio::time::timeout(self.timeout, call).await;
        self.well.store(matches!(answer, Ok(Ok(_))), Ordering::Relaxed);
        match answer {
            Ok(Ok(value)) => Some(value),
            Ok(Err(_)) | Err(_) => {
                self.metrics.redis_failures.inc();
                None
            }
        }
    }

    /// Whether the last call was answered: what can be done without is not worth another wait else.
    pub(super) fn is_well(&self) -> bool {
        self.well.load(Ordering::Relaxed)
    }

    /// Writes a value that ends by itself, unless there is one; says whether it did. `None`: nobody knows.
    pub(super) async fn claim(&self, name: &str, value: &str, life: Duration) -> Option<bool> {
        let life = u64::try_from(life.as_millis()).unwrap_or(u64::MAX);
        let options =
            SetOptions::default().conditional_set(ExistenceCheck::NX).with_expiration(SetExpiry::PX(life));
        let mut redis = self.redis.clone();
        let set: Option<Option<String>> =
            self.within(redis.set_options(self.key(name), value, options)).await;
        set.map(|set| set.is_some())
    }

    /// Removes what was claimed with this value.
    pub(super) async fn release(&self, name: &str, value: &str) {
        let mut redis = self.redis.clone();
        let mut release = redis::cmd("EVAL");
        release.arg(RELEASE).arg(1).arg(self.key(name)).arg(value);
        let _: Option<i64> = self.within(release.query_async(&mut redis)).await;
    }

    pub(super) async fn get(&self, names: &[String]) -> Vec<Option<String>> {
        let keys: Vec<_> = names.iter().map(|name| self.key(name)).collect();
        let mut redis = self.redis.clone();
        self.within(redis.mget(&keys)).await.unwrap_or_default()
    }

    pub(super) async fn put(&self, name: &str, text: &str, time: Duration) {
        let mut redis = self.redis.clone();
        let _: Option<()> = self.within(redis.set_ex(self.key(name), text, time.as_secs())).await;
    }

    /// Adds to a counter that lives for a while; returns the sum.
    pub(super) async fn add(&self, name: &str, by: u64, time: Duration) -> Option<u64> {
        let key = self.key(name);
        let mut redis = self.redis.clone();
        let mut both = redis::pipe();
        both.atomic().incr(&key, by).expire(&key, i64::try_from(time.as_secs()).unwrap_or(i64::MAX)).ignore();
        let sums: Option<(u64,)> = self.within(both.query_async(&mut redis)).await;
        sums.map(|(sum,)| sum)
    }

    pub(super) async fn add_back(&self, name: &str, by: u64) {
        let mut redis = self.redis.clone();
        let _: Option<i64> = self.within(redis.decr(self.key(name), by)).await;
    }
}
