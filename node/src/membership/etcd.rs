//! Talking to etcd: one member at a time, the next one when it does not answer.
//!
//! A balanced channel over all members would keep sending a share of the calls to one that is stopped. So each of the
//! two tasks has a [`Line`] to one member, and moves on when a call fails or takes too long.

use std::{sync::Arc, time::Duration};

use etcd_client::{Certificate, Channel, Client, ConnectOptions, Error, Identity, TlsOptions};
use rookery_protocol::id::RoomId;
use tonic::transport::Endpoint;

use super::{ClusterSettings, EtcdSettings};

const CONNECT_TIMEOUT: Duration = Duration::from_millis(700);
const FIRST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// The oldest etcd that is joined: earlier ones lose leases and watches in ways that a node would have to know.
const OLDEST: [u64; 3] = [3, 5, 30];
pub(super) const OLDEST_TEXT: &str = "3.5.30";

/// Whether etcd of this version is joined.
pub(super) fn is_recent(version: &str) -> bool {
    let mut numbers = version.split(['.', '-', '+']).map_while(|part| part.parse::<u64>().ok());
    [(); 3].map(|()| numbers.next().unwrap_or(0)) >= OLDEST
}

/// Nodes come first in a list, so that no number of pins keeps one out.
const NODES: &str = "nodes/";
const PINS: &str = "pins/";

/// Whose a key is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Whose<'a> {
    /// A node's, of this name.
    Node(&'a str),
    /// A room's pin.
    Room(RoomId),
}

/// Where etcd is, and what of it is the cluster's.
pub(super) struct Etcd {
    endpoints: Vec<String>,
    tls: Option<TlsOptions>,
    options: ConnectOptions,
    user: String,
    prefix: String,
    /// Time between two lists.
    pub(super) relist: Duration,
    /// The lease that is asked for.
    pub(super) lease: Duration,
}

impl Etcd {
    /// # Errors
    /// A sentence that says which setting cannot be used.
    pub(super) fn new(cluster: &ClusterSettings, settings: &EtcdSettings) -> Result<Self, String> {
        let mut options = ConnectOptions::new();
        let mut with_tls = None;
        let read = |path: &std::path::PathBuf| {
            std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))
        };
        if let Some(ca) = &settings.tls_ca {
            let mut tls = TlsOptions::new().ca_certificate(Certificate::from_pem(read(ca)?));
            if let (Some(cert), Some(key)) = (&settings.tls_cert, &settings.tls_key) {
                tls = tls.identity(Identity::from_pem(read(cert)?, read(key)?));
            }
            with_tls = Some(tls);
        }
        if !settings.username.is_empty() {
            let password = settings.password.or_file(settings.password_file.as_deref())?;
            options = options.with_user(&settings.username, password.expose()).with_auto_token_refresh(true);
        }
        Ok(Self {
            endpoints: settings.endpoints.clone(),
            tls: with_tls,
            options,
            user: settings.username.clone(),
            prefix: format!("/rookery/{}/", cluster.name),
            relist: settings.relist(),
            lease: cluster.lease(),
        })
    }

    /// A connection that is there, or why it is not: the client's own channel tries on for ever, and says nothing.
    async fn connect(&self, endpoint: &str, options: ConnectOptions) -> Result<Client, Error> {
        let url = match (endpoint.contains("://"), &self.tls) {
            (true, _) => endpoint.to_owned(),
            (false, Some(_)) => format!("https://{endpoint}"),
            (false, None) => format!("http://{endpoint}"),
        };
        let mut endpoint = Endpoint::from_shared(url)?.connect_timeout(CONNECT_TIMEOUT);
        if let Some(tls) = &self.tls {
            endpoint = endpoint.tls_config(tls.clone())?;
        }
        let channel = endpoint.connect().await?;
        Client::from_channel(Channel::Tonic(channel), Some(options)).await
    }

    /// What all keys of the cluster begin with.
    pub(super) fn prefix(&self) -> &str {
        &self.prefix
    }

    /// The key of a node.
    pub(super) fn key(&self, name: &str) -> String {
        format!("{}{NODES}{name}", self.prefix)
    }

    /// The key of a room's pin.
    pub(super) fn pin(&self, room: RoomId) -> String {
        format!("{}{PINS}{room}", self.prefix)
    }

    /// Whose key it is; `None`: not one of nodes or pins.
    pub(super) fn whose<'a>(&self, key: &'a str) -> Option<Whose<'a>> {
        let key = key.strip_prefix(&self.prefix)?;
        if let Some(name) = key.strip_prefix(NODES) {
            return Some(Whose::Node(name));
        }
        Some(Whose::Room(key.strip_prefix(PINS)?.parse().ok()?))
    }

    /// Who this node is to etcd.
    pub(super) fn user(&self) -> &str {
        &self.user
    }
}

