//! What a proxy does with what it is given, at the moment.

use std::time::Duration;

use super::source::Source;

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// From those who connected to the server behind the proxy.
    ToServer,
    /// From the server back to them.
    ToClient,
}

impl Flow {
    pub(super) const BOTH: [Self; 2] = [Self::ToServer, Self::ToClient];

    pub(super) fn back(self) -> Self {
        match self {
            Self::ToServer => Self::ToClient,
            Self::ToClient => Self::ToServer,
        }
    }
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Side {
    pub(super) held: bool,
    pub(super) delay: Duration,
    /// Of a thousand pieces, so many are lost once.
    pub(super) loss: u32,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Rules {
    pub(super) to_server: Side,
    pub(super) to_client: Side,
    pub(super) refusing: bool,
    /// Processes that are cut off, in both directions.
    pub(super) apart: Vec<u32>,
    /// Connections end when this is no longer what it was when they began.
    pub(super) resets: u64,
}

impl Rules {
    /// Whether nothing gets through that way, for that client.
    pub(super) fn holds(&self, flow: Flow, source: &Source) -> bool {
        self.side(flow).held || self.apart.iter().any(|&pid| source.is(pid))
    }

    pub(super) fn side(&self, flow: Flow) -> Side {
        match flow {
            Flow::ToServer => self.to_server,
            Flow::ToClient => self.to_client,
        }
    }

    pub(super) fn side_mut(&mut self, flow: Flow) -> &mut Side {
        match flow {
            Flow::ToServer => &mut self.to_server,
            Flow::ToClient => &mut self.to_client,
        }
    }
}
