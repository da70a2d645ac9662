//! Short-lived values over a real store, with a clock that the tests move.

use std::sync::atomic::{AtomicU64, Ordering};

use prometheus_client::registry::Registry;

use super::*;
use crate::backend::embedded::StoreMetrics;

struct Moved(AtomicU64);

impl Clock for Moved {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

struct Bench {
    dir: tempfile::TempDir,
    clock: Arc<Moved>,
    settings: StoreSettings,
}

impl Bench {
    fn new() -> Self {
        let clock = Arc::new(Moved(AtomicU64::new(1_000_000)));
        Self { dir: tempfile::tempdir().unwrap(), clock, settings: StoreSettings::default() }
    }

    async fn open(&self) -> Arc<Ttl> {
        let metrics = StoreMetrics::register(&mut Registry::default());
        let store = Store::open(self.dir.path(), &self.settings, metrics).unwrap();
        Arc::new(Ttl::open(store, &self.settings, Arc::<Moved>::clone(&self.clock)).await.unwrap())
    }

    fn pass(&self, seconds: u64) {
        self.clock.0.fetch_add(seconds * 1_000, Ordering::SeqCst);
    }
}

const MINUTE: Duration = Duration::from_secs(60);

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[tokio::test]
async fn values_end_with_their_time() {
    let bench = Bench::new();
    let ttl = bench.open().await;
    ttl.put("code", bytes("1"), MINUTE).await.unwrap();
    bench.pass(59);
    assert_eq!(ttl.get("code").await.unwrap(), Some(bytes("1")));
    bench.pass(1);
    assert_eq!(ttl.get("code").await.unwrap(), None);
    assert_eq!(ttl.take("code").await.unwrap(), None);
}

#[tokio::test]
async fn one_of_many_takes_it() {
    let bench = Bench::new();
    let ttl = bench.open().await;
    ttl.put("ticket", bytes("t"), MINUTE).await.unwrap();
    let takers: Vec<_> = (0..20)
        .map(|_| {
            let ttl = Arc::clone(&ttl);
            tokio::spawn(async move { ttl.take("ticket").await.unwrap() })
        })
        .collect();
    let mut taken = 0;
    for taker in takers {
        taken += usize::from(taker.await.unwrap().is_some());
    }
    assert_eq!(taken, 1);
}

#[tokio::test]
async fn swap_needs_the_old_value() {
    let bench = Bench::new();
    let ttl = bench.open().await;
    assert!(!ttl.swap("s", Some(bytes("a")), bytes("b"), MINUTE).await.unwrap());
    assert!(ttl.swap("s", None, bytes("a"), MINUTE).await.unwrap());
    assert!(!ttl.swap("s", None, bytes("x"), MINUTE).await.unwrap());
    assert!(ttl.swap("s", Some(bytes("a")), bytes("b"), MINUTE).await.unwrap());
    assert_eq!(ttl.get("s").await.unwrap(), Some(bytes("b")));
    bench.pass(60);
    assert!(ttl.swap("s", None, bytes("c"), MINUTE).await.unwrap());
}

#[tokio::test]
async fn a_restart_keeps_values_and_only_those_that_live() {
    let bench = Bench::new();
    let ttl = bench.open().await;
    ttl.put("session/anna/1", bytes("kept"), 10 * MINUTE).await.unwrap();
    ttl.put("session/anna/2", bytes("taken"), 10 * MINUTE).await.unwrap();
    ttl.put("session/berta", bytes("ended"), MINUTE).await.unwrap();
    ttl.put("session/carla", bytes("old"), 10 * MINUTE).await.unwrap();
    assert!(ttl.swap("session/carla", Some(bytes("old")), bytes("new"), 10 * MINUTE).await.unwrap());
    ttl.take("session/anna/2").await.unwrap();
    ttl.enlist("logins", "anna", 10 * MINUTE).await.unwrap();
    ttl.enlist("logins", "berta", MINUTE).await.unwrap();
    assert_eq!(ttl.count("tries", MINUTE).await.unwrap(), 1);
    drop(ttl);
    bench.pass(120);
    for _ in 0..2 {
        let ttl = bench.open().await;
        assert_eq!(ttl.get("session/anna/1").await.unwrap(), Some(bytes("kept")));
        assert_eq!(ttl.get("session/carla").await.unwrap(), Some(bytes("new")));
        assert_eq!(ttl.listed("logins", 9).await.unwrap(), ["anna"]);
        // Counters do not last.
        assert_eq!(ttl.count("tries", MINUTE).await.unwrap(), 1);
        let rows = ttl.store.scan(Table::Ephemeral, b"", None, 9).await.unwrap();
        assert_eq!(rows.len(), 3, "what ended has left the disk");
    }
}

#[tokio::test]
async fn writes_of_one_key_reach_the_disk_in_order() {
    let bench = Bench::new();
    let ttl = bench.open().await;
    let puts: Vec<_> = (0..200u32)
        .map(|n| {
            let ttl = Arc::clone(&ttl);
            tokio::spawn(async move { ttl.put("k", n.to_string().into(), MINUTE).await.unwrap() })
        })
        .collect();
    for put in puts {
        put.await.unwrap();
    }
    let last = ttl.get("k").await.unwrap();
    drop(ttl);
    assert_eq!(bench.open().await.get("k").await.unwrap(), last);
}

#[tokio::test]
async fn counters_count_from_their_first_use() {
    let bench = Bench::new();
    let ttl = bench.open().await;
    for n in 1..=3 {
        bench.pass(25);
        assert_eq!(ttl.count("tries", MINUTE).await.unwrap(), n);
    }
    bench.pass(10);
    assert_eq!(ttl.count("tries", MINUTE).await.unwrap(), 1);
}

#[tokio::test]
async fn rates_refill() {
    let bench = Bench::new();
    let ttl = bench.open().await;
    let quota = Quota { burst: 2, per: Duration::from_secs(10) };
    assert_eq!(ttl.rate("a", quota).await.unwrap(), Rate::Allowed);
    assert_eq!(ttl.rate("a", quota).await.unwrap(), Rate::Allowed);
    assert_eq!(ttl.rate("a", quota).await.unwrap(), Rate::RetryAfter(Duration::from_secs(5)));
    assert_eq!(ttl.rate("b", quota).await.unwrap(), Rate::Allowed);
    bench.pass(5);
    assert_eq!(ttl.rate("a", quota).await.unwrap(), Rate::Allowed);
    assert_eq!(ttl.rate("a", quota).await.unwrap(), Rate::RetryAfter(Duration::from_secs(5)));
}

#[tokio::test]
async fn a_full_store_refuses_until_something_ends() {
    let mut bench = Bench::new();
    bench.settings.ephemeral_entries = 2;
    let ttl = bench.open().await;
    ttl.put("a", bytes("1"), MINUTE).await.unwrap();
    ttl.put("b", bytes("2"), 2 * MINUTE).await.unwrap();
    assert!(ttl.put("c", bytes("3"), MINUTE).await.is_err());
    // What is there may still change.
    ttl.put("b", bytes("4"), 2 * MINUTE).await.unwrap();
    let quota = Quota { burst: 1, per: MINUTE };
    for key in ["x", "y"] {
        assert_eq!(ttl.rate(key, quota).await.unwrap(), Rate::Allowed);
        assert_eq!(ttl.count(key, MINUTE).await.unwrap(), 1);
    }
    assert!(ttl.rate("z", quota).await.is_err());
    assert!(ttl.count("z", MINUTE).await.is_err());
    bench.pass(60);
    ttl.put("c", bytes("3"), MINUTE).await.unwrap();
    assert!(ttl.get("a").await.unwrap().is_none());
    assert_eq!(ttl.rate("z", quota).await.unwrap(), Rate::Allowed);
    assert_eq!(ttl.count("z", MINUTE).await.unwrap(), 1);
}

#[tokio::test]
async fn keeps_all_promises() {
    let dir = tempfile::tempdir().unwrap();
    let settings = StoreSettings::default();
    let metrics = StoreMetrics::register(&mut Registry::default());
    let store = Store::open(dir.path(), &settings, metrics).unwrap();
    let clock = Arc::new(crate::backend::embedded::SystemClock);
    crate::backend::ephemeral_tests::all(Arc::new(Ttl::open(store, &settings, clock).await.unwrap())).await;
}
