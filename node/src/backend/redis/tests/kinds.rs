//! Passwords, TLS, sentinels, clusters.

use super::*;
use crate::backend::redis::RedisSetupError;

#[tokio::test]
async fn the_password_comes_from_its_file_and_is_told_to_nobody() {
    let Some(server) = Server::start(&["--requirepass", "hunter2-hunter2"]) else { return };
    let dir = tempfile::tempdir().unwrap();
    let (right, wrong) = (dir.path().join("right"), dir.path().join("wrong"));
    std::fs::write(&right, "hunter2-hunter2\n").unwrap();
    std::fs::write(&wrong, "hunter3-hunter3").unwrap();
    let with = |file| RedisSettings { password_file: Some(file), ..settings(server.url()) };
    let redis = connected(with(right)).await;
    redis.put("a", "1".into(), MINUTE).await.unwrap();
    let refused = start(with(wrong));
    tokio::time::timeout(MINUTE, async {
        while refused.kept.metrics.failed_connects.get() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await
    .unwrap();
    assert!(!refused.is_connected());
    let missing = with(dir.path().join("missing"));
    let metrics = RedisMetrics::register(&mut Registry::default());
    let Err(error @ RedisSetupError::File { key: "password_file", .. }) =
        Redis::start(missing, "test", metrics).map(drop)
    else {
        panic!("a file that is not there")
    };
    assert!(error.to_string().starts_with("redis.password_file: cannot read "), "{error}");
}

#[tokio::test]
async fn a_sentinel_leads_to_the_new_master() {
    let Some(mut old) = Server::start(&[]) else { return };
    let master = old.port.to_string();
    let Some(new) = Server::start(&["--replicaof", &format!("127.0.0.1 {master}")]) else { return };
    let Some(sentinel) = Server::sentinel(old.port) else { return };
    // A sentinel that is away comes first.
    let nobody = server::free_port();
    let url = format!("redis+sentinel://127.0.0.1:{nobody},127.0.0.1:{}/main", sentinel.port);
    let redis = connected(settings(url)).await;
    redis.put("a", "1".into(), MINUTE).await.unwrap();
    // The replica has to hold what the master holds, and the sentinel to know it.
    new.until(&["INFO", "replication"], |answer| answer.contains("master_link_status:up")).await;
    sentinel.until(&["SENTINEL", "REPLICAS", "main"], |answer| answer.contains(&new.port.to_string())).await;
    old.kill();
    wait(&redis, false).await;
    wait(&redis, true).await;
    redis.put("b", "2".into(), MINUTE).await.unwrap();
    assert_eq!(redis.get("b").await.unwrap().unwrap(), "2");
}

/// No call fails and no ping does: only the sentinels know.
#[tokio::test]
async fn a_master_that_the_sentinels_no_longer_name_is_left_though_it_lives() {
    let Some(old) = Server::start(&[]) else { return };
    let Some(new) = Server::start(&[]) else { return };
    let Some(sentinel) = Server::sentinel(old.port) else { return };
    let redis = connected(settings(format!("redis+sentinel://127.0.0.1:{}/main", sentinel.port))).await;
    redis.put("a", "1".into(), MINUTE).await.unwrap();
    let has = |server: &Server, key: &str| !server.ask(&["KEYS", &format!("*:{key}")]).contains("array([])");
    assert!(has(&old, "a") && !has(&new, "a"), "{} {}", old.ask(&["KEYS", "*"]), new.ask(&["KEYS", "*"]));
    sentinel.ask(&["SENTINEL", "REMOVE", "main"]);
    sentinel.ask(&["SENTINEL", "MONITOR", "main", "127.0.0.1", &new.port.to_string(), "1"]);
    let moved = async {
        while !has(&new, "b") {
            tokio::time::sleep(Duration::from_millis(50)).await;
            // While it connects anew, calls are refused.
            let _ = redis.put("b", "2".into(), MINUTE).await;
        }
    };
    // The sentinels are asked every 5 s.
    tokio::time::timeout(Duration::from_secs(30), moved).await.expect("what is put is put there");
    assert_eq!(redis.get("b").await.unwrap().unwrap(), "2");
    assert_eq!(redis.get("a").await.unwrap(), None);
    assert_eq!(old.ask(&["PING"]), "PONG");
}

/// A master that was replaced but lives, and answers pings: what is written there would be lost.
#[tokio::test]
async fn a_demoted_master_is_left() {
    let Some(old) = Server::start(&[]) else { return };
    let redis = connected(settings(old.url())).await;
    redis.put("a", "1".into(), MINUTE).await.unwrap();
    let nobody = server::free_port().to_string();
    old.ask(&["REPLICAOF", "127.0.0.1", &nobody]);
    assert!(redis.put("a", "2".into(), MINUTE).await.is_err());
    wait(&redis, false).await;
    old.ask(&["REPLICAOF", "NO", "ONE"]);
    wait(&redis, true).await;
}

#[tokio::test]
async fn a_cluster_keeps_all_promises() {
    let mut nodes = Vec::new();
    for range in [["0", "5461"], ["5462", "10922"], ["10923", "16383"]] {
        let arguments = [
            "--cluster-enabled",
            "yes",
            "--cluster-require-full-coverage",
            "no",
            "--cluster-node-timeout",
            "1000",
        ];
        let Some(node) = Server::start(&arguments) else { return };
        node.ask(&["CLUSTER", "ADDSLOTSRANGE", range[0], range[1]]);
        nodes.push(node);
    }
    for node in &nodes[1..] {
        nodes[0].ask(&["CLUSTER", "MEET", "127.0.0.1", &node.port.to_string()]);
    }
    for node in &nodes {
        node.until(&["CLUSTER", "INFO"], |answer| {
            answer.contains("cluster_state:ok") && answer.contains("cluster_slots_ok:16384")
        })
        .await;
    }
    // One that is away comes first; one of the others is enough to find all.
    let nobody = server::free_port();
    let redis =
        connected(settings(format!("redis+cluster://127.0.0.1:{nobody},127.0.0.1:{}", nodes[1].port))).await;
    ephemeral_tests::all(redis.clone()).await;
    // With one of three gone, some two thirds of all keys are there still.
    nodes[2].kill();
    tokio::time::sleep(Duration::from_secs(3)).await;
    let puts = (0..100).map(|n| {
        let redis = redis.clone();
        async move { redis.put(&format!("key {n}"), "1".into(), MINUTE).await.is_ok() }
    });
    let there = futures_util::future::join_all(puts).await.into_iter().filter(|done| *done).count();
    assert!((30..=95).contains(&there), "{there}");
}

#[tokio::test]
async fn tls_is_spoken_and_checked() {
    let dir = tempfile::tempdir().unwrap();
    if !rookery_testbed::certificates(dir.path(), "DNS:localhost") {
        return;
    }
    let file = |name: &str| dir.path().join(name).display().to_string();
    let port = server::free_port().to_string();
    let arguments = [
        "--port",
        "0",
        "--tls-port",
        &port,
        "--tls-cert-file",
        &file("cert.pem"),
        "--tls-key-file",
        &file("key.pem"),
        "--tls-ca-cert-file",
        &file("ca.pem"),
        "--tls-auth-clients",
        "yes",
    ];
    let Some(_server) = Server::start(&arguments) else { return };
    let with = |host: &str, own: bool| RedisSettings {
        tls_ca: Some(dir.path().join("ca.pem")),
        tls_cert: own.then(|| dir.path().join("cert.pem")),
        tls_key: own.then(|| dir.path().join("key.pem")),
        ..settings(format!("rediss://{host}:{port}"))
    };
    let redis = connected(with("localhost", true)).await;
    redis.put("a", "1".into(), MINUTE).await.unwrap();
    // A name that the certificate does not have; a client without a certificate; an authority that is not trusted.
    let stranger = RedisSettings { tls_ca: None, tls_cert: None, tls_key: None, ..with("localhost", true) };
    for wrong in [with("127.0.0.1", true), with("localhost", false), stranger] {
        let refused = start(wrong);
        tokio::time::timeout(MINUTE, async {
            while refused.kept.metrics.failed_connects.get() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        })
        .await
        .unwrap();
        assert!(!refused.is_connected());
    }
    let no_pem = RedisSettings { tls_ca: Some(dir.path().join("key.pem")), ..with("localhost", false) };
    std::fs::write(dir.path().join("key.pem"), "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n")
        .unwrap();
    let metrics = RedisMetrics::register(&mut Registry::default());
    assert!(matches!(Redis::start(no_pem, "test", metrics).map(drop), Err(RedisSetupError::Tls(_))));
}
