//! Addresses, data directory, shutdown.

use std::{net::SocketAddr, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::settings::Wrong;

/// `[server]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerSettings {
    /// Where clients connect. Port 0: any free one.
    pub listen: SocketAddr,
    /// Where `/livez`, `/readyz` and `/metrics` are. Never put it behind the ingress.
    pub management: SocketAddr,
    /// Where standalone keeps everything.
    pub data: PathBuf,
    /// Name of this node in `welcome`, logs and records: 1-63 of `a-z A-Z 0-9 - .`. Empty: `standalone`, and in a cluster
    /// the host's name.
    pub node: String,
    /// After SIGTERM, for so many seconds, the node says that it is not ready and goes on serving as before: who sends clients
    /// here notices in the meantime. Unset: in `standalone` 0, in a cluster 3.
    pub drain_delay_seconds: Option<u32>,
    /// After that: connections are told to leave, spread over so many seconds.
    pub drain_window_seconds: u32,
    /// With few of them the window is shorter: so many a second are told to leave. 0: always the whole window.
    pub drain_per_second: u32,
    /// Beside those: handing over rooms (in a cluster, before clients are told), requests under way and the end have so many
    /// seconds, together.
    pub drain_deadline_seconds: u32,
    /// Threads that serve; 0: one per core.
    pub threads: usize,
}

impl Default for ServerSettings {
    fn default() -> Self {
        Self {
            listen: ([127, 0, 0, 1], 8080).into(),
            management: ([127, 0, 0, 1], 9090).into(),
            data: "data".into(),
            node: String::new(),
            drain_delay_seconds: None,
            drain_window_seconds: 2,
            drain_per_second: 0,
            drain_deadline_seconds: 10,
            threads: 0,
        }
    }
}

/// Whether a node may be called so.
fn is_node_name(name: &str) -> bool {
    (1..=63).contains(&name.len())
        && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'.')
}

impl ServerSettings {
    /// What this node is called in a cluster.
    ///
    /// # Errors
    /// [`Wrong`]: it has no name, and the host's cannot be used.
    pub fn node_in_cluster(&self) -> Result<String, Wrong> {
        if !self.node.is_empty() {
            return Ok(self.node.clone());
        }
        let uname = rustix::system::uname();
        let host = uname.nodename().to_string_lossy();
        if is_node_name(&host) && host != "localhost" {
            return Ok(host.into_owned());
        }
        let why = format!(
            "must be set: each node needs a name of its own, and \"{host}\", the host's, cannot be used"
        );
        Err(Wrong { key: "server.node".to_owned(), why })
    }

    /// What cannot work.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut add =
            |key: &str, why: &str| wrong.push(Wrong { key: format!("server.{key}"), why: why.to_owned() });
        if self.listen == self.management && self.listen.port() != 0 {
            add("management", "must differ from server.listen");
        }
        if !self.node.is_empty() && !is_node_name(&self.node) {
            add("node", "must be 1-63 of a-z, A-Z, 0-9, - and .");
        }
        if self.drain_delay_seconds.is_some_and(|seconds| seconds > 3600) {
            add("drain_delay_seconds", "must be at most 3600");
        }
        if self.drain_window_seconds > 3600 {
            add("drain_window_seconds", "must be at most 3600");
        }
        if self.drain_per_second > 1_000_000 {
            add("drain_per_second", "must be at most 1000000");
        }
        if self.drain_deadline_seconds > 3600 {
            add("drain_deadline_seconds", "must be at most 3600");
        }
        if self.threads > 1024 {
            add("threads", "must be at most 1024");
        }
        wrong
    }
}
