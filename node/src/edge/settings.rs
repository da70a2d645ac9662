//! Settings of the edge: sockets and what clients may do with them.

use std::{path::PathBuf, time::Duration};

use crate::settings::Wrong;

/// Settings of sockets, under `edge`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdgeSettings {
    /// Connections at the same time, HTTP and WebSocket together; more are answered 503.
    pub max_connections: usize,
    /// Connections at the same time from one address (IPv6: one network of 64 bits). Trusted proxies are exempt. 0: no limit.
    pub max_connections_per_address: usize,
    /// New connections per second, with bursts of ten times as many; more are answered 503. 0: no limit.
    pub connects_per_second: u32,
    /// Connections that the system keeps waiting to be accepted.
    pub backlog: u32,
    /// Time for the head of a request, and between two requests of a connection, in milliseconds.
    pub header_timeout_ms: u64,
    /// A client that takes nothing of its answer over HTTP for so long is given up, in milliseconds.
    pub write_timeout_ms: u64,
    /// Time for a TLS handshake, in milliseconds.
    pub tls_handshake_timeout_ms: u64,
    /// Time between the opening of a WebSocket and its `hello`, in milliseconds; then it is closed with 4408.
    pub hello_timeout_ms: u64,
    /// Time between two pings of the server, in milliseconds. Without a word of the client within two, it is dropped.
    pub heartbeat_ms: u64,
    /// Time for a client to answer a close frame, in milliseconds.
    pub close_timeout_ms: u64,
    /// Longest message of a client, in bytes; a longer one closes with 1009.
    pub max_frame_bytes: usize,
    /// Rooms that one connection may follow.
    pub max_subscriptions: usize,
    /// Events that are replayed to one who comes back; more are answered `resync`.
    pub replay_events: u64,
    /// Replays from the log at the same time.
    pub concurrent_replays: usize,
    /// Requests of one connection whose answer is to come; more are not read from its socket until then.
    pub max_in_flight: usize,
    /// Frames per second from one connection, with bursts of ten times as many. 0: no limit.
    pub frames_per_second: u32,
    /// `send`s per second from one connection, with bursts of ten times as many. 0: no limit.
    pub sends_per_second: u32,
    /// Malformed frames that a connection may send in a minute before it is closed with 1008.
    pub max_malformed: u32,
    /// Frames over the rate that are answered `rate_limited` in a row, before the connection is closed with 1008.
    pub max_rate_limited: u32,
    /// Whether `?token=` is accepted in the WebSocket's URL, where proxies may log it.
    /// Without a word about it: in `standalone` yes, in a cluster no.
    pub url_token: Option<bool>,
    /// PEM file with the certificate and its chain. With `tls_key`: TLS on the public port. Both are read again when they change.
    pub tls_certificate: Option<PathBuf>,
    /// PEM file with the certificate's private key.
    pub tls_key: Option<PathBuf>,
}

impl Default for EdgeSettings {
    fn default() -> Self {
        Self {
            max_connections: 100_000,
            max_connections_per_address: 0,
            connects_per_second: 0,
            backlog: 4096,
            header_timeout_ms: 15_000,
            write_timeout_ms: 30_000,
            tls_handshake_timeout_ms: 10_000,
            hello_timeout_ms: 10_000,
            heartbeat_ms: 25_000,
            close_timeout_ms: 5_000,
            max_frame_bytes: 64 * 1024,
            max_subscriptions: 1_000,
            replay_events: 10_000,
            concurrent_replays: 64,
            max_in_flight: 64,
            frames_per_second: 100,
            sends_per_second: 50,
            max_malformed: 8,
            max_rate_limited: 1_000,
            url_token: None,
            tls_certificate: None,
            tls_key: None,
        }
    }
}

impl EdgeSettings {
    /// What cannot be accepted.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut range = |key: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                wrong.push(Wrong {
                    key: format!("edge.{key}"),
                    why: format!("must be between {least} and {most}"),
                });
            }
        };
        range("max_connections", self.max_connections as u64, 1, 10_000_000);
        range("backlog", u64::from(self.backlog), 1, 1_000_000);
        range("header_timeout_ms", self.header_timeout_ms, 100, 3_600_000);
        range("write_timeout_ms", self.write_timeout_ms, 100, 3_600_000);
        range("tls_handshake_timeout_ms", self.tls_handshake_timeout_ms, 100, 600_000);
        range("hello_timeout_ms", self.hello_timeout_ms, 100, 3_600_000);
        range("heartbeat_ms", self.heartbeat_ms, 500, 3_600_000);
        range("close_timeout_ms", self.close_timeout_ms, 100, 60_000);
        range("max_frame_bytes", self.max_frame_bytes as u64, 1024, 16 * 1024 * 1024);
        range("max_subscriptions", self.max_subscriptions as u64, 1, 1_000_000);
        range("replay_events", self.replay_events, 1, 1_000_000);
        range("concurrent_replays", self.concurrent_replays as u64, 1, 65_536);
        range("max_in_flight", self.max_in_flight as u64, 1, 65_536);
        if self.tls_certificate.is_some() != self.tls_key.is_some() {
            let (missing, given) = if self.tls_key.is_none() {
                ("tls_key", "tls_certificate")
            } else {
                ("tls_certificate", "tls_key")
            };
            wrong.push(Wrong {
                key: format!("edge.{missing}"),
                why: format!("is needed together with edge.{given}"),
            });
        }
        wrong
    }

    pub(super) fn header_timeout(&self) -> Duration {
        Duration::from_millis(self.header_timeout_ms)
    }

    pub(super) fn write_timeout(&self) -> Duration {
        Duration::from_millis(self.write_timeout_ms)
    }

    pub(super) fn tls_handshake_timeout(&self) -> Duration {
        Duration::from_millis(self.tls_handshake_timeout_ms)
    }
}
