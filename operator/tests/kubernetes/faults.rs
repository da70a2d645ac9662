//! The operator is killed between any two writes, and any call of it fails in any way: then it goes on, and everything arrives.

use std::sync::Arc;

use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use rookery_crds::cluster::NodeState;
use rookery_operator::cluster::reconcile;
use serde_json::{Value, json};

use crate::{
    creation::{example, settle},
    meddler::{Calls, Fault, Meddler},
    rolling::{Story, check, configs, play, spec},
    world::{PATIENCE, World, run},
};

#[test]
fn who_is_killed_after_each_write_makes_everything_once() {
    run(async |world| {
        world.declare("tea", example("laptop")).await.unwrap();
        let mut kills = 0;
        while world.look_and_be_killed("tea").await {
            kills += 1;
            assert!(kills < 100, "{:#?}", world.writes());
        }
        assert!(kills > 20, "{kills}");
        settle(&world, "tea").await;
        let writes = world.writes();
        let repeated: Vec<_> = writes.iter().filter(|write| write.starts_with("create")).collect();
        assert_eq!(repeated, ["create secrets/tea-internal 201"]);
        // Nothing was written twice but the status.
        let mut others: Vec<_> = writes.iter().filter(|write| !write.contains("/status ")).collect();
        let all = others.len();
        others.sort();
        others.dedup();
        assert_eq!(all, others.len(), "{writes:#?}");
        // And what goes goes.
        let mut less = example("laptop");
        less.as_object_mut().unwrap().remove("ingress");
        less["networkPolicy"] = json!({ "enabled": false });
        world.declare("tea", less).await.unwrap();
        let mut kills = 0;
        while world.look_and_be_killed("tea").await {
            kills += 1;
            assert!(kills < 100, "{:#?}", world.writes());
        }
        assert!(kills >= 5, "{kills}");
        let left: Vec<_> = world.all().await.into_iter().map(|(name, _)| name).collect();
        assert!(
            !left.iter().any(|name| name.starts_with("Ingress") || name.starts_with("NetworkPolicy")),
            "{left:?}"
        );
    });
}

