//! The whole service in one process: the embedded backends under the same services that a cluster's node runs.

use std::{
    net::SocketAddr,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use rookery_mailer::local::LocalMailer;

use crate::{
    accounts::Accounts,
    backend::{
        Mails, Outbox,
        embedded::{EmbeddedOutbox, EmbeddedReminders, FjallCommit, Mailbox, Store, SystemClock, Ttl},
    },
    config::Settings,
    dead_mails, departures,
    edge::App,
    live::Hub,
    notices::{self, Running, Sources},
    rooms::Rooms,
    serve::{Drain, Process, greet},
    server::{Failure, Health, Readiness},
    telemetry::Metrics,
    translation::{InProcess, Mode, Translation},
    workers::Workers,
};

/// In the data directory: where this process listens, for those who asked for port 0.
pub const LISTEN_FILE: &str = "listen.json";

/// Runs until a signal asks it to stop, and drains.
///
/// # Errors
/// [`Failure`]: what cannot be used, in words for whoever started it.
pub async fn run(mut settings: Settings, workers: Arc<Workers>) -> Result<(), Failure> {
    if settings.server.node.is_empty() {
        settings.server.node = "standalone".to_owned();
    }
    let mut process = Process::begin(&settings)?;
    let data = settings.server.data.clone();
    let Services { app, store, notices, departures, mailer, outbox } =
        services(&settings, &process.metrics, &process.readiness, workers).await?;
    if let Some(outbox) = outbox {
        let _ = process.keeping.set(dead_mails::router(outbox));
    }
    let served = process.serve(app.clone(), &settings)?;
    let (listen, management) = (served.address(), process.management);
    write_listen_file(&data, listen, management)
        .map_err(|error| Failure::Data { path: data.clone(), why: error.to_string() })?;
    process.readiness.serve();
    let took = process.started.elapsed();
    tracing::info!(%listen, %management, ready_ms = took.as_millis(), "ready");
    let mails = Shown::of(&app, listen);
    if let Some(why) = mails.warning() {
        tracing::warn!("{why}");
    }
    greet(&greeting(process.scheme(), mails, listen, management, &data, took));

    process.stopped().await;
    let drain = Drain::of(&settings);
    let ending = drain.begin(Instant::now(), served.edge().registry.count());
    let drained = async {
        tokio::time::sleep(drain.delay).await;
        let (window, more) = ending.for_clients(Instant::now());
        served.drain(window, more).await;
        app.rooms.stop(ending.for_rest(Instant::now())).await;
        if let Some(mailer) = mailer {
            mailer.stop(ending.for_rest(Instant::now())).await;
        }
    };
    process.unless_hurried(drained).await;
    let _ = std::fs::remove_file(data.join(LISTEN_FILE));
    drop((notices, departures, store));
    Ok(())
}

/// What runs.
struct Services {
    app: Arc<App>,
    store: Arc<Store>,
    notices: Running,
    departures: departures::Running,
    /// Sends mails, if there is an SMTP server.
    mailer: Option<LocalMailer>,
    /// What it sends, and what it has given up.
    outbox: Option<Arc<EmbeddedOutbox>>,
}

/// Opens the store and starts the services on it.
async fn services(
    settings: &Settings,
    metrics: &Metrics,
    readiness: &Readiness,
    workers: Arc<Workers>,
) -> Result<Services, Failure> {
    let path = &settings.server.data;
    let unusable = |why: String| Failure::Data { path: path.clone(), why };
    // A file of a former run would name addresses that nobody listens on yet.
    let _ = std::fs::remove_file(path.join(LISTEN_FILE));
    let commit = Arc::new(FjallCommit);
    let store = Store::open_with(path, &settings.store, metrics.store.clone(), commit, workers)
        .map_err(|e| unusable(e.to_string()))?;
    show_store(readiness, &store);
    let clock = Arc::new(SystemClock);
    let ttl = Ttl::open(store.clone(), &settings.store, clock.clone()).await;
    let ttl = Arc::new(ttl.map_err(|e| unusable(e.to_string()))?);
    let (outbox, mailbox, sending): (Arc<dyn Outbox>, Option<Arc<dyn Mails>>, _) = if settings.mailer.sends()
    {
        let outbox = EmbeddedOutbox::open(store.clone(), clock.clone()).await;
        let outbox = Arc::new(outbox.map_err(|e| unusable(e.to_string()))?);
        let mailer = LocalMailer::start(&settings.mailer, outbox.clone(), metrics.mailer.clone())?;
        readiness.show("smtp", false, mailer.health());
        (outbox.clone(), None, Some((mailer, outbox)))
    } else {
        let mailbox = Mailbox::open(store.clone(), &settings.store, clock.clone()).await;
        let mailbox = Arc::new(mailbox.map_err(|e| unusable(e.to_string()))?);
        (mailbox.clone(), Some(mailbox), None)
    };

    let accounts = Accounts::start(
        settings.accounts.clone(),
        store.clone(),
        ttl.clone(),
        outbox.clone(),
        metrics.accounts.clone(),
    );
    let accounts = accounts.await.map_err(|problem| unusable(problem.to_string()))?;
    let hub = Arc::new(Hub::new(settings.live.clone(), metrics.live.clone()));
    hub.start(store.clone());
    let rooms = Rooms::start(
        settings.rooms.clone(),
        &settings.server.node,
        &rookery_core::ring::View::alone(&settings.server.node),
        store.clone(),
        store.clone(),
        metrics.rooms.clone(),
    );
    let translation = match settings.translation.mode {
        Mode::Auto => InProcess::find(&settings.translator, metrics.translation.translator.clone()),
        Mode::Off | Mode::Nats => None,
    };
    let translation = translation.map(|asked| {
        Translation::new(accounts.clone(), rooms.clone(), Arc::new(asked), metrics.translation.clone())
    });
    if let Some(translation) = &translation {
        translation.start(&hub);
    }
    let reminders = EmbeddedReminders::open(store.clone(), clock).await;
    let sources = Sources {
        accounts: accounts.clone(),
        rooms: rooms.clone(),
        reminders: Arc::new(reminders.map_err(|e| unusable(e.to_string()))?),
        ephemeral: ttl,
        outbox,
        public_url: settings.http.public_url.clone(),
    };
    let notices = notices::start(settings.notices.clone(), sources, metrics.notices.clone());
    let departures = departures::start(accounts.clone(), rooms.clone());
    let app = App {
        node: settings.server.node.clone(),
        accounts,
        rooms,
        hub,
        http: settings.http.clone(),
        translation,
        mailbox,
    };
    let (mailer, outbox) = sending.unzip();
    Ok(Services { app: Arc::new(app), store, notices, departures, mailer, outbox })
}

/// A store that takes no writes any more is no reason to go on sending clients here.
fn show_store(readiness: &Readiness, store: &Arc<Store>) {
    let store = Arc::downgrade(store);
    readiness.show("store", true, move || match store.upgrade().map(|store| store.writable()) {
        Some(Ok(())) => Health { good: true, says: "takes writes".to_owned() },
        Some(Err(why)) => Health { good: false, says: format!("takes no writes until a restart: {why}") },
        None => Health { good: false, says: "ended".to_owned() },
    });
}

/// Tells scripts where this process listens. Written whole or not at all.
fn write_listen_file(data: &Path, listen: SocketAddr, management: SocketAddr) -> std::io::Result<()> {
    let text = format!("{{\"listen\":\"{listen}\",\"management\":\"{management}\"}}\n");
    let temporary = data.join(".listen.json.new");
    std::fs::write(&temporary, text)?;
    std::fs::rename(temporary, data.join(LISTEN_FILE))
}

/// To whom the mails are shown, where they are not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    /// They are sent.
    ToNobody,
    /// Nobody else reaches this node.
    Here,
    /// Others reach it, and read no mails.
    HereAlone,
    /// Others reach it, and read all mails.
    ToEverybody,
}

