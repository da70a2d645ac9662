//! What is told of a cluster. Computed from what is seen, and written only when it is something new.

mod conditions;
mod parts;
#[cfg(test)]
mod tests;
mod waits;

use k8s_openapi::jiff::Timestamp;
use kube::{ResourceExt, runtime::events::EventType};
use rookery_crds::{
    ChatCluster, ChatClusterStatus, Condition,
    cluster::{NodeState, NodeStatus, ShardStatus},
};

use super::{Context, Look, LookError, Observed, Problem, validate};
use crate::{
    build::{CLUSTER, COMPONENT, VERSION},
    roll::{Millis, Node, Seen, Shard, Verdict},
    status::{self, Conditions},
};

/// Longest message of a condition, in characters.
const LONGEST: usize = 900;

/// All that a status is made of.
pub(super) struct Facts<'a> {
    pub(super) cluster: &'a ChatCluster,
    pub(super) now: Timestamp,
    pub(super) problems: &'a [Problem],
    pub(super) verdict: &'a Verdict,
    pub(super) seen: &'a Seen,
    pub(super) observed: &'a Observed,
}

impl Facts<'_> {
    fn now_millis(&self) -> Millis {
        self.now.as_millisecond()
    }

    /// A part that is not ready by then needs a person.
    fn ready_deadline(&self) -> Millis {
        self.seen.ready_deadline
    }
}

pub(super) fn status(facts: &Facts<'_>) -> ChatClusterStatus {
    let spec = &facts.cluster.spec;
    let before = facts.cluster.status.clone().unwrap_or_default();
    let generation = facts.cluster.metadata.generation.unwrap_or_default();
    let nodes =
        || facts.seen.shards.iter().flat_map(|shard| shard.nodes.iter().map(move |node| (shard, node)));
    let takes = |shard: &Shard| count(shard.nodes.iter().filter(|node| takes_clients(node)).count());
    let ready: i32 = facts.seen.shards.iter().map(takes).sum();
    let wanted: i32 = facts.seen.shards.iter().map(|shard| shard.desired).sum();
    // Those that are to leave take clients until they are asked to.
    let leaving: i32 = facts.seen.shards.iter().map(|shard| (takes(shard) - shard.desired).max(0)).sum();
    let parts = parts::parts(facts);
    let waits = waits::waits(facts, &parts, &before.waits_for);
    let drains_overdue = overdue(facts, &before.drains_overdue);

    let degraded = conditions::degraded(facts, &parts, &waits, &drains_overdue);
    let progressing = conditions::progressing(facts, &parts);
    let available = if ready > 0 {
        let of = wanted + leaving;
        let leave = match leaving {
            0 => String::new(),
            1 => "; 1 of them is to leave".to_owned(),
            more => format!("; {more} of them are to leave"),
        };
        (true, "NodesReady", format!("{ready} of {of} nodes take clients{leave}"))
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
    let told = Conditions { before: &before.conditions, now: facts.now, generation, longest: LONGEST };
    let conditions = conditions.into_iter().map(|(kind, says)| told.put(kind, &says));

    let mut shards: Vec<ShardStatus> = facts
        .seen
        .shards
        .iter()
        .map(|shard| ShardStatus {
            name: shard.name.clone(),
            desired: shard.desired,
            current: count(shard.nodes.len()),
            ready: takes(shard),
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
        nodes_ready: format!("{ready}/{}", wanted + leaving),
        version: version(facts.observed).unwrap_or(before.version),
        shards,
        nodes: all,
        waits_for: waits.into_iter().map(|wait| wait.told).collect(),
        drains_overdue,
        notes: validate::notes(spec),
    }
}

/// Nodes that did not drain in time, until nodes are no longer being replaced or taken out.
fn overdue(facts: &Facts<'_>, before: &[String]) -> Vec<String> {
    let verdict = facts.verdict;
    let mut all = verdict.overdue.clone();
    if verdict.moving || verdict.waiting.is_some() {
        all.extend_from_slice(before);
    }
    all.sort();
    all.dedup();
    all
}

fn takes_clients(node: &Node) -> bool {
    node.ready && !node.terminating()
}

fn count(number: usize) -> i32 {
    i32::try_from(number).unwrap_or(i32::MAX)
}

/// The version that all nodes have.
fn version(observed: &Observed) -> Option<String> {
    let mut versions = observed.pods_of("node").map(|pod| pod.labels().get(VERSION).cloned());
    let first = versions.next()??;
    versions.all(|version| version.as_ref() == Some(&first)).then_some(first)
}

fn node_status(shard: &str, node: &Node) -> NodeStatus {
    let state = if node.terminating() {
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

/// Tells that the API server refuses what is needed to look at a cluster at all. The rest stays as it was told last.
pub(super) async fn refused(context: &Context, cluster: &ChatCluster, why: String) -> Result<(), LookError> {
    let mut status = cluster.status.clone().unwrap_or_default();
    let generation = cluster.metadata.generation.unwrap_or_default();
    status.observed_generation = generation;
    let before = cluster.status.as_ref().map_or(&[][..], |before| &before.conditions);
    let told = Conditions { before, now: Timestamp::now(), generation, longest: LONGEST };
    for (kind, holds) in [("Ready", false), ("Degraded", true)] {
        let condition = told.put(kind, &(holds, "Refused", why.clone()));
        match status.conditions.iter_mut().find(|condition| condition.kind == kind) {
            Some(there) => *there = condition,
            None => status.conditions.push(condition),
        }
    }
    let (namespace, name) = (cluster.namespace().unwrap_or_default(), cluster.name_any());
    let uid = cluster.uid().unwrap_or_default();
    write(&Look { context, cluster, namespace: &namespace, name: &name, uid: &uid }, status).await
}

/// Writes a status if it says something new, and tells Events of what has turned.
pub(super) async fn write(look: &Look<'_>, status: ChatClusterStatus) -> Result<(), LookError> {
    let Look { context, cluster, namespace, name, .. } = *look;
    let before = cluster.status.as_ref();
    let is_new = before != Some(&status);
    if is_new
        && !status::write(context, cluster, &status, ("ChatCluster", "write the status of a cluster")).await?
    {
        return Ok(());
    }
    let holds = |condition: &Condition| condition.kind == "Degraded" && condition.status == "True";
    context.metrics.is_degraded(namespace, name, status.conditions.iter().any(holds));
    if !is_new {
        return Ok(());
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