/// A connection to one member at a time.
pub(super) struct Line {
    etcd: Arc<Etcd>,
    options: ConnectOptions,
    at: usize,
    client: Option<Client>,
    /// In a row.
    failures: u32,
}

impl Line {
    /// `require_leader`: members that have lost their leader are to refuse, also watches that are under way.
    pub(super) fn new(etcd: Arc<Etcd>, require_leader: bool) -> Self {
        let at = rand::random_range(0..etcd.endpoints.len());
        let options = etcd.options.clone().with_require_leader(require_leader);
        Self { etcd, options, at, client: None, failures: 0 }
    }

    /// The member that is spoken to.
    pub(super) fn endpoint(&self) -> &str {
        &self.etcd.endpoints[self.at]
    }

    /// The client, connected if it was not. The caller bounds the time.
    pub(super) async fn client(&mut self) -> Result<&mut Client, Error> {
        let client = match self.client.take() {
            Some(client) => client,
            None => self.etcd.connect(self.endpoint(), self.options.clone()).await?,
        };
        Ok(self.client.insert(client))
    }

    /// A call was answered.
    pub(super) fn answered(&mut self) {
        self.failures = 0;
    }

    /// A call failed: the next one goes to another member, after this time. All of them are tried before any pause.
    pub(super) fn failed(&mut self) -> Duration {
        self.client = None;
        self.at = (self.at + 1) % self.etcd.endpoints.len();
        let rounds = self.failures / u32::try_from(self.etcd.endpoints.len()).unwrap_or(1);
        self.failures = self.failures.saturating_add(1);
        let pause = FIRST_PAUSE * (1 << rounds.min(6));
        let pause = if rounds == 0 { Duration::from_millis(5) } else { pause.min(LONGEST_PAUSE) };
        pause.mul_f64(rand::random_range(0.75..1.25))
    }
}

/// Why a call failed, down to its cause: "transport error" alone helps nobody.
pub(super) fn why(error: &Error) -> String {
    use std::error::Error as StdError;
    let mut cause: &dyn StdError = match error {
        Error::TransportError(transport) => transport,
        Error::GRpcStatus(status) if status.source().is_some() => status,
        _ => return error.to_string(),
    };
    while let Some(deeper) = cause.source() {
        cause = deeper;
    }
    format!("not connected: {cause}")
}

/// Whether etcd says that it knows no such user or password, or that he may not do this. Waiting does not help then.
pub(super) fn is_refusal(error: &Error) -> bool {
    let Error::GRpcStatus(status) = error else { return false };
    // <https://github.com/etcd-io/etcd/blob/v3.5.30/api/v3rpc/rpctypes/error.go>
    status.message().contains("authentication failed")
        || status.message().contains("permission denied")
        || status.message().contains("authentication is not enabled")
        || status.message().contains("user name is empty")
}

/// Whether etcd says that it knows no such lease.
pub(super) fn is_no_lease(error: &Error) -> bool {
    match error {
        Error::GRpcStatus(status) => status.message().contains("requested lease not found"),
        // The client's own word for a first answer with a TTL of 0.
        Error::LeaseKeepAliveError(why) => why == "lease not found",
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_members_are_told_apart() {
        for (version, wanted) in [
            ("3.5.30", true),
            ("3.5.31", true),
            ("3.5.100-rc.1", true),
            ("3.6.0", true),
            ("3.6.0-alpha.0+git", true),
            ("4.0.0", true),
            ("3.5.29", false),
            ("3.5.9", false),
            ("3.4.37", false),
            ("3.5", false),
            ("", false),
            ("etcd", false),
        ] {
            assert_eq!(is_recent(version), wanted, "{version}");
        }
        assert!(is_recent(OLDEST_TEXT));
    }
}
