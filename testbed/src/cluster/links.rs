//! The wires of one node, each with a proxy in it.

use std::{net::SocketAddr, time::Duration};

use super::node::Wiring;
use crate::proxy::Proxy;

/// A node's way to NATS, to etcd and to Redis, and the others' way to its peer port.
pub struct Links {
    nats: Vec<Proxy>,
    /// Without a proxy: nothing depends on them once a node has started.
    monitors: Vec<SocketAddr>,
    etcd: Vec<Proxy>,
    redis: Proxy,
    peer: Proxy,
}

impl Links {
    pub(super) fn around(direct: &Wiring, peer: SocketAddr) -> Self {
        Self {
            nats: direct.nats.iter().copied().map(Proxy::to).collect(),
            monitors: direct.monitors.clone(),
            etcd: direct.etcd.iter().copied().map(Proxy::to).collect(),
            redis: Proxy::to(direct.redis),
            peer: Proxy::to(peer),
        }
    }

    pub(super) fn wiring(&self) -> Wiring {
        Wiring {
            nats: self.nats.iter().map(Proxy::address).collect(),
            monitors: self.monitors.clone(),
            etcd: self.etcd.iter().map(Proxy::address).collect(),
            redis: self.redis.address(),
        }
    }

    pub(super) fn peer(&self) -> SocketAddr {
        self.peer.address()
    }

    /// To each NATS server.
    pub fn nats(&self) -> &[Proxy] {
        &self.nats
    }

    /// To each etcd member.
    pub fn etcd(&self) -> &[Proxy] {
        &self.etcd
    }

    /// To Redis.
    pub fn redis(&self) -> &Proxy {
        &self.redis
    }

    /// From the other nodes to this one's peer port.
    pub fn to_peer(&self) -> &Proxy {
        &self.peer
    }

    /// Cuts off one of the other nodes from this one's peer port.
    pub(super) fn cut_peer_from(&self, pid: u32) {
        self.peer.cut_from(pid);
    }

    /// Everything over these wires takes so much longer, each way.
    pub fn delay(&self, by: Duration) {
        for proxy in self.all() {
            proxy.delay(by);
        }
    }

    /// Of a thousand pieces of data over these wires so many are lost once, each way.
    pub fn lose(&self, of_a_thousand: u32) {
        for proxy in self.all() {
            proxy.lose(of_a_thousand);
        }
    }

    /// Resets all connections, once.
    pub fn reset(&self) {
        for proxy in self.all() {
            proxy.reset();
        }
    }

    /// All wires work again.
    pub fn heal(&self) {
        for proxy in self.all() {
            proxy.heal();
        }
    }

    fn all(&self) -> impl Iterator<Item = &Proxy> {
        self.nats.iter().chain(&self.etcd).chain([&self.redis, &self.peer])
    }
}