impl Shown {
    fn of(app: &App, listen: SocketAddr) -> Self {
        match (&app.mailbox, listen.ip().to_canonical().is_loopback(), app.http.dev_mailbox) {
            (None, ..) => Self::ToNobody,
            (Some(_), true, _) => Self::Here,
            (Some(_), false, false) => Self::HereAlone,
            (Some(_), false, true) => Self::ToEverybody,
        }
    }

    fn warning(self) -> Option<&'static str> {
        match self {
            Self::ToNobody | Self::Here => None,
            Self::HereAlone => Some(
                "this node can be reached from other machines, but sends no mails: codes can be read on this machine \
                 alone, at /dev/mailbox. Set mailer.smtp.host, so that others can register",
            ),
            Self::ToEverybody => Some(
                "http.dev_mailbox is on: everybody who reaches this node can read all mails, and log in by their codes",
            ),
        }
    }
}

/// What a newcomer sees: what to open, what to try.
fn greeting(
    scheme: &str,
    shown: Shown,
    listen: SocketAddr,
    management: SocketAddr,
    data: &Path,
    took: Duration,
) -> String {
    let mails = if shown == Shown::ToNobody {
        "sent by SMTP".to_owned()
    } else {
        format!("{scheme}://{listen}/dev/mailbox   (codes arrive here; nothing is sent)")
    };
    let warning = shown.warning().map(|why| format!("\nWARNING: {why}.\n")).unwrap_or_default();
    let ws = if scheme == "https" { "wss" } else { "ws" };
    format!(
        "Rookery is running (ready after {took} ms, data in {data}).

  start here   {scheme}://{listen}/
  API          {scheme}://{listen}/docs
  mails        {mails}
  WebSocket    {ws}://{listen}/v1/ws
  metrics      http://{management}/metrics

Try it:
  curl {scheme}://{listen}/v1/auth/register -H 'content-type: application/json' \\
    -d '{{\"email\":\"ada@example.com\",\"username\":\"ada\",\"password\":\"correct horse ada\"}}'
  then look at the mails for the code. README.md shows a whole chat. Ctrl-C stops it.
{warning}",
        took = took.as_millis(),
        data = data.display(),
    )
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use bytes::Bytes;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::backend::{
        Expect, Row, Rows as _, Table,
        embedded::{Commit, StoreMetrics, StoreSettings},
    };

    /// A disk that takes so many batches.
    struct Failing(AtomicUsize);

    impl Commit for Failing {
        fn commit(&self, batch: fjall::OwnedWriteBatch) -> fjall::Result<()> {
            if self.0.fetch_sub(1, Ordering::SeqCst) > 0 {
                return FjallCommit.commit(batch);
            }
            Err(std::io::Error::from(std::io::ErrorKind::StorageFull).into())
        }
    }

    #[tokio::test]
    async fn is_not_ready_with_a_store_that_takes_no_writes() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = StoreMetrics::register(&mut Registry::default());
        let (commit, workers) = (Arc::new(Failing(AtomicUsize::new(1))), Arc::default());
        let store =
            Store::open_with(dir.path(), &StoreSettings::default(), metrics, commit, workers).unwrap();
        let readiness = Readiness::default();
        show_store(&readiness, &store);
        readiness.serve();
        let write = async |key: &'static [u8]| {
            let (key, value) = (Bytes::from_static(key), Some(Bytes::new()));
            store.write(vec![(Row { table: Table::Users, key, value }, Expect::Any)]).await
        };
        write(b"one").await.unwrap();
        assert_eq!(readiness.report(), (true, "ready\nstore: ok: takes writes\n".to_owned()));
        write(b"two").await.unwrap_err();
        let (ready, says) = readiness.report();
        assert!(!ready && says.contains("store: not ok: takes no writes until a restart: "), "{says}");
        assert!(says.contains("no storage space"), "{says}");
    }

    #[test]
    fn who_can_be_reached_and_sends_no_mails_is_warned() {
        let greeting = |shown| {
            let listen = ([0, 0, 0, 0], 8080).into();
            greeting("http", shown, listen, ([127, 0, 0, 1], 9090).into(), Path::new("data"), Duration::ZERO)
        };
        assert!(greeting(Shown::HereAlone).contains("WARNING: this node can be reached"));
        assert!(greeting(Shown::ToEverybody).contains("WARNING: http.dev_mailbox is on"));
        for shown in [Shown::Here, Shown::ToNobody] {
            assert!(!greeting(shown).contains("WARNING"), "{shown:?}");
        }
        assert!(greeting(Shown::ToNobody).contains("sent by SMTP"));
    }
}
