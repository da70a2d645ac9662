//! What `run` does: waits for the lead, works while it has it, gives it up when it is told to stop.

use std::{sync::Arc, time::Duration};

use futures_util::{StreamExt, future::select_all};
use k8s_openapi::api::{
    apps::v1::{Deployment, StatefulSet},
    core::v1::{ConfigMap, Pod, Secret, Service, ServiceAccount},
    networking::v1::{Ingress, NetworkPolicy},
    policy::v1::PodDisruptionBudget,
};
use kube::{
    Api, Client, ResourceExt,
    runtime::{
        Controller, WatchStreamExt,
        controller::{Action, Config},
        predicates, reflector,
        reflector::ObjectRef,
        utils::Predicate,
        watcher,
    },
};
use prometheus_client::registry::Registry;
use rookery_crds::ChatCluster;
use rookery_service::{
    Failure, Health, Readiness, Signals, management_router, register_process, serve_management,
};
use tokio::{net::TcpListener, sync::watch};

use crate::{
    build::{CLUSTER, MANAGED_BY, OPERATOR},
    cluster::{Context, LookError, reconcile},
    lease::Elector,
    metrics::OperatorMetrics,
    settings::Settings,
};

/// What could not be done is tried again after so long.
const AGAIN: Duration = Duration::from_secs(5);
/// Changes that come together are looked at together.
const TOGETHER: Duration = Duration::from_millis(200);
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
    let client = Client::try_default().await;
    let client =
        client.map_err(|error| Failure::Dependency(format!("cannot find the API server: {error}")))?;
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

/// Looks after ChatClusters until it is told to stop.
pub async fn work(context: Arc<Context>, stopped: watch::Receiver<bool>) {
    let namespaces: Vec<Option<String>> = match context.settings.namespaces() {
        all if all.is_empty() => vec![None],
        some => some.into_iter().map(|name| Some(name.to_owned())).collect(),
    };
    let controllers =
        namespaces.into_iter().map(|namespace| Box::pin(one(context.clone(), namespace, stopped.clone())));
    select_all(controllers).await;
}

fn scope<K>(context: &Context, namespace: Option<&str>) -> Api<K>
where
    K: kube::Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(context.client.clone(), namespace),
        None => Api::all(context.client.clone()),
    }
}

async fn one(context: Arc<Context>, namespace: Option<String>, mut stopped: watch::Receiver<bool>) {
    let namespace = namespace.as_deref();
    let (reader, writer) = reflector::store();
    let clusters = watcher(scope::<ChatCluster>(&context, namespace), watcher::Config::default());
    // Not by our own status: only by what people declare.
    let declared = predicates::generation.combine(predicates::annotations).combine(predicates::finalizers);
    let clusters = clusters
        .default_backoff()
        .reflect(writer)
        .applied_objects()
        .predicate_filter(declared, kube::runtime::PredicateConfig::default());
    let ours = || watcher::Config::default().labels(&format!("{MANAGED_BY}={OPERATOR}"));
    let of_pod = |pod: Pod| {
        let namespace = pod.namespace()?;
        Some(ObjectRef::new(pod.labels().get(CLUSTER)?).within(&namespace))
    };
    let config = Config::default().concurrency(context.settings.concurrency).debounce(TOGETHER);
    Controller::for_stream(clusters, reader)
        .with_config(config)
        .owns(scope::<StatefulSet>(&context, namespace), ours())
        .owns(scope::<Deployment>(&context, namespace), ours())
        .owns(scope::<Service>(&context, namespace), ours())
        .owns(scope::<ConfigMap>(&context, namespace), ours())
        .owns(scope::<Secret>(&context, namespace), ours())
        .owns(scope::<ServiceAccount>(&context, namespace), ours())
        .owns(scope::<Ingress>(&context, namespace), ours())
        .owns(scope::<NetworkPolicy>(&context, namespace), ours())
        .owns(scope::<PodDisruptionBudget>(&context, namespace), ours())
        .watches(scope::<Pod>(&context, namespace), ours(), of_pod)
        .graceful_shutdown_on(async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        })
        .run(reconcile, again, context.clone())
        .for_each(|outcome| async move {
            if let Err(error) = outcome {
                tracing::debug!(%error, "a look did not end well");
            }
        })
        .await;
}

#[expect(clippy::needless_pass_by_value, reason = "as the controller calls it")]
fn again(cluster: Arc<ChatCluster>, error: &LookError, _: Arc<Context>) -> Action {
    tracing::warn!(namespace = cluster.namespace(), cluster = cluster.name_any(), %error, "trying again");
    Action::requeue(AGAIN)
}
