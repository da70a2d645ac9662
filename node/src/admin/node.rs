//! How a node is, and to drain it.

use std::{sync::Arc, time::Duration};

use rookery_protocol::peer::{
    DrainReply, DrainRequest, StatusReply, StatusRequest, node_admin_server::NodeAdmin,
};
use tonic::{Request, Response, Status};

use super::token::{OperatorToken, admit};
use crate::rooms::Rooms;

/// A drained node does not stay longer, in seconds.
const LONGEST_HOLD: u32 = 3600;

/// What the node's wiring knows and does, for the operator.
pub trait Control: Send + Sync {
    /// Begins to drain, within a deadline if one is given, and stays for `hold` when that is done, unless it is told to stop. Says
    /// whether it began now: `false`, it was draining already. Must not block.
    fn drain(&self, deadline: Option<Duration>, hold: Duration) -> bool;
    /// `joining`, `active` or `draining`.
    fn state(&self) -> &'static str;
    /// Whether it takes new clients.
    fn is_ready(&self) -> bool;
    /// Clients connected.
    fn connections(&self) -> u64;
}

/// The service `NodeAdmin`.
pub(super) struct Nodes {
    pub(super) node: String,
    pub(super) rooms: Arc<Rooms>,
    pub(super) control: Arc<dyn Control>,
    pub(super) token: Option<Arc<OperatorToken>>,
}

#[tonic::async_trait]
impl NodeAdmin for Nodes {
    async fn drain(&self, request: Request<DrainRequest>) -> Result<Response<DrainReply>, Status> {
        admit(self.token.as_deref(), &request).await?;
        let DrainRequest { deadline_seconds: seconds, hold_seconds } = request.into_inner();
        let deadline = (seconds > 0).then(|| Duration::from_secs(seconds.into()));
        let hold = Duration::from_secs(hold_seconds.min(LONGEST_HOLD).into());
        let begun = self.control.drain(deadline, hold);
        tracing::info!(begun, "asked to drain");
        Ok(Response::new(DrainReply { begun }))
    }

    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        admit(self.token.as_deref(), &request).await?;
        let counts = self.rooms.counts();
        Ok(Response::new(StatusReply {
            node: self.node.clone(),
            state: self.control.state().to_owned(),
            ready: self.control.is_ready(),
            rooms: counts.rooms,
            connections: self.control.connections(),
            slots: counts.slots,
            ring_revision: counts.revision,
            unacked: counts.unacked,
            members: counts.members,
        }))
    }
}
