//! What every [`Ephemeral`] promises, in real time. Each backend runs all of it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{Ephemeral, Quota, Rate};

const MINUTE: Duration = Duration::from_secs(60);
/// So short that a test may wait for its end, so long that a busy machine sees its beginning.
const SHORT: Duration = Duration::from_millis(1_500);

fn bytes(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

/// All promises.
pub(super) async fn all(of: Arc<dyn Ephemeral>) {
    tokio::join!(
        values(&*of),
        ends(&*of),
        swaps(&*of),
        lists(&*of),
        counters(&*of),
        rates(&*of),
        names_are_apart(&*of),
        limits(&*of),
    );
    one_of_many(of.clone()).await;
    no_more_than_the_quota(of).await;
}

async fn values(of: &dyn Ephemeral) {
    assert_eq!(of.get("a").await.unwrap(), None);
    of.put("a", bytes("1"), MINUTE).await.unwrap();
    of.put("a", bytes("2"), MINUTE).await.unwrap();
    assert_eq!(of.get("a").await.unwrap(), Some(bytes("2")));
    assert_eq!(of.take("a").await.unwrap(), Some(bytes("2")));
    assert_eq!(of.take("a").await.unwrap(), None);
    // Any bytes, also none.
    let odd = Bytes::from_static(b"\0\r\n\xff");
    of.put("odd {key} \u{e4}\r\n", odd.clone(), MINUTE).await.unwrap();
    assert_eq!(of.get("odd {key} \u{e4}\r\n").await.unwrap(), Some(odd));
    of.put("empty", Bytes::new(), MINUTE).await.unwrap();
    assert_eq!(of.get("empty").await.unwrap(), Some(Bytes::new()));
    of.delete("empty").await.unwrap();
    of.delete("empty").await.unwrap();
    assert_eq!(of.get("empty").await.unwrap(), None);
}

async fn ends(of: &dyn Ephemeral) {
    let begun = Instant::now();
    of.put("short", bytes("1"), SHORT).await.unwrap();
    of.put("longer", bytes("1"), SHORT).await.unwrap();
    of.put("longer", bytes("1"), MINUTE).await.unwrap();
    assert!(of.swap("swapped", None, bytes("1"), MINUTE).await.unwrap());
    assert!(of.swap("swapped", Some(bytes("1")), bytes("2"), SHORT).await.unwrap());
    let early = of.get("short").await.unwrap();
    assert!(early.is_some() || begun.elapsed() >= SHORT);
    tokio::time::sleep(SHORT).await;
    assert_eq!(of.get("short").await.unwrap(), None);
    assert_eq!(of.take("short").await.unwrap(), None);
    assert_eq!(of.get("swapped").await.unwrap(), None);
    assert!(of.get("longer").await.unwrap().is_some());
    assert!(of.swap("short", None, bytes("2"), MINUTE).await.unwrap());
}

async fn swaps(of: &dyn Ephemeral) {
    assert!(!of.swap("s", Some(bytes("a")), bytes("b"), MINUTE).await.unwrap());
    assert!(!of.swap("s", Some(Bytes::new()), bytes("b"), MINUTE).await.unwrap(), "absent is not empty");
    assert!(of.swap("s", None, bytes("a"), MINUTE).await.unwrap());
    assert!(!of.swap("s", None, bytes("x"), MINUTE).await.unwrap());
    assert!(of.swap("s", Some(bytes("a")), Bytes::new(), MINUTE).await.unwrap());
    assert!(of.swap("s", Some(Bytes::new()), bytes("b"), MINUTE).await.unwrap());
    assert_eq!(of.get("s").await.unwrap(), Some(bytes("b")));
}

async fn lists(of: &dyn Ephemeral) {
    for item in ["c", "a", "b"] {
        of.enlist("list", item, MINUTE).await.unwrap();
    }
    of.enlist("list", "short", SHORT).await.unwrap();
    of.enlist("list", "b", MINUTE).await.unwrap();
    of.enlist("list two", "d", MINUTE).await.unwrap();
    of.unlist("list", "a").await.unwrap();
    of.unlist("list", "never").await.unwrap();
    tokio::time::sleep(SHORT).await;
    assert_eq!(of.listed("list", 9).await.unwrap(), ["b", "c"]);
    assert_eq!(of.listed("list", 1).await.unwrap(), ["b"]);
    assert_eq!(of.listed("list two", 9).await.unwrap(), ["d"]);
    assert!(of.listed("no list", 9).await.unwrap().is_empty());
    of.enlist("short list", "a", SHORT).await.unwrap();
    tokio::time::sleep(SHORT).await;
    assert!(of.listed("short list", 9).await.unwrap().is_empty());
}

async fn counters(of: &dyn Ephemeral) {
    let begun = Instant::now();
    for n in 1..=3 {
        assert_eq!(of.count("tries", MINUTE).await.unwrap(), n);
    }
    let first = of.count("short tries", SHORT).await.unwrap();
    assert_eq!(first, 1);
    tokio::time::sleep(SHORT / 2).await;
    // Its life does not begin again.
    let second = of.count("short tries", SHORT).await.unwrap();
    assert!(second == 2 || begun.elapsed() >= SHORT);
    tokio::time::sleep(SHORT.saturating_sub(begun.elapsed()) + SHORT / 4).await;
    assert_eq!(of.count("short tries", SHORT).await.unwrap(), 1);
}

async fn rates(of: &dyn Ephemeral) {
    let quota = Quota { burst: 3, per: Duration::from_secs(600) };
    for _ in 0..3 {
        assert_eq!(of.rate("r", quota).await.unwrap(), Rate::Allowed);
    }
    for _ in 0..2 {
        // What is refused costs nothing.
        let Rate::RetryAfter(after) = of.rate("r", quota).await.unwrap() else { panic!("over the quota") };
        assert!((Duration::from_secs(150)..=Duration::from_secs(200)).contains(&after), "{after:?}");
    }
    assert_eq!(of.rate("r2", quota).await.unwrap(), Rate::Allowed);
    let fast = Quota { burst: 1, per: Duration::from_millis(300) };
    assert_eq!(of.rate("fast", fast).await.unwrap(), Rate::Allowed);
    tokio::time::sleep(Duration::from_millis(310)).await;
    assert_eq!(of.rate("fast", fast).await.unwrap(), Rate::Allowed);
    let none = Quota { burst: 0, per: Duration::from_secs(1) };
    assert_eq!(of.rate("none", none).await.unwrap(), Rate::RetryAfter(none.per));
}

async fn names_are_apart(of: &dyn Ephemeral) {
    let quota = Quota { burst: 1, per: MINUTE };
    of.put("same", bytes("v"), MINUTE).await.unwrap();
    assert_eq!(of.count("same", MINUTE).await.unwrap(), 1);
    assert_eq!(of.rate("same", quota).await.unwrap(), Rate::Allowed);
    of.enlist("same", "item", MINUTE).await.unwrap();
    assert_eq!(of.get("same").await.unwrap(), Some(bytes("v")));
}

async fn limits(of: &dyn Ephemeral) {
    assert!(of.put(&"k".repeat(513), Bytes::new(), MINUTE).await.is_err());
    assert!(of.put("large", vec![0; (64 << 10) + 1].into(), MINUTE).await.is_err());
    of.put("large", vec![7; 64 << 10].into(), MINUTE).await.unwrap();
    assert_eq!(of.get("large").await.unwrap().map(|value| value.len()), Some(64 << 10));
    // No life is too long.
    of.put("for ever", bytes("1"), Duration::MAX).await.unwrap();
    assert_eq!(of.get("for ever").await.unwrap(), Some(bytes("1")));
}

async fn one_of_many(of: Arc<dyn Ephemeral>) {
    of.put("ticket", bytes("t"), MINUTE).await.unwrap();
    of.put("contended", bytes("old"), MINUTE).await.unwrap();
    let tries: Vec<_> = (0..50u32)
        .map(|n| {
            let of = of.clone();
            tokio::spawn(async move {
                let swapped =
                    of.swap("contended", Some(bytes("old")), n.to_string().into(), MINUTE).await.unwrap();
                (of.take("ticket").await.unwrap().is_some(), swapped)
            })
        })
        .collect();
    let (mut taken, mut swapped) = (0, 0);
    for one in tries {
        let (took, swap) = one.await.unwrap();
        taken += usize::from(took);
        swapped += usize::from(swap);
    }
    assert_eq!((taken, swapped), (1, 1));
}

async fn no_more_than_the_quota(of: Arc<dyn Ephemeral>) {
    let quota = Quota { burst: 10, per: Duration::from_secs(6_000) };
    let tries: Vec<_> = (0..50)
        .map(|_| {
            let of = of.clone();
            tokio::spawn(async move {
                (of.rate("busy", quota).await.unwrap(), of.count("busy", MINUTE).await.unwrap())
            })
        })
        .collect();
    let (mut allowed, mut counts) = (0, Vec::new());
    for one in tries {
        let (rate, count) = one.await.unwrap();
        allowed += usize::from(rate == Rate::Allowed);
        counts.push(count);
    }
    counts.sort_unstable();
    assert_eq!(allowed, 10);
    assert_eq!(counts, (1..=50).collect::<Vec<_>>(), "each count is given once");
}
