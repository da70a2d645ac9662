//! [`Redis`] over real servers.

mod accounts;
mod away;
mod kinds;
mod server;

use std::{sync::Arc, time::Duration};

use prometheus_client::registry::Registry;

use self::server::Server;
use super::{Redis, RedisMetrics, RedisSettings};
use crate::backend::{Ephemeral, ephemeral_tests};

const MINUTE: Duration = Duration::from_secs(60);

fn settings(url: String) -> RedisSettings {
    // A busy machine is no lost server.
    RedisSettings {
        url,
        timeout_ms: 5_000,
        connect_timeout_ms: 10_000,
        ping_ms: 100,
        ..RedisSettings::default()
    }
}

fn start(settings: RedisSettings) -> Arc<Redis> {
    Redis::start(settings, "test", RedisMetrics::register(&mut Registry::default())).unwrap()
}

/// Waits until it is connected, or is not.
async fn wait(redis: &Redis, connected: bool) {
    let waited = async {
        while redis.is_connected() != connected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(MINUTE, waited).await.expect("it connects, or notices that it is not");
}

async fn connected(settings: RedisSettings) -> Arc<Redis> {
    let redis = start(settings);
    wait(&redis, true).await;
    redis
}

#[tokio::test]
async fn keeps_all_promises() {
    let Some(server) = Server::start(&[]) else { return };
    ephemeral_tests::all(connected(settings(server.url())).await).await;
}

/// Everything has an end, so that nothing is left behind in Redis for ever.
#[tokio::test]
async fn every_key_ends() {
    let Some(server) = Server::start(&[]) else { return };
    let redis = connected(settings(server.url())).await;
    ephemeral_tests::all(redis.clone()).await;
    let wire = redis.kept.wire().unwrap();
    let keys: Vec<String> = wire.query(redis::cmd("KEYS").arg("*")).await.unwrap();
    assert!(keys.len() > 10);
    for key in keys {
        assert!(key.starts_with("test:"), "{key}");
        let left: i64 = wire.query(redis::cmd("PTTL").arg(&key)).await.unwrap();
        assert_ne!(left, -1, "{key} has no end");
    }
}

#[tokio::test]
async fn two_clusters_share_one_redis() {
    let Some(server) = Server::start(&[]) else { return };
    let one = connected(settings(server.url())).await;
    let metrics = RedisMetrics::register(&mut Registry::default());
    let two = Redis::start(settings(server.url()), "other", metrics).unwrap();
    wait(&two, true).await;
    one.put("a", "1".into(), MINUTE).await.unwrap();
    assert_eq!(two.get("a").await.unwrap(), None);
}
