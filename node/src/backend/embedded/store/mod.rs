//! Room logs and rows on disk.
//!
//! `engine` knows keys and reads, `tables` decides when its memory goes to disk, which threads of `background` do,
//! `committer` is the one thread that writes, `journal` checks what a crash left before the engine opens it. What a
//! record or a row means is not known here.

mod background;
mod commit;
mod committer;
mod engine;
mod handle;
mod journal;
mod open;
mod staged;
mod tables;
mod tails;
#[cfg(test)]
mod tests;

pub use commit::{Commit, FjallCommit};
pub use handle::Store;
pub(super) use handle::{Pending, Place};
pub use open::OpenError;
