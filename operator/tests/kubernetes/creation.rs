//! From a manifest to all that it takes; and nothing after that.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Patch, PatchParams},
};
use rookery_operator::cluster::reconcile;
use serde_json::{Value, json};

use crate::world::{World, run};

pub(crate) fn example(name: &str) -> Value {
    let path = format!("{}/examples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let example: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    example["spec"].clone()
}

/// Looks until the operator has nothing to write any more.
pub(crate) async fn settle(world: &World, name: &str) {
    let mut before = usize::MAX;
    for _ in 0..20 {
        world.look(name).await;
        let now = world.writes().len();
        if now == before {
            return;
        }
        before = now;
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    panic!("it writes again and again: {:#?}", world.writes());
}

/// The one ConfigMap of ours whose name begins so.
async fn config(world: &World, begins: &str) -> String {
    let names = world
        .all()
        .await
        .into_iter()
        .filter_map(|(name, _)| Some(name.strip_prefix("ConfigMap/")?.to_owned()));
    let mut found: Vec<_> = names.filter(|name| name.starts_with(begins)).collect();
    assert_eq!(found.len(), 1, "{found:?}");
    found.remove(0)
}

#[test]
fn everything_is_made_and_a_second_look_writes_nothing() {
    run(async |world| {
        world.declare("tea", example("laptop")).await.unwrap();
        world.look("tea").await;
        let names: Vec<_> = world.all().await.into_iter().map(|(name, _)| name).collect();
        for wanted in [
            "ConfigMap/tea-nats-",
            "ConfigMap/tea-node-",
            "ConfigMap/tea-redis-",
            "Ingress/tea-client",
            "NetworkPolicy/tea-node",
            "Secret/tea-internal",
            "Service/tea-client",
            "Service/tea-etcd",
            "Service/tea-nats",
            "Service/tea-peers",
            "Service/tea-redis",
            "ServiceAccount/tea-node",
            "StatefulSet/tea-etcd",
            "StatefulSet/tea-main",
            "StatefulSet/tea-nats",
            "StatefulSet/tea-redis",
        ] {
            let found = |name: &String| name == wanted || wanted.ends_with('-') && name.starts_with(wanted);
            assert!(names.iter().any(found), "{wanted} is missing in {names:#?}");
        }
        assert!(!names.iter().any(|name| name.starts_with("PodDisruptionBudget")), "one of each: {names:#?}");
        settle(&world, "tea").await;
        let (objects, writes) = (world.all().await, world.writes());
        for _ in 0..3 {
            world.look("tea").await;
        }
        let new = world.writes().split_off(writes.len());
        assert_eq!(new, Vec::<String>::new(), "a look at what is as it is to be wrote something");
        assert_eq!(objects, world.all().await);
        // Kubernetes' own controllers take the pods as they are: `restricted` is enforced here.
        let pods = world
            .look_until("tea", "pods are made", async |world| {
                let pods = world.kubectl(&["get", "pods", "-o", "name"]);
                (pods.lines().count() == 4).then_some(pods)
            })
            .await;
        assert!(pods.contains("pod/tea-main-0"), "{pods}");
        let (status, reason, message) = world.condition("tea", "Ready").await;
        assert_eq!((status.as_str(), reason.as_str()), ("False", "Starting"), "{message}");
        assert_eq!(world.condition("tea", "Available").await.1, "NoNodeReady");
    });
}

#[test]
fn the_whole_example_with_everything_external_is_accepted() {
    run(async |world| {
        let mut spec = example("external");
        world.kubernetes.kubectl(&["create", "priorityclass", "chat", "--value=1"], "").unwrap();
        // There is no Gateway API here: told, and the rest is made.
        world.declare("big", spec.clone()).await.unwrap();
        world.look("big").await;
        let (status, reason, message) = world.condition("big", "Degraded").await;
        assert_eq!((status.as_str(), reason.as_str()), ("True", "ConfigMapMissing"), "{message}");
        for name in
            ["nats-credentials", "authority", "big-client", "etcd-user", "redis", "engines", "corporate-ca"]
        {
            assert!(message.contains(name), "{name} is not named: {message}");
        }
        // What reads none of it is made, and no pod that would not start.
        let names: Vec<_> = world.all().await.into_iter().map(|(name, _)| name).collect();
        assert!(names.contains(&"Service/big-client".to_owned()), "{names:#?}");
        let workload = |name: &&String| name.starts_with("StatefulSet") || name.starts_with("Deployment");
        assert_eq!(names.iter().find(workload), None);
        world.secret("nats-credentials", &["rookery.creds"]).await;
        world.secret("authority", &["ca.crt"]).await;
        world.secret("corporate-ca", &["ca.crt"]).await;
        world.secret("big-client", &["tls.crt", "tls.key"]).await;
        world.secret("etcd-user", &["username", "password"]).await;
        world.secret("redis", &["password"]).await;
        world.secret("engines", &["deepl", "azure", "google.json"]).await;
        let map =
            json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "mail-templates" } });
        let params = PatchParams::apply("somebody");
        world.objects("ConfigMap").patch("mail-templates", &params, &Patch::Apply(&map)).await.unwrap();
        world.look("big").await;
        let (_, reason, message) = world.condition("big", "Degraded").await;
        assert_eq!(
            (reason.as_str(), message.contains("Secret redis has no key sentinel: add it")),
            ("SecretMissing", true),
            "{message}"
        );
        world.secret("redis", &["password", "sentinel"]).await;
        world.look("big").await;
        let (_, reason, _) = world.condition("big", "Degraded").await;
        assert_eq!(reason, "GatewayApiMissing");
        spec.as_object_mut().unwrap().remove("gateway");
        world.declare("big", spec.clone()).await.unwrap();
        world.look("big").await;
        let (_, reason, message) = world.condition("big", "Degraded").await;
        assert_eq!(reason, "PrometheusOperatorMissing");
        assert!(message.starts_with("spec.monitoring.podMonitor needs the Prometheus operator"), "{message}");
        spec.as_object_mut().unwrap().remove("monitoring");
        // Without `force` a field that somebody no longer declares goes.
        world.declare("big", spec).await.unwrap();
        settle(&world, "big").await;
        assert_eq!(world.condition("big", "Degraded").await.1, "NothingWrong");
        let names: Vec<_> = world.all().await.into_iter().map(|(name, _)| name).collect();
        for wanted in [
            "StatefulSet/big-blue",
            "StatefulSet/big-green",
            "Deployment/big-mailer",
            "Deployment/big-translator",
        ] {
            assert!(names.iter().any(|name| name == wanted), "{wanted} is missing in {names:#?}");
        }
        assert!(
            !names.iter().any(|name| name.contains("big-nats") || name.contains("big-redis")),
            "{names:#?}"
        );
    });
}

