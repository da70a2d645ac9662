//! Nodes as they are, for the judgement; and what it says is to be done with them.

use std::time::Duration;

use futures_util::future::join_all;
use k8s_openapi::{api::core::v1::Pod, jiff::Timestamp};
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams, Preconditions},
};
use rookery_crds::{
    ChatCluster,
    cluster::{RolloutSpec, ShardSpec},
};
use rookery_protocol::peer::{DrainRequest, StatusRequest, node_admin_client::NodeAdminClient};
use serde_json::json;
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use super::{
    Look, LookError, Observed, Problem, api, internal,
    pods::{self, Facts},
    refusal,
};
use crate::{
    build::{COMPONENT, DRAINING_SINCE, Names, OPERATOR, PEER_PORT, SHARD, Shard},
    roll::{self, Told, Verdict, Waiting},
};

/// A node that does not answer within this time is not waited for.
const ANSWER: Duration = Duration::from_secs(2);
/// A drained node stays until its pod is deleted, so that it does not start anew meanwhile; but if the operator is gone for this long
/// it does, in seconds.
const HOLD: i32 = 600;
/// A drain may take so much longer than the node was told, in seconds.
const SPARE: i32 = 10;

/// How long a drain may take in all.
pub(super) fn drain_deadline(rollout: &RolloutSpec) -> roll::Millis {
    i64::from(rollout.drain_window_seconds + rollout.drain_deadline_seconds + SPARE) * 1000
}

/// What is seen of a cluster's nodes.
pub(super) async fn seen(cluster: &ChatCluster, declared: &[Shard], observed: &Observed) -> roll::Seen {
    let name = cluster.name_any();
    let names = Names { cluster: &name };
    let now = pods::now();
    let mut shards: Vec<roll::Shard> = declared
        .iter()
        .map(|shard| roll::Shard {
            name: shard.spec.name.clone(),
            set: names.part(&shard.spec.name),
            desired: shard.replicas,
            current: None,
            nodes: Vec::new(),
        })
        .collect();
    // Shards that were taken out and still have a StatefulSet of ours.
    for ((kind, _), object) in &observed.objects {
        let shard = object.text("/metadata/labels/rookery.chat~1shard");
        let going = object.value.pointer("/metadata/deletionTimestamp").is_some();
        if *kind == "StatefulSet" && object.is_ours() && !going && !shard.is_empty() {
            match shards.iter_mut().find(|known| known.name == shard) {
                Some(known) => known.current = Some(object.number("/spec/replicas")),
                None => shards.push(roll::Shard {
                    name: shard.to_owned(),
                    set: names.part(shard),
                    desired: 0,
                    current: Some(object.number("/spec/replicas")),
                    nodes: Vec::new(),
                }),
            }
        }
    }
    shards.sort_by(|a, b| a.name.cmp(&b.name));
    for shard in &mut shards {
        let set = observed.get("StatefulSet", &shard.set);
        let revision = set.filter(|set| set.is_looked_at()).map(|set| set.text("/status/updateRevision"));
        let revision = revision.filter(|revision| !revision.is_empty());
        let pods = observed.pods_of("node").filter(|pod| pod.labels().get(SHARD) == Some(&shard.name));
        shard.nodes = pods.filter_map(|pod| node(pod, revision, now)).collect();
        shard.nodes.sort_by_key(|node| node.ordinal);
    }
    let token = internal::seen_token(&name, &cluster.uid().unwrap_or_default(), observed);
    // Only those are asked whose answer matters.
    let asked =
        shards.iter_mut().flat_map(|shard| &mut shard.nodes).filter(|node| node.draining_since.is_some());
    join_all(asked.map(async |node| {
        let address = observed.pod(&node.name).and_then(address);
        node.told = match address {
            Some(address) => ask(&address, token.as_deref()).await,
            None => None,
        };
    }))
    .await;
    let rollout = &cluster.spec.rollout;
    roll::Seen {
        now,
        shards,
        drain_deadline: drain_deadline(rollout),
        ready_deadline: i64::from(rollout.ready_deadline_seconds) * 1000,
    }
}

/// Shards that are not declared any more and are not empty yet.
pub(super) fn leaving(declared: &[Shard], verdict: &Verdict) -> Vec<Shard> {
    let not_declared = |name: &String| declared.iter().all(|shard| shard.spec.name != *name);
    verdict
        .replicas
        .iter()
        .filter(|(name, _)| not_declared(name) && !verdict.gone.contains(name))
        .map(|(name, replicas)| Shard {
            spec: ShardSpec { name: name.clone(), ..ShardSpec::default() },
            replicas: *replicas,
        })
        .collect()
}

/// That Kubernetes has not looked at the newest template of nodes that there are: of them nothing can be said yet.
pub(super) fn not_looked_at(seen: &roll::Seen, observed: &Observed) -> Option<Waiting> {
    let is_new = |set: &str| observed.get("StatefulSet", set).is_some_and(|set| !set.is_looked_at());
    let shard = seen.shards.iter().find(|shard| !shard.nodes.is_empty() && is_new(&shard.set))?;
    Some(Waiting::Kubernetes { shard: shard.name.clone() })
}

