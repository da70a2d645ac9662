//! The conditions of a cluster.

use super::{
    Facts, count,
    parts::Part,
    waits::{self, Waits},
};
use crate::{roll::Waiting, status::Says};

pub(super) fn degraded(facts: &Facts<'_>, parts: &[Part], waits: &[Waits], overdue: &[String]) -> Says {
    let all = |sentences: Vec<&str>| sentences.join("; ");
    let lasting: Vec<_> = facts.problems.iter().filter(|problem| !problem.passes).collect();
    if let Some(problem) = lasting.first() {
        return (true, problem.reason, all(lasting.iter().map(|problem| &*problem.message).collect()));
    }
    let mut stuck: Vec<String> =
        facts.verdict.stuck.iter().map(|stuck| format!("{}: {}", stuck.node, stuck.why)).collect();
    if let Some(Waiting::Missing { node, set }) = &facts.verdict.waiting
        && let Some(why) = facts.observed.refused.get(set)
    {
        stuck.push(format!("{node} cannot be made: {why}"));
    }
    if !stuck.is_empty() {
        return (true, "NodeStuck", stuck.join("; "));
    }
    let stuck: Vec<_> = parts.iter().filter_map(|part| part.stuck.as_deref()).collect();
    if !stuck.is_empty() {
        return (true, "PartStuck", all(stuck));
    }
    if let Some(late) = waits.iter().find(|wait| wait.late) {
        let seconds = facts.ready_deadline() / 1000;
        return (true, late.reason, format!("{}, for more than {seconds} s", late.told.what));
    }
    if let Some(node) = overdue.first() {
        return (
            true,
            "DrainOverdue",
            format!("{node} has not drained in time and was stopped all the same"),
        );
    }
    (false, "NothingWrong", "nothing needs a person".to_owned())
}

pub(super) fn progressing(facts: &Facts<'_>, parts: &[Part]) -> Says {
    if facts.cluster.spec.paused {
        return (false, "Paused", "spec.paused is set: the operator changes nothing".to_owned());
    }
    if let Some(problem) = facts.problems.iter().find(|problem| problem.passes) {
        return (true, "Starting", problem.message.clone());
    }
    let shrinks =
        facts.seen.shards.iter().any(|shard| shard.current.is_some_and(|current| current > shard.desired));
    let waiting = facts.verdict.waiting.as_ref().map(waits::sentence).unwrap_or_default();
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
        let all: Vec<_> = parts.iter().map(|part| part.behind.as_str()).collect();
        return (true, "Starting", all.join("; "));
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
