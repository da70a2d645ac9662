//! How a cluster is started.

use std::{net::TcpListener, path::PathBuf};

use crate::{Bed, ports};

/// Settings of one cluster.
#[derive(Clone)]
pub struct ClusterOptions {
    /// The program `rookery-node`.
    pub program: PathBuf,
    /// Its name, prefix of all that it keeps.
    pub name: String,
    /// The shard of each node: as many nodes as there are.
    pub shards: Vec<String>,
    /// Servers of NATS.
    pub nats_servers: usize,
    /// Members of etcd.
    pub etcd_members: usize,
    /// Whether Redis keeps its data over a restart.
    pub durable_redis: bool,
    /// Whether proxies are put into all wires of the nodes and between NATS servers, so that they can be cut.
    pub proxied: bool,
    /// Settings of the nodes beside the addresses, as variables: `("ROOKERY_EDGE__SENDS_PER_SECOND", "0")`.
    pub settings: Vec<(String, String)>,
    /// Translators beside the nodes, which ask them then. They translate by the engines that are installed.
    pub translators: usize,
    /// The program `rookery-translator`; `None`: the one beside the node's.
    pub translator: Option<PathBuf>,
    /// Settings of the translators, as variables.
    pub translator_settings: Vec<(String, String)>,
    /// On which ports it all is.
    pub ports: Ports,
    /// Where data, configurations and logs go; else into a temporary directory.
    pub bed: Option<Bed>,
}

impl ClusterOptions {
    /// Three nodes in two shards over three NATS servers, three etcd members and a Redis, on free ports.
    pub fn of(program: PathBuf) -> Self {
        Self {
            program,
            name: "rookery".to_owned(),
            shards: ["blue", "blue", "green"].map(str::to_owned).to_vec(),
            nats_servers: 3,
            etcd_members: 3,
            durable_redis: false,
            proxied: false,
            settings: Vec::new(),
            translators: 0,
            translator: None,
            translator_settings: Vec::new(),
            ports: Ports::Free,
            bed: None,
        }
    }
}

impl ClusterOptions {
    /// The program of the translators.
    pub fn translator_program(&self) -> PathBuf {
        self.translator.clone().unwrap_or_else(|| self.program.with_file_name("rookery-translator"))
    }

    /// Those of the fixed ports that somebody listens on already.
    pub fn taken_ports(&self) -> Vec<u16> {
        let blocks = [
            (super::NODES, self.shards.len()),
            (super::MANAGEMENT, self.shards.len()),
            (super::PEERS, self.shards.len()),
            (super::TRANSLATORS, self.translators),
            (super::NATS, self.nats_servers),
            (super::NATS + 10, self.nats_servers),
            (super::NATS + 20, self.nats_servers),
            (super::ETCD, self.etcd_members),
            (super::ETCD + 10, self.etcd_members),
            (super::ETCD + 20, self.etcd_members),
            (super::REDIS, 1),
        ];
        let bases = blocks.into_iter().filter_map(|(base, count)| Some((self.ports.fixed(base)?, count)));
        let all = bases.flat_map(|(base, count)| (base..).take(count));
        all.filter(|&port| TcpListener::bind(("127.0.0.1", port)).is_err()).collect()
    }
}

/// How ports are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ports {
    /// Any that are free.
    Free,
    /// The same each time, all of them moved up by so many: nodes from 8080 (management 9090, peers 7070), management of
    /// translators from 9190, NATS from 14222, etcd from 12379, Redis 16379.
    Fixed(u16),
}

impl Ports {
    /// The port that is so when nothing is moved, if they are fixed.
    pub(super) fn fixed(&self, base: u16) -> Option<u16> {
        match self {
            Self::Free => None,
            Self::Fixed(moved) => Some(base + moved),
        }
    }

    pub(super) fn choose(&self, base: u16) -> u16 {
        self.fixed(base).unwrap_or_else(ports::free_port)
    }
}
