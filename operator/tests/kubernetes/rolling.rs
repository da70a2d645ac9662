//! Nodes are replaced and leave one by one. Kubernetes' own controllers make the pods; the machine that runs them, and the nodes in them,
//! are played here, with NodeAdmin as nodes really serve it, on addresses of this machine.

use std::{
    collections::{BTreeMap, HashMap},
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU8, Ordering},
    },
    time::Duration,
};

use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use kube::{
    Api, ResourceExt,
    api::{ListParams, Patch, PatchParams},
};
use rookery_crds::cluster::NodeState;
use rookery_protocol::peer::{
    DrainReply, DrainRequest, StatusReply, StatusRequest,
    node_admin_server::{NodeAdmin, NodeAdminServer},
};
use serde_json::{Value, json};
use tonic::{Request, Response, Status};

use crate::world::{World, run};

/// What happened, in order: `drains chat-blue-0`, `gone chat-blue-0 with 0 rooms`.
pub(crate) type Story = Arc<Mutex<Vec<String>>>;

/// A node that is played: with some rooms, of which each question takes one when it drains.
#[derive(Clone)]
struct Node {
    name: String,
    rooms: Arc<Mutex<(bool, u64)>>,
    story: Story,
}

#[tonic::async_trait]
impl NodeAdmin for Node {
    async fn drain(&self, request: Request<DrainRequest>) -> Result<Response<DrainReply>, Status> {
        assert!(request.metadata().contains_key("authorization"), "nodes know the operator by its token");
        assert!(request.into_inner().hold_seconds > 0, "it must not start anew before it is stopped");
        let mut rooms = self.rooms.lock().unwrap();
        let begun = !rooms.0;
        rooms.0 = true;
        if begun {
            self.story.lock().unwrap().push(format!("drains {}", self.name));
        }
        Ok(Response::new(DrainReply { begun }))
    }

    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let mut rooms = self.rooms.lock().unwrap();
        if rooms.0 {
            rooms.1 = rooms.1.saturating_sub(1);
        }
        let state = if rooms.0 { "draining" } else { "active" };
        Ok(Response::new(StatusReply { state: state.to_owned(), rooms: rooms.1, ..StatusReply::default() }))
    }
}

