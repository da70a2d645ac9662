//! What the operator asks of nodes, on the port that they have for each other: how one is and to drain (`node.rs`), and
//! rooms that are declared from outside the chat (`rooms.rs`).
//!
//! Here belong the calls themselves and who may make them. What a declaration makes of a room is decided in
//! `rookery-core`; a node's drain is its wiring's.

mod node;
mod room_id;
mod rooms;
mod token;

use std::sync::Arc;

use rookery_protocol::peer::{node_admin_server::NodeAdminServer, room_admin_server::RoomAdminServer};
use tonic::service::Routes;

pub use node::Control;
pub use rooms::{Directory, Pins};
pub use token::{OperatorToken, TokenError};

use crate::rooms::Rooms;

/// What the calls need of a node.
pub struct Admin {
    /// Its name.
    pub node: String,
    /// Its cluster's.
    pub cluster: String,
    /// Its rooms.
    pub rooms: Arc<Rooms>,
    /// What drains it.
    pub control: Arc<dyn Control>,
    /// Who users are.
    pub users: Arc<dyn Directory>,
    /// Where rooms are pinned.
    pub pins: Arc<dyn Pins>,
    /// Whom it lets in; `None`: whoever reaches it may ask how it is and drain it, and nobody declares rooms.
    pub token: Option<Arc<OperatorToken>>,
}

impl Admin {
    /// The calls.
    pub fn routes(self) -> Routes {
        let Self { node, cluster, rooms, control, users, pins, token } = self;
        let nodes = node::Nodes { node, rooms: rooms.clone(), control, token: token.clone() };
        let declared = rooms::DeclaredRooms::new(cluster, rooms, users, pins, token);
        Routes::new(NodeAdminServer::new(nodes)).add_service(RoomAdminServer::new(declared))
    }
}
