//! What is told, of situations that are made up.

use rookery_crds::{ChatCluster, ChatClusterSpec, cluster::Wait};
use serde_json::{Value, json};

use super::{
    super::{nodes, observe},
    *,
};
use crate::{
    build::kind_of,
    roll::{Shard, Stuck, Waiting},
};

const NOW: &str = "2026-01-01T12:00:00Z";

struct Situation {
    cluster: ChatCluster,
    verdict: Verdict,
    seen: Seen,
    observed: Observed,
    problems: Vec<Problem>,
}

/// One node, which is ready; nothing else.
fn settled() -> Situation {
    let spec: ChatClusterSpec = serde_json::from_value(json!({ "version": "1.0.0", "replicas": 1 })).unwrap();
    let mut cluster = ChatCluster::new("chat", spec);
    cluster.metadata.generation = Some(4);
    let node = Node {
        name: "chat-main-0".into(),
        ordinal: 0,
        updated: Some(true),
        ready: true,
        running: true,
        stop_by: None,
        broken: None,
        served: true,
        unready_since: 0,
        draining_since: None,
        told: None,
    };
    let shard = Shard {
        name: "main".into(),
        set: "chat-main".into(),
        desired: 1,
        current: Some(1),
        nodes: vec![node],
    };
    let verdict = Verdict { replicas: [("main".to_owned(), 1)].into(), ..Verdict::default() };
    let now: Timestamp = NOW.parse().unwrap();
    let seen = Seen {
        now: now.as_millisecond(),
        shards: vec![shard],
        drain_deadline: 60_000,
        ready_deadline: 300_000,
    };
    Situation { cluster, verdict, seen, observed: Observed::default(), problems: Vec::new() }
}

impl Situation {
    fn told(&self) -> ChatClusterStatus {
        status(&Facts {
            cluster: &self.cluster,
            now: NOW.parse().unwrap(),
            problems: &self.problems,
            verdict: &self.verdict,
            seen: &self.seen,
            observed: &self.observed,
        })
    }

    /// Something of this cluster's own that is there.
    fn has(mut self, kind: &str, name: &str, component: &str, mut body: Value) -> Self {
        let kind = kind_of(kind).unwrap();
        body["apiVersion"] = kind.api_version.into();
        body["kind"] = kind.kind.into();
        body["metadata"] = json!({
            "name": name, "uid": name, "generation": 2,
            "labels": { (COMPONENT): component },
            "ownerReferences": [{ "apiVersion": "rookery.chat/v1alpha1", "kind": "ChatCluster", "name": "chat", "uid": "u", "controller": true }],
        });
        let object = serde_json::from_value(body).unwrap();
        self.observed
            .objects
            .insert((kind.kind, name.to_owned()), observe::object(kind, &object, "chat", "u"));
        self
    }

    /// NATS, of which so many are ready.
    fn nats(self, ready: i32) -> Self {
        let body = json!({
            "spec": { "replicas": 3 },
            "status": { "observedGeneration": 2, "readyReplicas": ready, "updatedReplicas": 3 },
        });
        self.has("StatefulSet", "chat-nats", "nats", body)
    }

    fn pod(mut self, name: &str, component: &str, status: &Value) -> Self {
        let pod = json!({
            "metadata": { "name": name, "labels": { (COMPONENT): component }, "creationTimestamp": "2026-01-01T11:00:00Z" },
            "status": status,
        });
        self.observed.pods.push(serde_json::from_value(pod).unwrap());
        self
    }

    /// As it was told before.
    fn before(mut self, waits: &[(&str, &str)], overdue: &[&str]) -> Self {
        let wait = |(what, since): &(&str, &str)| Wait { what: (*what).into(), since: (*since).into() };
        self.cluster.status = Some(ChatClusterStatus {
            waits_for: waits.iter().map(wait).collect(),
            drains_overdue: overdue.iter().map(|name| (*name).to_owned()).collect(),
            ..ChatClusterStatus::default()
        });
        self
    }
}

fn says<'a>(status: &'a ChatClusterStatus, kind: &str) -> (&'a str, &'a str, &'a str) {
    let condition = status.conditions.iter().find(|condition| condition.kind == kind).unwrap();
    (&condition.status, &condition.reason, &condition.message)
}

