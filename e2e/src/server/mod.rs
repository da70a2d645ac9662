//! A server of the test's own: a `rookery-node standalone`, or, when the tests run against a cluster, one more node of it.
//!
//! Here belongs starting, stopping, killing and restarting one; no HTTP.

mod options;
mod standalone;

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::ExitStatus,
};

use rookery_testbed::{Node, Process};

use crate::{PATIENCE, cluster};
pub use options::Options;
use standalone::Standalone;

/// A running server. It ends with this value, or at the latest with the test's process.
pub struct Server {
    running: Running,
}

enum Running {
    Standalone(Standalone),
    Member(Node),
}

impl Server {
    /// Starts one and returns when it is ready. Alone, it begins with an empty data directory.
    pub fn start(options: Options) -> Self {
        let running = match cluster::shared() {
            None => Running::Standalone(Standalone::new(options)),
            Some(cluster) => Running::Member(cluster.another_node(options.environment())),
        };
        let mut server = Self { running };
        server.spawn_again();
        server.await_ready();
        server
    }

    /// `http://host:port` for clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.listen())
    }

    /// `http://host:port` of the management port.
    pub fn management_url(&self) -> String {
        match &self.running {
            Running::Standalone(server) => format!("http://{}", server.management()),
            Running::Member(node) => node.management_url(),
        }
    }

    /// Where clients connect.
    pub fn listen(&self) -> SocketAddr {
        match &self.running {
            Running::Standalone(server) => server.listen(),
            Running::Member(node) => node.listen(),
        }
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        match &self.running {
            Running::Standalone(server) => server.process(),
            Running::Member(node) => node.process(),
        }
    }

    /// SIGTERM: drain and end.
    pub fn terminate(&self) {
        self.process().terminate();
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&mut self) {
        self.process().kill();
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> ExitStatus {
        let ended = self.process().wait(PATIENCE);
        ended.unwrap_or_else(|| panic!("the server does not end\n{}", self.process().log_tail(60)))
    }

    /// Starts the program again on the same data, without waiting until it is ready. It must have ended.
    pub fn spawn_again(&mut self) {
        assert!(self.process().pid().is_none(), "kill it first");
        match &mut self.running {
            Running::Standalone(server) => server.spawn(),
            Running::Member(node) => node.start(),
        }
    }

    /// Waits until it is ready.
    pub fn await_ready(&mut self) {
        match &mut self.running {
            Running::Standalone(server) => server.await_ready(),
            Running::Member(node) => node.await_ready(),
        }
    }

    /// Kills it and starts it again on the same data; returns when it is ready.
    pub fn restart(&mut self) {
        self.kill();
        self.spawn_again();
        self.await_ready();
    }

    /// The file with all that it wrote.
    pub fn log(&self) -> PathBuf {
        self.process().log().to_owned()
    }
}

impl Drop for Server {
    #[allow(clippy::print_stderr)]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.process().log_tail(60));
        }
    }
}

/// The last lines of a log file.
pub fn log_tail(log: &Path, lines: usize) -> String {
    let text =
        std::fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// The node's program: `$ROOKERY_NODE`, or the one of the test's own target directory.
pub fn program() -> PathBuf {
    if let Some(program) = std::env::var_os("ROOKERY_NODE") {
        return program.into();
    }
    let mut path = std::env::current_exe().expect("a test knows its own program");
    // target/PROFILE/deps/TEST → target/PROFILE/rookery-node
    path.pop();
    if path.ends_with("deps") {
        path.pop();
    }
    path.push("rookery-node");
    assert!(path.exists(), "{} is missing: cargo build -p rookery-node", path.display());
    path
}
