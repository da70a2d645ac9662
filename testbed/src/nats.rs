//! NATS servers with JetStream.

use std::{fmt::Write as _, fs, net::SocketAddr};

use serde_json::Value;

use crate::{bed::Bed, eventually, http, ports, process::Process, programs, proxy::Proxy};

/// How the servers are started.
#[derive(Clone)]
pub struct NatsOptions {
    /// How many: one stands alone, more form a cluster.
    pub servers: usize,
    /// Whether JetStream is on.
    pub jetstream: bool,
    /// Whether JetStream syncs every write before it acknowledges it, as Rookery's log wants, or every two minutes,
    /// as servers do that nobody told.
    pub sync_always: bool,
    /// Whether proxies are put into the routes between servers, so that these can be cut.
    pub proxied: bool,
    /// Lines added to each server's configuration: TLS, users, limits.
    pub extra: String,
    /// Ports for clients from this one on, 10 further the routes, 20 further the monitors; else free ones.
    pub first_port: Option<u16>,
    /// Where data and logs go; else into a temporary directory.
    pub bed: Option<Bed>,
}

impl Default for NatsOptions {
    fn default() -> Self {
        Self {
            servers: 3,
            jetstream: true,
            sync_always: true,
            proxied: false,
            extra: String::new(),
            first_port: None,
            bed: None,
        }
    }
}

/// Running servers, numbered from 0.
pub struct NatsCluster {
    servers: Vec<NatsServer>,
    /// The others' way to each server, if they are proxied.
    ways: Vec<Proxy>,
    jetstream: bool,
}

struct NatsServer {
    process: Process,
    client: u16,
    monitor: u16,
}

impl NatsCluster {
    /// Starts them and returns when they have formed a cluster and streams can be made. `None`, said loudly, when
    /// `nats-server` is not installed.
    pub fn start(options: &NatsOptions) -> Option<Self> {
        let cluster = Self::spawn(options)?;
        cluster.await_ready();
        Some(cluster)
    }

    /// Starts them without waiting; [`NatsCluster::await_ready`] waits.
    pub fn spawn(options: &NatsOptions) -> Option<Self> {
        let program = programs::find_or_say("nats-server")?;
        let bed = options.bed.clone().unwrap_or_else(Bed::temporary);
        let port = |index: usize, block: u16| match options.first_port {
            Some(first) => first + block + u16::try_from(index).expect("few servers"),
            None => ports::free_port(),
        };
        let routes: Vec<u16> = (0..options.servers).map(|index| port(index, 10)).collect();
        let local = |port: &u16| SocketAddr::from(([127, 0, 0, 1], *port));
        let proxied = options.proxied.then_some(&routes).into_iter().flatten();
        let ways: Vec<Proxy> = proxied.map(|port| Proxy::to(local(port))).collect();
        let servers = (0..options.servers).map(|index| {
            let (client, monitor) = (port(index, 0), port(index, 20));
            let name = format!("nats-{index}");
            let config = bed.dir().join(format!("{name}.conf"));
            let text = configuration(options, &bed, index, client, monitor, &routes, &ways);
            fs::write(&config, text).expect("a configuration can be written");
            let process =
                bed.process(&name, &program, vec!["-c".into(), config.to_string_lossy().into_owned()]);
            process.start();
            NatsServer { process, client, monitor }
        });
        Some(Self { servers: servers.collect(), ways, jetstream: options.jetstream })
    }

    /// Waits until all that run serve, and streams with a copy on each of them can be made.
    pub fn await_ready(&self) {
        for index in 0..self.servers.len() {
            self.await_serving(index);
        }
        if self.jetstream && self.servers.len() > 1 {
            eventually(
                "the servers have formed a cluster",
                || self.log_tails(),
                || self.is_formed().then_some(()),
            );
        }
    }

    /// How many servers, running or not.
    pub fn len(&self) -> usize {
        self.servers.len()
    }

    /// Whether there is none; there always is one.
    pub fn is_empty(&self) -> bool {
        self.servers.is_empty()
    }

    /// Where clients connect: `nats://127.0.0.1:4222`, one per server. Servers do not tell clients of each other, so
    /// that what goes through a proxy stays there.
    pub fn urls(&self) -> Vec<String> {
        self.servers.iter().map(|server| format!("nats://127.0.0.1:{}", server.client)).collect()
    }

