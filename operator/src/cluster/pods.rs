//! What a pod's status says, of a node's and of any other part's: whether it serves, since when it does not, and why.

use k8s_openapi::{
    api::core::v1::{ContainerStatus, Pod, PodCondition},
    jiff::Timestamp,
};
use kube::ResourceExt;

use crate::{build::COMPONENT, roll::Millis};

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
/// A process that ended so long ago and is not ready since is taken for one that cannot run; what ended before is forgiven. Longer than
/// the longest pause that Kubernetes makes between two starts.
const RECENT: Millis = 10 * 60 * 1000;
/// For so long a place for a pod may be looked for: volumes are made, machines are added.
const PLACING: Millis = 30 * 1000;
/// Times of a status have a resolution of a second, and what is one moment may be told as two.
const SAME: Millis = 2000;

/// What a pod's status says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Facts {
    /// Whether it serves.
    pub(super) ready: bool,
    /// Whether its process runs.
    pub(super) running: bool,
    /// Why it cannot run.
    pub(super) broken: Option<String>,
    /// Whether it has ever been ready, or is.
    pub(super) served: bool,
    /// Since when it is not ready.
    pub(super) unready_since: Millis,
    /// It is being stopped, and is to have stopped by then.
    pub(super) stop_by: Option<Millis>,
}

pub(super) fn facts(pod: &Pod, now: Millis) -> Facts {
    let status = pod.status.clone().unwrap_or_default();
    let conditions = status.conditions.as_deref().unwrap_or_default();
    let condition = |kind: &str| conditions.iter().find(|condition| condition.type_ == kind);
    let ready = condition("Ready");
    let is_ready = ready.is_some_and(|condition| condition.status == "True");
    let created = pod.metadata.creation_timestamp.as_ref().map_or(0, |time| time.0.as_millisecond());
    let turned = ready.and_then(turned);
    let begun = condition("Initialized").and_then(self::turned);
    // Its first word about itself is that it is not ready: when it said so later, it was ready in between.
    let served = is_ready || turned.zip(begun).is_some_and(|(turned, begun)| turned > begun + SAME);

    let all = status.container_statuses.unwrap_or_default();
    let component = pod.labels().get(COMPONENT);
    let main = all.iter().find(|container| Some(&container.name) == component);
    let running = main.is_some_and(|container| started(container).is_some());
    let begins = status.init_container_statuses.unwrap_or_default();
    let waiting = begins.iter().chain(&all).find_map(|container| {
        let waiting = container.state.as_ref()?.waiting.as_ref()?;
        let reason = waiting.reason.as_deref().filter(|reason| BROKEN.contains(reason))?;
        Some(sentence(Some(reason), waiting.message.as_deref()))
    });
    let nowhere = condition("PodScheduled")
        .filter(|condition| condition.status == "False")
        .filter(|condition| now - self::turned(condition).unwrap_or(created) > PLACING);
    let broken = if waiting.is_some() {
        waiting
    } else if let Some(condition) = nowhere {
        Some(sentence(condition.reason.as_deref(), condition.message.as_deref()))
    } else if status.phase.as_deref() == Some("Failed") {
        Some(sentence(status.reason.as_deref(), status.message.as_deref()))
    } else if is_ready {
        None
    } else {
        all.iter().find_map(|container| crashed(container, turned, now))
    };
    Facts {
        ready: is_ready,
        running,
        broken,
        served,
        unready_since: turned.unwrap_or(created).max(created),
        stop_by: pod.metadata.deletion_timestamp.as_ref().map(|time| time.0.as_millisecond()),
    }
}

/// Why a container is taken for one that cannot run although it runs again: it ended a short while ago, and the pod was not ready since.
fn crashed(container: &ContainerStatus, turned: Option<Millis>, now: Millis) -> Option<String> {
    let last = container.last_state.as_ref()?.terminated.as_ref()?;
    let ended = last.finished_at.as_ref()?.0.as_millisecond();
    let again = started(container);
    let ready_since = turned.zip(again).is_some_and(|(turned, again)| turned > again + SAME);
    let is_recent = now - ended < RECENT;
    (is_recent && !ready_since)
        .then(|| format!("its process ended with exit code {}; see its log", last.exit_code))
}

/// When a container was started that runs.
fn started(container: &ContainerStatus) -> Option<Millis> {
    let running = container.state.as_ref()?.running.as_ref()?;
    Some(running.started_at.as_ref().map_or(0, |time| time.0.as_millisecond()))
}

