//! `rookery-translator`: translates texts for a cluster.

use std::{collections::BTreeMap, io::Write, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use rookery_service::{Failure, config, start_logging};
use rookery_translator::{program::Settings, run};

/// Translates texts for a Rookery cluster.
#[derive(Debug, Parser)]
#[command(name = "rookery-translator", version, about, after_help = AFTER)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const AFTER: &str = "Settings come from defaults, then --config FILE, then the environment, then flags. A key such as \
log.level is the environment variable ROOKERY_LOG__LEVEL. docs/translator.md explains all of them.

Exit codes: 0 stopped as asked · 1 failed while running · 2 wrong command line or configuration · 3 cannot listen · \
5 an engine, NATS or Redis is set up and cannot be used.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Answer requests over NATS, and over gRPC if that is switched on.
    Serve(Common),
    /// Print all settings as they would be in force, as TOML, and exit.
    Config(Common),
}

#[derive(Debug, Default, Args)]
struct Common {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "ROOKERY_CONFIG")]
    config: Option<PathBuf>,
    /// Address of /livez, /readyz and /metrics [default: 127.0.0.1:9092]
    #[arg(long, value_name = "ADDR")]
    management: Option<String>,
    /// Address for gRPC, which is switched on by this
    #[arg(long, value_name = "ADDR")]
    grpc: Option<String>,
}

impl Common {
    fn load(&self) -> Result<Settings, Failure> {
        let mut flags = BTreeMap::new();
        flags.extend(self.management.clone().map(|address| ("server.management", address)));
        flags.extend(self.grpc.clone().map(|address| ("grpc.listen", address)));
        // Before the settings are checked: who names no NATS is refused, unless it is known by then that there is gRPC.
        let switched_on =
            self.grpc.is_some().then(|| ("ROOKERY_GRPC__ENABLED".to_owned(), "true".to_owned()));
        let environment = std::env::vars().chain(switched_on);
        Ok(config::load(self.config.as_deref(), environment, &flags)?)
    }
}

fn serve(common: &Common) -> Result<(), Failure> {
    let settings = common.load()?;
    start_logging(&settings.log);
    let runtime = tokio::runtime::Runtime::new().map_err(|error| Failure::Other(error.to_string()))?;
    let outcome = runtime.block_on(run(settings));
    // Models that are at work end with the process.
    runtime.shutdown_background();
    outcome
}

fn print(common: &Common) -> Result<(), Failure> {
    let text = config::to_toml(&common.load()?).map_err(|error| Failure::Other(error.to_string()))?;
    std::io::stdout().write_all(text.as_bytes()).map_err(|error| Failure::Other(error.to_string()))
}

fn main() -> ExitCode {
    let outcome = match &Cli::parse().command {
        Command::Serve(common) => serve(common),
        Command::Config(common) => print(common),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            // Logging may not have begun, or may be JSON for a machine: whoever typed the command gets a sentence.
            let _ = writeln!(std::io::stderr(), "rookery-translator: {failure}");
            failure.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
