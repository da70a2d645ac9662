//! What crosses a process boundary in Rookery.
//!
//! Here belong the Protobuf types, their JSON form, ids, and the limits that decoding obeys; no I/O,
//! and no judgement about what a message means.

mod error;
pub mod id;
mod json;
mod limits;
pub mod outbox;
mod proto;
mod subprotocol;
pub mod time;

pub use error::{FrameError, Reason};
pub use limits::{MAX_ID, MAX_ROOM_BYTES, MAX_ROOMS};
pub use subprotocol::Subprotocol;

/// The client protocol (`proto/rookery/v1/client.proto`).
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod client {
    include!(concat!(env!("OUT_DIR"), "/rookery.v1.rs"));
}

/// The records of a room's log (`proto/rookery/v1/log.proto`).
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod log {
    include!(concat!(env!("OUT_DIR"), "/rookery.log.v1.rs"));
}

/// What nodes say to each other and to the operator (`proto/rookery/v1/peer.proto`), with clients and servers.
#[cfg(feature = "grpc")]
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, unused_qualifications)]
pub mod peer {
    include!(concat!(env!("OUT_DIR"), "/rookery.peer.v1.rs"));
}

/// Rows that follow from the logs (`proto/rookery/v1/rows.proto`).
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub)]
pub mod rows {
    include!(concat!(env!("OUT_DIR"), "/rookery.rows.v1.rs"));
}

/// What the translator is asked (`proto/rookery/v1/translator.proto`), with a client and a server.
#[cfg(feature = "grpc")]
#[allow(missing_docs, clippy::all, clippy::pedantic, unreachable_pub, unused_qualifications)]
pub mod translator {
    include!(concat!(env!("OUT_DIR"), "/rookery.translator.v1.rs"));
}

/// The services above as an encoded `FileDescriptorSet`, for gRPC's reflection.
#[cfg(feature = "grpc")]
pub const SERVICES: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/services.bin"));
