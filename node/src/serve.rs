//! The process around the services, the same for `standalone` and for a node of a cluster: ports, metrics, readiness,
//! signals, the end. What is served, and on which backends, is theirs.

use std::{
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::net::TcpListener;

use crate::{
    config::Settings,
    edge::{self, App, Tls},
    server::{self, Failure, Readiness, Signals},
    telemetry::Metrics,
};

/// Few people ask for metrics.
const MANAGEMENT_BACKLOG: u32 = 64;

/// A process that has begun: it holds its ports and answers on the management port, and serves nobody yet.
pub struct Process {
    /// When it began.
    pub started: Instant,
    /// What its parts count.
    pub metrics: Metrics,
    /// What `/readyz` says.
    pub readiness: Arc<Readiness>,
    /// Where the management port is.
    pub management: SocketAddr,
    signals: Signals,
    listener: Option<TcpListener>,
    tls: Option<Tls>,
    scheme: &'static str,
}

/// How much time the end may take.
#[derive(Debug, Clone, Copy)]
pub struct Drain {
    /// Connections are told to leave, spread over this time.
    pub window: Duration,
    /// After that: for requests under way.
    pub deadline: Duration,
}

impl Drain {
    /// As the settings say.
    pub fn of(settings: &Settings) -> Self {
        Self {
            window: Duration::from_secs(settings.server.drain_window_seconds.into()),
            deadline: Duration::from_secs(settings.server.drain_deadline_seconds.into()),
        }
    }
}

impl Process {
    /// Catches signals, takes the ports, serves the management port. In a Tokio runtime.
    ///
    /// # Errors
    /// [`Failure`]: a port is taken, a certificate cannot be used. Nothing is written before that.
    pub fn begin(settings: &Settings) -> Result<Self, Failure> {
        let started = Instant::now();
        let signals =
            Signals::catch().map_err(|error| Failure::Other(format!("cannot catch signals: {error}")))?;
        server::raise_open_files();
        let (metrics, registry) = Metrics::register();
        let readiness = Arc::new(Readiness::default());
        let tls = Tls::load(&settings.edge).map_err(|error| Failure::Other(error.to_string()))?;
        let listener = bind(settings.server.listen, settings.edge.backlog, "listen")?;
        let management = bind(settings.server.management, MANAGEMENT_BACKLOG, "management")?;
        let address = management.local_addr().map_err(cannot_serve)?;
        let router = server::management_router(registry, readiness.clone());
        tokio::spawn(server::serve_management(management, router));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (listener, management) = (Some(listener), address);
        Ok(Self { started, metrics, readiness, management, signals, listener, tls, scheme })
    }

    /// `http` or `https`.
    pub fn scheme(&self) -> &'static str {
        self.scheme
    }

    /// Serves clients. Once.
    ///
    /// # Errors
    /// [`Failure`]: the system's.
    pub fn serve(&mut self, app: Arc<App>, settings: &Settings) -> Result<edge::Server, Failure> {
        let listener = self.listener.take().ok_or_else(|| Failure::Other("already serving".to_owned()))?;
        let router = edge::http::router(app.clone());
        let (metrics, tls) = (self.metrics.edge.clone(), self.tls.take());
        edge::serve(listener, app, router, settings.edge.clone(), metrics, tls).map_err(cannot_serve)
    }

    /// Waits for a signal, and says that no new clients are wanted.
    pub async fn stopped(&mut self) {
        let signal = self.signals.next().await;
        self.readiness.drain();
        tracing::info!(signal, "draining: no new clients; those that are here are told to go");
    }

    /// Waits for `drained`, unless a signal hurries. Says whether all of it was done.
    pub async fn unless_hurried(&mut self, drained: impl Future<Output = ()>) -> bool {
        tokio::select! {
            () = drained => {
                tracing::info!("drained");
                true
            }
            signal = self.signals.next() => {
                tracing::warn!(signal, "stopping at once; nothing acknowledged is lost");
                false
            }
        }
    }
}

#[allow(clippy::needless_pass_by_value)] // as `map_err` hands it
fn cannot_serve(error: std::io::Error) -> Failure {
    Failure::Other(format!("cannot serve: {error}"))
}

fn bind(address: SocketAddr, backlog: u32, flag: &'static str) -> Result<TcpListener, Failure> {
    edge::bind(address, backlog).map_err(|why| Failure::Listen { address, why, flag })
}

/// To standard output, for the person at the terminal; it does not matter if nobody is there.
pub fn greet(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}
