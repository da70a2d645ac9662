//! What the operator watches: ChatClusters, what it makes of them, their pods, and what they name. Each of these wakes the ChatCluster that it
//! is about, and is kept, so that a look need not ask.

use std::{fmt::Debug, sync::Arc, time::Duration};

use futures_util::{Stream, StreamExt, TryStreamExt, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Pod, Secret};
use kube::{
    Api, Client, Resource, ResourceExt,
    api::DynamicObject,
    core::PartialObjectMeta,
    runtime::{
        Controller, WatchStreamExt, predicates,
        reflector::{self, ObjectRef, Store, store::Writer},
        utils::Predicate,
        watcher,
    },
};
use rookery_crds::ChatCluster;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use crate::{
    build::{CLUSTER, KINDS, Kind, MANAGED_BY, OPERATOR},
    cluster::{Context, Served, Stores, Watched, again, reads, reconcile},
};

/// Changes that come together are looked at together.
pub(crate) const TOGETHER: Duration = Duration::from_millis(200);
/// So often it is looked whether Kubernetes has got a kind that it did not have.
const ASK: Duration = Duration::from_secs(60);

fn ours() -> watcher::Config {
    watcher::Config::default().labels(&format!("{MANAGED_BY}={OPERATOR}"))
}

pub(crate) fn scope<K>(client: &Client, namespace: Option<&str>) -> Api<K>
where
    K: Resource<Scope = k8s_openapi::NamespaceResourceScope, DynamicType = ()>,
{
    match namespace {
        Some(namespace) => Api::namespaced(client.clone(), namespace),
        None => Api::all(client.clone()),
    }
}

/// What a watch tells, kept in a store; who wrote which field is left out.
fn kept<K, S>(watch: S, writer: Writer<K>) -> impl Stream<Item = Result<K, watcher::Error>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
    K::DynamicType: Eq + std::hash::Hash + Clone + Send + Sync,
    S: Stream<Item = Result<watcher::Event<K>, watcher::Error>> + Send + 'static,
{
    watch
        .default_backoff()
        .modify(|object| object.meta_mut().managed_fields = None)
        .reflect(writer)
        .touched_objects()
}

/// The watch of a kind, from when Kubernetes has it.
fn of_kind(
    client: &Client,
    namespace: Option<&str>,
    kind: Kind,
) -> (Watched, impl Stream<Item = Result<DynamicObject, watcher::Error>> + Send + use<>) {
    let resource = kind.resource();
    let objects: Api<DynamicObject> = match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    };
    let writer = Writer::new(resource);
    let served = Arc::new(Served::default());
    let watched = Watched { kind, served: served.clone(), objects: writer.as_reader() };
    let there = wait_for(client.clone(), kind, served);
    let watch = stream::once(there).flat_map(move |()| watcher(objects.clone(), ours()));
    (watched, kept(watch, writer))
}

async fn wait_for(client: Client, kind: Kind, served: Arc<Served>) {
    if kind.built_in {
        served.set(true);
        return;
    }
    loop {
        match client.list_api_group_resources(kind.api_version).await {
            Ok(list) if list.resources.iter().any(|resource| resource.name == kind.plural) => break,
            Ok(_) => served.set(false),
            Err(kube::Error::Api(status)) if status.code == 404 => served.set(false),
            Err(error) => tracing::warn!(%error, kind = kind.kind, "cannot ask whether there is such a kind"),
        }
        tokio::time::sleep(ASK).await;
    }
    served.set(true);
}

