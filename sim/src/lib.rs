//! A seeded simulator of several owners, edges and clients over a log and a membership that misbehave.
//!
//! The core that production runs is put into a world of virtual time: nodes crash and pause, the log loses its leader
//! and answers as badly as a real one can (`DESIGN.md`, "Facts that have cost others dearly"), records are published
//! twice, late or never. What clients saw is then checked against what is stored. Everything follows from the seed: a
//! run that breaks a promise is broken in the same way when it is run again, with a trace that tells how it came about.

pub mod check;
pub mod history;
pub mod log;
pub mod plan;
pub mod queue;
pub mod rng;
pub mod sweep;
mod world;

pub use world::Outcome;

/// Runs the world of `seed` to its end. With `trace`, the outcome tells what happened, a line each.
///
/// # Panics
/// When the core does: that is a fault of it, which [`sweep`] reports with its seed.
pub fn run(seed: u64, mutation: Option<plan::Mutation>, trace: bool) -> Outcome {
    world::World::new(seed, mutation, trace).run()
}
