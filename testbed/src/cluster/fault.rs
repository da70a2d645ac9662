//! What can go wrong in a cluster, one thing at a time: begun, and put right again.
//!
//! Which faults happen when, and what must hold meanwhile, is for tests to say.

use std::{fmt, time::Duration};

use super::Cluster;
use crate::proxy::{Flow, Proxy};

/// One fault. Parts are numbered as in [`Cluster`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// A node is killed, and started again at the end.
    KillNode(usize),
    /// A node is paused, its sockets stay open.
    PauseNode(usize),
    /// A node is asked to drain and end, and started again at the end.
    DrainNode(usize),
    /// Nothing gets through between a node and NATS.
    CutNats(usize),
    /// Nothing gets through between a node and NATS in one direction.
    CutNatsOneWay(usize, Flow),
    /// Nothing gets through between a node and etcd.
    CutEtcd(usize),
    /// Nothing gets through between a node and etcd in one direction.
    CutEtcdOneWay(usize, Flow),
    /// Nothing gets through between a node and Redis.
    CutRedis(usize),
    /// Nothing gets through between a node and Redis in one direction.
    CutRedisOneWay(usize, Flow),
    /// Nothing gets through between a node and all others.
    CutPeers(usize),
    /// Nothing gets through to a node's peer port, or nothing from there back; what it asks itself is answered.
    CutPeersOneWay(usize, Flow),
    /// Nothing gets through between two nodes.
    Part(usize, usize),
    /// All wires of a node take longer, each way.
    Slow(usize, Duration),
    /// Of a thousand pieces of data over a node's wires, each way, so many are lost once.
    Lose(usize, u32),
    /// All connections of a node's wires are reset, once.
    Reset(usize),
    /// A NATS server is killed, and started again at the end.
    KillNats(usize),
    /// A NATS server is paused.
    PauseNats(usize),
    /// Nothing gets through between a NATS server and all others; nodes reach it.
    CutOffNats(usize),
    /// An etcd member is killed, and started again at the end.
    KillEtcd(usize),
    /// An etcd member is paused.
    PauseEtcd(usize),
    /// Redis is killed, and started again at the end: all its data is lost, unless it is durable.
    KillRedis,
    /// Redis is paused.
    PauseRedis,
}

impl Fault {
    /// Lets it happen.
    ///
    /// # Panics
    /// If it concerns wires, and the cluster has no proxies in them.
    pub fn begin(self, cluster: &Cluster) {
        match self {
            Self::KillNode(node) => {
                cluster.nodes()[node].process().kill();
                // Nobody listens where it was, and the others must see that, not a proxy that takes their connections.
                if let Some(links) = cluster.links.get(node) {
                    links.to_peer().refuse();
                }
            }
            Self::PauseNode(node) => cluster.nodes()[node].process().pause(),
            Self::DrainNode(node) => cluster.nodes()[node].process().terminate(),
            Self::CutNats(node) => cluster.links(node).nats().iter().for_each(Proxy::cut),
            Self::CutNatsOneWay(node, flow) => {
                cluster.links(node).nats().iter().for_each(|wire| wire.cut_one_way(flow));
            }
            Self::CutEtcd(node) => cluster.links(node).etcd().iter().for_each(Proxy::cut),
            Self::CutEtcdOneWay(node, flow) => {
                cluster.links(node).etcd().iter().for_each(|wire| wire.cut_one_way(flow));
            }
            Self::CutRedis(node) => cluster.links(node).redis().cut(),
            Self::CutRedisOneWay(node, flow) => cluster.links(node).redis().cut_one_way(flow),
            Self::CutPeers(node) => others(cluster, node).for_each(|other| cluster.part(node, other)),
            Self::CutPeersOneWay(node, flow) => cluster.links(node).to_peer().cut_one_way(flow),
            Self::Part(one, other) => cluster.part(one, other),
            Self::Slow(node, by) => cluster.links(node).delay(by),
            Self::Lose(node, of_a_thousand) => cluster.links(node).lose(of_a_thousand),
            Self::Reset(node) => cluster.links(node).reset(),
            Self::KillNats(server) => cluster.nats().kill(server),
            Self::PauseNats(server) => cluster.nats().pause(server),
            Self::CutOffNats(server) => cluster.nats().cut_off(server),
            Self::KillEtcd(member) => cluster.etcd().kill(member),
            Self::PauseEtcd(member) => cluster.etcd().pause(member),
            Self::KillRedis => cluster.redis().kill(),
            Self::PauseRedis => cluster.redis().pause(),
        }
    }

