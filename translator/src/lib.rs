//! The translator, as a library, so that `standalone` can run it in its own process; `main.rs` is the program.

pub mod engine;
pub mod engines;
pub mod metrics;
pub mod program;
pub mod router;
mod run;
pub mod serve;
pub mod settings;
pub mod text;
pub mod wire;

pub use run::run;
