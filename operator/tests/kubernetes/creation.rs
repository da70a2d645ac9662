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

fn example(name: &str) -> Value {
    let path = format!("{}/examples/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
    let example: Value = serde_saphyr::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    example["spec"].clone()
}

/// Looks until the operator has nothing to write any more.
async fn settle(world: &World, name: &str) {
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

#[test]
fn everything_is_made_and_a_second_look_writes_nothing() {
    run(async |world| {
        world.declare("tea", example("laptop")).await.unwrap();
        world.look("tea").await;
        let names: Vec<_> = world.all().await.into_iter().map(|(name, _)| name).collect();
        for wanted in [
            "ConfigMap/tea-nats",
            "ConfigMap/tea-node",
            "ConfigMap/tea-redis",
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
            assert!(names.iter().any(|name| name == wanted), "{wanted} is missing in {names:#?}");
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
        for name in ["nats-credentials", "authority", "big-client", "etcd-user", "redis", "engines"] {
            assert!(message.contains(name), "{name} is not named: {message}");
        }
        assert_eq!(world.writes().len(), 1, "nothing is made before it can be: {:#?}", world.writes());
        world.secret("nats-credentials", &["rookery.creds"]).await;
        world.secret("authority", &["ca.crt"]).await;
        world.secret("big-client", &["tls.crt", "tls.key"]).await;
        world.secret("etcd-user", &["username", "password"]).await;
        world.secret("redis", &["password"]).await;
        world.secret("engines", &["deepl", "azure"]).await;
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
            !names.iter().any(|name| name.contains("big-nats") || name.contains("internal")),
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
        let patch = json!({ "data": { "node.toml": "broken", "note": "mine" } });
        world.objects("ConfigMap").patch("tea-node", &change, &Patch::Merge(&patch)).await.unwrap();
        world.objects("Service").delete("tea-client", &DeleteParams::default()).await.unwrap();
        world.look("tea").await;
        let set = sets.get("tea-main").await.unwrap();
        assert_eq!(set.data["spec"]["updateStrategy"]["type"], "OnDelete");
        assert_eq!(set.data["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 115);
        assert_eq!(set.labels()["team"], "chat");
        let map = world.objects("ConfigMap").get("tea-node").await.unwrap();
        assert!(map.data["data"]["node.toml"].as_str().unwrap().contains("[cluster]"));
        assert_eq!(map.data["data"]["note"], "mine");
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
fn a_look_that_ends_anywhere_is_gone_on_with() {
    run(async |world| {
        world.declare("tea", example("laptop")).await.unwrap();
        // As if the operator was killed after the first write, the second, and so on: its task is dropped.
        for writes in 1.. {
            let cluster = Arc::new(world.clusters().get("tea").await.unwrap());
            let look = reconcile(cluster, world.context.clone());
            let enough = async {
                while world.writes().len() < writes {
                    tokio::time::sleep(std::time::Duration::from_millis(2)).await;
                }
            };
            tokio::select! {
                done = look => {
                    done.unwrap();
                    break;
                }
                () = enough => {}
            }
        }
        settle(&world, "tea").await;
        let repeated: Vec<_> =
            world.writes().into_iter().filter(|write| write.starts_with("create")).collect();
        assert_eq!(repeated, ["create secrets/tea-internal 201"]);
    });
}

#[test]
fn what_is_deleted_goes_with_all_that_it_has() {
    run(async |world| {
        world.declare("tea", example("laptop")).await.unwrap();
        settle(&world, "tea").await;
        world.clusters().delete("tea", &DeleteParams::background()).await.unwrap();
        let deadline = std::time::Instant::now() + crate::world::PATIENCE;
        loop {
            let left = world.all().await;
            if left.is_empty() {
                break;
            }
            assert!(std::time::Instant::now() < deadline, "these stay: {left:#?}");
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
