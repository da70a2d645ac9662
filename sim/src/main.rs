//! Runs seeds of the simulator and tells which promises broke.

use std::{
    io::{self, Write},
    process::ExitCode,
    time::Duration,
};

use clap::Parser;
use rookery_sim::{
    plan::Mutation,
    sweep::{Failure, Summary, Sweep},
};

/// Runs Rookery's core in a simulated cluster that goes wrong in every way known, and checks every promise.
///
/// Exits with 0 if all promises held (with --mutation: if the checks noticed it), with 1 if not.
#[derive(Debug, Parser)]
#[command(name = "rookery-sim")]
struct Args {
    /// Run this seed alone.
    #[arg(long, conflicts_with_all = ["seeds", "seconds", "from"])]
    seed: Option<u64>,
    /// Tell what happens, a line each, with virtual milliseconds in front.
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Run at most so many seeds.
    #[arg(long, default_value_t = 2_000)]
    seeds: u64,
    /// Begin no run after so many seconds.
    #[arg(long, default_value_t = 60)]
    seconds: u64,
    /// The first seed.
    #[arg(long, default_value_t = 1)]
    from: u64,
    /// Break this on purpose, and stop when the checks notice.
    #[arg(long, value_enum)]
    mutation: Option<Mutation>,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let mut out = io::stdout().lock();
    let held = match args.seed {
        Some(seed) => one(&mut out, seed, &args),
        None => many(&mut out, &args),
    };
    match held {
        Ok(true) => ExitCode::SUCCESS,
        // Whoever read the output left: nobody is there to be told more.
        Ok(false) | Err(_) => ExitCode::FAILURE,
    }
}

fn one(out: &mut impl Write, seed: u64, args: &Args) -> io::Result<bool> {
    let outcome = rookery_sim::run(seed, args.mutation, args.trace);
    for line in &outcome.trace {
        writeln!(out, "{line}")?;
    }
    for broken in &outcome.broken {
        writeln!(out, "BROKEN {}: {}", broken.promise, broken.how)?;
    }
    let (stored, delivered, faults) = (outcome.stored, outcome.delivered, outcome.faults);
    writeln!(out, "seed {seed}: {stored} events stored, {delivered} delivered, {faults} faults")?;
    Ok(outcome.broken.is_empty() != args.mutation.is_some())
}

fn many(out: &mut impl Write, args: &Args) -> io::Result<bool> {
    let summary = Sweep {
        from: args.from,
        at_least: 1,
        at_most: args.seeds,
        budget: Duration::from_secs(args.seconds),
        mutation: args.mutation,
        stop_at_first: args.mutation.is_some(),
    }
    .run();
    for failure in &summary.failures {
        tell(out, failure, args.mutation)?;
    }
    summarize(out, &summary)?;
    Ok((summary.failed == 0) != args.mutation.is_some())
}

fn tell(out: &mut impl Write, failure: &Failure, mutation: Option<Mutation>) -> io::Result<()> {
    writeln!(out, "seed {} breaks {} promise(s):", failure.seed, failure.broken.len())?;
    for broken in failure.broken.iter().take(3) {
        writeln!(out, "  {}: {}", broken.promise, broken.how)?;
    }
    writeln!(out, "  again: {}", failure.replay(mutation))
}

fn summarize(out: &mut impl Write, summary: &Summary) -> io::Result<()> {
    let seconds = summary.elapsed.as_secs_f64().max(0.001);
    #[allow(clippy::cast_precision_loss)] // For people to read.
    let rate = |count: u64| count as f64 / seconds;
    writeln!(
        out,
        "{} seeds in {seconds:.1} s, {} broke promises; per second: {:.0} seeds, {:.0} events stored, \
         {:.0} delivered, {:.0} faults",
        summary.seeds,
        summary.failed,
        rate(summary.seeds),
        rate(summary.stored),
        rate(summary.delivered),
        rate(summary.faults),
    )
}