/// Looks after the ChatClusters of a namespace, or of all, until it is told to stop.
pub async fn run(context: Arc<Context>, namespace: Option<String>, mut stopped: watch::Receiver<bool>) {
    let (client, within) = (context.client.clone(), namespace.as_deref());
    let (reader, writer) = reflector::store();
    let clusters = watcher(scope::<ChatCluster>(&client, within), watcher::Config::default());
    // Not by our own status: only by what people declare.
    let declared = predicates::generation.combine(predicates::annotations).combine(predicates::finalizers);
    let metrics = context.metrics.clone();
    let clusters = clusters
        .default_backoff()
        .inspect_ok(move |event| {
            if let watcher::Event::Delete(cluster) = event {
                metrics.is_gone(&cluster.namespace().unwrap_or_default(), &cluster.name_any());
            }
        })
        .reflect(writer)
        .applied_objects()
        .predicate_filter(declared, kube::runtime::PredicateConfig::default());

    let config = kube::runtime::controller::Config::default()
        .concurrency(context.settings.concurrency)
        .debounce(TOGETHER);
    let mut controller = Controller::for_stream(clusters, reader.clone()).with_config(config);
    let mut watched = Vec::new();
    for kind in KINDS {
        let (of, stream) = of_kind(&client, within, kind);
        watched.push(of);
        controller = controller.owns_stream_with(stream, kind.resource());
    }
    let (pods, writer) = reflector::store();
    let of_pod = |pod: Pod| {
        let namespace = pod.namespace()?;
        Some(ObjectRef::new(pod.labels().get(CLUSTER)?).within(&namespace))
    };
    controller =
        controller.watches_stream(kept(watcher(scope::<Pod>(&client, within), ours()), writer), of_pod);
    // What people give: only that it changes is watched, not what is in it.
    let (secrets, writer) = reflector::store();
    let stream = kept(
        watcher(scope::<PartialObjectMeta<Secret>>(&client, within), watcher::Config::default()),
        writer,
    );
    let of = readers(reader.clone(), "Secret");
    controller = controller.watches_stream(stream, move |secret| of(secret.metadata));
    let (config_maps, writer) = reflector::store();
    let stream = kept(
        watcher(scope::<PartialObjectMeta<ConfigMap>>(&client, within), watcher::Config::default()),
        writer,
    );
    let of = readers(reader.clone(), "ConfigMap");
    controller = controller.watches_stream(stream, move |map| of(map.metadata));

    context.read_from(Arc::new(Stores {
        namespace: namespace.clone(),
        clusters: reader,
        watched,
        pods,
        secrets,
        config_maps,
    }));
    controller
        .graceful_shutdown_on(async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        })
        .run(reconcile, after, context)
        .for_each(|outcome| async move {
            match outcome {
                // That was told already.
                Ok(_) | Err(kube::runtime::controller::Error::ReconcilerFailed(..)) => {}
                // It went meanwhile.
                Err(kube::runtime::controller::Error::ObjectNotFound(_)) => {}
                Err(error) => tracing::warn!(%error, "a watch does not tell anything; it is tried again"),
            }
        })
        .await;
}

/// The ChatClusters whose pods read something.
fn readers(
    clusters: Store<ChatCluster>,
    kind: &'static str,
) -> impl Fn(kube::core::ObjectMeta) -> Vec<ObjectRef<ChatCluster>> + Send + Sync {
    move |metadata| {
        let (Some(namespace), Some(name)) = (metadata.namespace, metadata.name) else { return Vec::new() };
        let near =
            clusters.state().into_iter().filter(|cluster| cluster.namespace().as_ref() == Some(&namespace));
        near.filter(|cluster| reads(cluster, kind, &name))
            .map(|cluster| ObjectRef::from_obj(&*cluster))
            .collect()
    }
}

#[expect(clippy::needless_pass_by_value, reason = "as the controller calls it")]
fn after(
    cluster: Arc<ChatCluster>,
    error: &crate::cluster::LookError,
    context: Arc<Context>,
) -> kube::runtime::controller::Action {
    let pause = again(&cluster, &context);
    tracing::warn!(namespace = cluster.namespace(), cluster = cluster.name_any(), %error, ?pause, "trying again");
    kube::runtime::controller::Action::requeue(pause)
}
