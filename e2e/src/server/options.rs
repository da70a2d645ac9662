//! How a server is started.

use std::net::TcpListener;

/// Settings of one server.
#[derive(Debug, Clone, Default)]
pub struct Options {
    pub(super) port: u16,
    pub(super) environment: Vec<(String, String)>,
}

impl Options {
    /// As a user starts it, with rate limits so high that tests that share it cannot meet them.
    pub fn generous() -> Self {
        let keys =
            CALLS.iter().flat_map(|call| BY.iter().map(move |by| format!("accounts.limits.{call}_{by}")));
        keys.fold(Self::default(), |options, key| options.set(&key, "off"))
            .set("accounts.limits.write_per_account", "off")
            .set("accounts.limits.list_per_account", "off")
            .set("edge.frames_per_second", 0)
            .set("edge.sends_per_second", 0)
            // What is installed must make no difference to tests of other things.
            .set("translation.mode", "off")
            // Tests share the cores with everything, and wait for translations.
            .set("translator.idle_class", false)
    }

    /// With short times and low limits, for tests that run into them.
    pub fn strict() -> Self {
        Self::generous()
            .set("edge.hello_timeout_ms", 3_000)
            .set("edge.header_timeout_ms", 2_000)
            .set("edge.heartbeat_ms", 2_000)
            .set("edge.replay_events", 100)
            .set("edge.frames_per_second", 100)
            .set("edge.sends_per_second", 50)
            .set("http.request_timeout_seconds", 8)
    }

    /// With nothing in the way of a few clients that do what they can.
    pub fn under_load() -> Self {
        // In the end everything is replayed once, from the beginning.
        Self::generous().set("edge.replay_events", 1_000_000)
    }

    /// Sets a key: `set("server.drain_window_seconds", 1)`.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        let name = format!("ROOKERY_{}", key.to_ascii_uppercase().replace('.', "__"));
        self.environment.push((name, value.to_string()));
        self
    }

    /// All that is set, as variables of the environment.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// Listens on a port that stays the same when the server is started again.
    ///
    /// It is outside the range that the system picks clients' ports from: a client that tries to reach a server
    /// that is down could otherwise be given that very port, and meet itself.
    #[must_use]
    pub fn fixed_port(mut self) -> Self {
        let start = 20_000 + (std::process::id() % 8_000) as u16;
        self.port = (start..start + 4_000)
            .find(|&port| TcpListener::bind(("127.0.0.1", port)).is_ok())
            .expect("one of 4,000 ports is free");
        self
    }
}

/// Limits of calls without a token: `accounts.limits.CALL_BY`.
const CALLS: [&str; 9] =
    ["register", "verify", "resend", "login", "login_verify", "refresh", "forgot", "reset", "ticket"];
const BY: [&str; 3] = ["per_address", "per_account", "global"];
