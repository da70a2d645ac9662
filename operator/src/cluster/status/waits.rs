//! What is waited for, and since when. Kubernetes does not say since when a pod is missing or a template was not looked at: it is noted
//! in the status, so that another operator knows it as well.

use rookery_crds::cluster::Wait;

use super::{Facts, parts::Part};
use crate::roll::{Millis, Waiting};

/// Waits that are told at most; the definition allows no more.
const MOST: usize = 16;

/// Something that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Waits {
    /// As it is told.
    pub(super) told: Wait,
    /// Whether it lasts too long.
    pub(super) late: bool,
    /// The reason that it has then.
    pub(super) reason: &'static str,
}

/// What a node is waited for, as a sentence.
pub(super) fn sentence(waiting: &Waiting) -> String {
    match waiting {
        Waiting::Drains { node } => format!("{node} hands its rooms over"),
        Waiting::Starts { node } => format!("{node} is not ready yet"),
        Waiting::Missing { node, .. } => format!("{node} is not made yet"),
        Waiting::Others { node } => format!("{node} stays until another node takes clients"),
        Waiting::Kubernetes { shard } => format!("Kubernetes looks at the nodes of shard {shard}"),
    }
}

pub(super) fn waits(facts: &Facts<'_>, parts: &[Part], before: &[Wait]) -> Vec<Waits> {
    if facts.cluster.spec.paused {
        return Vec::new();
    }
    // A drain has a deadline of its own.
    let node = facts.verdict.waiting.as_ref();
    let node =
        node.map(|waiting| (sentence(waiting), "NodeStuck", !matches!(waiting, Waiting::Drains { .. })));
    let parts = parts.iter().map(|part| (part.behind.clone(), "PartStuck", true));
    let passing = facts.problems.iter().filter(|problem| problem.passes);
    let passing = passing.map(|problem| (problem.message.clone(), problem.reason, true));
    let now = facts.now.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    let wait = |(what, reason, ends): (String, &'static str, bool)| {
        let since = before
            .iter()
            .find(|wait| wait.what == what)
            .map_or_else(|| now.clone(), |wait| wait.since.clone());
        let begun: Option<Millis> =
            since.parse().ok().map(|since: k8s_openapi::jiff::Timestamp| since.as_millisecond());
        let lasts = facts.now_millis() - begun.unwrap_or_else(|| facts.now_millis());
        Waits { told: Wait { what, since }, late: ends && lasts > facts.ready_deadline(), reason }
    };
    passing.chain(node).chain(parts).take(MOST).map(wait).collect()
}