#[test]
fn what_is_as_declared_is_ready() {
    let status = settled().nats(3).told();
    assert_eq!(says(&status, "Ready"), ("True", "AsDeclared", "all is as it is declared"));
    assert_eq!(says(&status, "Available"), ("True", "NodesReady", "1 of 1 nodes take clients"));
    assert_eq!(says(&status, "Progressing").0, "False");
    assert_eq!(says(&status, "Degraded").0, "False");
    assert_eq!((status.observed_generation, status.nodes_ready.as_str()), (4, "1/1"));
    assert_eq!(status.waits_for, []);
}

#[test]
fn nodes_whose_newest_template_kubernetes_has_not_looked_at_are_not_as_declared() {
    let applied = |looked_at: i32| {
        let body = json!({ "status": { "observedGeneration": looked_at } });
        let mut applied = settled().has("StatefulSet", "chat-main", "node", body);
        applied.verdict.waiting = nodes::not_looked_at(&applied.seen, &applied.observed);
        applied.told()
    };
    let looks = ("False", "Starting", "Kubernetes looks at the nodes of shard main");
    assert_eq!(says(&applied(1), "Ready"), looks);
    assert_eq!(says(&applied(2), "Ready").1, "AsDeclared");
}

#[test]
fn nodes_that_are_to_leave_take_clients_until_they_do() {
    let mut scaled = settled();
    let mut leaving = scaled.seen.shards[0].nodes[0].clone();
    leaving.ordinal = 1;
    scaled.seen.shards[0].nodes.push(leaving.clone());
    let told = |scaled: &Situation| {
        let status = scaled.told();
        let (_, _, message) = says(&status, "Available");
        (status.nodes_ready.clone(), message.to_owned())
    };
    let says = |nodes: &str, message: &str| (nodes.to_owned(), message.to_owned());
    assert_eq!(told(&scaled), says("2/2", "2 of 2 nodes take clients; 1 of them is to leave"));
    // A shard that is taken out, while another one lacks a node.
    let nodes = vec![leaving.clone(), leaving];
    scaled.seen.shards.push(Shard { name: "old".into(), desired: 0, nodes, ..scaled.seen.shards[0].clone() });
    scaled.seen.shards[0].desired = 3;
    assert_eq!(told(&scaled), says("4/5", "4 of 5 nodes take clients; 2 of them are to leave"));
    // It goes.
    let mut scaled = settled();
    let leaving = Node { stop_by: Some(0), ordinal: 1, ..scaled.seen.shards[0].nodes[0].clone() };
    scaled.seen.shards[0].nodes.push(leaving);
    assert_eq!(told(&scaled), says("1/1", "1 of 1 nodes take clients"));
}

#[test]
fn a_part_is_waited_for_and_not_for_ever() {
    let status = settled().nats(1).told();
    assert_eq!(says(&status, "Progressing"), ("True", "Starting", "chat-nats: 1 of 3 are ready"));
    assert_eq!(says(&status, "Degraded").0, "False");
    assert_eq!(status.waits_for, [Wait { what: "chat-nats: 1 of 3 are ready".into(), since: NOW.into() }]);
    // Since when is kept, until it is another thing that is waited for.
    let early = [("chat-nats: 1 of 3 are ready", "2026-01-01T11:56:00Z")];
    let status = settled().nats(1).before(&early, &[]).told();
    assert_eq!(status.waits_for[0].since, early[0].1);
    assert_eq!(says(&status, "Degraded").0, "False");
    let status = settled().nats(2).before(&early, &[]).told();
    assert_eq!(status.waits_for[0].since, NOW);
    let late = [("chat-nats: 1 of 3 are ready", "2026-01-01T11:54:00Z")];
    let status = settled().nats(1).before(&late, &[]).told();
    let sentence = "chat-nats: 1 of 3 are ready, for more than 300 s";
    assert_eq!(says(&status, "Degraded"), ("True", "PartStuck", sentence));
    assert_eq!(says(&status, "Ready"), ("False", "PartStuck", sentence));
    // Not while nothing is to be done.
    let mut paused = settled().nats(1).before(&late, &[]);
    paused.cluster.spec.paused = true;
    assert_eq!(paused.told().waits_for, []);
}

