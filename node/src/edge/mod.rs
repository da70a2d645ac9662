//! The edge: sockets, HTTP, WebSocket.
//!
//! Here belongs everything that speaks to clients. It decides nothing about rooms or accounts.
