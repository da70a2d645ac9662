//! The two ways in which frames cross a WebSocket.

use crate::{
    client::{ClientFrame, ServerFrame},
    error::{FrameError, Reason},
    json, limits, proto,
};

/// How frames are written: chosen by `Sec-WebSocket-Protocol` when a connection is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Subprotocol {
    /// JSON in text frames.
    Json,
    /// Protobuf in binary frames.
    Proto,
}

impl Subprotocol {
    /// All of them, the preferred one first.
    pub const ALL: [Self; 2] = [Self::Json, Self::Proto];

    /// The name in the handshake.
    pub fn name(self) -> &'static str {
        match self {
            Self::Json => "rookery.v1.json",
            Self::Proto => "rookery.v1.proto",
        }
    }

    /// The reverse of [`Self::name`].
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }

    /// Whether frames are binary ones rather than text.
    pub fn is_binary(self) -> bool {
        self == Self::Proto
    }

    /// Appends a node's frame to `out`. One without a body becomes one of the empty type, which no client knows.
    pub fn encode(self, frame: &ServerFrame, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::encode_server(frame, out),
            Self::Proto => proto::encode(frame, out),
        }
    }

    /// Reads a client's frame of at most `max_len` bytes; the result always has a body.
    ///
    /// At no moment are more than 32 times the frame's length and 1 KiB allocated for it (`tests/allocation.rs`).
    /// Nested values that no frame has are skipped without recursion.
    ///
    /// # Errors
    /// [`FrameError`], whose `answer` is what the client should be told.
    pub fn decode(self, bytes: &[u8], max_len: usize) -> Result<ClientFrame, FrameError> {
        check_len(bytes, max_len)?;
        let frame = match self {
            Self::Json => json::decode_client(bytes)?,
            Self::Proto => proto::decode_client(bytes)?,
        };
        limits::check(&frame).map_err(|reason| {
            let id = frame.id.filter(|id| *id <= limits::MAX_ID);
            FrameError { id, reason }
        })?;
        Ok(frame)
    }

    /// Appends a client's frame to `out`: [`Self::encode`] for the other direction.
    pub fn encode_client(self, frame: &ClientFrame, out: &mut Vec<u8>) {
        match self {
            Self::Json => json::encode_client(frame, out),
            Self::Proto => proto::encode(frame, out),
        }
    }

    /// Reads a node's frame of at most `max_len` bytes; the result always has a body.
    ///
    /// # Errors
    /// As [`Self::decode`]. A frame of an unknown type is no failure of the node: clients skip it.
    pub fn decode_server(self, bytes: &[u8], max_len: usize) -> Result<ServerFrame, FrameError> {
        check_len(bytes, max_len)?;
        match self {
            Self::Json => json::decode_server(bytes),
            Self::Proto => proto::decode_server(bytes),
        }
    }
}

fn check_len(bytes: &[u8], limit: usize) -> Result<(), FrameError> {
    if bytes.len() > limit {
        return Err(FrameError { id: None, reason: Reason::TooLarge { limit } });
    }
    Ok(())
}
