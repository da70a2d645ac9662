//! Connecting: options, the first tries, and what is checked before anything is served.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::{Client, ConnectOptions, ServerAddr, ServerInfo};

use super::{
    NatsMetrics, NatsSettings,
    link::{Link, Signals},
};

/// The oldest nats-server that logs are trusted to.
const SERVER: [u64; 3] = [2, 14, 4];
/// A record, a row or a piece of a snapshot must fit into a message.
pub(super) const PAYLOAD: usize = 1 << 20;
/// Between two tries at the start.
const PAUSE: Duration = Duration::from_millis(250);
/// Messages that may wait in one subscription.
const WAITING: usize = 16_384;
/// Commands that may wait for the connection: appends wait for their answers, so this bounds little.
const COMMANDS: usize = 8_192;

/// Why NATS cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// No server could be reached.
    #[error(
        "cannot connect to NATS at {servers} within {seconds} s: {why}. Check nats.urls and that the servers run"
    )]
    Unreachable {
        /// Which servers.
        servers: String,
        /// How long it was tried.
        seconds: u64,
        /// Why.
        why: String,
    },
    /// The servers do not let us in.
    #[error(
        "NATS at {servers} refuses this node: {why}. Check nats.user, its password, or nats.credentials_file"
    )]
    NotAllowed {
        /// Which servers.
        servers: String,
        /// Why.
        why: String,
    },
    /// A file cannot be used.
    #[error("{key}: {why}")]
    File {
        /// Which setting.
        key: &'static str,
        /// Which file, and what is wrong with it.
        why: String,
    },
    /// A server is too old.
    #[error(
        "the NATS server {server} is too old: it is nats-server {found}, and {SERVER_TEXT} or later is needed"
    )]
    Version {
        /// Which, in its own word.
        server: String,
        /// Its version.
        found: String,
    },
    /// Messages cannot be large enough.
    #[error(
        "the NATS server {server} takes messages of {found} bytes at most: set its max_payload to {PAYLOAD} or more"
    )]
    Payload {
        /// Which, in its own word.
        server: String,
        /// What it takes.
        found: usize,
    },
    /// A stream is not as it must be.
    #[error("stream {name}: {why}")]
    Stream {
        /// Which.
        name: String,
        /// What is wrong, and what to do.
        why: String,
    },
    /// A stream cannot be looked at, or made, in time.
    #[error("stream {name} cannot be used yet: {why}. Is JetStream enabled and has it a quorum?")]
    NotYet {
        /// Which.
        name: String,
        /// Why, as the last try ended.
        why: String,
    },
    /// Too few monitoring addresses can be read.
    #[error("nats.monitoring_urls: {0}. Check that they are right and that the servers run")]
    Monitoring(String),
    /// A server would lose acknowledged records when its machine loses power.
    #[error(
        "the NATS server at {0} does not sync each write: set `jetstream {{ sync_interval: always }}` in its \
         configuration, or nats.require_sync_always = false if losing acknowledged messages is acceptable"
    )]
    NotSynced(String),
    /// A server has no JetStream.
    #[error("the NATS server at {0} has JetStream off: switch it on in its configuration")]
    NoJetStream(String),
    /// The connection was lost while things were prepared.
    #[error("the connection to NATS was lost at the start: {0}")]
    Lost(String),
}

const SERVER_TEXT: &str = "2.14.4";

impl ConnectError {
    /// Whether waiting may help: servers start, and come back, like others.
    pub fn passes(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::NotYet { .. } | Self::Monitoring(_) | Self::Lost(_) => true,
            Self::NotAllowed { .. }
            | Self::File { .. }
            | Self::Version { .. }
            | Self::Payload { .. }
            | Self::Stream { .. }
            | Self::NotSynced(_)
            | Self::NoJetStream(_) => false,
        }
    }
}

/// Host and port of each server: never its user or password.
fn named(urls: &[ServerAddr]) -> String {
    urls.iter().map(|url| format!("{}:{}", url.host(), url.port())).collect::<Vec<_>>().join(", ")
}

fn unusable(key: &'static str, path: &std::path::Path, why: impl std::fmt::Display) -> ConnectError {
    ConnectError::File { key, why: format!("cannot use {}: {why}", path.display()) }
}

/// Delay before a reconnect: soon at first, then seldom, and never all nodes at once.
fn delay(attempts: usize) -> Duration {
    let longest = 20_u64 << attempts.min(7);
    Duration::from_millis(rand::random_range(longest / 4..=longest))
}

