//! The charts on a real API server: it takes them, pods are let into a namespace that enforces the security standard `restricted`, and
//! rights are what they are meant to be. Without its programs these tests are skipped, and say so.

use rookery_charts::Helm;
use rookery_testbed::{ControlPlane, ControlPlaneOptions, eventually};
use serde_json::{Value, json};

use crate::support::{RELEASE, everything, operator};

const OPERATOR: &str = "system:serviceaccount:chat-system:rookery-operator";

fn start() -> Option<(Helm, ControlPlane)> {
    let helm = Helm::find_or_say()?;
    let plane = ControlPlane::start(&ControlPlaneOptions::default())?;
    for namespace in ["chat-system", "blue", "green", "red"] {
        plane.kubectl(&["create", "namespace", namespace], "").unwrap();
        let label = "pod-security.kubernetes.io/enforce=restricted";
        plane.kubectl(&["label", "namespace", namespace, label], "").unwrap();
    }
    let definitions = helm.template("rookery-crds", &RELEASE, &json!({})).unwrap();
    plane.define(&definitions);
    Some((helm, plane))
}

/// Applies all but what the Prometheus operator's custom resources are needed for.
fn apply(helm: &Helm, plane: &ControlPlane, values: &Value) {
    let mut objects = operator(helm, values);
    objects.retain(|object| object["apiVersion"] != "monitoring.coreos.com/v1");
    let list = json!({"apiVersion": "v1", "kind": "List", "items": objects});
    plane.kubectl(&["apply", "--server-side", "--validate=strict", "-f", "-"], &list.to_string()).unwrap();
}

/// Whether that user may do each of these, `VERB RESOURCE[.GROUP][:SUBRESOURCE][/NAME] NAMESPACE`.
fn may(plane: &ControlPlane, user: &str, what: &[&str]) -> Vec<bool> {
    let review = |what: &&str| {
        let words: Vec<&str> = what.split(' ').collect();
        let (rest, name) = words[1].split_once('/').unwrap_or((words[1], ""));
        let (rest, subresource) = rest.split_once(':').unwrap_or((rest, ""));
        let (resource, group) = rest.split_once('.').unwrap_or((rest, ""));
        json!({"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": {
            "user": user,
            "resourceAttributes": {
                "verb": words[0], "group": group, "resource": resource, "subresource": subresource, "name": name,
                "namespace": words[2],
            },
        }})
    };
    let reviews: Vec<_> = what.iter().map(review).collect();
    let list = json!({"apiVersion": "v1", "kind": "List", "items": reviews});
    let answer = plane.kubectl(&["create", "-f", "-", "-o", "json"], &list.to_string()).unwrap();
    // One object after the other.
    let reviews = serde_json::Deserializer::from_str(&answer).into_iter::<Value>();
    reviews.map(|review| review.unwrap()["status"]["allowed"].as_bool().unwrap()).collect()
}

/// That user may do the former, and none of the latter.
fn check(plane: &ControlPlane, user: &str, allowed: &[&str], refused: &[&str]) {
    for (what, may) in allowed.iter().zip(may(plane, user, allowed)) {
        assert!(may, "{user} cannot {what}");
    }
    for (what, may) in refused.iter().zip(may(plane, user, refused)) {
        assert!(!may, "{user} can {what}");
    }
}

fn await_pods(plane: &ControlPlane, number: usize) {
    let pods = || plane.kubectl(&["get", "pods", "--namespace", "chat-system", "-o", "name"], "").unwrap();
    let told = || plane.kubectl(&["get", "events", "--namespace", "chat-system"], "").unwrap_or_default();
    eventually("the operator's pods are let in", told, || (pods().lines().count() == number).then_some(()));
}

#[test]
fn in_the_whole_cluster() {
    let Some((helm, plane)) = start() else { return };
    apply(&helm, &plane, &json!({}));
    await_pods(&plane, 2);

    check(
        &plane,
        OPERATOR,
        &[
            "watch chatclusters.rookery.chat red",
            "patch chatclusters.rookery.chat:status red",
            "patch chatrooms.rookery.chat red",
            "patch chatrooms.rookery.chat:status red",
            "get secrets red",
            "patch statefulsets.apps red",
            "delete pods red",
            "create events.events.k8s.io red",
            "create leases.coordination.k8s.io chat-system",
            "update leases.coordination.k8s.io/rookery-operator chat-system",
        ],
        &[
            "create chatclusters.rookery.chat red",
            "delete chatclusters.rookery.chat red",
            "create chatrooms.rookery.chat red",
            "delete chatrooms.rookery.chat red",
            "delete secrets red",
            "update secrets red",
            "create pods red",
            "create pods:exec red",
            "create serviceaccounts:token red",
            "create roles.rbac.authorization.k8s.io red",
            "create rolebindings.rbac.authorization.k8s.io red",
            "create leases.coordination.k8s.io red",
            "update leases.coordination.k8s.io/other chat-system",
            "list nodes red",
            "list namespaces red",
            "list customresourcedefinitions.apiextensions.k8s.io red",
        ],
    );

    // People with the cluster's own roles.
    for role in ["view", "edit", "admin"] {
        let binding =
            ["create", "rolebinding", role, "--clusterrole", role, "--user", role, "--namespace", "red"];
        plane.kubectl(&binding, "").unwrap();
    }
    let all = "deletecollection chatclusters.rookery.chat red";
    let aggregated = || may(&plane, "admin", &[all])[0].then_some(());
    eventually("rights are added to the cluster's own roles", String::new, aggregated);
    let (read, make) = ("get chatclusters.rookery.chat red", "create chatclusters.rookery.chat red");
    let status = "patch chatclusters.rookery.chat:status red";
    check(&plane, "view", &[read], &[make, status]);
    check(&plane, "edit", &[read, make], &[all, status]);
    check(&plane, "admin", &[read, make, all], &[status]);
    let (read, make) = ("get chatrooms.rookery.chat red", "create chatrooms.rookery.chat red");
    let all = "deletecollection chatrooms.rookery.chat red";
    let status = "patch chatrooms.rookery.chat:status red";
    check(&plane, "view", &[read], &[make, status]);
    check(&plane, "edit", &[read, make], &[all, status]);
    check(&plane, "admin", &[read, make, all], &[status]);
}

#[test]
fn in_some_namespaces() {
    let Some((helm, plane)) = start() else { return };
    let mut values = everything();
    // Its own name, so that what the two tests ask is the same; and no class that only kube-system may use.
    values["fullnameOverride"] = "rookery-operator".into();
    values["priorityClassName"] = "".into();
    apply(&helm, &plane, &values);
    await_pods(&plane, 3);
    check(
        &plane,
        OPERATOR,
        &[
            "get secrets blue",
            "patch chatclusters.rookery.chat:status green",
            "update leases.coordination.k8s.io/rookery-operator chat-system",
        ],
        &["get secrets red", "get chatclusters.rookery.chat red", "get secrets chat-system"],
    );

    // A later version of the definitions replaces the former; Helm's own way there is this same apply.
    let definitions = helm.template("rookery-crds", &RELEASE, &json!({"labels": {"later": "yes"}})).unwrap();
    plane.kubectl(&["apply", "--server-side", "-f", "-"], &definitions).unwrap();
    let label = ["get", "crd", "chatclusters.rookery.chat", "-o", "jsonpath={.metadata.labels.later}"];
    assert_eq!(plane.kubectl(&label, "").unwrap(), "yes");
}
