//! Parts other than nodes: NATS, etcd, Redis, the mailer, the translator. Kubernetes rolls them; what is not there yet and why is told
//! here.

use serde_json::Value;

use super::{super::observe::Object, super::pods, Facts};
use crate::{build::COMPONENT, roll};

/// A part that is not as it is to be yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// How far it is, as a sentence.
    pub(super) behind: String,
    /// Why it needs a person.
    pub(super) stuck: Option<String>,
}

/// Parts that are not as they are to be yet, by their names.
pub(super) fn parts(facts: &Facts<'_>) -> Vec<Part> {
    let mut objects: Vec<_> = facts
        .observed
        .objects
        .values()
        .filter(|object| object.is_workload())
        .filter(|object| component(object) != "node")
        .collect();
    objects.sort_by_key(|object| object.text("/metadata/name"));
    let part = |object: &Object| behind(object).map(|behind| Part { behind, stuck: stuck(facts, object) });
    objects.into_iter().filter_map(part).collect()
}

fn component(object: &Object) -> &str {
    object.value["metadata"]["labels"][COMPONENT].as_str().unwrap_or_default()
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

fn stuck(facts: &Facts<'_>, object: &Object) -> Option<String> {
    let (now, name) = (facts.now_millis(), object.text("/metadata/name"));
    let mut said: Vec<String> = facts
        .observed
        .pods_of(component(object))
        .filter_map(|pod| {
            let pods::Facts { ready, broken, unready_since, stop_by, .. } = pods::facts(pod, now);
            let name = pod.metadata.name.as_deref().unwrap_or_default();
            let why = if let Some(stop_by) = stop_by {
                roll::overstays(now, stop_by, name)
            } else if ready {
                None
            } else if broken.is_some() {
                broken
            } else {
                let deadline = facts.ready_deadline();
                (now - unready_since > deadline)
                    .then(|| format!("is not ready for more than {} s", deadline / 1000))
            };
            why.map(|why| format!("{name}: {why}"))
        })
        .collect();
    said.sort();
    if let Some(why) = facts.observed.refused.get(name).cloned().or_else(|| replica_failure(object)) {
        said.push(format!("{name}: {why}"));
    }
    (!said.is_empty()).then(|| said.join("; "))
}

/// Why a Deployment cannot make its pods.
fn replica_failure(object: &Object) -> Option<String> {
    let conditions = object.value.pointer("/status/conditions")?.as_array()?;
    let failed = conditions
        .iter()
        .find(|condition| condition["type"] == "ReplicaFailure" && condition["status"] == "True")?;
    Some(failed.get("message").and_then(Value::as_str)?.chars().take(400).collect())
}
