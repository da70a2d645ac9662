//! How many sockets this process may open.

use anyhow::{Context, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files besides connections: pipes, logs, libraries.
const SPARE: u64 = 200;

/// Raises the limit of open files to what the system allows, and checks that `connections` fit.
/// Servers that we start inherit it.
///
/// # Errors
/// When the system allows fewer; the message says what to do.
pub fn allow_connections(connections: usize) -> anyhow::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, maximum: limit.maximum })
        .context("cannot raise the limit of open files")?;
    let wanted = connections as u64 + SPARE;
    match limit.maximum {
        Some(allowed) if allowed < wanted => bail!(
            "{connections} connections need {wanted} open files, and this system allows {allowed}: raise the hard limit \
             (`ulimit -Hn {wanted}` as root, or LimitNOFILE= of the service), or ask for fewer connections"
        ),
        _ => Ok(()),
    }
}
