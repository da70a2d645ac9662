//! `rookery-node`: the chat node.

use std::{io::Write, process::ExitCode, sync::Arc};

use clap::Parser;
use rookery_node::{
    cli::{Cli, Command, Common},
    cluster,
    config::{self, Settings},
    server::{self, Failure},
    standalone, telemetry,
    workers::Workers,
};

/// With it an idle connection takes 1.4 KiB, with the system's 1.9 (`rookery-bench idle`), and what a burst took is
/// given back instead of being kept in pieces. Built not to ask for huge pages (`no_thp`); why, says [`server::small_pages`].
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A worker with work of its own looks so often (in tasks run) for tasks that other threads have woken, such as that
/// of a stored batch. Tokio's own choice is about each 0.2 ms, in which a busy worker's clients wait: with 5, p99 at a light load
/// went from 12 ms to 2 (`rookery-bench rooms`, 20,000 deliveries/s on one core).
const GLOBAL_QUEUE_INTERVAL: u32 = 5;

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Standalone(common) => run(&common, standalone::run),
        Command::Cluster(common) => run(&common, |settings, _| cluster::run(settings)),
        Command::Config(common) => print_config(&common),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Logging may not have begun, or may be JSON for a machine: whoever typed the command gets a sentence.
            let _ = writeln!(std::io::stderr(), "rookery-node: {failure}");
            failure.exit_code()
        }
    }
}

fn load(common: &Common) -> Result<Settings, Failure> {
    Ok(config::load(common.config.as_deref(), std::env::vars(), &common.flags())?)
}

fn print_config(common: &Common) -> Result<(), Failure> {
    let text = config::to_toml(&load(common)?).map_err(|error| Failure::Other(error.to_string()))?;
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::Other(error.to_string()))
}

fn run<F>(common: &Common, service: impl FnOnce(Settings, Arc<Workers>) -> F) -> Result<(), Failure>
where
    F: Future<Output = Result<(), Failure>>,
{
    let settings = load(common)?;
    telemetry::start_logging(&settings.log);
    server::small_pages();
    let threads = match settings.server.threads {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        threads => threads,
    };
    // Where one thread serves, the simpler scheduler has less to do, and one queue for all tasks.
    let mut runtime = if threads == 1 {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    runtime.worker_threads(threads).global_queue_interval(GLOBAL_QUEUE_INTERVAL);
    let workers = Arc::<Workers>::default();
    workers.watch(&mut runtime);
    let runtime = runtime.enable_all().build().map_err(|error| Failure::Other(error.to_string()))?;
    let outcome = runtime.block_on(service(settings, workers));
    // Work on threads of its own (reading, hashing) may still go on; nobody waits for it any more.
    runtime.shutdown_background();
    outcome
}