#[test]
fn what_others_change_is_repaired_and_what_they_add_stays() {
    run(async |world| {
        world.declare("tea", example("laptop")).await.unwrap();
        settle(&world, "tea").await;
        let change = PatchParams { field_manager: Some("somebody".into()), ..PatchParams::default() };
        let sets = world.objects("StatefulSet");
        let patch = json!({
            "metadata": { "labels": { "team": "chat" } },
            "spec": { "updateStrategy": { "type": "RollingUpdate" }, "template": { "spec": { "terminationGracePeriodSeconds": 1 } } },
        });
        sets.patch("tea-main", &change, &Patch::Merge(&patch)).await.unwrap();
        // Settings cannot be changed; but thrown away.
        let maps = world.objects("ConfigMap");
        let map = config(&world, "tea-node-").await;
        let patch = json!({ "data": { "node.toml": "broken" } });
        let refused = maps.patch(&map, &change, &Patch::Merge(&patch)).await.unwrap_err().to_string();
        assert!(refused.contains("immutable"), "{refused}");
        maps.delete(&map, &DeleteParams::default()).await.unwrap();
        world.objects("Service").delete("tea-client", &DeleteParams::default()).await.unwrap();
        world.look("tea").await;
        let set = sets.get("tea-main").await.unwrap();
        assert_eq!(set.data["spec"]["updateStrategy"]["type"], "OnDelete");
        assert_eq!(set.data["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 55);
        assert_eq!(set.labels()["team"], "chat");
        let map = maps.get(&map).await.unwrap();
        assert!(map.data["data"]["node.toml"].as_str().unwrap().contains("[cluster]"));
        assert!(world.objects("Service").get_opt("tea-client").await.unwrap().is_some());
        settle(&world, "tea").await;
    });
}

#[test]
fn what_belongs_to_others_is_left_alone() {
    run(async |world| {
        let theirs = json!({
            "apiVersion": "v1", "kind": "Service", "metadata": { "name": "tea-client" },
            "spec": { "ports": [{ "port": 1 }] },
        });
        let params = PatchParams::apply("somebody");
        world.objects("Service").patch("tea-client", &params, &Patch::Apply(&theirs)).await.unwrap();
        world.declare("tea", example("laptop")).await.unwrap();
        world.look("tea").await;
        let (status, reason, message) = world.condition("tea", "Degraded").await;
        assert_eq!((status.as_str(), reason.as_str()), ("True", "NameTaken"), "{message}");
        assert!(message.contains("Service tea-client is there already"), "{message}");
        let service = world.objects("Service").get("tea-client").await.unwrap();
        assert_eq!(service.data["spec"]["ports"][0]["port"], 1);
        // The rest is made all the same, and once the name is free this, too.
        assert!(world.objects("StatefulSet").get_opt("tea-main").await.unwrap().is_some());
        world.objects("Service").delete("tea-client", &DeleteParams::default()).await.unwrap();
        world.look("tea").await;
        assert_eq!(world.condition("tea", "Degraded").await.0, "False");
    });
}

#[test]
fn a_secret_of_somebody_else_keeps_back_those_alone_who_would_read_it() {
    run(async |world| {
        world.secret("tea-internal", &["mine"]).await;
        world.declare("tea", example("laptop")).await.unwrap();
        world.look("tea").await;
        let (status, reason, message) = world.condition("tea", "Degraded").await;
        assert_eq!((status.as_str(), reason.as_str()), ("True", "NameTaken"), "{message}");
        assert!(message.contains("Secret tea-internal is there already"), "{message}");
        assert!(world.objects("StatefulSet").get_opt("tea-etcd").await.unwrap().is_some());
        assert!(world.objects("StatefulSet").get_opt("tea-nats").await.unwrap().is_none());
        let secret = world.objects("Secret").get("tea-internal").await.unwrap();
        assert_eq!(secret.data["data"].as_object().unwrap().len(), 1);
        world.objects("Secret").delete("tea-internal", &DeleteParams::default()).await.unwrap();
        settle(&world, "tea").await;
        assert_eq!(world.condition("tea", "Degraded").await.1, "NothingWrong");
    });
}

/// A ChatCluster that is deleted and made anew at once does not take over what is about to go with the old one.
#[test]
fn what_a_former_cluster_of_the_name_left_is_waited_for() {
    run(async |world| {
        world.declare("tea", example("laptop")).await.unwrap();
        settle(&world, "tea").await;
        let password = async || {
            let secret = world.objects("Secret").get_opt("tea-internal").await.unwrap()?;
            Some((secret.uid().unwrap(), secret.data["data"]["nats-password"].as_str()?.to_owned()))
        };
        let old = password().await.unwrap();
        // It stays a while.
        let change = PatchParams::default();
        let finalizers = |all: Value| Patch::Merge(json!({ "metadata": { "finalizers": all } }));
        let hold = finalizers(json!(["example.org/hold"]));
        world.objects("Secret").patch("tea-internal", &change, &hold).await.unwrap();
        world.clusters().delete("tea", &DeleteParams::background()).await.unwrap();
        world.declare("tea", example("laptop")).await.unwrap();
        let waits = world
            .look_until("tea", "the old Secret is waited for", async |world| {
                let status = world.clusters().get("tea").await.unwrap().status?;
                status.waits_for.into_iter().map(|wait| wait.what).find(|what| what.contains("tea-internal"))
            })
            .await;
        assert_eq!(waits, "Secret tea-internal of a former ChatCluster of this name is being deleted");
        assert_eq!(world.condition("tea", "Degraded").await.0, "False");
        assert_eq!(password().await.unwrap(), old, "nobody writes to it");
        world.objects("Secret").patch("tea-internal", &change, &finalizers(Value::Null)).await.unwrap();
        let uid = world.clusters().get("tea").await.unwrap().uid();
        world
            .look_until("tea", "the servers are made with the new Secret", async |world| {
                let set = world.objects("StatefulSet").get_opt("tea-nats").await.unwrap()?;
                (Some(&set.owner_references()[0].uid) == uid.as_ref()).then_some(())
            })
            .await;
        let new = password().await.unwrap();
        assert!(new.0 != old.0 && new.1 != old.1);
        settle(&world, "tea").await;
        assert_eq!(password().await.unwrap(), new);
    });
}

/// What the operator may not do is told, also when that is to look at all.
#[test]
fn what_the_operator_may_not_do_is_told() {
    run(async |world| {
        let may = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": { "name": "little" },
            "rules": [
                { "apiGroups": ["rookery.chat"], "resources": ["chatclusters", "chatclusters/status"], "verbs": ["get", "list", "patch"] },
            ],
        });
        let user = format!("little-{}", world.namespace);
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": { "name": "little" },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "little" },
            "subjects": [{ "kind": "User", "apiGroup": "rbac.authorization.k8s.io", "name": user }],
        });
        for object in [may, binding] {
            world
                .kubernetes
                .kubectl(&["-n", &world.namespace, "create", "-f", "-"], &object.to_string())
                .unwrap();
        }
        let little = world.operator_as(&user).await;
        world.declare("tea", example("laptop")).await.unwrap();
        let cluster = Arc::new(world.clusters().get("tea").await.unwrap());
        reconcile(cluster, little.clone()).await.unwrap();
        let (status, reason, message) = world.condition("tea", "Ready").await;
        assert_eq!((status.as_str(), reason.as_str()), ("False", "Refused"), "{message}");
        assert!(message.starts_with("cannot list ") && message.contains("forbidden"), "{message}");
        assert_eq!(world.condition("tea", "Degraded").await.1, "Refused");
        // What it may not write is told beside what it can.
        let more = json!({ "rules": [
            { "apiGroups": ["rookery.chat"], "resources": ["chatclusters", "chatclusters/status"], "verbs": ["get", "list", "patch"] },
            { "apiGroups": ["", "apps", "policy", "networking.k8s.io", "gateway.networking.k8s.io"], "resources": ["*"], "verbs": ["get", "list"] },
            { "apiGroups": [""], "resources": ["secrets", "services"], "verbs": ["create", "patch"] },
        ] });
        let roles = world.any("rbac.authorization.k8s.io/v1", "Role", "roles");
        roles.patch("little", &PatchParams::default(), &Patch::Merge(&more)).await.unwrap();
        let deadline = std::time::Instant::now() + crate::world::PATIENCE;
        let message = loop {
            let cluster = Arc::new(world.clusters().get("tea").await.unwrap());
            reconcile(cluster, little.clone()).await.unwrap();
            let (_, reason, message) = world.condition("tea", "Degraded").await;
            if reason == "ApplyRefused" {
                break message;
            }
            assert!(std::time::Instant::now() < deadline, "{reason}: {message}");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        };
        assert!(message.contains("StatefulSet") || message.contains("ServiceAccount"), "{message}");
        assert!(world.objects("Service").get_opt("tea-client").await.unwrap().is_some());
    });
}

