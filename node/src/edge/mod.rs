//! The edge: sockets, HTTP, WebSocket.
//!
//! Here belongs everything that speaks to clients. It decides nothing about rooms or accounts.

mod app;
pub mod http;
pub mod ws;

pub use app::App;
