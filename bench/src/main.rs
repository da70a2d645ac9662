//! `rookery-bench`: the command line.

use std::{io::Write, process::ExitCode};

use clap::{Parser, Subcommand};
use rookery_bench::{commands, limits, raw};

/// Measures Rookery, and in the same run servers that only write, as the limit to compare with.
#[derive(Debug, Parser)]
#[command(name = "rookery-bench", version, about, after_help = AFTER)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "Latency counts from the time a message was due by an open-loop schedule, so a server that stalls cannot \
hide it. Only `send`, `connect` and the highest rates of `cluster --measure sends` are closed loops: they keep a number waiting, and \
count from when each was begun. Pin the generator and the server to a core each (`taskset -c 0 rookery-bench … --server-cpu 1`) in a network \
namespace with loopback alone: bench/run.sh does, and runs the whole set.";

#[derive(Debug, Subcommand)]
enum Command {
    /// One room with many subscribers, a connection each
    Fanout(commands::fanout::Arguments),
    /// Many small rooms, every member publishing
    Rooms(commands::rooms::Arguments),
    /// Memory per idle connection
    Idle(commands::idle::Arguments),
    /// Authenticated connects per second
    Connect(commands::connect::Arguments),
    /// Durable sends per second as senders and rooms grow
    Send(commands::send::Arguments),
    /// A whole cluster: durable sends, fan-out over nodes, and what a message costs as rooms, nodes and history grow
    Cluster(commands::cluster::Arguments),
    /// Mails per second of one mailer, and whether a cluster's chat notices it
    Mailer(commands::mailer::Arguments),
    /// Translations per second, how long after its message one comes, and whether a cluster's chat notices a translator
    Translator(commands::translator::Arguments),
    /// Reports of several commands as one Markdown table
    Table(commands::table::Arguments),
    /// A server that only writes, ordered by standard input (used by the other commands)
    #[command(hide = true)]
    RawServer(raw::RawSettings),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Fanout(arguments) => commands::fanout::run(&arguments),
        Command::Rooms(arguments) => commands::rooms::run(&arguments),
        Command::Idle(arguments) => commands::idle::run(&arguments),
        Command::Connect(arguments) => commands::connect::run(&arguments),
        Command::Send(arguments) => commands::send::run(&arguments),
        Command::Cluster(arguments) => commands::cluster::run(&arguments),
        Command::Mailer(arguments) => commands::mailer::run(&arguments),
        Command::Translator(arguments) => commands::translator::run(&arguments),
        Command::Table(arguments) => commands::table::run(&arguments),
        Command::RawServer(settings) => limits::allow_connections(0).and_then(|()| raw::serve(&settings)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "rookery-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}
