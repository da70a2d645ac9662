//! The mailer as a process, with real NATS and a real SMTP server.

mod crash;
mod delivery;
mod login;
mod trouble;
mod world;
