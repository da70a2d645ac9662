//! Many small rooms, every member publishing.

use std::sync::Arc;

use super::live::{Live, Shape};
use crate::{
    bed::{Bed, Sending},
    limits,
    target::{Http, Node, api},
};

/// Flags of `rooms`.
#[derive(Debug, Clone, clap::Args)]
pub struct Arguments {
    /// Rooms
    #[arg(long, default_value_t = 200)]
    rooms: usize,
    /// Members of each, a connection each
    #[arg(long, default_value_t = 10)]
    members: usize,
    /// Users that these connections belong to, at least as many as a room has members
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
    let Arguments { rooms, members, users, live } = arguments;
    let connections = rooms * members;
    limits::allow_connections(live.connections(connections))?;
    let shape = Shape {
        name: format!("{rooms} rooms of {members}"),
        readers: connections,
        rooms: *rooms,
        aim_highest: "≥ 0.80 of raw",
    };
    live.run(&shape, || {
        let node = Node::start(&live.node)?;
        let (http, run) = (Http::to(node.address), super::run_name());
        let users = api::users(http, (*users).max(*members), &run)?;
        // Connection c is member c / rooms of room c % rooms, as the raw servers deal them out too.
        let user = |conn: usize| &users[(conn % rooms + conn / rooms) % users.len()];
        let in_room = |room: usize| (0..*members).map(move |member| member * rooms + room);
        let of_rooms: Vec<Vec<_>> = (0..*rooms).map(|room| in_room(room).map(user).collect()).collect();
        let ids = api::rooms(http, &of_rooms)?;
        let hello = |conn: usize| -> Arc<[u8]> {
            let room = std::slice::from_ref(&ids[conn % rooms]);
            live.protocol.hello(&user(conn).token, Some(room)).into()
        };
        let sending = |(room, id): (usize, &String)| {
            let template = live.protocol.send(id, live.text_bytes, &run)?;
            Ok(Sending { template, senders: in_room(room).collect() })
        };
        let sendings = ids.iter().enumerate().map(sending).collect::<anyhow::Result<_>>()?;
        let hellos = (0..connections).map(hello).collect();
        Bed::on_node(node, live.protocol, hellos, sendings, *members as u64)
    })
}