    /// Where clients connect to one server.
    pub fn address(&self, index: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.servers[index].client))
    }

    /// Where a server's monitor answers.
    pub fn monitor_address(&self, index: usize) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.servers[index].monitor))
    }

    /// SIGKILL, and waits until it is gone.
    pub fn kill(&self, index: usize) {
        self.servers[index].process.kill();
    }

    /// SIGSTOP.
    pub fn pause(&self, index: usize) {
        self.servers[index].process.pause();
    }

    /// SIGCONT.
    pub fn resume(&self, index: usize) {
        self.servers[index].process.resume();
    }

    /// Cuts a server off from all others, until [`NatsCluster::heal`]; clients reach it. Only for processes that run now.
    ///
    /// # Panics
    /// If the servers were started without [`NatsOptions::proxied`].
    pub fn cut_off(&self, index: usize) {
        assert!(!self.ways.is_empty(), "servers with proxies were asked for");
        let pid = self.servers[index].process.pid();
        for (other, way) in self.ways.iter().enumerate() {
            if other == index {
                way.cut();
            } else if let Some(pid) = pid {
                way.cut_from(pid);
            }
        }
    }

    /// All routes work again.
    pub fn heal(&self) {
        self.ways.iter().for_each(Proxy::heal);
    }

    /// SIGKILL if it still runs, then starts it again on the same ports and data; returns when it serves and has
    /// caught up.
    pub fn restart(&self, index: usize) {
        self.servers[index].process.kill();
        self.servers[index].process.start();
        self.await_serving(index);
    }

    /// Its process.
    pub fn process(&self, index: usize) -> &Process {
        &self.servers[index].process
    }

    /// Which server leads a stream, in its own opinion; `None` while none does.
    pub fn leader_of(&self, stream: &str) -> Option<usize> {
        if self.servers.len() == 1 {
            return Some(0);
        }
        (0..self.servers.len()).find(|&index| {
            let Some(told) = self.ask(index, "/jsz?accounts=true&streams=true") else { return false };
            let accounts = told["account_details"].as_array().into_iter().flatten();
            let mut streams =
                accounts.flat_map(|account| account["stream_detail"].as_array().into_iter().flatten());
            streams.any(|detail| {
                detail["name"] == stream && detail["cluster"]["leader"] == format!("nats-{index}")
            })
        })
    }

    /// Which server leads JetStream itself: it places streams.
    pub fn meta_leader(&self) -> Option<usize> {
        (0..self.servers.len()).find(|&index| {
            self.ask(index, "/jsz")
                .is_some_and(|told| told["meta_cluster"]["leader"] == format!("nats-{index}"))
        })
    }

    /// What a server's monitor says: `monitor(0, "/varz")`. `None` if it does not answer.
    pub fn monitor(&self, index: usize, path: &str) -> Option<Value> {
        self.ask(index, path)
    }

    fn ask(&self, index: usize, path: &str) -> Option<Value> {
        let server = &self.servers[index];
        server.process.pid()?;
        http::json(server.monitor, path)
    }

    fn await_serving(&self, index: usize) {
        let server = &self.servers[index];
        if server.process.pid().is_none() {
            return;
        }
        eventually(
            &format!("{} serves", server.process.name()),
            || self.log_tails(),
            || {
                server.process.assert_running();
                self.is_serving(index).then_some(())
            },
        );
    }

    /// Whether it serves, and has caught up with its streams.
    pub fn is_serving(&self, index: usize) -> bool {
        http::get(self.servers[index].monitor, "/healthz").is_some()
    }

    fn is_formed(&self) -> bool {
        let Some(leader) = self.meta_leader() else { return false };
        let Some(told) = self.ask(leader, "/jsz") else { return false };
        let others = told["meta_cluster"]["replicas"].as_array().cloned().unwrap_or_default();
        others.len() + 1 == self.servers.len() && others.iter().all(|other| other["current"] == true)
    }

    fn log_tails(&self) -> String {
        self.servers.iter().map(|server| server.process.log_tail(15) + "\n").collect()
    }
}

fn configuration(
    options: &NatsOptions,
    bed: &Bed,
    index: usize,
    client: u16,
    monitor: u16,
    routes: &[u16],
    ways: &[Proxy],
) -> String {
    let mut text = format!(
        "server_name: nats-{index}\nlisten: \"127.0.0.1:{client}\"\nhttp: \"127.0.0.1:{monitor}\"\n\
         # A silent peer is noticed in seconds, not minutes.\nping_interval: \"2s\"\nping_max: 2\n"
    );
    if options.jetstream {
        let sync = if options.sync_always { "  sync_interval: always\n" } else { "" };
        let store = bed.dir().join(format!("nats-{index}"));
        let _ = write!(
            text,
            "jetstream {{\n  store_dir: {store:?}\n{sync}  max_file_store: 16GB\n  max_memory_store: 256MB\n}}\n"
        );
    }
    if routes.len() > 1 {
        let reached = |server: usize| ways.get(server).map_or(routes[server], |way| way.address().port());
        let others = (0..routes.len()).filter(|&other| other != index);
        let others: Vec<String> =
            others.map(|other| format!("\"nats://127.0.0.1:{}\"", reached(other))).collect();
        let _ = write!(
            text,
            "cluster {{\n  name: testbed\n  listen: \"127.0.0.1:{}\"\n  no_advertise: true\n  # Where others tell each other that it is.\n  \
             advertise: \"127.0.0.1:{}\"\n  routes: [{}]\n}}\n",
            routes[index],
            reached(index),
            others.join(", ")
        );
    }
    text + &options.extra
}
