//! What every program of Rookery shares as a process: settings in layers, logs, metrics of the process, the management port,
//! signals, and how it ends.
//!
//! Here belongs what knows nothing of chat. What a program does, and what can be set in it, is its own.

pub mod config;
pub mod secret;
pub mod settings;

mod failure;
mod files;
mod log;
mod management;
mod process;
mod readiness;
mod signals;

pub use failure::Failure;
pub use files::raise_open_files;
pub use log::{LogFormat, LogSettings, start_logging};
pub use management::{management_router, serve_management};
pub use process::register_process;
pub use readiness::{Health, Readiness};
pub use signals::Signals;