    /// Puts it right; returns when what was killed serves again.
    ///
    /// # Panics
    /// If it does not within [`crate::PATIENCE`].
    pub fn end(self, cluster: &Cluster) {
        match self {
            // A drain that has not ended by now ends here.
            Self::KillNode(node) | Self::DrainNode(node) => {
                if let Some(links) = cluster.links.get(node) {
                    links.to_peer().heal();
                }
                cluster.nodes()[node].restart();
            }
            Self::PauseNode(node) => cluster.nodes()[node].process().resume(),
            Self::CutPeers(node) => {
                cluster.links(node).heal();
                others(cluster, node).for_each(|other| cluster.links(other).to_peer().heal());
            }
            Self::Part(one, other) => {
                for node in [one, other] {
                    cluster.links(node).to_peer().heal();
                }
            }
            Self::CutNats(node)
            | Self::CutNatsOneWay(node, _)
            | Self::CutEtcd(node)
            | Self::CutEtcdOneWay(node, _)
            | Self::CutRedis(node)
            | Self::CutRedisOneWay(node, _)
            | Self::CutPeersOneWay(node, _)
            | Self::Slow(node, _)
            | Self::Lose(node, _)
            | Self::Reset(node) => cluster.links(node).heal(),
            Self::KillNats(server) => cluster.nats().restart(server),
            Self::PauseNats(server) => cluster.nats().resume(server),
            Self::CutOffNats(_) => cluster.nats().heal(),
            Self::KillEtcd(member) => cluster.etcd().restart(member),
            Self::PauseEtcd(member) => cluster.etcd().resume(member),
            Self::KillRedis => cluster.redis().restart(),
            Self::PauseRedis => cluster.redis().resume(),
        }
    }
}

fn others(cluster: &Cluster, node: usize) -> impl Iterator<Item = usize> {
    (0..cluster.nodes().len()).filter(move |&other| other != node)
}

/// As it is shown in reports: `cut node-1 from NATS`.
impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let way = |flow: &Flow| match flow {
            Flow::ToServer => "requests only",
            Flow::ToClient => "answers only",
        };
        match self {
            Self::KillNode(node) => write!(f, "kill node-{node}"),
            Self::PauseNode(node) => write!(f, "pause node-{node}"),
            Self::DrainNode(node) => write!(f, "drain node-{node}"),
            Self::CutNats(node) => write!(f, "cut node-{node} from NATS"),
            Self::CutNatsOneWay(node, flow) => write!(f, "cut node-{node} from NATS, {}", way(flow)),
            Self::CutEtcd(node) => write!(f, "cut node-{node} from etcd"),
            Self::CutEtcdOneWay(node, flow) => write!(f, "cut node-{node} from etcd, {}", way(flow)),
            Self::CutRedis(node) => write!(f, "cut node-{node} from Redis"),
            Self::CutRedisOneWay(node, flow) => write!(f, "cut node-{node} from Redis, {}", way(flow)),
            Self::CutPeers(node) => write!(f, "cut node-{node} from all nodes"),
            Self::CutPeersOneWay(node, flow) => write!(f, "cut all nodes from node-{node}, {}", way(flow)),
            Self::Part(one, other) => write!(f, "cut node-{one} from node-{other}"),
            Self::Slow(node, by) => write!(f, "slow node-{node} by {} ms", by.as_millis()),
            Self::Lose(node, of_a_thousand) => write!(f, "lose {of_a_thousand} ‰ of node-{node}'s packets"),
            Self::Reset(node) => write!(f, "reset connections of node-{node}"),
            Self::KillNats(server) => write!(f, "kill nats-{server}"),
            Self::PauseNats(server) => write!(f, "pause nats-{server}"),
            Self::CutOffNats(server) => write!(f, "cut nats-{server} from the others"),
            Self::KillEtcd(member) => write!(f, "kill etcd-{member}"),
            Self::PauseEtcd(member) => write!(f, "pause etcd-{member}"),
            Self::KillRedis => write!(f, "kill Redis"),
            Self::PauseRedis => write!(f, "pause Redis"),
        }
    }
}
