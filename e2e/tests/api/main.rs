//! The client API, black box, over real sockets: each test names what of the specification it proves.
//!
//! One binary, so that it is linked once and its tests share one server; they run side by side with users and
//! rooms of their own.

mod accounts;
mod bad_input;
mod delivery;
mod direct;
mod drain;
mod limits;
mod management;
mod messages;
mod moderation;
mod openapi;
mod raw;
mod rooms;
mod schema;
mod support;
mod translation;
mod two_clients;
mod users;
mod websocket;
