//! End-to-end tests of Rookery: real processes, real sockets, nothing shared with the node's own code but the
//! codec of records, by which the fault suite reads the logs themselves.
//!
//! Here belong the clients, the server that tests start, and the checker of client histories. Tests are in
//! `tests/`; what they expect comes from the client API alone, so the same suite can be pointed at any
//! deployment:
//!
//! | variable | meaning |
//! | --- | --- |
//! | `ROOKERY_NODE` | the program to start; default: `rookery-node` next to the test's own target directory |
//! | `ROOKERY_E2E_URLS` | `http://a,http://b`: test these nodes of one cluster instead of starting any |
//! | `ROOKERY_E2E_MAILBOX` | with the former: base URL of `GET /dev/mailbox?to=`; default: the first URL |
//! | `ROOKERY_E2E_MANAGEMENT` | with the former: management URLs, in the same order |
//! | `ROOKERY_E2E_CLUSTER` | `3`: test a cluster of so many nodes over NATS, etcd and Redis, started for the tests |
//! | `ROOKERY_REQUIRE_SERVERS` | `1`: a test fails that would be skipped because a server of a cluster, curl or Python's websockets is missing |
//! | `ROOKERY_TESTBED_KEEP` | `1`: keep the data directories and logs of the servers that were started |
//! | `ROOKERY_E2E_KILLS` | how often the crash test kills its server (50) |
//! | `ROOKERY_E2E_FAULTS` | how many faults the fault suite does (a few, fixed; `make faults`: 1000) |
//! | `ROOKERY_E2E_CLUSTERS` | on how many clusters the fault suite works at the same time (1) |
//! | `ROOKERY_E2E_ROUND` | the only round of the fault suite that is done |
//! | `ROOKERY_E2E_KIND` | only faults whose kind, as the report names it, has this in it |
//! | `ROOKERY_E2E_SEED` | seed of the crash test and of the fault suite; printed by each run |
//! | `ROOKERY_E2E_AIMS` | `1`: the fault suite fails when an aim of its report is missed |
//! | `ROOKERY_E2E_REPORT` | file that the fault suite writes its report to, after each round |
//!
//! Nodes that are named must have the limits of [`server::Options::generous`]: none on what one address or one
//! connection may ask for, since all tests ask from one address, and some as fast as they can.
//!
//! Everything here panics when the service does not do what it must: that is how a test fails.

pub mod cluster;
pub mod history;
pub mod http;
pub mod load;
pub mod report;
pub mod server;
pub mod service;
pub mod time;
pub mod user;
pub mod ws;

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

/// How long anything may take that ought to happen at once. Machines that run tests are busy.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// Asks until there is an answer; panics with `what` after [`PATIENCE`].
pub async fn eventually<T>(what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(answer) = ask().await {
                return answer;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(answer) => answer,
        Err(_) => panic!("waited {PATIENCE:?} in vain: {what}"),
    }
}

/// Text that no other test, run or process uses: `prefix` and some lower-case letters and digits.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |now| now.as_micros());
    let mut number = (now << 12) + u128::from(NEXT.fetch_add(1, Ordering::Relaxed) & 0xFFF);
    let mut text = String::from(prefix);
    while number > 0 {
        text.push(char::from(b"0123456789abcdefghjkmnpqrstvwxyz"[(number % 32) as usize]));
        number /= 32;
    }
    text
}

/// Says that a test is not run, and why, where it cannot be overlooked.
#[allow(clippy::print_stderr)]
pub fn skipped(test: &str, why: &str) {
    use std::io::Write as _;
    // Not by `eprintln!`, which the test harness would swallow.
    let _ = writeln!(std::io::stderr(), "SKIPPED {test}: {why}");
}
