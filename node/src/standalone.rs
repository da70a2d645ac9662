//! The whole service in one process: the embedded backends under the same services that a cluster's node runs.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::net::TcpListener;

use crate::{
    accounts::Accounts,
    backend::embedded::{Mailbox, Store, SystemClock, Ttl},
    config::Settings,
    edge::{self, App, Tls},
    live::Hub,
    rooms::Rooms,
    server::{self, Failure, Readiness, Signals},
    telemetry::Metrics,
};

/// In the data directory: where this process listens, for those who asked for port 0.
pub const LISTEN_FILE: &str = "listen.json";
/// Few people ask for metrics.
const MANAGEMENT_BACKLOG: u32 = 64;

/// Runs until a signal asks it to stop, and drains.
///
/// # Errors
/// [`Failure`]: what cannot be used, in words for whoever started it.
pub async fn run(settings: Settings) -> Result<(), Failure> {
    let started = Instant::now();
    let mut signals =
        Signals::catch().map_err(|error| Failure::Other(format!("cannot catch signals: {error}")))?;
    server::raise_open_files();
    let (metrics, registry) = Metrics::register();
    let readiness = Arc::new(Readiness::default());

    // What can be wrong with the command line comes first, before anything is written.
    let tls = Tls::load(&settings.edge).map_err(|error| Failure::Other(error.to_string()))?;
    let listener = bind(settings.server.listen, settings.edge.backlog, "listen")?;
    let management = bind(settings.server.management, MANAGEMENT_BACKLOG, "management")?;

    let data = settings.server.data.clone();
    let (app, store) = services(&settings, &metrics).await?;
    let router = edge::http::router(app.clone());
    let cannot_serve = |error: std::io::Error| Failure::Other(format!("cannot serve: {error}"));
    let management_address = management.local_addr().map_err(cannot_serve)?;
    tokio::spawn(server::serve_management(
        management,
        server::management_router(registry, readiness.clone()),
    ));
    let scheme = if tls.is_some() { "https" } else { "http" };
    let served = edge::serve(listener, app.clone(), router, settings.edge, metrics.edge.clone(), tls)
        .map_err(cannot_serve)?;
    let listen = served.address();

    readiness.set(true);
    write_listen_file(&data, listen, management_address)
        .map_err(|error| Failure::Data { path: data.clone(), why: error.to_string() })?;
    let took = started.elapsed();
    tracing::info!(%listen, management = %management_address, ready_ms = took.as_millis(), "ready");
    greet(&greeting(scheme, listen, management_address, &data, took));

    let signal = signals.next().await;
    tracing::info!(signal, "draining: no new clients; those that are here are told to go");
    readiness.set(false);
    let window = Duration::from_secs(settings.server.drain_window_seconds.into());
    let deadline = Duration::from_secs(settings.server.drain_deadline_seconds.into());
    let drained = async {
        served.drain(window, deadline).await;
        app.rooms.stop(deadline).await;
    };
    tokio::select! {
        () = drained => tracing::info!("drained"),
        signal = signals.next() => tracing::warn!(signal, "stopping at once; nothing acknowledged is lost"),
    }
    let _ = std::fs::remove_file(data.join(LISTEN_FILE));
    drop(store);
    Ok(())
}

/// Opens the store and starts the services on it.
async fn services(settings: &Settings, metrics: &Metrics) -> Result<(Arc<App>, Arc<Store>), Failure> {
    let path = &settings.server.data;
    let unusable = |why: String| Failure::Data { path: path.clone(), why };
    // A file of a former run would name addresses that nobody listens on yet.
    let _ = std::fs::remove_file(path.join(LISTEN_FILE));
    let store =
        Store::open(path, &settings.store, metrics.store.clone()).map_err(|e| unusable(e.to_string()))?;
    let clock = Arc::new(SystemClock);
    let ttl = Ttl::open(store.clone(), &settings.store, clock.clone()).await;
    let ttl = Arc::new(ttl.map_err(|e| unusable(e.to_string()))?);
    let mailbox = Mailbox::open(store.clone(), &settings.store, clock).await;
    let mailbox = Arc::new(mailbox.map_err(|e| unusable(e.to_string()))?);

    let accounts = Accounts::start(
        settings.accounts.clone(),
        store.clone(),
        ttl,
        mailbox.clone(),
        metrics.accounts.clone(),
    );
    let accounts = accounts.await.map_err(|problem| unusable(problem.to_string()))?;
    let hub = Arc::new(Hub::new(settings.live.clone(), metrics.live.clone()));
    store.set_sink(hub.clone());
    hub.start(store.clone());
    let rooms = Rooms::start(
        settings.rooms.clone(),
        &settings.server.node,
        &rookery_core::ring::View::alone(&settings.server.node),
        store.clone(),
        store.clone(),
        metrics.rooms.clone(),
    );
    let app = App {
        node: settings.server.node.clone(),
        accounts,
        rooms,
        hub,
        http: settings.http.clone(),
        mailbox: Some(mailbox),
    };
    Ok((Arc::new(app), store))
}

fn bind(address: SocketAddr, backlog: u32, flag: &'static str) -> Result<TcpListener, Failure> {
    edge::bind(address, backlog).map_err(|why| Failure::Listen { address, why, flag })
}

/// Tells scripts where this process listens. Written whole or not at all.
fn write_listen_file(data: &Path, listen: SocketAddr, management: SocketAddr) -> std::io::Result<()> {
    let text = format!("{{\"listen\":\"{listen}\",\"management\":\"{management}\"}}\n");
    let temporary = data.join(".listen.json.new");
    std::fs::write(&temporary, text)?;
    std::fs::rename(temporary, data.join(LISTEN_FILE))
}

/// What a newcomer sees: what to open, what to try.
fn greeting(scheme: &str, listen: SocketAddr, management: SocketAddr, data: &Path, took: Duration) -> String {
    let ws = if scheme == "https" { "wss" } else { "ws" };
    format!(
        "Rookery is running (ready after {took} ms, data in {data}).

  start here   {scheme}://{listen}/
  API          {scheme}://{listen}/docs
  mails        {scheme}://{listen}/dev/mailbox   (codes arrive here; nothing is sent)
  WebSocket    {ws}://{listen}/v1/ws
  metrics      http://{management}/metrics

Try it:
  curl {scheme}://{listen}/v1/auth/register -H 'content-type: application/json' \\
    -d '{{\"email\":\"ada@example.com\",\"username\":\"ada\",\"password\":\"correct horse ada\"}}'
  then look at the mailbox for the code. README.md shows a whole chat. Ctrl-C stops it.
",
        took = took.as_millis(),
        data = data.display(),
    )
}

/// To standard output, for the person at the terminal; it does not matter if nobody is there.
fn greet(text: &str) {
    use std::io::Write;
    let _ = std::io::stdout().write_all(text.as_bytes());
}
