//! What the protocol promises to other crates, other languages and later versions.

#![allow(clippy::unwrap_used)]

mod allocation;
mod frames;
mod fuzz;
mod jobs;
mod tolerance;
mod vectors;
