//! What translators share in Redis. It may be lost and it may be away: then more is translated and less is counted together.

use std::time::Duration;

use redis::{
    AsyncCommands, Client, RedisError,
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
}

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
        Ok(Self { redis, prefix: prefix.to_owned(), metrics, timeout })
    }

    fn key(&self, name: &str) -> String {
        format!("{}:translator:{name}", self.prefix)
    }

    async fn within<T>(&self, call: impl Future<Output = Result<T, RedisError>>) -> Option<T> {
        // Also while it connects: nobody waits long for what may be done without.
        let answer = tokio::time::timeout(self.timeout, call).await;
        match answer {
            Ok(Ok(value)) => Some(value),
            Ok(Err(_)) | Err(_) => {
                self.metrics.redis_failures.inc();
                None
            }
        }
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
