//! Managed servers are rolled by Kubernetes, which waits for one that cannot run. The machine that runs them is played here.

use std::{collections::BTreeMap, time::Duration};

use k8s_openapi::api::core::v1::Pod;
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use serde_json::{Value, json};

use crate::world::{World, run};

const STORES: [(&str, i32); 3] = [("etcd", 3), ("nats", 3), ("redis", 1)];

fn servers() -> ListParams {
    ListParams::default().labels("app.kubernetes.io/component in (etcd,nats,redis)")
}

fn image(pod: &Pod) -> String {
    pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone()).unwrap_or_default()
}

/// Plays the machine: every pod of a server runs at once, unless its image is bad.
async fn play(pods: Api<Pod>) {
    loop {
        for pod in pods.list(&servers()).await.unwrap() {
            if pod.status.as_ref().is_some_and(|status| status.container_statuses.is_some()) {
                continue;
            }
            let (image, bad) = (image(&pod), image(&pod).ends_with(":bad"));
            let state = if bad {
                json!({ "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } })
            } else {
                json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } })
            };
            let status = json!({ "status": {
                "phase": if bad { "Pending" } else { "Running" },
                "conditions": [{ "type": "Ready", "status": if bad { "False" } else { "True" } }],
                "containerStatuses": [{
                    "name": pod.labels()["app.kubernetes.io/component"], "image": image, "imageID": "", "ready": !bad,
                    "restartCount": 0, "state": state,
                }],
            } });
            // It may be gone by now.
            let _ = pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(&status)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn spec(image: &str) -> Value {
    let managed = |store: &str| json!({ "managed": { "image": format!("{store}:{image}") } });
    let mut spec = json!({ "version": "1.0.0", "replicas": 1 });
    for (store, _) in STORES {
        spec[store] = managed(store);
    }
    spec
}

/// Image and uid of each server's pod.
async fn seen(pods: &Api<Pod>) -> BTreeMap<String, (String, String)> {
    let list = pods.list(&servers()).await.unwrap();
    list.into_iter().map(|pod| (pod.name_any(), (image(&pod), pod.uid().unwrap()))).collect()
}

async fn until_all_run(world: &World, pods: &Api<Pod>, image: &str) {
    world
        .look_until("chat", "all servers have the image and are ready", async |world| {
            for (store, replicas) in STORES {
                let set = world.objects("StatefulSet").get(&format!("chat-{store}")).await.unwrap();
                if set.data["status"]["readyReplicas"] != replicas {
                    return None;
                }
            }
            let seen = seen(pods).await;
            let all = seen.iter().all(|(_, (own, _))| own.ends_with(&format!(":{image}")));
            (seen.len() == 7 && all).then_some(())
        })
        .await;
}

#[test]
fn after_a_bad_image_a_good_one_needs_nobody() {
    run(async |world| {
        let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
        let machine = tokio::spawn(play(pods.clone()));
        world.declare("chat", spec("1")).await.unwrap();
        until_all_run(&world, &pods, "1").await;

        // Of each kind the first one that is replaced cannot run, and the others are left as they are.
        world.declare("chat", spec("bad")).await.unwrap();
        let bad = ["chat-etcd-2", "chat-nats-2", "chat-redis-0"];
        world
            .look_until("chat", "the bad ones are told", async |world| {
                let (_, reason, message) = world.condition("chat", "Degraded").await;
                let told =
                    |name: &&str| message.contains(&format!("{name}: ImagePullBackOff: no such image"));
                (reason == "PartStuck" && bad.iter().all(told)).then_some(())
            })
            .await;
        let before = seen(&pods).await;
        for _ in 0..5 {
            world.look("chat").await;
        }
        assert_eq!(seen(&pods).await, before, "there is nothing better for them");
        let deleted = || -> Vec<String> {
            let words = |write: &String| write.split(' ').nth(1).unwrap_or_default().to_owned();
            let all = world.writes();
            let mut all: Vec<_> =
                all.iter().filter(|write| write.starts_with("delete pods/")).map(words).collect();
            all.sort();
            all
        };
        assert_eq!(deleted(), Vec::<String>::new());

        world.declare("chat", spec("2")).await.unwrap();
        until_all_run(&world, &pods, "2").await;
        machine.abort();
        // Those that ran were replaced by Kubernetes, one after the other.
        let deleted = deleted();
        let may = |pod: &String| bad.iter().any(|name| *pod == format!("pods/{name}"));
        assert!(deleted.contains(&"pods/chat-redis-0".to_owned()) && deleted.iter().all(may), "{deleted:?}");
        let events = world.kubectl(&["get", "events"]);
        assert!(events.contains("chat-redis-0 cannot run and is replaced at once"), "{events}");
    });
}
