//! The translator as a service: over NATS, over gRPC.
//!
//! Here belongs how requests come in and answers go out; both ways carry the same messages.

mod grpc;
mod nats;

pub use grpc::{GrpcServer, listen as listen_grpc};
pub use nats::{NatsServer, connect as connect_nats, listen as listen_nats, subject};