#[test]
fn why_a_part_does_not_run_is_told_at_once() {
    let broken = json!({ "containerStatuses": [{
        "name": "nats", "image": "", "imageID": "", "ready": false, "restartCount": 0,
        "state": { "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } },
    }] });
    let status = settled().nats(2).pod("chat-nats-1", "nats", &broken).told();
    assert_eq!(
        says(&status, "Degraded"),
        ("True", "PartStuck", "chat-nats-1: ImagePullBackOff: no such image")
    );
    // Another part's pod is not this one's.
    let status = settled().nats(2).pod("chat-main-0", "node", &broken).told();
    assert_eq!(says(&status, "Degraded").0, "False");
    // It runs, and is not ready since an hour.
    let unready = json!({ "conditions": [{
        "type": "Ready", "status": "False", "lastTransitionTime": "2026-01-01T11:00:00Z",
    }] });
    let status = settled().nats(2).pod("chat-nats-1", "nats", &unready).told();
    assert_eq!(says(&status, "Degraded").2, "chat-nats-1: is not ready for more than 300 s");
    // It cannot be made.
    let mut refused = settled().nats(2);
    refused.observed.refused.insert("chat-nats".into(), "exceeded quota".into());
    assert_eq!(says(&refused.told(), "Degraded").2, "chat-nats: exceeded quota");
    let body = json!({
        "spec": { "replicas": 1 },
        "status": { "observedGeneration": 2, "conditions": [
            { "type": "ReplicaFailure", "status": "True", "message": "violates PodSecurity" },
        ] },
    });
    let status = settled().has("Deployment", "chat-mailer", "mailer", body).told();
    assert_eq!(says(&status, "Degraded").2, "chat-mailer: violates PodSecurity");
}

#[test]
fn a_node_that_cannot_be_made_is_told_by_its_name() {
    let mut missing = settled();
    missing.seen.shards[0].nodes.clear();
    missing.verdict.waiting = Some(Waiting::Missing { node: "chat-main-0".into(), set: "chat-main".into() });
    let status = missing.told();
    assert_eq!(says(&status, "Degraded").0, "False", "it may come");
    assert_eq!(says(&status, "Available").1, "NoNodeReady");
    assert_eq!(status.waits_for[0].what, "chat-main-0 is not made yet");
    let late = missing_since(missing, "2026-01-01T11:54:00Z");
    assert_eq!(
        says(&late.told(), "Degraded"),
        ("True", "NodeStuck", "chat-main-0 is not made yet, for more than 300 s")
    );
    let mut refused = late;
    refused.observed.refused.insert("chat-main".into(), "exceeded quota".into());
    assert_eq!(says(&refused.told(), "Degraded").2, "chat-main-0 cannot be made: exceeded quota");
}

fn missing_since(situation: Situation, since: &str) -> Situation {
    situation.before(&[("chat-main-0 is not made yet", since)], &[])
}

#[test]
fn a_drain_that_was_late_is_told_until_nodes_are_no_longer_moved() {
    let mut late = settled();
    late.verdict.moving = true;
    late.verdict.overdue = vec!["chat-main-1".into()];
    let status = late.told();
    assert_eq!(status.drains_overdue, ["chat-main-1"]);
    let sentence = "chat-main-1 has not drained in time and was stopped all the same";
    assert_eq!(says(&status, "Degraded"), ("True", "DrainOverdue", sentence));
    // Its successor starts.
    let mut after = settled().before(&[], &["chat-main-1"]);
    after.verdict.waiting = Some(Waiting::Starts { node: "chat-main-1".into() });
    assert_eq!(says(&after.told(), "Degraded").1, "DrainOverdue");
    // All is done.
    let done = settled().before(&[], &["chat-main-1"]).told();
    assert_eq!((done.drains_overdue.len(), says(&done, "Ready").0), (0, "True"));
}

#[test]
fn what_is_worst_is_told_first_and_texts_are_bounded() {
    let mut all = settled().nats(1).before(&[], &["chat-main-1"]);
    all.verdict.moving = true;
    all.verdict.stuck = vec![Stuck { node: "chat-main-0".into(), why: "x".repeat(5000) }];
    let status = all.told();
    assert_eq!(says(&status, "Degraded").1, "NodeStuck");
    assert!(says(&status, "Degraded").2.len() <= 900);
    all.problems = vec![Problem::left_over("Service", "chat-client")];
    assert_eq!(says(&all.told(), "Degraded").1, "NodeStuck", "that passes");
    assert_eq!(
        all.told().waits_for[0].what,
        "Service chat-client of a former ChatCluster of this name is being deleted"
    );
    all.problems.push(Problem::taken("Service", "chat-client"));
    assert_eq!(says(&all.told(), "Ready").1, "NameTaken");
}
