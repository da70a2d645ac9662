//! A cluster of three nodes as its users see it: one chat, also while parts of it die, leave or start.
//!
//! Here belongs what is particular to a cluster; that each node does what the client API says is `tests/api`'s, and what
//! becomes of a long history of faults the fault suite's.

mod away;
mod chat;
mod command;
mod declared;
mod drain;
mod external;
mod killed;
mod mail;
mod manifest;
mod start;
mod support;
mod translation;
