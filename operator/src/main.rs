//! `rookery-operator`: the operator.

use std::{io::Write, process::ExitCode};

use clap::Parser;
use rookery_operator::{
    cli::{Cli, Command, Common},
    program,
    settings::Settings,
};
use rookery_service::{Failure, config, start_logging};

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Run(common) => run(&common),
        Command::Config(common) => print_config(&common),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let _ = writeln!(std::io::stderr(), "rookery-operator: {failure}");
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

fn run(common: &Common) -> Result<(), Failure> {
    let settings = load(common)?;
    start_logging(&settings.log);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| Failure::Other(error.to_string()))?;
    let outcome = runtime.block_on(program::run(settings));
    runtime.shutdown_background();
    outcome
}