#[test]
fn our_own_object_without_its_label_stays_ours() {
    run(async |world| {
        world.declare("tea", example("laptop")).await.unwrap();
        settle(&world, "tea").await;
        let change = PatchParams { field_manager: Some("somebody".into()), ..PatchParams::default() };
        let patch = json!({ "metadata": { "labels": { "rookery.chat/cluster": null } } });
        let services = world.objects("Service");
        let before = services.patch("tea-client", &change, &Patch::Merge(&patch)).await.unwrap();
        assert!(!before.labels().contains_key("rookery.chat/cluster"));
        world.look("tea").await;
        assert_eq!(world.condition("tea", "Degraded").await.1, "NothingWrong");
        let after = services.get("tea-client").await.unwrap();
        assert_eq!((after.labels()["rookery.chat/cluster"].as_str(), after.uid()), ("tea", before.uid()));
    });
}

#[test]
fn what_is_deleted_goes_with_all_that_it_has() {
    run(async |world| {
        let mut spec = example("laptop");
        for (store, keep) in [("etcd", "Delete"), ("nats", "Retain"), ("redis", "Delete")] {
            spec[store]["managed"]["storage"]["whenDeleted"] = keep.into();
        }
        world.declare("tea", spec).await.unwrap();
        let volumes = || -> Vec<String> {
            let names = world.kubectl(&["get", "pvc", "-o", "name"]);
            names.lines().map(|line| line.rsplit('/').next().unwrap_or_default().to_owned()).collect()
        };
        // Kubernetes' own controllers make them, and note on them what is to become of them.
        world
            .look_until("tea", "there are volumes", async |world| {
                let noted = world.kubectl(&[
                    "get",
                    "pvc",
                    "-o",
                    "jsonpath={.items[*].metadata.ownerReferences[*].name}",
                ]);
                (volumes().len() == 3 && noted == "tea-etcd tea-redis").then_some(())
            })
            .await;
        settle(&world, "tea").await;
        world.clusters().delete("tea", &DeleteParams::background()).await.unwrap();
        let deadline = std::time::Instant::now() + crate::world::PATIENCE;
        loop {
            let (left, volumes) = (world.all().await, volumes());
            if left.is_empty() && volumes == ["data-tea-nats-0"] {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "these stay: {left:#?} {volumes:?}");
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    });
}

#[test]
fn what_cannot_be_made_is_told_with_kubernetes_own_words() {
    run(async |world| {
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none" }, "spec": { "hard": { "pods": "0" } },
        });
        world.kubernetes.kubectl(&["-n", &world.namespace, "create", "-f", "-"], &quota.to_string()).unwrap();
        world.declare("tea", example("laptop")).await.unwrap();
        let message = world
            .look_until("tea", "the refusal is told", async |world| {
                let (_, reason, message) = world.condition("tea", "Degraded").await;
                (reason == "NodeStuck").then_some(message)
            })
            .await;
        assert!(
            message.starts_with("tea-main-0 cannot be made: ") && message.contains("exceeded quota"),
            "{message}"
        );
    });
}

#[test]
fn servers_that_cannot_run_are_told() {
    run(async |world| {
        world.declare("tea", example("laptop")).await.unwrap();
        world
            .look_until("tea", "pods are made", async |world| {
                world.kubectl(&["get", "pods", "-o", "name"]).contains("tea-nats-0").then_some(())
            })
            .await;
        let status = json!({ "status": { "phase": "Pending", "containerStatuses": [{
            "name": "nats", "image": "nats:2.15", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } },
        }] } });
        let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
        pods.patch_status("tea-nats-0", &PatchParams::default(), &Patch::Merge(&status)).await.unwrap();
        world.look("tea").await;
        let (_, reason, message) = world.condition("tea", "Degraded").await;
        assert_eq!(
            (reason.as_str(), message.as_str()),
            ("PartStuck", "tea-nats-0: ImagePullBackOff: no such image")
        );
    });
}
