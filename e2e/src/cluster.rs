//! The cluster that the tests of a process share when `ROOKERY_E2E_CLUSTER` asks for one: so many nodes, in two shards where
//! they are three or more, over real NATS, etcd and Redis, and two translators beside them.
//!
//! Here belongs choosing and starting it; how a cluster is wired is the testbed's.

use std::sync::OnceLock;

use rookery_testbed::{Cluster, ClusterOptions};

use crate::server::{self, Options};

/// How many nodes are asked for, if a cluster is.
pub fn nodes() -> Option<usize> {
    let text = std::env::var("ROOKERY_E2E_CLUSTER").ok().filter(|text| !text.is_empty())?;
    let count = text.parse().ok().filter(|count| (1..=9).contains(count));
    Some(count.unwrap_or_else(|| panic!("ROOKERY_E2E_CLUSTER={text}: must be 1 to 9")))
}

/// The cluster, if it is asked for. It is started by whoever asks first, and ends with this process.
///
/// # Panics
/// If a server is not installed: who asks for a cluster must not be told that its tests pass.
pub fn shared() -> Option<&'static Cluster> {
    static SHARED: OnceLock<Option<Cluster>> = OnceLock::new();
    SHARED.get_or_init(|| nodes().map(start)).as_ref()
}

/// Of translators whose translations are waited for, by tests that use all cores.
pub fn equal_share() -> Vec<(String, String)> {
    vec![("ROOKERY_TRANSLATOR__IDLE_CLASS".to_owned(), "false".to_owned())]
}

fn start(nodes: usize) -> Cluster {
    let options = ClusterOptions {
        shards: ["blue", "blue", "green"].iter().cycle().take(nodes).map(ToString::to_string).collect(),
        // As in standalone: the suite tries each way to show who one is.
        settings: Options::generous().set("edge.url_token", true).environment().to_vec(),
        translators: 2,
        translator_settings: equal_share(),
        ..ClusterOptions::of(server::program())
    };
    Cluster::start(&options).expect("the servers of a cluster are installed: scripts/servers")
}
