//! What is told of a cluster. Computed from what is seen, and written only when it is something new.

use k8s_openapi::jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
    runtime::events::EventType,
};
use rookery_crds::{
    ChatCluster, ChatClusterStatus, Condition,
    cluster::{NodeState, NodeStatus, ShardStatus},
};
use serde_json::json;

use super::{Context, LookError, Observed, Problem, api, apply::Failure, observe::Object};
use crate::{
    build::{CLUSTER, COMPONENT, OPERATOR, VERSION},
    roll::{Node, Seen, Verdict, Waiting},
};

/// Longest message of a condition, in characters; the definition allows 1,024 bytes more or less.
const LONGEST: usize = 900;

/// All that a status is made of.
pub(super) struct Facts<'a> {
    pub(super) cluster: &'a ChatCluster,
    pub(super) now: Timestamp,
    pub(super) problems: &'a [Problem],
    pub(super) failures: &'a [Failure],
    pub(super) verdict: &'a Verdict,
    pub(super) seen: &'a Seen,
    pub(super) observed: &'a Observed,
}

/// What a condition says.
type Says = (bool, &'static str, String);

pub(super) fn status(facts: &Facts<'_>) -> ChatClusterStatus {
    let spec = &facts.cluster.spec;
    let before = facts.cluster.status.clone().unwrap_or_default();
    let generation = facts.cluster.metadata.generation.unwrap_or_default();
    let nodes =
        || facts.seen.shards.iter().flat_map(|shard| shard.nodes.iter().map(move |node| (shard, node)));
    let ready = nodes().filter(|(_, node)| node.ready && !node.terminating).count();
    let wanted: i32 = facts.seen.shards.iter().map(|shard| shard.desired).sum();
    let parts = parts(facts.observed);

    let degraded = degraded(facts);
    let progressing = progressing(facts, &parts);
    let available = if ready > 0 {
        (true, "NodesReady", format!("{ready} of {wanted} nodes take clients"))
    } else {
        (false, "NoNodeReady", format!("none of {wanted} nodes takes clients"))
    };
    let is_ready = if degraded.0 {
        (false, degraded.1, degraded.2.clone())
    } else if spec.paused {
        (false, "Paused", "spec.paused is set: the operator changes nothing".to_owned())
    } else if progressing.0 {
        (false, progressing.1, progressing.2.clone())
    } else {
        (true, "AsDeclared", "all is as it is declared".to_owned())
    };
    let conditions =
        [("Ready", is_ready), ("Available", available), ("Progressing", progressing), ("Degraded", degraded)];
    let conditions =
        conditions.into_iter().map(|(kind, says)| condition(kind, says, &before, facts.now, generation));

    let mut shards: Vec<ShardStatus> = facts
        .seen
        .shards
        .iter()
        .map(|shard| ShardStatus {
            name: shard.name.clone(),
            desired: shard.desired,
            current: count(shard.nodes.len()),
            ready: count(shard.nodes.iter().filter(|node| node.ready && !node.terminating).count()),
            updated: count(shard.nodes.iter().filter(|node| node.updated == Some(true)).count()),
        })
        .collect();
    shards.sort_by(|a, b| a.name.cmp(&b.name));
    let mut all: Vec<NodeStatus> = nodes().map(|(shard, node)| node_status(&shard.name, node)).collect();
    all.sort_by(|a, b| a.name.cmp(&b.name));

    // What autoscalers compare with spec.replicas.
    let following = spec.shards.iter().filter(|shard| shard.replicas.is_none());
    let current = following.filter_map(|shard| facts.verdict.replicas.get(&shard.name)).max();
    ChatClusterStatus {
        observed_generation: generation,
        conditions: conditions.collect(),
        replicas: current.copied().unwrap_or(spec.replicas),
        selector: format!("{COMPONENT}=node,{CLUSTER}={}", facts.cluster.name_any()),
        nodes_ready: format!("{ready}/{wanted}"),
        version: version(facts.observed).unwrap_or(before.version),
        shards,
        nodes: all,
    }
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The version that all nodes have.
fn version(observed: &Observed) -> Option<String> {
    let mut versions = observed.pods.iter().map(|pod| pod.labels().get(VERSION).cloned());
    let first = versions.next()??;
    versions.all(|version| version.as_ref() == Some(&first)).then_some(first)
}

fn node_status(shard: &str, node: &Node) -> NodeStatus {
    let state = if node.terminating {
        NodeState::Stopping
    } else if node.broken.is_some() {
        NodeState::Broken
    } else if node.draining_since.is_some() {
        NodeState::Draining
    } else if node.ready {
        NodeState::Ready
    } else {
        NodeState::Starting
    };
    NodeStatus {
        name: node.name.clone(),
        shard: shard.to_owned(),
        state,
        updated: node.updated == Some(true),
        message: node.broken.clone(),
    }
}

/// Parts other than nodes that are not there yet: name and how many are ready.
fn parts(observed: &Observed) -> Vec<String> {
    let mut behind: Vec<String> = observed
        .objects
        .values()
        .filter(|object| object.ours && matches!(object.kind.kind, "StatefulSet" | "Deployment"))
        .filter(|object| object.text("/metadata/labels/app.kubernetes.io~1component") != "node")
        .filter_map(behind)
        .collect();
    behind.sort();
    behind
}

fn behind(object: &Object) -> Option<String> {
    let wanted = object.number("/spec/replicas");
    let ready = object.number("/status/readyReplicas");
    let updated = object.number("/status/updatedReplicas");
    let name = object.text("/metadata/name");
    if !object.is_looked_at() || object.number("/status/observedGeneration") == 0 {
        Some(format!("{name} is being made"))
    } else if ready < wanted {
        Some(format!("{name}: {ready} of {wanted} are ready"))
    } else if updated < wanted {
        Some(format!("{name}: {updated} of {wanted} are updated"))
    } else {
        None
    }
}

fn degraded(facts: &Facts<'_>) -> Says {
    if let Some(problem) = facts.problems.first() {
        let all: Vec<_> = facts.problems.iter().map(|problem| problem.message.as_str()).collect();
        return (true, problem.reason, all.join("; "));
    }
    if let Some(failure) = facts.failures.first() {
        let all: Vec<_> = facts.failures.iter().map(|failure| failure.message.as_str()).collect();
        return (true, failure.reason, all.join("; "));
    }
    if !facts.verdict.stuck.is_empty() {
        let all: Vec<_> =
            facts.verdict.stuck.iter().map(|stuck| format!("{}: {}", stuck.node, stuck.why)).collect();
        return (true, "NodeStuck", all.join("; "));
    }
    if let Some(node) = facts.verdict.overdue.first() {
        return (true, "DrainOverdue", format!("{node} has not drained in time and is stopped"));
    }
    (false, "NothingWrong", "nothing needs a person".to_owned())
}

fn progressing(facts: &Facts<'_>, parts: &[String]) -> Says {
    if facts.cluster.spec.paused {
        return (false, "Paused", "spec.paused is set: the operator changes nothing".to_owned());
    }
    let shrinks =
        facts.seen.shards.iter().any(|shard| shard.current.is_some_and(|current| current > shard.desired));
    let waiting = match &facts.verdict.waiting {
        Some(Waiting::Drains { node }) => format!("{node} hands its rooms over"),
        Some(Waiting::Starts { node }) => format!("{node} is not ready yet"),
        Some(Waiting::Kubernetes { shard }) => format!("Kubernetes looks at the nodes of shard {shard}"),
        None => String::new(),
    };
    if facts.verdict.moving {
        let all: Vec<_> = facts.seen.shards.iter().flat_map(|shard| &shard.nodes).collect();
        let updated = all.iter().filter(|node| node.updated == Some(true)).count();
        let what = if shrinks {
            "there are to be fewer nodes".to_owned()
        } else {
            format!("{updated} of {} nodes are as they are to be", all.len())
        };
        let message = if waiting.is_empty() { what } else { format!("{what}; {waiting}") };
        return (true, if shrinks { "ScalingDown" } else { "Rolling" }, message);
    }
    if !parts.is_empty() {
        return (true, "Starting", parts.join("; "));
    }
    let nodes = facts.seen.shards.iter().flat_map(|shard| &shard.nodes);
    let missing = facts.seen.shards.iter().any(|shard| count(shard.nodes.len()) < shard.desired);
    let starting = nodes.filter(|node| !node.ready).map(|node| node.name.as_str()).next();
    if let Some(node) = starting {
        return (true, "Starting", format!("{node} is not ready yet"));
    }
    if missing || !waiting.is_empty() {
        let message = if waiting.is_empty() { "nodes are being made".to_owned() } else { waiting };
        return (true, "Starting", message);
    }
    (false, "Settled", "nothing is being changed".to_owned())
}

fn condition(
    kind: &str,
    says: Says,
    before: &ChatClusterStatus,
    now: Timestamp,
    generation: i64,
) -> Condition {
    let (holds, reason, message) = says;
    let status = if holds { "True" } else { "False" };
    let last = before.conditions.iter().find(|condition| condition.kind == kind);
    let since = last.filter(|last| last.status == status).map(|last| last.last_transition_time.clone());
    Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.chars().take(LONGEST).collect(),
        last_transition_time: since.unwrap_or_else(|| now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()),
        observed_generation: generation,
    }
}

/// Writes a status if it says something new, and tells Events of what has turned.
pub(super) async fn write(
    context: &Context,
    cluster: &ChatCluster,
    namespace: &str,
    status: ChatClusterStatus,
) -> Result<(), LookError> {
    let before = cluster.status.as_ref();
    if before == Some(&status) {
        return Ok(());
    }
    let clusters: Api<ChatCluster> = Api::namespaced(context.client.clone(), namespace);
    let patch = json!({
        "apiVersion": "rookery.chat/v1alpha1",
        "kind": "ChatCluster",
        // Not of another one that was made under the same name.
        "metadata": { "name": cluster.name_any(), "uid": cluster.uid() },
        "status": status,
    });
    let params =
        PatchParams { field_manager: Some(OPERATOR.to_owned()), force: true, ..PatchParams::default() };
    match clusters.patch_status(&cluster.name_any(), &params, &Patch::Apply(&patch)).await {
        Ok(_) => context.metrics.wrote("ChatCluster", "status"),
        // Gone, or another one by now.
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => return Ok(()),
        Err(error) => return Err(api("write the status of a cluster")(error)),
    }
    for condition in &status.conditions {
        let last =
            before.and_then(|before| before.conditions.iter().find(|last| last.kind == condition.kind));
        let turned =
            last.is_none_or(|last| last.status != condition.status || last.reason != condition.reason);
        let tells = match condition.kind.as_str() {
            "Ready" if turned && condition.status == "True" => Some((EventType::Normal, "Ready")),
            "Degraded" if turned && condition.status == "True" => {
                Some((EventType::Warning, condition.reason.as_str()))
            }
            "Available" if turned && last.is_some() && condition.status == "False" => {
                Some((EventType::Warning, "Unavailable"))
            }
            _ => None,
        };
        if let Some((kind, reason)) = tells {
            context.tell(cluster, kind, reason, condition.message.clone()).await;
        }
    }
    Ok(())
}
