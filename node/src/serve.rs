//! The process around the services, the same for `standalone` and for a node of a cluster: ports, metrics, readiness,
//! signals, the end. What is served, and on which backends, is theirs.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use axum::{Router, extract::Request, http::StatusCode, response::IntoResponse as _};
use tokio::net::TcpListener;
use tower::ServiceExt as _;

use crate::{
    config::Settings,
    edge::{self, App, Tls, TlsError},
    server::{self, Failure, Readiness, Signals},
    settings::Wrong,
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
    /// What else is answered there, once it is set.
    pub keeping: Arc<OnceLock<Router>>,
    signals: Signals,
    listener: Option<TcpListener>,
    tls: Option<Tls>,
    scheme: &'static str,
}

/// How much time the end may take.
#[derive(Debug, Clone, Copy)]
pub struct Drain {
    /// Serving goes on for so long: whoever asks whether the node is ready finds out first that it is not.
    pub delay: Duration,
    /// Connections are told to leave, spread over this time.
    pub window: Duration,
    /// With few of them the window is shorter: so many a second. 0: never.
    pub per_second: u32,
    /// For all else: handing over rooms, requests under way, the end.
    pub deadline: Duration,
}

impl Drain {
    /// As the settings say.
    pub fn of(settings: &Settings) -> Self {
        let delay = settings.server.drain_delay_seconds.unwrap_or_default();
        Self {
            delay: Duration::from_secs(delay.into()),
            window: Duration::from_secs(settings.server.drain_window_seconds.into()),
            per_second: settings.server.drain_per_second,
            deadline: Duration::from_secs(settings.server.drain_deadline_seconds.into()),
        }
    }

    /// It begins, with so many connections.
    pub fn begin(self, now: Instant, connections: usize) -> Ending {
        let enough = match self.per_second {
            0 => self.window,
            rate => Duration::from_secs(connections as u64) / rate,
        };
        let window = self.window.min(enough);
        Ending { window, until: now + self.delay + window + self.deadline }
    }
}

/// A drain that has begun: all of its steps together have until then.
#[derive(Debug, Clone, Copy)]
pub struct Ending {
    window: Duration,
    until: Instant,
}

impl Ending {
    /// However late it is, the last things are tried for so long.
    pub const LEAST: Duration = Duration::from_millis(500);

    /// How long rooms may be handed over: the window in which clients are told to go comes after that.
    pub fn for_rooms(&self, now: Instant) -> Duration {
        self.until.saturating_duration_since(now).saturating_sub(self.window)
    }

    /// The window, and how long connections may stay after it.
    pub fn for_clients(&self, now: Instant) -> (Duration, Duration) {
        let left = self.until.saturating_duration_since(now);
        let window = self.window.min(left);
        (window, left - window)
    }

    /// How long what is left may take.
    pub fn for_rest(&self, now: Instant) -> Duration {
        self.until.saturating_duration_since(now).max(Self::LEAST)
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
        let tls = Tls::load(&settings.edge).map_err(wrong_tls)?;
        let listener = bind(settings.server.listen, settings.edge.backlog, "listen")?;
        let management = bind(settings.server.management, MANAGEMENT_BACKLOG, "management")?;
        let address = management.local_addr().map_err(cannot_serve)?;
        let keeping: Arc<OnceLock<Router>> = Arc::default();
        let more = keeping.clone();
        let router =
            server::management_router(registry, readiness.clone()).fallback(move |request: Request| {
                let more = more.get().cloned();
                async move {
                    match more {
                        Some(router) => router.oneshot(request).await.into_response(),
                        None => StatusCode::NOT_FOUND.into_response(),
                    }
                }
            });
        tokio::spawn(server::serve_management(management, router));
        let scheme = if tls.is_some() { "https" } else { "http" };
        let (listener, management) = (Some(listener), address);
        Ok(Self { started, metrics, readiness, management, keeping, signals, listener, tls, scheme })
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
fn wrong_tls(error: TlsError) -> Failure {
    let wrong = Wrong { key: error.key().to_owned(), why: error.to_string() };
    Failure::Config(wrong.into())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_drain_has_one_deadline_however_long_each_step_takes() {
        let seconds = Duration::from_secs;
        let drain = Drain { delay: seconds(0), window: seconds(2), per_second: 0, deadline: seconds(10) };
        let began = Instant::now();
        for (rooms, clients) in [(1, 1), (1, 0), (0, 1), (0, 0)] {
            let ending = drain.begin(began, 1000);
            let mut now = began;
            assert_eq!(ending.for_rooms(now), seconds(10));
            now += ending.for_rooms(now) * rooms;
            let (window, more) = ending.for_clients(now);
            assert_eq!(window, seconds(2), "clients are told to go in the time that is meant for it");
            now += (window + more) * clients;
            now += ending.for_rest(now);
            assert!(now - began <= seconds(12) + Ending::LEAST, "{:?}", now - began);
        }
        let delayed = Drain { delay: seconds(3), ..drain }.begin(began, 1000);
        assert_eq!(delayed.for_rooms(began + seconds(3)), seconds(10), "the others are not shorter for it");
        let late = drain.begin(began, 1000);
        assert_eq!(late.for_clients(began + seconds(11)), (seconds(1), seconds(0)));
        assert_eq!(late.for_rest(began + seconds(20)), Ending::LEAST);
    }

    #[test]
    fn few_connections_do_not_take_the_whole_window() {
        let seconds = Duration::from_secs;
        let drain = Drain { delay: seconds(0), window: seconds(60), per_second: 50, deadline: seconds(10) };
        let now = Instant::now();
        let window = |connections: usize| drain.begin(now, connections).for_clients(now).0;
        assert_eq!(window(0), seconds(0));
        assert_eq!(window(100), seconds(2));
        assert_eq!(window(1_000_000), seconds(60), "more go faster");
        assert_eq!(drain.begin(now, 100).for_rest(now), seconds(12));
    }
}
