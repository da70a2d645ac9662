//! The operator's chart: rights, security, and what comes with what.

use rookery_charts::{Helm, Release, objects};
use serde_json::{Value, json};

use crate::support::{everything, of_kind, one, operator};

fn namespaced() -> Value {
    json!({"scope": "namespaces", "rbac": {"aggregate": false}})
}

/// All rules of all roles that the operator itself gets.
fn rules(objects: &[Value]) -> Vec<Value> {
    let own = |role: &&Value| {
        !role["metadata"]["labels"].as_object().unwrap().keys().any(|key| key.contains("aggregate-to"))
    };
    let roles =
        of_kind(objects, "Role").into_iter().chain(of_kind(objects, "ClusterRole").into_iter().filter(own));
    let mut rules: Vec<Value> = roles.flat_map(|role| role["rules"].as_array().unwrap().clone()).collect();
    rules.sort_by_key(ToString::to_string);
    rules
}

fn texts(list: &Value) -> Vec<&str> {
    list.as_array().into_iter().flatten().map(|text| text.as_str().unwrap()).collect()
}

#[test]
fn it_passes_helms_own_checks() {
    let Some(helm) = Helm::find_or_say() else { return };
    for values in [json!({}), namespaced(), everything()] {
        helm.lint("rookery-operator", &values).unwrap();
    }
}

#[test]
fn it_can_be_packed() {
    let Some(helm) = Helm::find_or_say() else { return };
    let into = tempfile::tempdir().unwrap();
    helm.package("rookery-operator", into.path()).unwrap();
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        into.path().join(format!("rookery-operator-{version}.tgz")).exists(),
        "the chart's version is the program's"
    );
}

#[test]
fn no_right_is_a_wildcard_or_leads_to_more_rights() {
    let Some(helm) = Helm::find_or_say() else { return };
    for values in [json!({}), namespaced()] {
        let rules = rules(&operator(&helm, &values));
        assert!(rules.len() > 5);
        for rule in &rules {
            let words =
                [texts(&rule["apiGroups"]), texts(&rule["resources"]), texts(&rule["verbs"])].concat();
            assert!(!words.contains(&"*"), "{rule}");
            for verb in ["escalate", "bind", "impersonate", "approve", "sign", "deletecollection"] {
                assert!(!words.contains(&verb), "{rule}");
            }
            // Each of them is a way to rights that the operator does not have, or to all machines.
            for resource in [
                "pods/exec",
                "pods/attach",
                "pods/portforward",
                "serviceaccounts/token",
                "nodes",
                "nodes/proxy",
                "roles",
                "rolebindings",
                "clusterroles",
                "clusterrolebindings",
                "persistentvolumes",
                "namespaces",
                "customresourcedefinitions",
                "mutatingwebhookconfigurations",
                "validatingwebhookconfigurations",
            ] {
                assert!(!words.contains(&resource), "{rule}");
            }
        }
    }
}

