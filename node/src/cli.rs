//! The command line.

use std::{collections::BTreeMap, path::PathBuf};

use clap::{Args, Parser, Subcommand};

/// The chat node of Rookery.
#[derive(Debug, Parser)]
#[command(name = "rookery-node", version, about, long_about = LONG, after_help = AFTER)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const LONG: &str = "The chat node of Rookery: accounts with codes by mail, rooms and direct messages over HTTP and \
WebSocket, every acknowledged message stored for good.";

const AFTER: &str = "Settings come from defaults, then --config FILE, then the environment, then flags; each wins over \
those before it. A key such as log.level is the environment variable ROOKERY_LOG__LEVEL. `rookery-node config` prints all \
of them as they are in force.

Exit codes: 0 stopped as asked · 1 failed while running · 2 wrong command line or configuration · 3 cannot listen · 4 cannot \
use the data directory · 5 NATS or etcd cannot be used.

On SIGTERM or Ctrl-C the node says it is not ready, and after server.drain_delay_seconds asks its clients to reconnect \
elsewhere, spread over server.drain_window_seconds, and exits. A second signal stops it at once; nothing acknowledged is lost either way.";

/// What the program can do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole service in this one process, with its data in a directory.
    ///
    /// Needs no configuration. Without an SMTP server mails are not sent: they are shown at /dev/mailbox, on this machine alone.
    Standalone(Common),
    /// Run a node of a cluster, on NATS JetStream, etcd and Redis.
    ///
    /// Waits for NATS and etcd at the start, for so long as cluster.start_seconds says.
    Cluster(Common),
    /// Print all settings as they would be in force, as TOML, and exit.
    Config(Common),
}

/// Flags of every command.
#[derive(Debug, Default, Args)]
pub struct Common {
    /// Address for clients: HTTP and WebSocket [default: 127.0.0.1:8080; port 0: any free one]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Address of /livez, /readyz and /metrics [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDR")]
    management: Option<String>,
    /// Directory for everything that is kept [default: data]
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE", env = "ROOKERY_CONFIG")]
    pub config: Option<PathBuf>,
    /// auto, pretty or json [default: auto: pretty on a terminal]
    #[arg(long, value_name = "FORMAT")]
    log_format: Option<String>,
    /// error, warn, info, debug, trace; or by part: info,rookery_node::rooms=debug [default: info]
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
}

impl Common {
    /// The keys that flags set.
    pub fn flags(&self) -> BTreeMap<&str, String> {
        [
            ("server.listen", &self.listen),
            ("server.management", &self.management),
            ("server.data", &self.data),
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

    #[test]
    fn flags_become_keys() {
        let cli =
            Cli::parse_from(["rookery-node", "standalone", "--listen", "127.0.0.1:0", "--data", "/tmp/x"]);
        let Command::Standalone(common) = cli.command else { panic!("standalone was asked for") };
        assert_eq!(
            common.flags(),
            BTreeMap::from([
                ("server.data", "/tmp/x".to_owned()),
                ("server.listen", "127.0.0.1:0".to_owned())
            ])
        );
    }
}
