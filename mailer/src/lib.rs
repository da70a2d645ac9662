//! The mailer: takes jobs from the outbox, writes them as mails, and hands these to an SMTP server. `main.rs` is the program.
//!
//! Chat never waits for it. One job is one mail, as far as SMTP allows: what is known to have been sent is never sent again,
//! and what is not known to have been sent is.

pub mod cli;
pub mod compose;
pub mod courier;
pub mod local;
pub mod metrics;
pub mod program;
pub mod queue;
pub mod retry;
pub mod settings;
pub mod smtp;
pub mod templates;
