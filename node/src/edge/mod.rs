//! The edge: sockets, HTTP, WebSocket.
//!
//! Here belongs everything that speaks to clients. It decides nothing about rooms or accounts.

mod app;
pub mod http;
mod listener;
mod metrics;
mod patient;
mod settings;
#[cfg(test)]
mod tests;
mod tls;
pub mod ws;

pub use app::App;
pub use listener::{Server, bind, serve};
pub use metrics::EdgeMetrics;
pub use settings::EdgeSettings;
pub use tls::{Tls, TlsError};
