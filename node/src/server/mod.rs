//! The process: where it listens, where its data lies, how it starts and stops.
//!
//! Here belongs what is true of the process as a whole; what it serves is in the other folders.

mod pages;
mod settings;

pub use pages::small_pages;
pub use rookery_service::{
    Failure, Health, Readiness, Signals, management_router, raise_open_files, serve_management,
};
pub use settings::ServerSettings;
