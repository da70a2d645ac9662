//! A whole cluster of Rookery as local processes: NATS, etcd, Redis, nodes of `rookery-node cluster`, and translators.
//!
//! Here belong how its parts are wired to each other, with proxies between them where a test wants to cut wires, and in
//! which order they start and stop. Nothing of what the nodes then do.

mod fault;
mod links;
mod node;
mod options;
mod translator;

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use crate::{
    Bed, EtcdCluster, EtcdOptions, NatsCluster, NatsOptions, Process, Redis, RedisOptions, programs,
};
pub use fault::Fault;
pub use links::Links;
pub use node::Node;
use node::Wiring;
pub use options::{ClusterOptions, Ports};
pub use translator::Translator;

// Ports, where they are fixed, of the first of each kind; those of the others follow. Servers are not on their usual ones,
// where a developer may run his own.
const NODES: u16 = 8080;
const MANAGEMENT: u16 = 9090;
const PEERS: u16 = 7070;
const TRANSLATORS: u16 = 9190;
const NATS: u16 = 14_222;
const ETCD: u16 = 12_379;
const REDIS: u16 = 16_379;

/// Running parts. They end in the reverse of the order in which they were started.
pub struct Cluster {
    bed: Bed,
    options: ClusterOptions,
    direct: Wiring,
    others: AtomicUsize,
    translators: Vec<Translator>,
    nodes: Vec<Node>,
    links: Vec<Links>,
    redis: Redis,
    etcd: EtcdCluster,
    nats: NatsCluster,
}

impl Cluster {
    /// Starts all parts and returns when every node is ready. `None`, said loudly, when a server is not installed.
    pub fn start(options: &ClusterOptions) -> Option<Self> {
        let cluster = Self::spawn(options)?;
        cluster.nats.await_ready();
        cluster.etcd.await_ready();
        cluster.redis.await_ready();
        cluster.nodes.iter().for_each(Node::start);
        cluster.translators.iter().for_each(Translator::start);
        cluster.nodes.iter().for_each(Node::await_ready);
        cluster.translators.iter().for_each(Translator::await_ready);
        Some(cluster)
    }

    /// Starts the servers without waiting for them; nodes and translators are not started: [`Node::start`] and
    /// [`Translator::start`] do that.
    pub fn spawn(options: &ClusterOptions) -> Option<Self> {
        // All that is missing is said at once, and nothing is started then.
        let servers = ["nats-server", "etcd", "redis-server"].map(programs::find_or_say);
        if servers.iter().any(Option::is_none) {
            return None;
        }
        if options.translators > 0 {
            programs::say_engines();
        }
        let bed = options.bed.clone().unwrap_or_else(Bed::temporary);
        let ports = &options.ports;
        let nats = NatsCluster::spawn(&NatsOptions {
            servers: options.nats_servers,
            proxied: options.proxied,
            first_port: ports.fixed(NATS),
            bed: Some(bed.clone()),
            ..NatsOptions::default()
        })?;
        let etcd = EtcdCluster::spawn(&EtcdOptions {
            members: options.etcd_members,
            first_port: ports.fixed(ETCD),
            bed: Some(bed.clone()),
            ..EtcdOptions::default()
        })?;
        let redis = Redis::spawn(&RedisOptions {
            durable: options.durable_redis,
            port: ports.fixed(REDIS),
            bed: Some(bed.clone()),
            ..RedisOptions::default()
        })?;
        let direct = Wiring {
            nats: (0..nats.len()).map(|index| nats.address(index)).collect(),
            monitors: (0..nats.len()).map(|index| nats.monitor_address(index)).collect(),
            etcd: (0..etcd.len()).map(|index| etcd.address(index)).collect(),
            redis: redis.address(),
        };
        let (mut nodes, mut links) = (Vec::new(), Vec::new());
        for (index, shard) in options.shards.iter().enumerate() {
            let addresses = node::Addresses::choose(ports, index);
            if options.proxied {
                let link = Links::around(&direct, addresses.peer);
                nodes.push(Node::new(&bed, options, index, shard, addresses, &link.wiring(), link.peer()));
                links.push(link);
            } else {
                nodes.push(Node::new(&bed, options, index, shard, addresses, &direct, addresses.peer));
            }
        }
        let others = AtomicUsize::new(nodes.len());
        let translator = |index| Translator::new(&bed, options, index, &direct);
        let translators = (0..options.translators).map(translator).collect();
        let options = options.clone();
        Some(Self { bed, options, direct, others, translators, nodes, links, redis, etcd, nats })
    }

