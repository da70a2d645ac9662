//! What wakes a look at a ChatRoom: that it is declared otherwise, and that its ChatCluster comes, goes, or takes clients again.

use std::{collections::HashMap, sync::Arc};

use futures_util::{Stream, StreamExt, future};
use kube::{
    ResourceExt,
    runtime::{
        Controller, WatchStreamExt,
        controller::{Action, Error},
        predicates,
        reflector::{self, ObjectRef, Store},
        utils::Predicate,
        watcher,
    },
};
use rookery_crds::{ChatCluster, ChatRoom};
use tokio::sync::watch;

use super::{again, reconcile};
use crate::{
    cluster::{Context, LookError},
    watches::{TOGETHER, scope},
};

/// Looks after the ChatRooms of a namespace, or of all, until it is told to stop.
pub async fn run(context: Arc<Context>, namespace: Option<String>, mut stopped: watch::Receiver<bool>) {
    let (client, within) = (context.client.clone(), namespace.as_deref());
    let (reader, writer) = reflector::store();
    // Not by our own status: only by what people declare.
    let declared = predicates::generation.combine(predicates::annotations).combine(predicates::finalizers);
    let rooms = watcher(scope::<ChatRoom>(&client, within), watcher::Config::default())
        .default_backoff()
        .modify(|room| room.metadata.managed_fields = None)
        .reflect(writer)
        .applied_objects()
        .predicate_filter(declared, kube::runtime::PredicateConfig::default());
    let clusters = watcher(scope::<ChatCluster>(&client, within), watcher::Config::default());
    let config = kube::runtime::controller::Config::default()
        .concurrency(context.settings.concurrency)
        .debounce(TOGETHER);
    Controller::for_stream(rooms, reader.clone())
        .with_config(config)
        .watches_stream(turns(clusters.default_backoff()), move |cluster| rooms_of(&reader, &cluster))
        .graceful_shutdown_on(async move {
            let _ = stopped.wait_for(|stopped| *stopped).await;
        })
        .run(reconcile, after, context)
        .for_each(|outcome| async move {
            match outcome {
                // That was told already; or it went meanwhile.
                Ok(_) | Err(Error::ReconcilerFailed(..) | Error::ObjectNotFound(_)) => {}
                Err(error) => {
                    tracing::warn!(%error, "a watch for ChatRooms does not tell anything; it is tried again");
                }
            }
        })
        .await;
}

fn rooms_of(rooms: &Store<ChatRoom>, cluster: &ChatCluster) -> Vec<ObjectRef<ChatRoom>> {
    let (namespace, name) = (cluster.namespace(), cluster.name_any());
    let of = |room: &&Arc<ChatRoom>| room.namespace() == namespace && room.spec.cluster_ref.name == name;
    rooms.state().iter().filter(of).map(|room| ObjectRef::from_obj(&**room)).collect()
}

/// ChatClusters that have come, gone, or turned in what matters to their rooms.
fn turns(
    events: impl Stream<Item = Result<watcher::Event<ChatCluster>, watcher::Error>>,
) -> impl Stream<Item = Result<ChatCluster, watcher::Error>> {
    let mut known = HashMap::new();
    events.filter_map(move |event| {
        let told = match event {
            Ok(watcher::Event::Apply(cluster) | watcher::Event::InitApply(cluster)) => {
                let now = Some(matters(&cluster));
                (known.insert(cluster.uid(), now.clone()) != Some(now)).then_some(Ok(cluster))
            }
            Ok(watcher::Event::Delete(cluster)) => {
                known.remove(&cluster.uid());
                Some(Ok(cluster))
            }
            Ok(watcher::Event::Init | watcher::Event::InitDone) => None,
            Err(error) => Some(Err(error)),
        };
        future::ready(told)
    })
}

fn matters(cluster: &ChatCluster) -> (bool, bool, bool, Vec<String>) {
    let conditions = cluster.status.iter().flat_map(|status| &status.conditions);
    let available =
        conditions.into_iter().any(|condition| condition.kind == "Available" && condition.status == "True");
    let shards = cluster.spec.shards.iter().map(|shard| shard.name.clone()).collect();
    (cluster.spec.paused, cluster.metadata.deletion_timestamp.is_some(), available, shards)
}

#[expect(clippy::needless_pass_by_value, reason = "as the controller calls it")]
fn after(room: Arc<ChatRoom>, error: &LookError, context: Arc<Context>) -> Action {
    let pause = again(&room, &context);
    tracing::warn!(namespace = room.namespace(), room = room.name_any(), %error, ?pause, "trying again");
    Action::requeue(pause)
}
