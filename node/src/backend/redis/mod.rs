//! Short-lived values in Redis: what a cluster's nodes share and may lose.
//!
//! Each call of [`Ephemeral`] is one command or one script on one key, so that it is atomic, in a Redis Cluster too. What Redis
//! holds lasts no longer than Redis itself does: when it is lost, everybody logs in again, codes under way are asked for
//! again, rate limits begin anew; no account and no message is in it. No policy belongs here: what to do without Redis is decided
//! by who calls.

mod address;
mod keeper;
mod metrics;
mod scripts;
mod settings;
#[cfg(test)]
mod tests;
mod wire;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use redis::{Cmd, FromRedisValue, RedisError, RedisResult, Value, cmd};
use tokio::sync::Semaphore;

pub use address::{Address, Kind};
pub use metrics::RedisMetrics;
pub use settings::RedisSettings;
pub use wire::RedisSetupError;

use self::{
    keeper::{Kept, reason},
    scripts::Scripts,
    wire::{Plan, Wire},
};
use super::{Ephemeral, Quota, Rate, Unavailable};

/// Longest key, bytes.
const KEY_BYTES: usize = 512;
/// Longest value, bytes.
const VALUE_BYTES: usize = 64 << 10;
/// Items of a list at most.
const LIST_ITEMS: usize = 10_000;
/// What lives longer is as good as for ever, and Redis has no larger numbers.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

/// [`Ephemeral`] on Redis.
pub struct Redis {
    kept: Arc<Kept>,
    scripts: Scripts,
    /// Before every key, so that several clusters can share one Redis.
    prefix: String,
    calls: Semaphore,
}

/// Kinds of keys, as they are called in Redis: they do not share their names.
#[derive(Clone, Copy)]
enum Space {
    Value,
    Counter,
    Quota,
    List,
}

impl Space {
    fn word(self) -> &'static str {
        match self {
            Self::Value => "value",
            Self::Counter => "count",
            Self::Quota => "quota",
            Self::List => "list",
        }
    }
}

fn millis(ttl: Duration) -> u64 {
    u64::try_from(ttl.min(LONGEST).as_millis()).unwrap_or(u64::MAX).max(1)
}

impl Redis {
    /// Reads the files that `settings` name, and begins to connect; needs a Tokio runtime. Redis need not be there yet.
    ///
    /// # Errors
    /// [`RedisSetupError`], naming the setting.
    pub fn start(
        settings: RedisSettings,
        cluster: &str,
        metrics: RedisMetrics,
    ) -> Result<Arc<Self>, RedisSetupError> {
        let plan = Plan::read(&settings)?;
        let calls = Semaphore::new(settings.concurrent_calls);
        let kept = Kept::start(plan, settings, metrics, format!("{cluster}:ping"));
        Ok(Arc::new(Self { kept, scripts: Scripts::new(), prefix: cluster.to_owned(), calls }))
    }

    /// Whether Redis answered a moment ago.
    pub fn is_connected(&self) -> bool {
        self.kept.wire().is_some()
    }

    fn key(&self, kind: Space, key: &str) -> Result<String, Unavailable> {
        if key.len() > KEY_BYTES {
            return Err(too_large());
        }
        Ok(format!("{}:{}:{key}", self.prefix, kind.word()))
    }

    /// Makes one call within its time, or fails at once.
    async fn call<T: FromRedisValue>(
        &self,
        name: &'static str,
        call: impl AsyncFnOnce(&Wire) -> RedisResult<Value> + Send,
    ) -> Result<T, Unavailable> {
        let failed = |why: &'static str| {
            self.kept.metrics.failed(name, why);
            Unavailable(format!("Redis: {name}: {why}").into())
        };
        let wire = self.kept.wire().ok_or_else(|| failed("away"))?;
        let _permit = self.calls.try_acquire().map_err(|_| failed("too_many_calls"))?;
        let started = Instant::now();
        let ended = tokio::time::timeout(self.kept.settings.timeout(), call(&wire)).await;
        let suspected = |error: Option<&RedisError>| {
            self.kept.suspect(&wire, error);
            failed(error.map_or("timeout", reason))
        };
        let value = ended.map_err(|_| suspected(None))?.map_err(|error| suspected(Some(&error)))?;
        self.kept.metrics.answered(name, started.elapsed());
        T::from_redis_value(value).map_err(|_| failed("unexpected_answer"))
    }

    async fn command<T: FromRedisValue>(&self, name: &'static str, command: Cmd) -> Result<T, Unavailable> {
        self.call(name, async |wire| wire.query(&command).await).await
    }
}