/// Looks, and is killed after each write, until all nodes are as they are to be. Before each of these looks there is one whose first write goes
/// wrong, if that is asked for. Says how often it was killed or failed.
async fn until_rolled(world: &World, fault: Option<Fault>, version: &str, nodes: &str) -> u32 {
    let deadline = std::time::Instant::now() + 3 * PATIENCE;
    let mut strikes = 0;
    loop {
        if let Some(fault) = fault {
            strikes += u32::from(meddled(world, "chat", Calls::Writes, 1, fault).await);
        }
        strikes += u32::from(world.look_and_be_killed("chat").await);
        let status = world.clusters().get("chat").await.unwrap().status.unwrap_or_default();
        let ready = |node: &rookery_crds::cluster::NodeStatus| node.updated && node.state == NodeState::Ready;
        if status.version == version && status.nodes_ready == nodes && status.nodes.iter().all(ready) {
            return strikes;
        }
        assert!(std::time::Instant::now() < deadline, "{fault:?}: {status:#?}");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

async fn rolls_scales_and_removes(world: World, fault: Option<Fault>) {
    let story = Story::default();
    let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
    let machine = tokio::spawn(play(pods, configs(&world), story.clone()));
    world.declare("chat", spec("1.0.0")).await.unwrap();
    until_rolled(&world, fault, "1.0.0", "3/3").await;
    story.lock().unwrap().clear();
    // Another version: three nodes are each noted, drained, deleted.
    world.declare("chat", spec("1.0.1")).await.unwrap();
    let strikes = until_rolled(&world, fault, "1.0.1", "3/3").await;
    assert!(strikes > 6, "{fault:?}: {strikes}");
    let told = std::mem::take(&mut *story.lock().unwrap());
    assert_eq!(told.iter().filter(|line| line.starts_with("drains")).count(), 3, "{fault:?}: {told:?}");
    check(&told);
    // Fewer nodes, and a shard less.
    let mut less = spec("1.0.1");
    less["shards"] = json!([{ "name": "blue", "replicas": 1 }]);
    world.declare("chat", less).await.unwrap();
    until_rolled(&world, fault, "1.0.1", "1/1").await;
    loop {
        let struck = match fault {
            Some(fault) => meddled(&world, "chat", Calls::Writes, 1, fault).await,
            None => false,
        };
        if !struck && !world.look_and_be_killed("chat").await {
            break;
        }
    }
    check(&std::mem::take(&mut *story.lock().unwrap()));
    assert!(world.objects("StatefulSet").get_opt("chat-green").await.unwrap().is_none(), "{fault:?}");
    machine.abort();
}

#[test]
fn who_is_killed_after_each_write_rolls_scales_and_removes_as_ever() {
    run(async |world| rolls_scales_and_removes(world, None).await);
}

#[test]
fn whose_writes_fail_rolls_scales_and_removes_as_ever() {
    for fault in [Fault::Says(500), Fault::Says(409), Fault::Unheard] {
        run(async |world| rolls_scales_and_removes(world, Some(fault)).await);
    }
}

/// What Kubernetes refuses is told in its own words, until it does not any more.
#[test]
fn deletions_that_are_refused_are_told() {
    run(async |world| {
        world.declare("tea", example("laptop")).await.unwrap();
        settle(&world, "tea").await;
        let mut less = example("laptop");
        less["networkPolicy"] = json!({ "enabled": false });
        world.declare("tea", less).await.unwrap();
        assert!(meddled(&world, "tea", Calls::Writes, 1, Fault::Says(403)).await);
        let (_, reason, message) = world.condition("tea", "Degraded").await;
        assert_eq!(reason, "DeleteRefused", "{message}");
        assert!(
            message.starts_with("NetworkPolicy tea-")
                && message.ends_with("is to be deleted; Kubernetes refuses that: meddled with"),
            "{message}"
        );
        world.look("tea").await;
        assert_eq!(world.condition("tea", "Degraded").await.1, "NothingWrong");
    });
}

#[test]
fn a_pod_that_cannot_be_drained_is_told() {
    run(async |world| {
        let pods: Api<Pod> = Api::namespaced(world.client.clone(), &world.namespace);
        let machine = tokio::spawn(play(pods, configs(&world), Story::default()));
        world.declare("chat", spec("1.0.0")).await.unwrap();
        until_rolled(&world, None, "1.0.0", "3/3").await;
        world.declare("chat", spec("1.0.1")).await.unwrap();
        world.look("chat").await;
        let deadline = std::time::Instant::now() + PATIENCE;
        let message = loop {
            meddled(&world, "chat", Calls::Writes, 1, Fault::Says(403)).await;
            let (_, reason, message) = world.condition("chat", "Degraded").await;
            if reason == "PodRefused" {
                break message;
            }
            assert!(std::time::Instant::now() < deadline, "{reason}: {message}");
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        };
        assert!(
            message.starts_with("cannot ") && message.contains("Kubernetes says of pod chat-"),
            "{message}"
        );
        until_rolled(&world, None, "1.0.1", "3/3").await;
        machine.abort();
    });
}

/// A look at which one call goes wrong. `false`: there were not as many.
async fn meddled(world: &World, name: &str, calls: Calls, at: usize, fault: Fault) -> bool {
    let meddler = Meddler::new(calls, at, fault);
    let context = world.operator_through(meddler.clone()).await;
    let cluster = Arc::new(world.clusters().get(name).await.unwrap());
    // It may fail, or tell it as a condition, or have got along.
    let _ = reconcile(cluster, context).await;
    meddler.has_struck()
}

/// Each read of a look fails once, and then each write: before it is done at last, and the operator killed right after it.
async fn arrives_after(world: &World, name: &str, spec: Value, fault: Fault) {
    world.declare(name, spec).await.unwrap();
    let meddled = async |calls: Calls, at: usize| meddled(world, name, calls, at, fault).await;
    for read in 1..12 {
        assert!(meddled(Calls::All, read).await, "there are more reads than {read}");
    }
    let mut writes = 0;
    while meddled(Calls::Writes, 1).await {
        writes += 1;
        world.look_and_be_killed(name).await;
        assert!(writes < 100, "it writes and writes");
    }
    // What is refused one of them does not keep the others from being done.
    assert!(writes > 10 || fault == Fault::Says(403), "{fault:?}: {writes}");
    settle(world, name).await;
    assert_eq!(world.condition(name, "Degraded").await.1, "NothingWrong", "{fault:?}");
    let names: Vec<_> = world.all().await.into_iter().map(|(name, _)| name).collect();
    for wanted in
        ["StatefulSet/tea-main", "StatefulSet/tea-redis", "Ingress/tea-client", "Secret/tea-internal"]
    {
        assert!(names.iter().any(|name| name == wanted), "{fault:?}: {wanted} is missing in {names:#?}");
    }
    // Whatever was heard of it, there is one of each.
    let created: Vec<_> = world
        .writes()
        .into_iter()
        .filter(|write| write.starts_with("create") && write.ends_with(" 201"))
        .collect();
    assert_eq!(created, ["create secrets/tea-internal 201"], "{fault:?}");
}

#[test]
fn whatever_call_fails_in_whatever_way_everything_arrives() {
    for fault in
        [Fault::Says(500), Fault::Says(409), Fault::Says(429), Fault::Says(403), Fault::Away, Fault::Unheard]
    {
        run(async |world| arrives_after(&world, "tea", example("laptop"), fault).await);
    }
}
