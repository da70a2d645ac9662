//! Redis that goes away, hangs, comes back empty.

use std::time::{Duration, Instant};

use super::*;

#[tokio::test]
async fn without_redis_calls_fail_at_once() {
    let port = server::free_port();
    let redis = start(settings(format!("redis://127.0.0.1:{port}")));
    let begun = Instant::now();
    for _ in 0..1_000 {
        let error = redis.put("a", "secret".into(), MINUTE).await.unwrap_err().to_string();
        assert_eq!(error, "Redis: put: away");
    }
    assert!(begun.elapsed() < Duration::from_secs(4), "no call waits");
}

#[tokio::test]
async fn a_server_that_comes_back_empty_is_used_again() {
    let Some(mut server) = Server::start(&[]) else { return };
    let redis = connected(settings(server.url())).await;
    for _ in 0..3 {
        redis.put("a", "1".into(), MINUTE).await.unwrap();
        // Scripts are forgotten too.
        redis.count("n", MINUTE).await.unwrap();
        server.kill();
        wait(&redis, false).await;
        assert!(redis.get("a").await.is_err());
        server.restart();
        wait(&redis, true).await;
        assert_eq!(redis.get("a").await.unwrap(), None);
        assert_eq!(redis.count("n", MINUTE).await.unwrap(), 1);
    }
}

#[tokio::test]
async fn a_server_that_hangs_fails_calls_in_their_time_and_then_at_once() {
    let Some(server) = Server::start(&[]) else { return };
    let redis = connected(RedisSettings { timeout_ms: 300, ..settings(server.url()) }).await;
    redis.put("a", "1".into(), MINUTE).await.unwrap();
    server.pause();
    let begun = Instant::now();
    let error = redis.put("a", "2".into(), MINUTE).await.unwrap_err().to_string();
    assert!(error.starts_with("Redis: put: "), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(4));
    wait(&redis, false).await;
    assert!(redis.get("a").await.is_err());
    server.resume();
    wait(&redis, true).await;
    // Not an answer that was meant for another call. What was sent before it hung may have been done.
    let value = redis.get("a").await.unwrap().unwrap();
    assert!(value == "1" || value == "2");
    redis.put("a", "3".into(), MINUTE).await.unwrap();
    assert_eq!(redis.get("a").await.unwrap().unwrap(), "3");
}

#[tokio::test]
async fn a_full_server_refuses_writes_and_is_read_still() {
    let Some(server) = Server::start(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]) else {
        return;
    };
    let redis = connected(settings(server.url())).await;
    redis.put("first", "1".into(), MINUTE).await.unwrap();
    let mut refused = None;
    for n in 0..1_000 {
        if let Err(error) = redis.put(&format!("k{n}"), vec![0; 64 << 10].into(), MINUTE).await {
            refused = Some(error.to_string());
            break;
        }
    }
    assert_eq!(refused.as_deref(), Some("Redis: put: out_of_memory"));
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(redis.is_connected(), "also after some pings");
    assert_eq!(redis.get("first").await.unwrap().unwrap(), "1");
}

#[tokio::test]
async fn too_many_calls_fail_at_once() {
    let Some(server) = Server::start(&[]) else { return };
    let redis = connected(RedisSettings {
        concurrent_calls: 2,
        timeout_ms: 60_000,
        ping_ms: 60_000,
        ..settings(server.url())
    })
    .await;
    server.pause();
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let redis = redis.clone();
            tokio::spawn(async move { redis.get("a").await })
        })
        .collect();
    let mut failed = 0;
    tokio::time::timeout(MINUTE, async {
        while !calls.iter().any(tokio::task::JoinHandle::is_finished) {
            tokio::task::yield_now().await;
        }
    })
    .await
    .unwrap();
    server.resume();
    for call in calls {
        if let Err(error) = call.await.unwrap() {
            assert_eq!(error.to_string(), "Redis: get: too_many_calls");
            failed += 1;
        }
    }
    assert_eq!(failed, 1);
}
