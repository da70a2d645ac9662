//! The process: where it listens, where its data lies, how it starts and stops.
//!
//! Here belongs what is true of the process as a whole; what it serves is in the other folders.

mod failure;
mod files;
mod management;
mod readiness;
mod settings;
mod signals;

pub use failure::Failure;
pub use files::raise_open_files;
pub use management::{management_router, serve_management};
pub use readiness::{Health, Readiness};
pub use settings::ServerSettings;
pub use signals::Signals;
