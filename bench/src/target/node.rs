//! A Rookery node: started by us on a new directory, or running already.

use std::{
    fs::File,
    net::{SocketAddr, TcpListener},
    path::PathBuf,
    process::{Child, Stdio},
    time::Duration,
};

use anyhow::{Context, bail};

use super::{Http, Usage, raw::on_core};
use crate::clock;

/// A node that is not ready by then never will be.
const START_PATIENCE: Duration = Duration::from_secs(20);

/// Which node to measure.
#[derive(Debug, Clone, clap::Args)]
pub struct NodeSettings {
    /// The node's program, to be started with a data directory of its own
    #[arg(long, value_name = "PATH", default_value = "target/release/rookery-node")]
    pub server: PathBuf,
    /// Instead: the address of a running standalone node, with rate limits off
    #[arg(long, value_name = "ADDR", requires = "pid")]
    pub url: Option<SocketAddr>,
    /// Its process id
    #[arg(long)]
    pub pid: Option<u32>,
    /// Its management address
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:9090")]
    pub url_management: SocketAddr,
    /// Where the data directory of a started node is made (a real disk: fsync on tmpfs costs nothing)
    #[arg(long, value_name = "DIR", default_value = "target")]
    pub data_under: PathBuf,
    /// Core for the servers that are started
    #[arg(long, value_name = "CORE")]
    pub server_cpu: Option<usize>,
}

/// A node that serves.
#[derive(Debug)]
pub struct Node {
    /// Where clients connect.
    pub address: SocketAddr,
    /// Where its metrics are.
    pub management: SocketAddr,
    /// From `exec` until `/readyz` said yes, milliseconds; `None`: it ran already.
    pub start_ms: Option<f64>,
    pid: u32,
    child: Option<Child>,
    /// Removed with us.
    directory: Option<tempfile::TempDir>,
}

impl Node {
    /// Starts one, or takes the one that is named.
    ///
    /// # Errors
    /// When it cannot be started or does not become ready; its last words are in the message.
    pub fn start(settings: &NodeSettings) -> anyhow::Result<Self> {
        if let (Some(address), Some(pid)) = (settings.url, settings.pid) {
            let management = settings.url_management;
            return Ok(Self { address, management, start_ms: None, pid, child: None, directory: None });
        }
        let directory = tempfile::Builder::new()
            .prefix("rookery-bench-")
            .tempdir_in(&settings.data_under)
            .with_context(|| format!("cannot make a directory in {}", settings.data_under.display()))?;
        let (address, management) = (free_address()?, free_address()?);
        let log = directory.path().join("node.log");
        let output = File::create(&log)?;
        let program = settings.server.canonicalize().with_context(|| {
            format!("there is no {}: build it with cargo build --release", settings.server.display())
        })?;
        let mut command = on_core(&program, settings.server_cpu);
        command
            .args(["standalone", "--listen", &address.to_string(), "--management", &management.to_string()])
            .arg("--data")
            .arg(directory.path().join("data"))
            .envs(unlimited())
            // Nothing else is to run beside it, whatever is installed here.
            .env("ROOKERY_TRANSLATION__MODE", "off")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output);
        let began = clock::now();
        let child = command.spawn().context("cannot start the node")?;
        let pid = child.id();
        let mut node =
            Self { address, management, start_ms: None, pid, child: Some(child), directory: Some(directory) };
        loop {
            let waited = clock::now() - began;
            if Http::to(management).text("GET", "/readyz", None, None).is_ok_and(|(status, _)| status == 200)
            {
                node.start_ms = Some(clock::seconds(waited) * 1e3);
                return Ok(node);
            }
            let ended = node.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || waited > clock::nanos(START_PATIENCE) {
                let words = std::fs::read_to_string(&log).unwrap_or_default();
                let tail: Vec<&str> = words.lines().rev().take(10).collect();
                let tail: Vec<&str> = tail.into_iter().rev().collect();
                bail!("the node did not become ready; its last words:\n{}", tail.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Its use of the machine.
    pub fn usage(&self) -> Usage {
        Usage::of(self.pid)
    }

    /// Its metrics, as text.
    ///
    /// # Errors
    /// When it does not answer.
    pub fn metrics(&self) -> anyhow::Result<String> {
        Ok(Http::to(self.management).text("GET", "/metrics", None, None)?.1)
    }

    /// The directory that its data lie in, where we made it.
    pub fn directory(&self) -> Option<&std::path::Path> {
        self.directory.as_ref().map(tempfile::TempDir::path)
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// Settings under which one machine may be all clients at once, as variables.
pub(super) fn unlimited() -> impl Iterator<Item = (String, String)> {
    let calls = ["register", "verify", "ticket", "login"];
    let limits = calls.into_iter().flat_map(|call| {
        ["per_address", "per_account", "global"]
            .map(|whom| (format!("accounts__limits__{call}_{whom}"), "off".to_owned()))
    });
    let others = [
        ("accounts__limits__write_per_account", "off"),
        ("accounts__limits__list_per_account", "off"),
        ("accounts__access_token_seconds", "7200"),
        ("edge__frames_per_second", "0"),
        ("edge__sends_per_second", "0"),
        ("edge__max_in_flight", "8192"),
        ("log__level", "warn"),
        ("log__format", "json"),
    ];
    let others = others.map(|(key, value)| (key.to_owned(), value.to_owned()));
    limits.chain(others).map(|(key, value)| (format!("ROOKERY_{}", key.to_ascii_uppercase()), value))
}