fn turned(condition: &PodCondition) -> Option<Millis> {
    condition.last_transition_time.as_ref().map(|time| time.0.as_millisecond())
}

/// Reason and message as one bounded text.
fn sentence(reason: Option<&str>, message: Option<&str>) -> String {
    let (reason, message) = (reason.unwrap_or("unknown"), message.unwrap_or_default());
    let text = if message.is_empty() { reason.to_owned() } else { format!("{reason}: {message}") };
    text.chars().take(300).collect()
}

/// Now, as the API server has times.
pub(super) fn now() -> Millis {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// Seconds after midnight.
    fn at(second: u32) -> String {
        format!("2026-01-01T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
    }

    fn millis(second: u32) -> Millis {
        at(second).parse::<Timestamp>().unwrap().as_millisecond()
    }

    /// A pod that was made at 0 and first spoken of at 10.
    fn pod(ready: (&str, u32), container: Value) -> Pod {
        let mut container = container;
        container["name"] = "node".into();
        container["image"] = "".into();
        container["imageID"] = "".into();
        container["ready"] = (ready.0 == "True").into();
        container["restartCount"] = 0.into();
        serde_json::from_value(json!({
            "metadata": { "name": "p-0", "labels": { (COMPONENT): "node" }, "creationTimestamp": at(0) },
            "status": {
                "phase": "Running",
                "conditions": [
                    { "type": "Initialized", "status": "True", "lastTransitionTime": at(10) },
                    { "type": "Ready", "status": ready.0, "lastTransitionTime": at(ready.1) },
                ],
                "containerStatuses": [container],
            },
        }))
        .unwrap()
    }

    fn running(since: u32) -> Value {
        json!({ "state": { "running": { "startedAt": at(since) } } })
    }

    fn again(since: u32, ended: u32) -> Value {
        let mut container = running(since);
        container["lastState"] = json!({ "terminated": { "exitCode": 2, "finishedAt": at(ended) } });
        container["restartCount"] = 7.into();
        container
    }

    #[test]
    fn it_is_late_since_it_became_unready_not_since_it_was_made() {
        let never = facts(&pod(("False", 10), running(11)), millis(1000));
        assert_eq!((never.ready, never.served, never.unready_since), (false, false, millis(10)));
        let lately = facts(&pod(("False", 900), running(11)), millis(1000));
        assert_eq!((lately.served, lately.unready_since, lately.broken), (true, millis(900), None));
    }

    #[test]
    fn an_old_crash_does_not_make_it_broken() {
        // It ended long ago, and has served since.
        let old = facts(&pod(("False", 5000), again(21, 20)), millis(5001));
        assert_eq!(old.broken, None);
        // It ended long ago and was never ready since: too old to say anything.
        assert_eq!(facts(&pod(("False", 20), again(21, 20)), millis(5001)).broken, None);
        // It ended a minute ago, and was ready in between.
        assert_eq!(facts(&pod(("False", 70), again(21, 20)), millis(80)).broken, None);
        // It ended a minute ago, and did not become ready.
        let crashed = facts(&pod(("False", 20), again(21, 20)), millis(80));
        assert_eq!(crashed.broken.as_deref(), Some("its process ended with exit code 2; see its log"));
        assert!(crashed.served && crashed.running);
        // Who is ready is not broken.
        assert_eq!(facts(&pod(("True", 30), again(21, 20)), millis(80)).broken, None);
    }

    #[test]
    fn what_kubernetes_says_of_a_container_is_told() {
        let waiting =
            json!({ "state": { "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } } });
        let facts_ = facts(&pod(("False", 10), waiting), millis(11));
        assert_eq!(facts_.broken.as_deref(), Some("ImagePullBackOff: no such image"));
        assert!(!facts_.running && !facts_.served);
        let begins = json!({ "state": { "waiting": { "reason": "ContainerCreating" } } });
        assert_eq!(facts(&pod(("False", 10), begins), millis(11)).broken, None);
    }

    #[test]
    fn a_place_may_be_looked_for_a_while() {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": { "name": "p-0", "creationTimestamp": at(0) },
            "status": { "phase": "Pending", "conditions": [{
                "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "no machine", "lastTransitionTime": at(1),
            }] },
        }))
        .unwrap();
        assert_eq!(facts(&pod, millis(20)).broken, None);
        assert_eq!(facts(&pod, millis(40)).broken.as_deref(), Some("Unschedulable: no machine"));
    }
}
