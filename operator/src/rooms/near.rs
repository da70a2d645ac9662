//! A room's ChatCluster, and those of its nodes that can be asked. What the watches have told is enough: nodes say themselves what is so.

use k8s_openapi::api::core::v1::{Pod, Secret};
use kube::{Api, ResourceExt, api::ListParams, runtime::reflector::ObjectRef};
use rookery_crds::{ChatCluster, ChatRoom};

use super::calls::Nodes;
use crate::{
    build::{CLUSTER, COMPONENT, DRAINING_SINCE, Names},
    cluster::{Context, LookError, api, node_address, operator_token},
};

/// What there is.
pub(super) enum Near {
    /// No such ChatCluster.
    Missing,
    /// It is being deleted.
    Going,
    /// It is there.
    There(Box<ChatCluster>),
}

/// The ChatCluster that the room is to be in.
pub(super) async fn cluster(context: &Context, room: &ChatRoom) -> Result<Near, LookError> {
    let namespace = room.namespace().unwrap_or_default();
    let name = &room.spec.cluster_ref.name;
    let found = match context.full_stores_of(&namespace) {
        Some(stores) => {
            stores.clusters.get(&ObjectRef::new(name).within(&namespace)).map(|found| (*found).clone())
        }
        None => {
            let clusters: Api<ChatCluster> = Api::namespaced(context.client.clone(), &namespace);
            clusters.get_opt(name).await.map_err(api("read a ChatCluster"))?
        }
    };
    Ok(match found {
        None => Near::Missing,
        Some(cluster) if cluster.metadata.deletion_timestamp.is_some() => Near::Going,
        Some(cluster) => Near::There(Box::new(cluster)),
    })
}

/// Its nodes that are ready. `Err`: why none can be asked, as a word and a sentence.
pub(super) async fn nodes(
    context: &Context,
    cluster: &ChatCluster,
) -> Result<Result<Nodes, (&'static str, String)>, LookError> {
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let secret_name = Names { cluster: &name }.internal();
    let is_of = |pod: &Pod| {
        let label = |key: &str, value: &str| pod.labels().get(key).is_some_and(|own| own == value);
        pod.namespace().as_deref() == Some(&*namespace) && label(CLUSTER, &name) && label(COMPONENT, "node")
    };
    let (pods, secret): (Vec<Pod>, Option<Secret>) = match context.full_stores_of(&namespace) {
        Some(stores) => {
            let pods = stores.pods.state();
            let pods = pods.iter().filter(|pod| is_of(pod)).map(|pod| (**pod).clone()).collect();
            (pods, stores.secret(&namespace, &secret_name))
        }
        None => {
            let params = ListParams::default().labels(&format!("{CLUSTER}={name},{COMPONENT}=node"));
            let pods: Api<Pod> = Api::namespaced(context.client.clone(), &namespace);
            let pods = pods.list(&params).await.map_err(api("list pods"))?;
            let secrets: Api<Secret> = Api::namespaced(context.client.clone(), &namespace);
            (pods.items, secrets.get_opt(&secret_name).await.map_err(api("read a Secret"))?)
        }
    };
    let mut ready: Vec<_> = pods.iter().filter(|pod| is_ready(pod)).collect();
    if !ready.is_empty() {
        // Not always the same one.
        let first = rand::random_range(0..ready.len());
        ready.rotate_left(first);
    }
    ready.sort_by_key(|pod| pod.annotations().contains_key(DRAINING_SINCE));
    let addresses: Vec<_> = ready.into_iter().filter_map(node_address).collect();
    if addresses.is_empty() {
        return Ok(Err(("NoNodeReady", format!("no node of ChatCluster {name} is ready"))));
    }
    let uid = cluster.uid().unwrap_or_default();
    let Some(token) = secret.and_then(|secret| operator_token(&secret, &uid)) else {
        let why = format!(
            "Secret {secret_name} of ChatCluster {name} has no operator-token: the operator adds it, unless the ChatCluster is paused or its condition \
             Degraded says why not"
        );
        return Ok(Err(("TokenMissing", why)));
    };
    Ok(Ok(Nodes { addresses, token }))
}

fn is_ready(pod: &Pod) -> bool {
    let conditions = pod.status.as_ref().and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let ready = conditions.iter().any(|condition| condition.type_ == "Ready" && condition.status == "True");
    ready && pod.metadata.deletion_timestamp.is_none()
}