    /// Its nodes.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// Its translators.
    pub fn translators(&self) -> &[Translator] {
        &self.translators
    }

    /// Where clients connect: `http://127.0.0.1:8080`, one per node.
    pub fn urls(&self) -> Vec<String> {
        self.nodes.iter().map(Node::url).collect()
    }

    /// One more node, with settings of its own, in the shards in turn. It is not started; it belongs to the caller and must
    /// end before the cluster does.
    pub fn another_node(&self, settings: &[(String, String)]) -> Node {
        let index = self.others.fetch_add(1, Ordering::Relaxed);
        let options = ClusterOptions { settings: settings.to_vec(), ..self.options.clone() };
        let addresses = node::Addresses::choose(&options.ports, index);
        let shard = &options.shards[index % options.shards.len()];
        Node::new(&self.bed, &options, index, shard, addresses, &self.direct, addresses.peer)
    }

    /// The wires of a node.
    ///
    /// # Panics
    /// If the cluster was started without [`ClusterOptions::proxied`].
    pub fn links(&self, node: usize) -> &Links {
        self.links.get(node).expect("a cluster with proxies was asked for")
    }

    /// Cuts the wires between two nodes, in both directions, and no other ones, until [`Links::heal`] of both. Only for
    /// processes that run now: a node that is started again is another one.
    pub fn part(&self, one: usize, other: usize) {
        for (from, to) in [(one, other), (other, one)] {
            if let Some(pid) = self.nodes[from].process().pid() {
                self.links(to).cut_peer_from(pid);
            }
        }
    }

    /// Its NATS.
    pub fn nats(&self) -> &NatsCluster {
        &self.nats
    }

    /// Its etcd.
    pub fn etcd(&self) -> &EtcdCluster {
        &self.etcd
    }

    /// Its Redis.
    pub fn redis(&self) -> &Redis {
        &self.redis
    }

    /// The servers below the nodes, in the order in which they start.
    pub fn servers(&self) -> Vec<&Process> {
        let nats = (0..self.nats.len()).map(|index| self.nats.process(index));
        let etcd = (0..self.etcd.len()).map(|index| self.etcd.process(index));
        nats.chain(etcd).chain([self.redis.process()]).collect()
    }

    /// Whether one of [`Cluster::servers`] serves, on its own.
    pub fn is_serving(&self, server: usize) -> bool {
        let (nats, etcd) = (self.nats.len(), self.etcd.len());
        if server < nats {
            self.nats.is_serving(server)
        } else if server < nats + etcd {
            self.etcd.is_serving(server - nats)
        } else {
            self.redis.is_serving()
        }
    }

    /// Where clients of one of [`Cluster::servers`] connect.
    pub fn server_url(&self, server: usize) -> String {
        let redis = [self.redis.url()];
        self.nats.urls().into_iter().chain(self.etcd.endpoints()).chain(redis).nth(server).unwrap_or_default()
    }

    /// Asks nodes to drain and translators to end, then the servers, each with so much time; whatever does not end is killed. The names
    /// of those are returned.
    pub fn stop(&self, patience: Duration) -> Vec<String> {
        let translators = self.translators.iter().map(Translator::process);
        let nodes: Vec<&Process> = self.nodes.iter().map(Node::process).chain(translators).collect();
        let mut servers = self.servers();
        servers.reverse();
        let mut killed = Vec::new();
        for group in [nodes, servers] {
            for process in group.iter().filter(|process| process.pid().is_some()) {
                process.terminate();
                // One that is paused takes no notice otherwise.
                process.resume();
            }
            for process in group {
                if process.pid().is_some() && process.wait(patience).is_none() {
                    killed.push(process.name().to_owned());
                    process.kill();
                }
            }
        }
        killed
    }
}
