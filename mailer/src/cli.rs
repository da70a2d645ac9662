//! The command line.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// The mailer of Rookery.
#[derive(Debug, Parser)]
#[command(name = "rookery-mailer", version, about, long_about = LONG, after_help = AFTER)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const LONG: &str = "The mailer of Rookery: takes the mails of a cluster's outbox and hands them to an SMTP server, each once. \
Any number of mailers share the work.";

const AFTER: &str = "Settings come from defaults, then --config FILE, then the environment, then flags; each wins over \
those before it. A key such as smtp.host is the environment variable ROOKERY_SMTP__HOST. `rookery-mailer config` prints all \
of them as they are in force.

Exit codes: 0 stopped as asked · 1 failed while running · 2 wrong command line or configuration · 3 cannot listen · \
5 NATS or the SMTP server cannot be used.

On SIGTERM or Ctrl-C no more mails are begun, those under way are ended, within server.drain_seconds. A second signal stops it \
at once; no mail is lost either way, and one may be sent again.";

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Send mails until it is told to stop.
    Run(Common),
    /// Send one mail, without a cluster, and say how that went: to try a configuration.
    SendTest {
        /// Address
        #[arg(long, value_name = "ADDRESS")]
        to: String,
        /// Language of the mail
        #[arg(long, value_name = "TAG", default_value = "en")]
        language: String,
        /// Flags of every command.
        #[command(flatten)]
        common: Common,
    },
    /// Mails that were given up.
    #[command(subcommand)]
    Dead(Dead),
    /// Print all settings as they would be in force, as TOML, and exit.
    Config(Common),
}

/// What can be done with mails that were given up.
#[derive(Debug, Subcommand)]
pub enum Dead {
    /// List them, oldest first: job, since when, tries, kind, address, reason.
    List {
        /// At most so many
        #[arg(long, default_value_t = 1000)]
        limit: usize,
        /// Flags of every command.
        #[command(flatten)]
        common: Common,
    },
    /// Put them back into the outbox.
    Requeue {
        /// Jobs, as `dead list` names them
        #[arg(required_unless_present = "all", conflicts_with = "all")]
        jobs: Vec<String>,
        /// All of them
        #[arg(long)]
        all: bool,
        /// Flags of every command.
        #[command(flatten)]
        common: Common,
    },
}

/// Flags of every command.
#[derive(Debug, Default, Args)]
pub struct Common {
    /// Address of /livez, /readyz and /metrics [default: 127.0.0.1:9091]
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