fn node(pod: &Pod, revision: Option<&str>, now: roll::Millis) -> Option<roll::Node> {
    let name = pod.name_any();
    let ordinal = name.rsplit_once('-')?.1.parse().ok()?;
    let own = pod.labels().get("controller-revision-hash").map(String::as_str);
    let since = pod.annotations().get(DRAINING_SINCE).and_then(|text| text.parse::<Timestamp>().ok());
    let Facts { ready, running, broken, served, unready_since, stop_by } = pods::facts(pod, now);
    Some(roll::Node {
        name,
        ordinal,
        updated: revision.map(|revision| own == Some(revision)),
        ready,
        running,
        stop_by,
        broken,
        served,
        unready_since,
        draining_since: since.map(Timestamp::as_millisecond),
        told: None,
    })
}

/// Where the operator reaches a node.
pub(crate) fn address(pod: &Pod) -> Option<String> {
    let ip = pod.status.as_ref()?.pod_ip.as_deref()?;
    Some(if ip.contains(':') {
        format!("http://[{ip}]:{PEER_PORT}")
    } else {
        format!("http://{ip}:{PEER_PORT}")
    })
}

async fn connect(address: &str) -> Option<NodeAdminClient<Channel>> {
    let endpoint = Endpoint::from_shared(address.to_owned()).ok()?.connect_timeout(ANSWER).timeout(ANSWER);
    let channel = endpoint.connect().await.ok()?;
    Some(NodeAdminClient::new(channel))
}

/// A call by which a node knows the operator. One without a token is made to nodes that have none yet.
fn call<T>(message: T, token: Option<&str>) -> Request<T> {
    let mut call = Request::new(message);
    let bearer = token.and_then(|token| format!("Bearer {token}").parse::<MetadataValue<Ascii>>().ok());
    if let Some(mut bearer) = bearer {
        bearer.set_sensitive(true);
        call.metadata_mut().insert("authorization", bearer);
    }
    call
}

async fn ask(address: &str, token: Option<&str>) -> Option<Told> {
    let asked = async { connect(address).await?.status(call(StatusRequest {}, token)).await.ok() };
    let status = tokio::time::timeout(ANSWER, asked).await.ok()??.into_inner();
    Some(Told {
        draining: status.state == "draining",
        rooms: status.rooms,
        connections: status.connections,
        unacked: status.unacked,
    })
}

/// The pod that was seen: another one of the same name is none of our business.
fn uid(observed: &Observed, name: &str) -> Option<String> {
    observed.pod(name)?.uid()
}

/// Notes that a node drains (`first`), and asks it to. One that does not answer is asked again at the next look, until the drain's
/// deadline.
pub(super) async fn drain(
    look: &Look<'_>,
    observed: &Observed,
    name: &str,
    first: bool,
) -> Result<Option<Problem>, LookError> {
    let Look { context, namespace, cluster, .. } = *look;
    let rollout = &cluster.spec.rollout;
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    if first {
        let note = json!({
            "metadata": {
                "uid": uid(observed, name),
                "annotations": { (DRAINING_SINCE): Timestamp::now().to_string() },
            },
        });
        let params = PatchParams { field_manager: Some(OPERATOR.to_owned()), ..PatchParams::default() };
        match pods.patch(name, &params, &Patch::Merge(&note)).await {
            Ok(_) => context.metrics.wrote("Pod", "drain"),
            // Gone, or another one by now: the next look will see.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(None),
            Err(error) => return refused("note that a node drains", name, error).map(Some),
        }
    }
    let Some(address) = observed.pod(name).and_then(address) else { return Ok(None) };
    let seconds = |seconds: i32| u32::try_from(seconds).unwrap_or_default();
    let request = DrainRequest {
        deadline_seconds: seconds(rollout.drain_deadline_seconds),
        hold_seconds: seconds(HOLD),
    };
    let token = internal::seen_token(look.name, look.uid, observed);
    let request = call(request, token.as_deref());
    let asked = async { connect(&address).await?.drain(request).await.ok() };
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(Some(_)) => tracing::info!(namespace, node = name, component = COMPONENT, "asked to drain"),
        _ => tracing::warn!(namespace, node = name, "a node does not answer; it is asked again"),
    }
    Ok(None)
}

/// What the API server says against it, if it says anything.
fn refused(what: &'static str, pod: &str, error: kube::Error) -> Result<Problem, LookError> {
    let why = refusal(&error).ok_or_else(|| api(what)(error))?;
    Ok(Problem::new("PodRefused", format!("cannot {what}: Kubernetes says of pod {pod}: {why}")))
}

/// Deletes a pod; it is stopped in peace, and its StatefulSet makes another.
pub(super) async fn delete(
    look: &Look<'_>,
    observed: &Observed,
    name: &str,
) -> Result<Option<Problem>, LookError> {
    let Look { context, namespace, .. } = *look;
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let preconditions = Preconditions { uid: uid(observed, name), ..Preconditions::default() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match pods.delete(name, &params).await {
        Ok(_) => {
            context.metrics.wrote("Pod", "delete");
            Ok(None)
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(None),
        Err(error) => refused("delete a pod", name, error).map(Some),
    }
}
