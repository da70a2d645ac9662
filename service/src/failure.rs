//! Why the program ends early, and the exit code that says so to whoever started it.

use std::{net::SocketAddr, path::PathBuf, process::ExitCode};

/// The program cannot start or go on.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// The configuration is wrong: exit code 2, as for a wrong command line.
    #[error("configuration: {0}")]
    Config(#[from] crate::config::ConfigError),
    /// An address is taken or not ours: exit code 3.
    #[error("cannot listen on {address}: {why}. Choose another with --{flag}.")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The system's word for it.
        why: std::io::Error,
        /// The flag that sets it.
        flag: &'static str,
    },
    /// The data directory cannot be used: exit code 4.
    #[error("cannot use the data directory {}: {why}", path.display())]
    Data {
        /// Which.
        path: PathBuf,
        /// In use by another process, damaged, not writable, from a newer version.
        why: String,
    },
    /// NATS or etcd cannot be reached, refuses this node, or is not as it must be: exit code 5.
    #[error("{0}")]
    Dependency(String),
    /// Anything else: exit code 1.
    #[error("{0}")]
    Other(String),
}

impl Failure {
    /// What the process exits with.
    pub fn exit_code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::Other(_) => 1,
            Self::Config(_) => 2,
            Self::Listen { .. } => 3,
            Self::Data { .. } => 4,
            Self::Dependency(_) => 5,
        })
    }
}
