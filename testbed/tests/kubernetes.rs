//! A control plane starts, checks what is written, tells what was asked of it, and comes back.

use rookery_testbed::{ControlPlane, ControlPlaneOptions, eventually};

#[test]
fn it_serves_says_what_was_asked_and_comes_back() {
    let Some(plane) = ControlPlane::start(&ControlPlaneOptions::default()) else { return };
    let made = plane.kubectl(&["create", "configmap", "kept", "--from-literal=a=1"], "").expect("it is made");
    assert_eq!(made.trim(), "configmap/kept created");
    let refused = plane.kubectl(&["create", "configmap", "Not A Name"], "").expect_err("it is refused");
    assert!(refused.contains("Invalid value"), "{refused}");

    let audit = plane.audit();
    let created = |name: &str| {
        audit.iter().find(|event| event["verb"] == "create" && event["objectRef"]["name"] == name).cloned()
    };
    let event = created("kept").expect("it was told");
    assert_eq!(event["user"]["username"], "admin");
    assert_eq!(event["responseStatus"]["code"], 201);

    // Somebody without rights has none.
    let other = plane.kubeconfig_as("system:serviceaccount:default:default");
    let other = other.to_str().expect("a path of ours");
    let refused = plane.kubectl(&["get", "secrets", "--kubeconfig", other], "").expect_err("it is refused");
    assert!(refused.contains("Forbidden"), "{refused}");

    plane.kill_api_server();
    assert!(plane.kubectl(&["get", "configmap", "kept"], "").is_err());
    plane.start_api_server();
    assert!(plane.kubectl(&["get", "configmap", "kept"], "").is_ok());
}

#[test]
fn its_controllers_work() {
    let Some(plane) = ControlPlane::start(&ControlPlaneOptions::default()) else { return };
    let set = r#"{"apiVersion": "apps/v1", "kind": "StatefulSet", "metadata": {"name": "some"}, "spec": {
        "replicas": 2, "podManagementPolicy": "Parallel", "serviceName": "some", "selector": {"matchLabels": {"a": "b"}},
        "template": {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]}}}}"#;
    plane.kubectl(&["create", "-f", "-"], set).expect("it is made");
    let pods = || plane.kubectl(&["get", "pods", "-o", "name"], "").expect("it answers");
    eventually("pods are made", pods, || (pods().lines().count() == 2).then_some(()));
    plane.kubectl(&["delete", "statefulset", "some"], "").expect("it is deleted");
    eventually("pods are collected", pods, || pods().is_empty().then_some(()));
}