fn too_large() -> Unavailable {
    Unavailable("A short-lived value is too large.".into())
}

fn checked(value: &Bytes) -> Result<&[u8], Unavailable> {
    if value.len() > VALUE_BYTES { Err(too_large()) } else { Ok(value) }
}

#[async_trait]
impl Ephemeral for Redis {
    async fn put(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), Unavailable> {
        let mut set = cmd("SET");
        set.arg(self.key(Space::Value, key)?).arg(checked(&value)?).arg("PX").arg(millis(ttl));
        self.command("put", set).await
    }

    async fn get(&self, key: &str) -> Result<Option<Bytes>, Unavailable> {
        let mut get = cmd("GET");
        get.arg(self.key(Space::Value, key)?);
        self.command::<Option<Vec<u8>>>("get", get).await.map(|value| value.map(Bytes::from))
    }

    async fn take(&self, key: &str) -> Result<Option<Bytes>, Unavailable> {
        let mut take = cmd("GETDEL");
        take.arg(self.key(Space::Value, key)?);
        self.command::<Option<Vec<u8>>>("take", take).await.map(|value| value.map(Bytes::from))
    }

    async fn swap(
        &self,
        key: &str,
        old: Option<Bytes>,
        new: Bytes,
        ttl: Duration,
    ) -> Result<bool, Unavailable> {
        let (key, new, ms) = (self.key(Space::Value, key)?, checked(&new)?, millis(ttl));
        let Some(old) = old else {
            let mut set = cmd("SET");
            set.arg(key).arg(new).arg("PX").arg(ms).arg("NX");
            return self.command::<Option<String>>("swap", set).await.map(|set| set.is_some());
        };
        let ms = ms.to_string();
        self.call("swap", async |wire| self.scripts.swap.run(wire, &key, &[&old, new, ms.as_bytes()]).await)
            .await
    }

    async fn delete(&self, key: &str) -> Result<(), Unavailable> {
        let mut delete = cmd("DEL");
        delete.arg(self.key(Space::Value, key)?);
        self.command("delete", delete).await
    }

    async fn count(&self, key: &str, ttl: Duration) -> Result<u64, Unavailable> {
        let (key, ms) = (self.key(Space::Counter, key)?, millis(ttl).to_string());
        self.call("count", async |wire| self.scripts.count.run(wire, &key, &[ms.as_bytes()]).await).await
    }

    async fn rate(&self, key: &str, quota: Quota) -> Result<Rate, Unavailable> {
        let key = self.key(Space::Quota, key)?;
        if quota.burst == 0 {
            return Ok(Rate::RetryAfter(quota.per));
        }
        let (burst, per) = (quota.burst.to_string(), quota.per.min(LONGEST).as_micros().to_string());
        let wait: u64 = self
            .call("rate", async |wire| {
                self.scripts.rate.run(wire, &key, &[burst.as_bytes(), per.as_bytes()]).await
            })
            .await?;
        Ok(if wait == 0 { Rate::Allowed } else { Rate::RetryAfter(Duration::from_micros(wait)) })
    }

    async fn enlist(&self, list: &str, item: &str, ttl: Duration) -> Result<(), Unavailable> {
        let key = self.key(Space::List, list)?;
        if item.len() > KEY_BYTES {
            return Err(too_large());
        }
        let (ms, most) = (millis(ttl).to_string(), LIST_ITEMS.to_string());
        let done: bool = self
            .call("enlist", async |wire| {
                self.scripts.enlist.run(wire, &key, &[item.as_bytes(), ms.as_bytes(), most.as_bytes()]).await
            })
            .await?;
        if done { Ok(()) } else { Err(Unavailable("A list of short-lived values is full.".into())) }
    }

    async fn unlist(&self, list: &str, item: &str) -> Result<(), Unavailable> {
        let mut remove = cmd("ZREM");
        remove.arg(self.key(Space::List, list)?).arg(item);
        self.command("unlist", remove).await
    }

    async fn listed(&self, list: &str, limit: usize) -> Result<Vec<String>, Unavailable> {
        let key = self.key(Space::List, list)?;
        let mut items: Vec<String> =
            self.call("listed", async |wire| self.scripts.listed.run(wire, &key, &[]).await).await?;
        items.sort_unstable();
        items.truncate(limit);
        Ok(items)
    }
}
