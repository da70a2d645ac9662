//! Room logs and rows on disk.
//!
//! `engine` knows keys and reads, `committer` is the one thread that writes, `journal` checks what a crash left before
//! the engine opens it. What a record or a row means is not known here.

mod commit;
mod committer;
mod engine;
mod handle;
mod journal;
mod open;
mod staged;
mod tails;
#[cfg(test)]
mod tests;

pub use commit::{Commit, FjallCommit};
pub use handle::Store;
pub(super) use handle::{Pending, Place};
pub use open::OpenError;
