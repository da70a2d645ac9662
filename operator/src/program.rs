//! What `run` does: waits for the lead, works while it has it, gives it up when it is told to stop.

use std::{sync::Arc, time::Duration};

use futures_util::{
    FutureExt,
    future::{join_all, select_all},
};
use kube::Config;
use prometheus_client::registry::Registry;
use rookery_service::{
    Failure, Health, Readiness, Signals, management_router, register_process, serve_management,
};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    client::client, cluster::Context, lease::Elector, metrics::OperatorMetrics, rooms, settings::Settings,
    watches,
};

/// What is under way may end, when it is told to stop.
const END: Duration = Duration::from_secs(10);

/// Works until a signal asks it to stop, or the lead is lost.
///
/// # Errors
/// [`Failure`]: what cannot be used, in words for whoever started it.
pub async fn run(settings: Settings) -> Result<(), Failure> {
    let cannot = |what: &str, error: std::io::Error| Failure::Other(format!("cannot {what}: {error}"));
    let mut signals = Signals::catch().map_err(|error| cannot("catch signals", error))?;
    let mut registry = Registry::default();
    register_process(&mut registry);
    let metrics = OperatorMetrics::register(&mut registry);
    let address = settings.server.management;
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|why| Failure::Listen { address, why, flag: "management" })?;
    let readiness = Arc::new(Readiness::default());
    tokio::spawn(serve_management(listener, management_router(Arc::new(registry), readiness.clone())));

    // The only one that this process uses; another one may be chosen already by a test.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let not_found = |error: String| Failure::Dependency(format!("cannot find the API server: {error}"));
    let config = Config::infer().await.map_err(|error| not_found(error.to_string()))?;
    let client = client(config, &metrics).map_err(|error| not_found(error.to_string()))?;
    let version = client.apiserver_version().await;
    let version =
        version.map_err(|error| Failure::Dependency(format!("the API server cannot be used: {error}")))?;
    let leads = metrics.leads.clone();
    readiness.show("lead", false, move || {
        let good = leads.get() == 1;
        Health {
            good,
            says: if good { "this one works" } else { "another one works; this one stands by" }.into(),
        }
    });
    readiness.serve();
    tracing::info!(management = %address, kubernetes = version.git_version, "ready");

    let mut elector = Elector::new(client.clone(), &settings.operator);
    let since = tokio::select! {
        since = elector.lead() => since,
        _ = signals.next() => return Ok(()),
    };
    tracing::info!(identity = settings.operator.identity(), "leads");
    metrics.leads.set(1);
    let context = Arc::new(Context::new(client, settings.operator.clone(), metrics.clone()));
    let (stop, stopped) = watch::channel(false);
    let (release, released) = watch::channel(false);
    let mut work = tokio::spawn(work(context, stopped));
    let mut lead = tokio::spawn(async move { elector.keep(since, released).await });
    let outcome = tokio::select! {
        signal = signals.next() => {
            tracing::info!(signal, "stopping");
            Ok(())
        }
        _ = &mut lead => Err(Failure::Dependency("the lead was lost: the API server was away, or another operator took over".into())),
        _ = &mut work => Err(Failure::Other("the watches ended".into())),
    };
    readiness.drain();
    metrics.leads.set(0);
    let _ = stop.send(true);
    if outcome.is_ok() {
        let _ = tokio::time::timeout(END, work).await;
    } else {
        // Another one may work already.
        work.abort();
    }
    let _ = release.send(true);
    if !lead.is_finished() {
        let _ = tokio::time::timeout(END, lead).await;
    }
    outcome
}

/// Looks after ChatClusters and ChatRooms until it is told to stop.
pub async fn work(context: Arc<Context>, stopped: watch::Receiver<bool>) {
    let namespaces: Vec<Option<String>> = match context.settings.namespaces() {
        all if all.is_empty() => vec![None],
        some => some.into_iter().map(|name| Some(name.to_owned())).collect(),
    };
    let controllers = namespaces.into_iter().flat_map(|namespace| {
        let clusters = watches::run(context.clone(), namespace.clone(), stopped.clone());
        let rooms = rooms::watch::run(context.clone(), namespace, stopped.clone());
        [clusters.boxed(), rooms.boxed()]
    });
    let ((), _, others) = select_all(controllers).await;
    // Each ends what it is at.
    if *stopped.borrow() {
        join_all(others).await;
    }
}