struct Played {
    node: Node,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Played {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Plays the machine: every pod of a node runs at once, unless its image is bad.
pub(crate) async fn play(pods: Api<Pod>, configs: Api<ConfigMap>, story: Story) {
    static NEXT: AtomicU8 = AtomicU8::new(1);
    let mut played: HashMap<String, Played> = HashMap::new();
    loop {
        let list =
            pods.list(&ListParams::default().labels("app.kubernetes.io/component=node")).await.unwrap();
        let there: Vec<String> = list.items.iter().filter_map(ResourceExt::uid).collect();
        played.retain(|uid, pod| {
            let stays = there.contains(uid);
            if !stays {
                let rooms = pod.node.rooms.lock().unwrap().1;
                story.lock().unwrap().push(format!("gone {} with {rooms} rooms", pod.node.name));
            }
            stays
        });
        let settings: Vec<_> =
            configs.list(&ListParams::default()).await.unwrap().iter().map(ResourceExt::name_any).collect();
        for pod in &list.items {
            let volumes = pod.spec.as_ref().and_then(|spec| spec.volumes.clone()).unwrap_or_default();
            for map in volumes.into_iter().filter_map(|volume| volume.config_map) {
                if !settings.contains(&map.name) && pods.get_opt(&pod.name_any()).await.unwrap().is_some() {
                    story.lock().unwrap().push(format!("lost {} of {}", map.name, pod.name_any()));
                }
            }
        }
        for pod in list.items {
            let (Some(uid), name) = (pod.uid(), pod.name_any()) else { continue };
            let image =
                pod.spec.as_ref().and_then(|spec| spec.containers[0].image.clone()).unwrap_or_default();
            let told = pod.status.as_ref().is_some_and(|status| status.container_statuses.is_some());
            if played.contains_key(&uid) || told || pod.metadata.deletion_timestamp.is_some() {
                continue;
            }
            let bad = image.ends_with("bad");
            // Of this run alone: nodes all have the same port.
            let [low, high, ..] = std::process::id().to_le_bytes();
            let number = NEXT.fetch_add(1, Ordering::Relaxed);
            let address = SocketAddr::from(([127, 128 + high % 64, low, number], 7070));
            let state = if bad {
                json!({ "waiting": { "reason": "ImagePullBackOff", "message": "no such image" } })
            } else {
                json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } })
            };
            if !bad {
                let rooms = Arc::new(Mutex::new((false, 3)));
                let node = Node { name: name.clone(), rooms, story: story.clone() };
                let service = NodeAdminServer::new(node.clone());
                let serve = tonic::transport::Server::builder().add_service(service).serve(address);
                let task = tokio::spawn(async move {
                    let _ = serve.await;
                });
                played.insert(uid, Played { node, task });
            }
            let ready = if bad { "False" } else { "True" };
            let status = json!({ "status": {
                "phase": if bad { "Pending" } else { "Running" },
                "podIP": address.ip().to_string(),
                "podIPs": [{ "ip": address.ip().to_string() }],
                "conditions": [{ "type": "Ready", "status": ready }],
                "containerStatuses": [{
                    "name": "node", "image": image, "imageID": "", "ready": !bad, "restartCount": 0, "state": state,
                }],
            } });
            // It may be gone by now.
            let _ = pods.patch_status(&name, &PatchParams::default(), &Patch::Merge(&status)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub(crate) fn configs(world: &World) -> Api<ConfigMap> {
    Api::namespaced(world.client.clone(), &world.namespace)
}

/// ConfigMaps of nodes.
async fn settings(world: &World) -> Vec<String> {
    let nodes = ListParams::default().labels("app.kubernetes.io/component=node");
    configs(world).list(&nodes).await.unwrap().iter().map(ResourceExt::name_any).collect()
}

pub(crate) fn spec(version: &str) -> Value {
    json!({
        "version": version,
        "shards": [{ "name": "blue", "replicas": 2 }, { "name": "green", "replicas": 1 }],
    })
}

async fn until_rolled(world: &World, version: &str, nodes: &str) {
    world
        .look_until("chat", "all nodes are as declared", async |world| {
            let status = world.clusters().get("chat").await.unwrap().status?;
            let updated = status.nodes.iter().all(|node| node.updated && node.state == NodeState::Ready);
            (status.version == version && status.nodes_ready == nodes && updated).then_some(())
        })
        .await;
}

#[test]
fn nodes_are_replaced_and_leave_one_by_one_with_nothing_left_in_them() {
    run(async |world| {
        let story = Story::default();
        let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
        let machine = tokio::spawn(play(pods.clone(), configs(&world), story.clone()));
        world.declare("chat", spec("1.0.0")).await.unwrap();
        until_rolled(&world, "1.0.0", "3/3").await;
        assert_eq!(world.condition("chat", "Available").await.0, "True");

        // A bad version stops at one node, which is named.
        world.declare("chat", spec("1.0.1-bad")).await.unwrap();
        let message = world
            .look_until("chat", "the bad node is told of", async |world| {
                let (_, reason, message) = world.condition("chat", "Degraded").await;
                (reason == "NodeStuck").then_some(message)
            })
            .await;
        assert!(
            message.contains("chat-green-0: ImagePullBackOff: no such image")
                || message.contains("ImagePullBackOff"),
            "{message}"
        );
        for _ in 0..5 {
            world.look("chat").await;
        }
        let status = world.clusters().get("chat").await.unwrap().status.unwrap();
        assert_eq!((status.nodes_ready.as_str(), status.version.as_str()), ("2/3", "1.0.0"));

        // The good one after it needs nobody. It has other settings, too: those that run keep theirs until they are replaced.
        check_settings(&std::mem::take(&mut *story.lock().unwrap()));
        let before = settings(&world).await;
        assert_eq!(before.len(), 1);
        let mut good = spec("1.0.2");
        good["auth"] = json!({ "codeDigits": 8 });
        world.declare("chat", good).await.unwrap();
        world.look("chat").await;
        assert_eq!(settings(&world).await.len(), 2, "old nodes may start again");
        until_rolled(&world, "1.0.2", "3/3").await;
        let told = std::mem::take(&mut *story.lock().unwrap());
        let drains: Vec<_> = told.iter().filter(|line| line.starts_with("drains")).collect();
        assert_eq!(drains.len(), 2, "{told:?}");
        check(&told);
        world.look("chat").await;
        let after = settings(&world).await;
        assert!(after.len() == 1 && after != before, "{before:?} {after:?}");
        let writes = world.writes().len();
        for _ in 0..3 {
            world.look("chat").await;
        }
        assert_eq!(world.writes().len(), writes, "and then it rests");

        // Fewer: the StatefulSet becomes smaller when the node is empty, and not before.
        let mut fewer = spec("1.0.2");
        fewer["auth"] = json!({ "codeDigits": 8 });
        fewer["shards"][0]["replicas"] = 1.into();
        world.declare("chat", fewer.clone()).await.unwrap();
        world.look("chat").await;
        assert_eq!(world.objects("StatefulSet").get("chat-blue").await.unwrap().data["spec"]["replicas"], 2);
        until_rolled(&world, "1.0.2", "2/2").await;
        check(&std::mem::take(&mut *story.lock().unwrap()));

        // And a whole shard.
        fewer["shards"] = json!([{ "name": "blue", "replicas": 1 }]);
        world.declare("chat", fewer).await.unwrap();
        until_rolled(&world, "1.0.2", "1/1").await;
        check(&std::mem::take(&mut *story.lock().unwrap()));
        world
            .look_until("chat", "the shard's StatefulSet is gone", async |world| {
                world.objects("StatefulSet").get_opt("chat-green").await.unwrap().is_none().then_some(())
            })
            .await;
        machine.abort();
        let events = world.kubectl(&["get", "events"]);
        for reason in ["NodeDraining", "NodeReplaced", "NodeStuck"] {
            assert!(events.contains(reason), "{reason} is not among\n{events}");
        }
        // Each says its own, also where the reason is the same.
        for note in [
            "chat-blue-0 hands its rooms over: it is to be replaced",
            "chat-blue-1 hands its rooms over: it is to be replaced",
            "chat-blue-1 hands its rooms over: there are to be fewer nodes",
            "chat-green-0 hands its rooms over: there are to be fewer nodes",
        ] {
            assert!(events.contains(note), "{note} is not among\n{events}");
        }
    });
}

/// A node that should have drained long ago is stopped all the same. That is told as long as nodes are being replaced.
#[test]
fn a_drain_that_is_overdue_is_told_until_all_are_replaced() {
    run(async |world| {
        let story = Story::default();
        let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
        let machine = tokio::spawn(play(pods.clone(), configs(&world), story.clone()));
        world.declare("chat", spec("1.0.0")).await.unwrap();
        until_rolled(&world, "1.0.0", "3/3").await;
        let note = json!({ "metadata": { "annotations": { "rookery.chat/draining-since": "2026-01-01T00:00:00Z" } } });
        pods.patch("chat-green-0", &PatchParams::default(), &Patch::Merge(&note)).await.unwrap();
        world.declare("chat", spec("1.0.1")).await.unwrap();
        let mut told = 0;
        world
            .look_until("chat", "all nodes are replaced", async |world| {
                let status = world.clusters().get("chat").await.unwrap().status?;
                let (_, reason, message) = world.condition("chat", "Degraded").await;
                let done =
                    status.nodes_ready == "3/3" && reason == "NothingWrong" && status.version == "1.0.1";
                if done {
                    return Some(());
                }
                assert!(["DrainOverdue", "NothingWrong"].contains(&&*reason), "{reason}: {message}");
                // Once it is told it stays so.
                assert!(told == 0 || reason == "DrainOverdue", "{status:#?}");
                told += i32::from(reason == "DrainOverdue");
                None
            })
            .await;
        assert!(told > 1, "it was told once alone");
        machine.abort();
    });
}

/// No pod was without the settings that it was made for.
fn check_settings(story: &[String]) {
    assert!(!story.iter().any(|line| line.starts_with("lost")), "{story:?}");
}

/// Every node that ran was empty when it went, and no two were on their way at once.
pub(crate) fn check(story: &[String]) {
    check_settings(story);
    let mut draining = BTreeMap::new();
    for line in story {
        let name = line.split(' ').nth(1).unwrap_or_default().to_owned();
        if line.starts_with("drains") {
            assert!(draining.is_empty(), "{name} drains while {draining:?} does: {story:?}");
            draining.insert(name, ());
        } else {
            assert!(line.ends_with("with 0 rooms"), "{line}: {story:?}");
            assert!(draining.remove(&name).is_some(), "{name} was not drained: {story:?}");
        }
    }
}
