//! The process: ports, signals, the end.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use prometheus_client::registry::Registry;
use rookery_service::{
    Failure, Health, Readiness, Signals, management_router, raise_open_files, register_process,
    serve_management,
};
use tokio::net::TcpListener;

use crate::{
    engines,
    metrics::TranslatorMetrics,
    program::Settings,
    router::{SharedStore, Translator},
    serve,
};

async fn bind(address: SocketAddr, flag: &'static str) -> Result<TcpListener, Failure> {
    TcpListener::bind(address).await.map_err(|why| Failure::Listen { address, why, flag })
}

/// Runs until a signal asks it to stop; ends what is under way.
///
/// # Errors
/// [`Failure`]: what cannot be used, in words for whoever started it.
pub async fn run(settings: Settings) -> Result<(), Failure> {
    let other = |error: std::io::Error| Failure::Other(error.to_string());
    let mut signals = Signals::catch().map_err(other)?;
    raise_open_files();
    let mut registry = Registry::default();
    register_process(&mut registry);
    let metrics = TranslatorMetrics::register(&mut registry);
    let readiness = Arc::new(Readiness::default());
    let management = bind(settings.server.management, "management").await?;
    let at = management.local_addr().map_err(other)?;
    tokio::spawn(serve_management(management, management_router(Arc::new(registry), readiness.clone())));

    readiness.starting("setting engines up");
    let redis = settings.redis.client().map_err(Failure::Dependency)?;
    let shared = redis
        .map(|client| {
            let timeout = SharedStore::TIMEOUT;
            SharedStore::open(client, &settings.server.cluster, metrics.clone(), timeout)
        })
        .transpose()
        .map_err(|error| Failure::Dependency(format!("redis: {error}")))?;
    let engines = tokio::select! {
        engines = engines::set_up(&settings.translator) => engines.map_err(Failure::Dependency)?,
        _ = signals.next() => return Ok(()),
    };
    if engines.is_empty() {
        tracing::warn!("there is no engine: every request is answered so. Set some up in [translator]");
    }
    let translator = Translator::new(engines, &settings.translator, shared.as_ref(), metrics);

    let grpc = if settings.grpc.enabled {
        let listener = bind(settings.grpc.listen, "grpc").await?;
        let server = serve::listen_grpc(listener, translator.clone(), settings.grpc.reflection).await;
        Some(server.map_err(other)?)
    } else {
        None
    };
    let mut nats = None;
    if !settings.nats.urls.is_empty() {
        let client = serve::connect_nats(&settings.nats).await.map_err(Failure::Dependency)?;
        let seen = client.clone();
        readiness.show("nats", true, move || {
            let good = seen.connection_state() == async_nats::connection::State::Connected;
            Health { good, says: if good { "connected" } else { "away" }.to_owned() }
        });
        let server = serve::listen_nats(&client, &settings.server.cluster, translator.clone());
        nats = Some((server.await.map_err(Failure::Dependency)?, client));
    }
    readiness.serve();
    tracing::info!(management = %at, grpc = ?grpc.as_ref().map(|grpc| grpc.address), "ready");

    let signal = signals.next().await;
    readiness.drain();
    tracing::info!(signal, "stopping: no new requests; those under way are ended");
    let stopped = async {
        if let Some((server, client)) = nats {
            server.stop(&client).await;
        }
        if let Some(grpc) = grpc {
            grpc.stop().await;
        }
    };
    let deadline = Duration::from_secs(settings.server.drain_deadline_seconds);
    tokio::select! {
        ended = tokio::time::timeout(deadline, stopped) => {
            if ended.is_err() {
                tracing::warn!("requests under way took too long");
            }
        }
        _ = signals.next() => tracing::warn!("stopping at once"),
    }
    Ok(())
}
