//! Managed servers, which Kubernetes rolls one by one, each when the one before is ready. One that cannot run it waits for for ever, also when a
//! later template would mend it: such a pod is deleted here, and is made anew by that template.

use k8s_openapi::api::core::v1::Pod;
use kube::{ResourceExt, runtime::events::EventType};

use super::{
    Look, LookError, Observed, Problem, nodes,
    observe::{Object, belongs},
    pods,
};
use crate::roll::Millis;

/// Pods that cannot run as they were made, and would be made otherwise now.
pub(super) fn hopeless(observed: &Observed, now: Millis) -> Vec<String> {
    let sets = observed.objects.values().filter(|object| is_rolled_by_kubernetes(object));
    let mut names: Vec<String> = sets.flat_map(|set| of(set, &observed.pods, now)).collect();
    names.sort();
    names
}

fn is_rolled_by_kubernetes(object: &Object) -> bool {
    object.is_ours()
        && object.kind.kind == "StatefulSet"
        && object.text("/spec/updateStrategy/type") == "RollingUpdate"
        && object.is_looked_at()
        && !object.text("/status/updateRevision").is_empty()
}

fn of(set: &Object, all: &[Pod], now: Millis) -> impl Iterator<Item = String> {
    let (uid, newest) = (set.text("/metadata/uid"), set.text("/status/updateRevision"));
    all.iter().filter(move |pod| belongs(&pod.metadata, uid)).filter_map(move |pod| {
        let revision = pod.labels().get("controller-revision-hash")?;
        let facts = pods::facts(pod, now);
        (revision != newest && facts.broken.is_some() && facts.stop_by.is_none()).then(|| pod.name_any())
    })
}

/// Deletes them; gives what was refused.
pub(super) async fn replace(look: &Look<'_>, observed: &Observed) -> Result<Vec<Problem>, LookError> {
    let mut problems = Vec::new();
    for name in hopeless(observed, pods::now()) {
        if let Some(refused) = nodes::delete(look, observed, &name).await? {
            problems.push(refused);
            continue;
        }
        let note = format!("{name} cannot run and is replaced at once");
        let (what, pod) = (("ServerReplaced", "Replace"), observed.pod(&name));
        look.context.tell_of_pod(look.cluster, EventType::Warning, what, pod, note).await;
    }
    Ok(problems)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{super::observe, *};
    use crate::build::kind_of;

    /// A set whose newest template is `new`, with this in place of what it has, and a pod of it.
    fn observed(set: &Value, pod: &Value) -> Observed {
        let mut whole = json!({
            "metadata": {
                "name": "chat-nats", "uid": "set", "generation": 2,
                "ownerReferences": [{ "apiVersion": "rookery.chat/v1alpha1", "kind": "ChatCluster", "name": "chat", "uid": "u", "controller": true }],
            },
            "spec": { "updateStrategy": { "type": "RollingUpdate" } },
            "status": { "observedGeneration": 2, "updateRevision": "new" },
        });
        let mut pod_ = json!({
            "metadata": {
                "name": "chat-nats-0", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": { "controller-revision-hash": "old" },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "chat-nats", "uid": "set", "controller": true }],
            },
            "status": { "containerStatuses": [{
                "name": "nats", "image": "", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "waiting": { "reason": "ImagePullBackOff" } },
            }] },
        });
        for (whole, part) in [(&mut whole, set), (&mut pod_, pod)] {
            for (path, value) in part.as_object().unwrap() {
                *whole.pointer_mut(path).unwrap() = value.clone();
            }
        }
        let kind = kind_of("StatefulSet").unwrap();
        let set = observe::object(kind, &serde_json::from_value(whole).unwrap(), "chat", "u");
        Observed {
            objects: [((kind.kind, "chat-nats".to_owned()), set)].into(),
            pods: vec![serde_json::from_value(pod_).unwrap()],
            ..Observed::default()
        }
    }

    #[test]
    fn who_cannot_run_goes_if_there_is_something_newer_and_nobody_else_does() {
        let none = json!({});
        let is_hopeless = |set: &Value, pod: &Value| !hopeless(&observed(set, pod), pods::now()).is_empty();
        assert!(is_hopeless(&none, &none));
        let running = json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } });
        let starting = json!({ "waiting": { "reason": "ContainerCreating" } });
        for pod in [
            json!({ "/status/containerStatuses/0/state": running }),
            json!({ "/status/containerStatuses/0/state": starting }),
            json!({ "/metadata/labels": { "controller-revision-hash": "new" } }),
            json!({ "/metadata/labels": {} }),
            json!({ "/metadata/ownerReferences/0/uid": "another set" }),
            json!({ "/metadata": {
                "name": "chat-nats-0", "deletionTimestamp": "2026-01-01T00:00:00Z",
                "labels": { "controller-revision-hash": "old" },
                "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "chat-nats", "uid": "set", "controller": true }],
            } }),
        ] {
            assert!(!is_hopeless(&none, &pod), "{pod}");
        }
        for set in [
            json!({ "/spec/updateStrategy/type": "OnDelete" }),
            json!({ "/status/observedGeneration": 1 }),
            json!({ "/status/updateRevision": "" }),
            json!({ "/metadata/ownerReferences/0/uid": "a former one" }),
        ] {
            assert!(!is_hopeless(&set, &none), "{set}");
        }
    }
}
