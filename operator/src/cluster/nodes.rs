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
use tonic::transport::{Channel, Endpoint};

use super::{Context, LookError, Observed, api};
use crate::{
    build::{COMPONENT, DRAINING_SINCE, Names, OPERATOR, PEER_PORT, SHARD, Shard},
    roll::{self, Told, Verdict},
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
    let mut shards: Vec<roll::Shard> = declared
        .iter()
        .map(|shard| roll::Shard {
            name: shard.spec.name.clone(),
            desired: shard.replicas,
            current: None,
            nodes: Vec::new(),
        })
        .collect();
    // Shards that were taken out and still have a StatefulSet of ours.
    for ((kind, _), object) in &observed.objects {
        let shard = object.text("/metadata/labels/rookery.chat~1shard");
        let going = object.value.pointer("/metadata/deletionTimestamp").is_some();
        if *kind == "StatefulSet" && object.ours && !going && !shard.is_empty() {
            match shards.iter_mut().find(|known| known.name == shard) {
                Some(known) => known.current = Some(object.number("/spec/replicas")),
                None => shards.push(roll::Shard {
                    name: shard.to_owned(),
                    desired: 0,
                    current: Some(object.number("/spec/replicas")),
                    nodes: Vec::new(),
                }),
            }
        }
    }
    shards.sort_by(|a, b| a.name.cmp(&b.name));
    for shard in &mut shards {
        let set = observed.get("StatefulSet", &names.part(&shard.name));
        let revision = set.filter(|set| set.is_looked_at()).map(|set| set.text("/status/updateRevision"));
        let pods = observed.pods.iter().filter(|pod| pod.labels().get(SHARD) == Some(&shard.name));
        shard.nodes =
            pods.filter_map(|pod| node(pod, revision.filter(|revision| !revision.is_empty()))).collect();
        shard.nodes.sort_by_key(|node| node.ordinal);
    }
    // Only those are asked whose answer matters.
    let asked =
        shards.iter_mut().flat_map(|shard| &mut shard.nodes).filter(|node| node.draining_since.is_some());
    join_all(asked.map(|node| async {
        let address = observed.pods.iter().find(|pod| pod.name_any() == node.name).and_then(address);
        node.told = match address {
            Some(address) => ask(&address).await,
            None => None,
        };
    }))
    .await;
    let rollout = &cluster.spec.rollout;
    roll::Seen {
        now: Timestamp::now().as_millisecond(),
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

/// Reasons for which Kubernetes keeps a container from running, and that do not go away by themselves.
const BROKEN: [&str; 8] = [
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "ErrImageNeverPull",
    "ErrImagePull",
    "ImagePullBackOff",
    "InvalidImageName",
    "RunContainerError",
];

fn node(pod: &Pod, revision: Option<&str>) -> Option<roll::Node> {
    let name = pod.name_any();
    let ordinal = name.rsplit_once('-')?.1.parse().ok()?;
    let status = pod.status.as_ref();
    let conditions = status.and_then(|status| status.conditions.as_deref()).unwrap_or_default();
    let condition = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
    let ready = condition("Ready").is_some_and(|condition| condition.status == "True");
    let container = status
        .and_then(|status| status.container_statuses.as_deref())
        .unwrap_or_default()
        .iter()
        .find(|container| container.name == "node");
    let state = container.and_then(|container| container.state.as_ref());
    let running = state.is_some_and(|state| state.running.is_some());
    let waiting = state.and_then(|state| state.waiting.as_ref());
    let scheduled = condition("PodScheduled").filter(|condition| condition.status == "False");
    let crashed = !ready && container.is_some_and(|container| container.restart_count > 0);
    let broken = if let Some(waiting) =
        waiting.filter(|waiting| waiting.reason.as_deref().is_some_and(|reason| BROKEN.contains(&reason)))
    {
        Some(sentence(waiting.reason.as_deref(), waiting.message.as_deref()))
    } else if let Some(condition) = scheduled {
        Some(sentence(condition.reason.as_deref(), condition.message.as_deref()))
    } else if status.and_then(|status| status.phase.as_deref()) == Some("Failed") {
        let status = status.cloned().unwrap_or_default();
        Some(sentence(status.reason.as_deref(), status.message.as_deref()))
    } else if crashed {
        let last = container.and_then(|container| container.last_state.as_ref()?.terminated.clone());
        let code = last.map_or_else(String::new, |last| format!(" with exit code {}", last.exit_code));
        Some(format!("its process ended{code}; see its log"))
    } else {
        None
    };
    let own = pod.labels().get("controller-revision-hash").map(String::as_str);
    let since = pod.annotations().get(DRAINING_SINCE).and_then(|text| text.parse::<Timestamp>().ok());
    Some(roll::Node {
        ordinal,
        updated: revision.map(|revision| own == Some(revision)),
        ready,
        running,
        terminating: pod.metadata.deletion_timestamp.is_some(),
        broken,
        created: pod.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_millisecond()),
        draining_since: since.map(Timestamp::as_millisecond),
        told: None,
        name,
    })
}

/// Reason and message as one bounded text.
fn sentence(reason: Option<&str>, message: Option<&str>) -> String {
    let (reason, message) = (reason.unwrap_or("unknown"), message.unwrap_or_default());
    let text = if message.is_empty() { reason.to_owned() } else { format!("{reason}: {message}") };
    text.chars().take(300).collect()
}

fn address(pod: &Pod) -> Option<String> {
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

async fn ask(address: &str) -> Option<Told> {
    let asked = async { connect(address).await?.status(StatusRequest {}).await.ok() };
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
    observed.pods.iter().find(|pod| pod.name_any() == name)?.uid()
}

/// Notes that a node drains (`first`), and asks it to. One that does not answer is asked again at the next look, until the drain's
/// deadline.
pub(super) async fn drain(
    context: &Context,
    namespace: &str,
    observed: &Observed,
    name: &str,
    first: bool,
    rollout: &RolloutSpec,
) -> Result<(), LookError> {
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
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(()),
            Err(error) => return Err(api("note that a node drains")(error)),
        }
    }
    let pod = observed.pods.iter().find(|pod| pod.name_any() == name);
    let Some(address) = pod.and_then(address) else { return Ok(()) };
    let seconds = |seconds: i32| u32::try_from(seconds).unwrap_or_default();
    let request = DrainRequest {
        deadline_seconds: seconds(rollout.drain_deadline_seconds),
        hold_seconds: seconds(HOLD),
    };
    let asked = async { connect(&address).await?.drain(request).await.ok() };
    match tokio::time::timeout(ANSWER, asked).await {
        Ok(Some(_)) => tracing::info!(namespace, node = name, component = COMPONENT, "asked to drain"),
        _ => tracing::warn!(namespace, node = name, "a node does not answer; it is asked again"),
    }
    Ok(())
}

/// Deletes a node's pod; it is stopped in peace, and its StatefulSet makes another.
pub(super) async fn delete(
    context: &Context,
    namespace: &str,
    observed: &Observed,
    name: &str,
) -> Result<(), LookError> {
    let pods: Api<Pod> = Api::namespaced(context.client.clone(), namespace);
    let preconditions = Preconditions { uid: uid(observed, name), ..Preconditions::default() };
    let params = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
    match pods.delete(name, &params).await {
        Ok(_) => {
            context.metrics.wrote("Pod", "delete");
            Ok(())
        }
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        Err(error) => Err(api("delete a node's pod")(error)),
    }
}
