//! Proxies in front of ports: networks that can be cut, not only ones that work.
//!
//! Here belongs what happens between two processes: nothing gets through, only one way does, everything takes longer,
//! connections are reset. What happens to processes themselves is [`crate::Process`]'s. Network namespaces would do the
//! same and more, but not every machine has them to give.
//!
//! What is held is not lost: like TCP, the proxy delivers it once it can, in order, unless one side has given up.

mod connection;
mod rules;
mod source;

use std::{
    net::{SocketAddr, TcpListener},
    sync::OnceLock,
    time::Duration,
};

use tokio::{runtime::Handle, sync::watch};

use crate::ports;
pub use rules::Flow;
use rules::Rules;

/// A port that leads to another one, until it is told otherwise. Ends with this value, and its connections with it.
pub struct Proxy {
    listen: SocketAddr,
    target: SocketAddr,
    rules: watch::Sender<Rules>,
}

impl Proxy {
    /// A new port of 127.0.0.1 that leads to `target`, whether anybody listens there yet or not.
    pub fn to(target: SocketAddr) -> Self {
        Self::on(ports::free_port(), target)
    }

    /// As [`Proxy::to`], on a port that was chosen before.
    pub fn on(port: u16, target: SocketAddr) -> Self {
        let listen = SocketAddr::from(([127, 0, 0, 1], port));
        let listener =
            TcpListener::bind(listen).unwrap_or_else(|error| panic!("cannot listen on {listen}: {error}"));
        listener.set_nonblocking(true).expect("a listener can be non-blocking");
        let rules = watch::Sender::new(Rules::default());
        runtime().spawn(connection::serve(listener, target, rules.subscribe()));
        Self { listen, target, rules }
    }

    /// Where to connect instead.
    pub fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Where it leads.
    pub fn target(&self) -> SocketAddr {
        self.target
    }

    /// A partition: nothing gets through in either direction, connections stay open, new ones get no answer.
    pub fn cut(&self) {
        self.rules.send_modify(|rules| {
            rules.to_server.held = true;
            rules.to_client.held = true;
        });
    }

    /// A partition of one direction only.
    pub fn cut_one_way(&self, flow: Flow) {
        self.rules.send_modify(|rules| rules.side_mut(flow).held = true);
    }

    /// A partition between the server and one of the processes that connect to it: theirs stay open, and new ones get no
    /// answer. Connections of others are not touched.
    pub fn cut_from(&self, pid: u32) {
        self.rules.send_modify(|rules| rules.apart.push(pid));
    }

    /// Each direction takes this much longer, from what is sent now on.
    pub fn delay(&self, by: Duration) {
        self.rules.send_modify(|rules| {
            rules.to_server.delay = by;
            rules.to_client.delay = by;
        });
    }

    /// Packets are lost: of a thousand pieces of data so many, in each direction, come only after the sender has sent them again.
    /// TCP shows no more of a loss than that: all that follows waits with it, for a retransmission time (Linux: 200 ms at least).
    pub fn lose(&self, of_a_thousand: u32) {
        self.rules.send_modify(|rules| {
            rules.to_server.loss = of_a_thousand;
            rules.to_client.loss = of_a_thousand;
        });
    }

    /// Resets all connections, as a router does that forgot them; new ones work.
    pub fn reset(&self) {
        self.rules.send_modify(|rules| rules.resets += 1);
    }

    /// Resets all connections, and nobody listens for new ones any more.
    pub fn refuse(&self) {
        self.rules.send_modify(|rules| {
            rules.refusing = true;
            rules.resets += 1;
        });
    }

    /// Ends all of it: what was held is delivered, nothing is delayed or refused any longer.
    pub fn heal(&self) {
        self.rules.send_modify(|rules| *rules = Rules { resets: rules.resets, ..Rules::default() });
    }
}

/// One thread carries the connections of all proxies.
fn runtime() -> &'static Handle {
    static RUNTIME: OnceLock<Handle> = OnceLock::new();
    RUNTIME.get_or_init(|| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let handle = runtime.handle().clone();
        std::thread::Builder::new()
            .name("proxies".to_owned())
            .spawn(move || runtime.block_on(std::future::pending::<()>()))
            .expect("a thread can be started");
        handle
    })
}
