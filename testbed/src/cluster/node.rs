//! One node: its configuration and its process.

use std::{fmt::Write as _, fs, net::SocketAddr};

use super::options::{ClusterOptions, Ports};
use crate::{bed::Bed, eventually, http, process::Process};

/// Where a node reaches what it runs on.
#[derive(Debug, Clone)]
pub(super) struct Wiring {
    pub(super) nats: Vec<SocketAddr>,
    pub(super) monitors: Vec<SocketAddr>,
    pub(super) etcd: Vec<SocketAddr>,
    pub(super) redis: SocketAddr,
}

/// Where a node listens.
#[derive(Debug, Clone, Copy)]
pub(super) struct Addresses {
    pub(super) listen: SocketAddr,
    pub(super) management: SocketAddr,
    pub(super) peer: SocketAddr,
}

impl Addresses {
    pub(super) fn choose(ports: &Ports, index: usize) -> Self {
        let index = u16::try_from(index).expect("few nodes");
        let local = |base: u16| SocketAddr::from(([127, 0, 0, 1], ports.choose(base + index)));
        Self { listen: local(super::NODES), management: local(super::MANAGEMENT), peer: local(super::PEERS) }
    }
}

/// A `rookery-node cluster`. It keeps its addresses when it is started again.
pub struct Node {
    process: Process,
    shard: String,
    addresses: Addresses,
}

impl Node {
    pub(super) fn new(
        bed: &Bed,
        options: &ClusterOptions,
        index: usize,
        shard: &str,
        addresses: Addresses,
        wiring: &Wiring,
        advertised: SocketAddr,
    ) -> Self {
        let name = format!("node-{index}");
        let config = bed.dir().join(format!("{name}.toml"));
        let data = bed.dir().join(&name);
        fs::create_dir_all(&data).expect("a directory can be made");
        let mut text = format!("# Written at each start of the cluster.\n[server]\nnode = {name:?}\n");
        let _ = writeln!(text, "listen = \"{}\"", addresses.listen);
        let _ = writeln!(text, "management = \"{}\"", addresses.management);
        // Nobody but the tests looks whether it is ready.
        let _ = writeln!(text, "drain_delay_seconds = 0\ndata = {data:?}\n");
        let _ = writeln!(text, "[http]\ndev_mailbox = true\n");
        let _ = writeln!(text, "[cluster]\nname = {:?}\nshard = {shard:?}", options.name);
        let _ = writeln!(text, "advertise = \"{advertised}\"\n");
        let _ = writeln!(text, "[peer]\nlisten = \"{}\"\n", addresses.peer);
        let _ = writeln!(text, "[etcd]\nendpoints = {:?}\n", urls("http", &wiring.etcd));
        let _ = writeln!(text, "[nats]\nurls = {:?}", urls("nats", &wiring.nats));
        let monitors = urls("http", &wiring.monitors);
        // Asked once at the start, whether the servers sync every write.
        let _ = writeln!(text, "monitoring_urls = {monitors:?}");
        let _ = writeln!(text, "replicas = {}\n", wiring.nats.len().min(3));
        let _ = writeln!(text, "[redis]\nurl = \"redis://{}\"", wiring.redis);
        if options.translators > 0 {
            let _ = writeln!(text, "\n[translation]\nmode = \"nats\"");
        }
        fs::write(&config, text).expect("a configuration can be written");
        let args = ["cluster".to_owned(), "--config".to_owned(), config.to_string_lossy().into_owned()];
        let process = bed.process(&name, &options.program, args.to_vec());
        let process =
            options.settings.iter().fold(process, |process, (name, value)| process.with_env(name, value));
        Self { process, shard: shard.to_owned(), addresses }
    }

    /// Starts it, without waiting until it is ready. Does nothing if it runs.
    pub fn start(&self) {
        self.process.start();
    }

    /// Waits until it is ready for clients.
    pub fn await_ready(&self) {
        await_ready(&self.process, self.addresses.management);
    }

    /// Whether it says that it is ready.
    pub fn is_ready(&self) -> bool {
        is_ready(&self.process, self.addresses.management)
    }

    /// SIGKILL if it runs, then starts it again; returns when it is ready.
    pub fn restart(&self) {
        self.process.kill();
        self.process.start();
        self.await_ready();
    }

    /// Its process.
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Its shard.
    pub fn shard(&self) -> &str {
        &self.shard
    }

    /// Where clients connect.
    pub fn listen(&self) -> SocketAddr {
        self.addresses.listen
    }

    /// `http://host:port` for clients.
    pub fn url(&self) -> String {
        format!("http://{}", self.addresses.listen)
    }

    /// `http://host:port` of the management port.
    pub fn management_url(&self) -> String {
        format!("http://{}", self.addresses.management)
    }

    /// Where other nodes reach it, proxies left aside.
    pub fn peer(&self) -> SocketAddr {
        self.addresses.peer
    }
}

/// Whether a program of Rookery's says that it is ready.
pub(super) fn is_ready(process: &Process, management: SocketAddr) -> bool {
    process.pid().is_some() && http::get(management.port(), "/readyz").is_some()
}

/// Waits until it does.
pub(super) fn await_ready(process: &Process, management: SocketAddr) {
    eventually(
        &format!("{} is ready", process.name()),
        || process.log_tail(30),
        || {
            process.assert_running();
            is_ready(process, management).then_some(())
        },
    );
}

pub(super) fn urls(scheme: &str, addresses: &[SocketAddr]) -> Vec<String> {
    addresses.iter().map(|address| format!("{scheme}://{address}")).collect()
}
