//! Settings of the calls between nodes.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::settings::Wrong;

/// `[peer]`: how nodes reach each other.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PeerSettings {
    /// Where other nodes and the operator connect. Port 0: any free one.
    pub listen: SocketAddr,
    /// This node's certificate (PEM), shown to nodes that connect and to those it connects to.
    pub tls_cert: Option<PathBuf>,
    /// Its key (PEM).
    pub tls_key: Option<PathBuf>,
    /// The authority that signed the certificates of all nodes (PEM).
    pub tls_ca: Option<PathBuf>,
    /// File with the token by which the operator is known, read again for each of its calls: 16 to 1,024 characters. Without it
    /// no rooms are declared.
    pub operator_token_file: Option<PathBuf>,
    /// Time to connect to a node, milliseconds. 50 to 10,000.
    pub connect_ms: u64,
    /// A node that says nothing for so long is taken for gone, milliseconds. 200 to 30,000.
    pub silent_ms: u64,
    /// What was not begun so long after it was sent is not begun any more, milliseconds. 100 to 4,000.
    pub late_ms: u64,
    /// Requests under way to one node, at most. 16 to 16,384.
    pub in_flight: usize,
    /// Requests under way to one room of another node, at most. 1 to 4,096.
    pub in_flight_per_room: usize,
}

impl Default for PeerSettings {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 7070)),
            tls_cert: None,
            tls_key: None,
            tls_ca: None,
            operator_token_file: None,
            connect_ms: 500,
            silent_ms: 1000,
            late_ms: 1000,
            in_flight: 8192,
            in_flight_per_room: 1024,
        }
    }
}

impl PeerSettings {
    /// What cannot be accepted.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut within = |key: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                let why = format!("must be between {least} and {most}");
                wrong.push(Wrong { key: format!("peer.{key}"), why });
            }
        };
        within("connect_ms", self.connect_ms, 50, 10_000);
        within("silent_ms", self.silent_ms, 200, 30_000);
        within("late_ms", self.late_ms, 100, 4_000);
        within("in_flight", self.in_flight as u64, 16, super::MOST_IN_FLIGHT as u64);
        within("in_flight_per_room", self.in_flight_per_room as u64, 1, 4_096);
        let files = [("tls_cert", &self.tls_cert), ("tls_key", &self.tls_key), ("tls_ca", &self.tls_ca)];
        if files.iter().any(|(_, file)| file.is_some()) {
            for (key, _) in files.iter().filter(|(_, file)| file.is_none()) {
                let why = "tls_cert, tls_key and tls_ca go together: set all of them, or none".to_owned();
                wrong.push(Wrong { key: format!("peer.{key}"), why });
            }
        }
        wrong
    }

    pub(super) fn connect(&self) -> Duration {
        Duration::from_millis(self.connect_ms)
    }

    pub(super) fn silent(&self) -> Duration {
        Duration::from_millis(self.silent_ms)
    }

    /// Time in which what was sent must be begun.
    pub(crate) fn late(&self) -> Duration {
        Duration::from_millis(self.late_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_accepted_and_wrong_ones_named() {
        assert_eq!(PeerSettings::default().check(), []);
        let half = PeerSettings { tls_cert: Some("x".into()), silent_ms: 1, ..PeerSettings::default() };
        let keys: Vec<String> = half.check().into_iter().map(|wrong| wrong.key).collect();
        assert_eq!(keys, ["peer.silent_ms", "peer.tls_key", "peer.tls_ca"]);
    }
}
