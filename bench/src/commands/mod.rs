//! What can be measured: one file per command.

mod beside;
mod closed;
pub mod cluster;
pub mod connect;
pub mod fanout;
pub mod idle;
mod live;
pub mod mailer;
pub mod rooms;
pub mod send;
pub mod table;
pub mod translator;

use crate::clock;

/// Which servers to measure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Target {
    /// Rookery
    Rookery,
    /// One frame per write
    Raw,
    /// All that is due in one write
    Coalescing,
}

/// Letters that tell this run's users and messages from another's.
fn run_name() -> String {
    let mut letters = [0; 16];
    crate::load::stamp::letters(&mut letters, clock::now());
    String::from_utf8_lossy(&letters[6..14]).into_owned()
}
