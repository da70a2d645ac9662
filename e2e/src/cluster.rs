//! The cluster that the tests of a process share when `ROOKERY_E2E_CLUSTER` is `1`: three nodes in two shards, over real
//! NATS, etcd and Redis.
//!
//! Here belongs choosing and starting it; how a cluster is wired is the testbed's.

use std::sync::OnceLock;

use rookery_testbed::{Cluster, ClusterOptions};

use crate::server::{self, Options};

/// Whether the tests are to run against a cluster.
pub fn is_asked_for() -> bool {
    std::env::var_os("ROOKERY_E2E_CLUSTER").is_some_and(|value| value == "1")
}

/// The cluster, if it is asked for. It is started by whoever asks first, and ends with this process.
///
/// # Panics
/// If a server is not installed: who asks for a cluster must not be told that its tests pass.
pub fn shared() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    SHARED.get_or_init(|| is_asked_for().then(start)).as_ref()
}

fn start() -> Cluster {
    let options = ClusterOptions {
        settings: Options::generous().environment().to_vec(),
        ..ClusterOptions::of(server::program())
    };
    Cluster::start(&options).expect("the servers of a cluster are installed: scripts/servers")
}
