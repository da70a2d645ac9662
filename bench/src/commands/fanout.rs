//! One room, many subscribers.

use std::sync::Arc;

use super::live::{Live, Shape};
use crate::{
    bed::{Bed, Sending},
    limits,
    target::{Http, Node, api},
};

/// Flags of `fanout`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Connections that read the room
    #[arg(long, default_value_t = 1_000)]
    subscribers: usize,
    /// Connections that send to it, without reading it
    #[arg(long, default_value_t = 8)]
    publishers: usize,
    /// Users that these connections belong to
    #[arg(long, default_value_t = 20)]
    users: usize,
    #[command(flatten)]
    live: Live,
}

/// Measures.
///
/// # Errors
/// When a server cannot be started, prepared or reached.
pub fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let Arguments { subscribers, publishers, users, live } = arguments;
    let connections = subscribers + publishers;
    limits::allow_connections(live.connections(connections))?;
    let shape = Shape {
        name: format!("one room of {subscribers}"),
        readers: *subscribers,
        rooms: 1,
        aim_highest: "≥ 0.60 of coalescing",
    };
    live.run(&shape, || {
        let node = Node::start(&live.node)?;
        let (http, run) = (Http::to(node.address), super::run_name());
        let users = api::users(http, (*users).max(1), &run)?;
        let room = api::rooms(http, &[users.iter().collect()])?;
        let hello = |conn: usize| -> Arc<[u8]> {
            let rooms = if conn < *subscribers { &room[..] } else { &[] };
            live.protocol.hello(&users[conn % users.len()].token, Some(rooms)).into()
        };
        let template = live.protocol.send(&room[0], live.text_bytes, &run)?;
        let sending = Sending { template, senders: (*subscribers..connections).collect() };
        let hellos = (0..connections).map(hello).collect();
        Bed::on_node(node, live.protocol, hellos, vec![sending], *subscribers as u64)
    })
}