#[test]
fn nothing_of_a_release_for_namespaces_is_beyond_them() {
    let Some(helm) = Helm::find_or_say() else { return };
    let own = operator(&helm, &namespaced());
    assert!(own.iter().all(|object| object["metadata"]["namespace"] == "chat-system"), "{own:#?}");

    let named = operator(
        &helm,
        &json!({"scope": "namespaces", "namespaces": ["blue", "green"], "rbac": {"aggregate": false}}),
    );
    let places = |kind: &str| -> Vec<String> {
        let mut places: Vec<String> = of_kind(&named, kind)
            .iter()
            .map(|object| object["metadata"]["namespace"].as_str().unwrap().to_owned())
            .collect();
        places.sort();
        places
    };
    assert_eq!(places("Role"), ["blue", "chat-system", "green"]);
    assert_eq!(places("RoleBinding"), ["blue", "chat-system", "green"]);
    assert!(of_kind(&named, "ClusterRole").is_empty());
    let environment = one(&named, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"].clone();
    let watched = environment
        .as_array()
        .unwrap()
        .iter()
        .find(|variable| variable["name"] == "ROOKERY_OPERATOR__NAMESPACES");
    assert_eq!(watched.unwrap()["value"], "blue green");
}

#[test]
fn both_scopes_give_the_same_rights() {
    let Some(helm) = Helm::find_or_say() else { return };
    assert_eq!(rules(&operator(&helm, &json!({}))), rules(&operator(&helm, &namespaced())));
}

#[test]
fn the_pod_is_restricted() {
    let Some(helm) = Helm::find_or_say() else { return };
    for values in [json!({}), everything()] {
        let objects = operator(&helm, &values);
        let pod = &one(&objects, "Deployment")["spec"]["template"]["spec"];
        assert_eq!(
            pod["securityContext"],
            json!({"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}})
        );
        for part in ["hostNetwork", "hostPID", "hostIPC", "volumes", "initContainers"] {
            assert!(pod.get(part).is_none(), "{part}");
        }
        let containers = pod["containers"].as_array().unwrap();
        assert_eq!(containers.len(), 1);
        assert_eq!(
            containers[0]["securityContext"],
            json!({"allowPrivilegeEscalation": false, "readOnlyRootFilesystem": true, "capabilities": {"drop": ["ALL"]}})
        );
        assert!(containers[0]["resources"]["limits"]["memory"].is_string());
        assert!(
            containers[0]["livenessProbe"]["httpGet"].is_object()
                && containers[0]["readinessProbe"]["httpGet"].is_object()
        );
        // The token is given to this pod alone, not to all that use the ServiceAccount.
        assert_eq!(one(&objects, "ServiceAccount")["automountServiceAccountToken"], false);
        assert_eq!(pod["automountServiceAccountToken"], true);
    }
}

#[test]
fn a_disruption_budget_is_made_for_more_than_one_replica() {
    let Some(helm) = Helm::find_or_say() else { return };
    assert_eq!(of_kind(&operator(&helm, &json!({})), "PodDisruptionBudget").len(), 1);
    assert!(of_kind(&operator(&helm, &json!({"replicas": 1})), "PodDisruptionBudget").is_empty());
    assert!(
        of_kind(&operator(&helm, &json!({"podDisruptionBudget": {"enabled": false}})), "PodDisruptionBudget")
            .is_empty()
    );
}

#[test]
fn everything_that_selects_the_pods_selects_them() {
    let Some(helm) = Helm::find_or_say() else { return };
    let objects = operator(&helm, &everything());
    let labels = one(&objects, "Deployment")["spec"]["template"]["metadata"]["labels"].as_object().unwrap();
    let selectors = [
        &one(&objects, "Deployment")["spec"]["selector"]["matchLabels"],
        &one(&objects, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"],
        &of_kind(&objects, "PodMonitor")[0]["spec"]["selector"]["matchLabels"],
        &one(&objects, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"],
        &one(&objects, "Service")["spec"]["selector"],
    ];
    for selector in selectors {
        let selector = selector.as_object().unwrap();
        assert!(selector.len() >= 2);
        assert!(selector.iter().all(|(key, value)| labels.get(key) == Some(value)), "{selector:?}");
    }
    let service = one(&objects, "Service")["metadata"]["labels"].as_object().unwrap();
    let monitor = one(&objects, "ServiceMonitor")["spec"]["selector"]["matchLabels"].as_object().unwrap();
    assert!(monitor.iter().all(|(key, value)| service.get(key) == Some(value)));
}

#[test]
fn values_of_the_pod_do_not_replace_the_charts_own() {
    let Some(helm) = Helm::find_or_say() else { return };
    let values = json!({"podLabels": {"app.kubernetes.io/name": "mine", "team": "chat"}, "podAnnotations": {"note": "x"}});
    let objects = operator(&helm, &values);
    let metadata = &one(&objects, "Deployment")["spec"]["template"]["metadata"];
    assert_eq!(metadata["labels"]["app.kubernetes.io/name"], "rookery-operator");
    assert_eq!(metadata["labels"]["team"], "chat");
    assert_eq!(metadata["annotations"]["note"], "x");
}

#[test]
fn the_image_is_named_by_tag_or_digest() {
    let Some(helm) = Helm::find_or_say() else { return };
    let image = |values: &Value| {
        one(&operator(&helm, values), "Deployment")["spec"]["template"]["spec"]["containers"][0]["image"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(image(&json!({})), format!("rookery/operator:{}", env!("CARGO_PKG_VERSION")));
    assert_eq!(image(&json!({"image": {"tag": "2"}})), "rookery/operator:2");
    let digest = format!("sha256:{}", "f".repeat(64));
    assert_eq!(
        image(&json!({"image": {"tag": "2", "digest": digest}})),
        format!("rookery/operator@{digest}")
    );
}

#[test]
fn two_releases_in_two_namespaces_share_no_object() {
    let Some(helm) = Helm::find_or_say() else { return };
    let names = |namespace: &str| -> Vec<String> {
        let release = Release { name: "chat", namespace };
        let objects = objects(&helm.template("rookery-operator", &release, &json!({})).unwrap()).unwrap();
        let name = |object: &Value| {
            let metadata = &object["metadata"];
            format!("{} {} {}", object["kind"], metadata["namespace"], metadata["name"])
        };
        objects.iter().map(name).collect()
    };
    let (one, other) = (names("one"), names("other"));
    assert!(one.iter().all(|name| !other.contains(name)));
}

#[test]
fn the_clusters_own_roles_are_added_to() {
    let Some(helm) = Helm::find_or_say() else { return };
    let objects = operator(&helm, &json!({"rbac": {"create": false}}));
    let added: Vec<(String, Value)> = of_kind(&objects, "ClusterRole")
        .into_iter()
        .map(|role| {
            let labels = role["metadata"]["labels"].as_object().unwrap();
            let to: Vec<_> = labels
                .keys()
                .filter_map(|key| key.strip_prefix("rbac.authorization.k8s.io/aggregate-to-"))
                .collect();
            (to.join(" "), role["rules"].clone())
        })
        .collect();
    assert_eq!(added.iter().map(|(to, _)| to.as_str()).collect::<Vec<_>>(), ["view", "edit", "admin"]);
    assert!(texts(&added[0].1[0]["verbs"]).iter().all(|verb| ["get", "list", "watch"].contains(verb)));
    for (_, rules) in &added[1..] {
        for rule in rules.as_array().unwrap() {
            // What the operator says is not for others to write.
            assert!(
                texts(&rule["resources"])
                    .iter()
                    .all(|resource| !resource.ends_with("/status") && !resource.ends_with("/finalizers"))
            );
        }
    }
    assert!(
        of_kind(&operator(&helm, &json!({"rbac": {"aggregate": false, "create": false}})), "ClusterRole")
            .is_empty()
    );
}

#[test]
fn a_service_monitor_without_service_is_refused_with_a_sentence() {
    let Some(helm) = Helm::find_or_say() else { return };
    let values = json!({"serviceMonitor": {"enabled": true}, "management": {"service": {"enabled": false}}});
    let refusal = helm.template("rookery-operator", &crate::support::RELEASE, &values).unwrap_err();
    assert!(refusal.contains("serviceMonitor.enabled needs management.service.enabled"), "{refusal}");
}
