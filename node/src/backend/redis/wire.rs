//! A connection, of whatever kind, and how it is made.

use std::path::{Path, PathBuf};

use redis::{
    AsyncConnectionConfig, Client, ClientTlsConfig, Cmd, ConnectionAddr, ConnectionInfo, FromRedisValue,
    IntoConnectionInfo, RedisError, RedisResult, TlsCertificates, TlsMode,
    aio::MultiplexedConnection,
    cluster::{ClusterClientBuilder, ClusterConfig},
    cluster_async::ClusterConnection,
    cmd,
    sentinel::{SentinelClientBuilder, SentinelServerType},
};

use super::{
    RedisSettings,
    address::{Address, Kind},
};

/// Longest password, in bytes.
const PASSWORD_BYTES: u64 = 4096;
/// Commands that wait for their turn to be written.
const PIPELINE: usize = 1024;

/// The settings cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RedisSetupError {
    /// A file is missing or unreadable.
    #[error("redis.{key}: cannot read {}: {source}", .path.display())]
    File {
        /// The setting that names it.
        key: &'static str,
        /// Which file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The URL is none of ours.
    #[error("redis.url: {0}")]
    Url(&'static str),
    /// A certificate or key is not what it must be.
    #[error("redis.tls_ca, redis.tls_cert or redis.tls_key cannot be used: {0}")]
    Tls(String),
}

/// What is needed to connect. Not `Debug`: it holds passwords.
pub(super) struct Plan {
    address: Address,
    username: Option<String>,
    password: Option<String>,
    sentinel_password: Option<String>,
    certificates: Option<TlsCertificates>,
    settings: RedisSettings,
}

/// A connection that many calls share.
#[derive(Clone)]
pub(super) enum Wire {
    /// To one server.
    Single(MultiplexedConnection),
    /// To the nodes of a cluster. It finds its way by itself when one of them fails.
    Cluster(ClusterConnection),
}

impl Wire {
    pub(super) async fn query<T: FromRedisValue>(&self, command: &Cmd) -> RedisResult<T> {
        match self {
            Self::Single(connection) => command.query_async(&mut connection.clone()).await,
            Self::Cluster(connection) => command.query_async(&mut connection.clone()).await,
        }
    }

    /// Whether its server (one of its servers) answers, and can be written to.
    pub(super) async fn ping(&self, key: &str) -> RedisResult<()> {
        match self {
            // A demoted master answers pings, too: only a write tells. It is the same key for all nodes, gone in a moment.
            Self::Single(_) => self.query(cmd("SET").arg(key).arg("").arg("PX").arg(1000)).await,
            Self::Cluster(_) => self.query(cmd("GET").arg(key)).await,
        }
    }
}

impl Plan {
    /// Reads the files that the settings name.
    pub(super) fn read(settings: &RedisSettings) -> Result<Self, RedisSetupError> {
        let address = Address::parse(&settings.url).map_err(RedisSetupError::Url)?;
        let certificates = address.tls.then(|| certificates(settings)).transpose()?;
        let plan = Self {
            address,
            username: settings.username.clone(),
            password: secret("password_file", settings.password_file.as_deref())?,
            sentinel_password: secret("sentinel_password_file", settings.sentinel_password_file.as_deref())?,
            certificates,
            settings: settings.clone(),
        };
        if let Some(certificates) = &plan.certificates {
            // What is wrong with the files is known at the start, not at the first connection.
            let info = plan.node(0).map_err(|error| tls(&error))?;
            Client::build_with_tls(info, certificates.clone()).map_err(|error| tls(&error))?;
        }
        Ok(plan)
    }

    /// How many hosts the URL names.
    pub(super) fn hosts(&self) -> usize {
        self.address.hosts.len()
    }

    /// Whether the server may change under the same URL.
    pub(super) fn has_sentinels(&self) -> bool {
        matches!(self.address.kind, Kind::Sentinel { .. })
    }

    fn host(&self, at: usize) -> ConnectionAddr {
        let (host, port) = self.address.hosts[at % self.address.hosts.len()].clone();
        if self.address.tls {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        }
    }

    /// A host with what it must be told.
    fn node(&self, at: usize) -> RedisResult<ConnectionInfo> {
        let info = self.host(at).into_connection_info()?;
        let mut redis = info.redis_settings().clone();
        if let Kind::Single { db } = self.address.kind {
            redis = redis.set_db(db);
        }
        if let Some(username) = &self.username {
            redis = redis.set_username(username);
        }
        if let Some(password) = &self.password {
            redis = redis.set_password(password);
        }
        Ok(info.set_redis_settings(redis))
    }

    /// The server, or the one that the sentinels name, beginning with host `first`.
    pub(super) async fn server(&self, first: usize) -> RedisResult<Client> {
        let Kind::Sentinel { master, db } = &self.address.kind else {
            let info = self.node(first)?;
            return match &self.certificates {
                Some(certificates) => Client::build_with_tls(info, certificates.clone()),
                None => Client::open(info),
            };
        };
        let hosts = (first..first + self.hosts()).map(|at| self.host(at));
        let mut builder = SentinelClientBuilder::new(hosts, master, SentinelServerType::Master)?
            .set_client_to_redis_db(*db);
        if let Some(username) = &self.username {
            builder = builder.set_client_to_redis_username(username);
        }
        if let Some(password) = &self.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(password) = &self.sentinel_password {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if let Some(certificates) = &self.certificates {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        builder.build()?.async_get_client().await
    }

    /// Connects, beginning with host `first`. Also says to which server, if it is one.
    pub(super) async fn connect(&self, first: usize) -> RedisResult<(Wire, Option<String>)> {
        let (call, connect) = (self.settings.timeout(), self.settings.connect_timeout());
        if self.address.kind == Kind::Cluster {
            let nodes: Vec<_> =
                (first..first + self.hosts()).map(|at| self.node(at)).collect::<RedisResult<_>>()?;
            let mut builder = ClusterClientBuilder::new(nodes)
                .retries(2)
                .connection_timeout(connect)
                .response_timeout(call)
                .overall_response_timeout(Some(call));
            if let Some(certificates) = &self.certificates {
                builder = builder.certs(certificates.clone());
            }
            let client = builder.build()?;
            let connection = client.get_async_connection_with_config(ClusterConfig::new()).await?;
            return Ok((Wire::Cluster(connection), None));
        }
        let client = self.server(first).await?;
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(connect))
            .set_response_timeout(Some(call))
            .set_pipeline_buffer_size(PIPELINE);
        let connection = client.get_multiplexed_async_connection_with_config(&config).await?;
        Ok((Wire::Single(connection), Some(client.get_connection_info().addr().to_string())))
    }
}

fn tls(error: &RedisError) -> RedisSetupError {
    RedisSetupError::Tls(error.to_string())
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, RedisSetupError> {
    std::fs::read(path).map_err(|source| RedisSetupError::File { key, path: path.to_owned(), source })
}

fn certificates(settings: &RedisSettings) -> Result<TlsCertificates, RedisSetupError> {
    let root_cert = settings.tls_ca.as_deref().map(|path| read("tls_ca", path)).transpose()?;
    let client_tls = match (&settings.tls_cert, &settings.tls_key) {
        (Some(cert), Some(key)) => {
            Some(ClientTlsConfig { client_cert: read("tls_cert", cert)?, client_key: read("tls_key", key)? })
        }
        _ => None,
    };
    Ok(TlsCertificates { client_tls, root_cert })
}

/// A password from its file, without the end of its line.
fn secret(key: &'static str, path: Option<&Path>) -> Result<Option<String>, RedisSetupError> {
    use std::io::Read;
    let Some(path) = path else { return Ok(None) };
    let wrong = |source| RedisSetupError::File { key, path: path.to_owned(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(wrong)?;
    file.take(PASSWORD_BYTES).read_to_string(&mut text).map_err(wrong)?;
    let text = text.trim_end_matches(['\r', '\n']);
    if text.is_empty() {
        return Err(wrong(std::io::Error::other("there is nothing in it")));
    }
    Ok(Some(text.to_owned()))
}