async fn options(
    settings: &NatsSettings,
    node: &str,
    signals: &Arc<Signals>,
) -> Result<ConnectOptions, ConnectError> {
    let mut options = ConnectOptions::new()
        .name(format!("rookery {node}"))
        .connection_timeout(Duration::from_secs(2))
        .ping_interval(Duration::from_millis(settings.ping_ms))
        .subscription_capacity(WAITING)
        .client_capacity(COMMANDS)
        .reconnect_delay_callback(delay);
    let told = signals.clone();
    options = options.event_callback(move |event| {
        told.event(&event);
        std::future::ready(())
    });
    let choosing = signals.clone();
    options = options.reconnect_to_server_callback(move |servers, _| {
        std::future::ready(choosing.isolation.lock().next(&servers, Instant::now()))
    });
    if let Some(user) = &settings.user {
        let password = settings.password.or_file(settings.password_file.as_deref());
        let password = password.map_err(|why| ConnectError::File { key: "nats.password_file", why })?;
        options = options.user_and_password(user.clone(), password.expose().to_owned());
    }
    if let Some(path) = &settings.credentials_file {
        let read = options.credentials_file(path).await;
        options = read.map_err(|error| unusable("nats.credentials_file", path, error))?;
    }
    for (key, path) in [
        ("nats.tls_ca", &settings.tls_ca),
        ("nats.tls_cert", &settings.tls_cert),
        ("nats.tls_key", &settings.tls_key),
    ] {
        if let Some(path) = path {
            std::fs::File::open(path).map_err(|error| unusable(key, path, error))?;
        }
    }
    if let Some(path) = &settings.tls_ca {
        options = options.add_root_certificates(path.clone()).require_tls(true);
    }
    if let (Some(cert), Some(key)) = (&settings.tls_cert, &settings.tls_key) {
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    Ok(options)
}

/// Connects, and tries again for a while if no server is there yet.
pub(super) async fn connect(
    settings: &NatsSettings,
    node: &str,
    metrics: &NatsMetrics,
) -> Result<(Client, Arc<Signals>), ConnectError> {
    let parsed: Result<Vec<ServerAddr>, _> = settings.urls.iter().map(|url| url.parse()).collect();
    let urls = parsed.map_err(|error| ConnectError::Unreachable {
        servers: "nats.urls".into(),
        seconds: 0,
        why: error.to_string(),
    })?;
    let servers = named(&urls);
    let signals = Signals::new(metrics.clone());
    let within = Duration::from_secs(settings.connect_seconds);
    let end = tokio::time::Instant::now() + within;
    let client = loop {
        let tried =
            tokio::time::timeout_at(end, options(settings, node, &signals).await?.connect(&urls[..])).await;
        let why = match tried {
            Ok(Ok(client)) => break client,
            Ok(Err(error)) => match error.kind() {
                async_nats::ConnectErrorKind::Authentication
                | async_nats::ConnectErrorKind::AuthorizationViolation => {
                    return Err(ConnectError::NotAllowed { servers, why: error.to_string() });
                }
                _ => error.to_string(),
            },
            Err(_) => "no answer".to_owned(),
        };
        if tokio::time::Instant::now() + PAUSE >= end {
            return Err(ConnectError::Unreachable { servers, seconds: within.as_secs(), why });
        }
        tracing::debug!(servers, why, "NATS cannot be reached yet");
        tokio::time::sleep(PAUSE).await;
    };
    let info = client.server_info();
    fits(&info)?;
    tracing::info!(server = info.server_name, version = info.version, "connected to NATS");
    Ok((client, signals))
}

/// Whether a server does, by what it says when it is connected to.
fn fits(info: &ServerInfo) -> Result<(), ConnectError> {
    is_recent(&info.server_name, &info.version)?;
    if info.max_payload < PAYLOAD {
        return Err(ConnectError::Payload { server: info.server_name.clone(), found: info.max_payload });
    }
    Ok(())
}

/// Whether a server's version does.
pub(super) fn is_recent(server: &str, version: &str) -> Result<(), ConnectError> {
    let mut numbers = version.split(['.', '-']).map_while(|part| part.parse::<u64>().ok());
    if [(); 3].map(|()| numbers.next().unwrap_or(0)) >= SERVER {
        return Ok(());
    }
    Err(ConnectError::Version { server: server.to_owned(), found: version.to_owned() })
}

/// Looks at every server that this node comes to later, for as long as it runs. It goes on with one that it would not have
/// started with, and says so: the others may be away.
pub(super) async fn look_at_servers(link: Arc<Link>) {
    let mut connects = link.signals.connects.subscribe();
    connects.mark_changed();
    while connects.changed().await.is_ok() {
        // The client says that it is connected a moment before it knows what the server said.
        if link.client.flush().await.is_err() {
            return;
        }
        let unfit = fits(&link.client.server_info()).err();
        link.metrics.unfit_server.set(unfit.is_some().into());
        if let Some(why) = unfit {
            tracing::error!(%why, "connected to a NATS server that this node would not have started with");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_servers_are_told_apart() {
        for (version, wanted) in [
            ("2.15.1", true),
            ("2.14.4", true),
            ("2.14.10", true),
            ("2.15.0-RC.1", true),
            ("3.0.0", true),
            ("2.14.3", false),
            ("2.12.9", false),
            ("2.9", false),
            ("", false),
        ] {
            assert_eq!(is_recent("n", version).is_ok(), wanted, "{version}");
        }
    }

    #[test]
    fn a_start_waits_for_what_passes_and_for_nothing_else() {
        let text = || "x".to_owned();
        let passing = [
            ConnectError::Unreachable { servers: text(), seconds: 1, why: text() },
            ConnectError::NotYet { name: text(), why: text() },
            ConnectError::Monitoring(text()),
            ConnectError::Lost(text()),
        ];
        let lasting = [
            ConnectError::NotAllowed { servers: text(), why: text() },
            ConnectError::File { key: "k", why: text() },
            ConnectError::Version { server: text(), found: text() },
            ConnectError::Payload { server: text(), found: 1 },
            ConnectError::Stream { name: text(), why: text() },
            ConnectError::NotSynced(text()),
            ConnectError::NoJetStream(text()),
        ];
        assert!(passing.iter().all(ConnectError::passes) && !lasting.iter().any(ConnectError::passes));
    }

    #[test]
    fn servers_are_named_without_passwords() {
        let urls = ["nats://me:secret@a:1".parse().unwrap(), "tls://b".parse().unwrap()];
        assert_eq!(named(&urls), "a:1, b:4222");
    }

    #[test]
    fn reconnects_are_spread_and_bounded() {
        for attempts in 0..100 {
            assert!(delay(attempts) <= Duration::from_millis(2_560));
        }
        assert!((0..20).map(|_| delay(6)).collect::<std::collections::HashSet<_>>().len() > 1);
    }
}
