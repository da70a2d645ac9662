//! The mailer as a process, with real NATS and a real SMTP server.

// What is not as it must be ends a test, in helpers, too.
#![allow(clippy::unwrap_used)]

mod backlog;
mod crash;
mod delivery;
mod login;
mod templates;
mod trouble;
mod world;
