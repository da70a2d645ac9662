//! Real servers for tests: NATS, etcd, Redis and Kubernetes' API server as local processes, and the faults that are done to them.
//!
//! Here belong finding, starting, killing, pausing and cutting off what Rookery runs on, and whole clusters of its nodes. No
//! client of any of these servers, and nothing of Rookery's own code: a test brings those itself.
//!
//! ```no_run
//! let Some(nats) = rookery_testbed::nats() else { return };
//! // connect to nats.urls() ...
//! nats.kill(0); // SIGKILL
//! nats.restart(0); // on the same ports and data; returns when it serves again
//! ```
//!
//! Calls block, and panic with a sentence and the server's last lines when something is not as it must be: that is how
//! a test fails. Call them from `spawn_blocking`, or from a test's own thread, where a runtime must go on meanwhile.
//! Servers listen on free ports of 127.0.0.1, keep their data in a directory of their own, and end with the value that
//! stands for them, or at the latest with the test's process, however that ends.
//!
//! Programs are looked for in `$ROOKERY_SERVERS`, where `scripts/setup test` puts them
//! (`${XDG_CACHE_HOME:-$HOME/.cache}/rookery/servers`), and in `PATH`. `ROOKERY_TESTBED_KEEP=1` keeps data and logs.
//! `ROOKERY_REQUIRE_SERVERS=1`, which CI sets, lets tests fail that would not be run because NATS, etcd or Redis is missing.

mod bed;
mod certificates;
mod cluster;
mod declared;
mod etcd;
mod guard;
mod http;
mod issuer;
mod kubernetes;
mod nats;
mod ports;
mod process;
mod programs;
mod proxy;
mod redis;
mod smtp;

use std::time::{Duration, Instant};

pub use bed::Bed;
pub use certificates::certificates;
pub use cluster::{Cluster, ClusterOptions, Fault, Links, Node, Ports, Translator};
pub use declared::declared;
pub use etcd::{EtcdCluster, EtcdOptions};
pub use issuer::{Issuer, IssuerKey, KeyKind, Mood};
pub use kubernetes::{ControlPlane, ControlPlaneOptions};
pub use nats::{NatsCluster, NatsOptions};
pub use ports::free_port;
pub use process::Process;
pub use programs::{
    all_required, find as find_program, find_models, find_modes, find_or_say as find_program_or_say,
};
pub use proxy::{Flow, Proxy};
pub use redis::{Redis, RedisOptions};
pub use smtp::{Smtp, SmtpOptions};

/// How long anything may take that ought to take seconds. Machines that run tests are busy.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Three NATS servers with JetStream, every write synced before it is acknowledged. `None`, said loudly, when
/// `nats-server` is not installed.
pub fn nats() -> Option<NatsCluster> {
    NatsCluster::start(&NatsOptions::default())
}

/// One NATS server with JetStream, every write synced.
pub fn nats_single() -> Option<NatsCluster> {
    NatsCluster::start(&NatsOptions { servers: 1, ..NatsOptions::default() })
}

/// An etcd of three members. `None`, said loudly, when `etcd` is not installed.
pub fn etcd() -> Option<EtcdCluster> {
    EtcdCluster::start(&EtcdOptions::default())
}

/// An etcd of one member.
pub fn etcd_single() -> Option<EtcdCluster> {
    EtcdCluster::start(&EtcdOptions { members: 1, ..EtcdOptions::default() })
}

/// A Redis that keeps nothing over a restart. `None`, said loudly, when `redis-server` is not installed.
pub fn redis() -> Option<Redis> {
    Redis::start(&RedisOptions::default())
}

/// Asks every few milliseconds until there is an answer; panics with `what` and the text of `context` after
/// [`PATIENCE`].
pub fn eventually<T>(what: &str, context: impl Fn() -> String, mut ask: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < deadline, "waited {PATIENCE:?} in vain: {what}\n{}", context());
        std::thread::sleep(Duration::from_millis(10));
    }
}
