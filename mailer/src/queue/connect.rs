//! Connecting to NATS.

use std::time::Duration;

use async_nats::{Client, ConnectErrorKind, ConnectOptions, ServerAddr};

use super::NatsSettings;

/// Between two tries at the start.
const PAUSE: Duration = Duration::from_millis(500);
/// A server is asked so often whether it is there; after two silent times another is tried.
const PING: Duration = Duration::from_secs(2);

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
        "NATS at {servers} refuses the mailer: {why}. Check nats.user, its password, or nats.credentials_file"
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
    /// A stream is not there, or not as it must be.
    #[error("stream {name}: {why}")]
    Stream {
        /// Which.
        name: String,
        /// What is wrong, and what to do.
        why: String,
    },
}

/// Delay before a reconnect: soon at first, then seldom, and never all processes at once.
fn delay(attempts: usize) -> Duration {
    let longest = 20_u64 << attempts.min(7);
    Duration::from_millis(rand::random_range(longest / 4..=longest))
}

async fn options(settings: &NatsSettings, cluster: &str) -> Result<ConnectOptions, ConnectError> {
    let mut options = ConnectOptions::new()
        .name(format!("rookery mailer {cluster}"))
        .connection_timeout(Duration::from_secs(2))
        .ping_interval(PING)
        .max_reconnects(None)
        .reconnect_delay_callback(delay);
    if let Some(user) = &settings.user {
        let password = settings.password.or_file(settings.password_file.as_deref());
        let password = password.map_err(|why| ConnectError::File { key: "nats.password_file", why })?;
        options = options.user_and_password(user.clone(), password.expose().to_owned());
    }
    let files = [
        ("nats.credentials_file", &settings.credentials_file),
        ("nats.tls_ca", &settings.tls_ca),
        ("nats.tls_cert", &settings.tls_cert),
        ("nats.tls_key", &settings.tls_key),
    ];
    for (key, path) in files {
        if let Some(path) = path {
            // Asked here, where it can be said which setting is wrong.
            let why =
                |error| ConnectError::File { key, why: format!("cannot use {}: {error}", path.display()) };
            std::fs::File::open(path).map_err(why)?;
        }
    }
    if let Some(path) = &settings.credentials_file {
        let why = |error| ConnectError::File {
            key: "nats.credentials_file",
            why: format!("{}: {error}", path.display()),
        };
        options = options.credentials_file(path).await.map_err(why)?;
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
pub(super) async fn connect(settings: &NatsSettings, cluster: &str) -> Result<Client, ConnectError> {
    let within = Duration::from_secs(settings.connect_seconds);
    let parsed: Result<Vec<ServerAddr>, _> = settings.urls.iter().map(|url| url.parse()).collect();
    let urls = parsed
        .map_err(|_| ConnectError::File { key: "nats.urls", why: "must be like nats://host:port".into() })?;
    // Never with users or passwords.
    let servers: Vec<_> = urls.iter().map(|url| format!("{}:{}", url.host(), url.port())).collect();
    let servers = servers.join(", ");
    let end = tokio::time::Instant::now() + within;
    loop {
        let options = options(settings, cluster).await?;
        let why = match tokio::time::timeout_at(end, options.connect(&urls[..])).await {
            Ok(Ok(client)) => return Ok(client),
            Ok(Err(error)) => match error.kind() {
                ConnectErrorKind::Authentication | ConnectErrorKind::AuthorizationViolation => {
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
    }
}
