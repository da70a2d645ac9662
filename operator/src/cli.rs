//! The command line.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// The operator of Rookery.
#[derive(Debug, Parser)]
#[command(name = "rookery-operator", version, about, long_about = LONG, after_help = AFTER)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const LONG: &str = "The operator of Rookery: makes of each ChatCluster what it declares, keeps it so, and says how it is. \
Several may run; one of them works, the others stand by.";

const AFTER: &str = "Settings come from defaults, then --config FILE, then the environment, then flags; each wins over \
those before it. A key such as operator.namespaces is the environment variable ROOKERY_OPERATOR__NAMESPACES. \
`rookery-operator config` prints all of them as they are in force.

The API server is found as kubectl finds it: KUBECONFIG, or inside Kubernetes the pod's ServiceAccount.

Exit codes: 0 stopped as asked · 1 failed while running · 2 wrong command line or configuration · 3 cannot listen · \
5 the API server cannot be used, or the lead was lost.";

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Work until it is told to stop.
    Run(Common),
    /// Print all settings as they would be in force, as TOML, and exit.
    Config(Common),
}

/// Flags of every command.
#[derive(Debug, Default, Args)]
pub struct Common {
    /// Address of /livez, /readyz and /metrics [default: 127.0.0.1:9094]
    #[arg(long, value_name = "ADDR")]
    management: Option<String>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "ROOKERY_CONFIG")]
    pub config: Option<PathBuf>,
    /// auto, pretty or json [default: auto: pretty on a terminal]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// error, warn, info, debug, trace [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl Common {
    /// The keys that flags set.
    pub fn flags(&self) -> BTreeMap<&str, String> {
        [
            ("server.management", &self.management),
            ("log.format", &self.log_format),
            ("log.level", &self.log_level),
        ]
        .into_iter()
        .filter_map(|(key, value)| value.clone().map(|value| (key, value)))
        .collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }
}
