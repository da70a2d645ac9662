//! An operator that begins where others have worked: after an upgrade of it, a crash, a lost lead.

use serde_json::{Value, json};

use crate::{
    creation::{example, settle},
    working::{MORE, Working, eventually},
    world::{World, run_with},
};

/// What was written, but what is told: that also changes with time.
fn writes(world: &World) -> Vec<String> {
    world.writes().into_iter().filter(|write| !write.contains("/status ")).collect()
}

/// Generations of all that has pods, and the pods themselves.
async fn running(world: &World) -> (Vec<String>, String) {
    let mut all = Vec::new();
    for kind in ["StatefulSet", "Deployment"] {
        for object in world.objects(kind).list(&kube::api::ListParams::default()).await.unwrap() {
            let metadata = object.metadata;
            all.push(format!("{} {:?}", metadata.name.unwrap(), metadata.generation));
        }
    }
    (
        all,
        world.kubectl(&[
            "get",
            "pods",
            "-o",
            "jsonpath={range .items[*]}{.metadata.name} {.metadata.uid} {end}",
        ]),
    )
}

/// That a later version builds the same is what the golden files are for.
#[test]
fn an_operator_that_takes_over_writes_nothing_and_restarts_nothing() {
    run_with(MORE, async |world| {
        world.secret("smtp", &["password"]).await;
        world.declare("chat", example("minimal")).await.unwrap();
        settle(&world, "chat").await;
        // Nodes, NATS, etcd, Redis, the mailer.
        eventually(&world, "all pods are made", async || {
            (world.kubectl(&["get", "pods", "-o", "name"]).lines().count() >= 11).then_some(())
        })
        .await;
        settle(&world, "chat").await;
        let (writes, before) = (writes(&world), running(&world).await);
        for _ in 0..2 {
            let working = Working::start(&world).await;
            eventually(&world, "it looks", async || (working.looks() > 0).then_some(())).await;
            working.rests().await;
        }
        let new = self::writes(&world).split_off(writes.len());
        assert_eq!(new, Vec::<String>::new());
        assert_eq!(running(&world).await, before);
    });
}

/// What many chats cost the API server, as a table for whoever reads the tests' output.
#[test]
fn of_many_chats_each_costs_its_own_and_no_more() {
    const MANY: usize = 30;
    run_with(MORE, async |world| {
        let working = Working::start(&world).await;
        let spec: Value = json!({
            "version": "1.0.0", "replicas": 1,
            "nats": { "external": { "urls": ["nats://nats.example.org:4222"], "trustSync": true } },
            "etcd": { "external": { "endpoints": ["http://etcd.example.org:2379"] } },
            "redis": { "external": { "url": format!("redis://{}.example.org", world.namespace) } },
        });
        let mut told = Vec::new();
        for (made, number) in [(1, 0..1), (MANY, 1..MANY)] {
            let (asked, looks, seconds) = (working.asked(), working.looks(), working.seconds());
            let new = number.len();
            for number in number {
                world.declare(&format!("chat-{number}"), spec.clone()).await.unwrap();
            }
            eventually(&world, "all pods are made", async || {
                (world.kubectl(&["get", "pods", "-o", "name"]).lines().count() == made).then_some(())
            })
            .await;
            working.rests().await;
            let (asked, looks) = (working.asked() - asked, working.looks() - looks);
            let each = asked as f64 / new as f64;
            println!(
                "{new} ChatClusters with external servers: {each:.1} requests each, {:.1} looks each, {:.0} ms a look",
                looks as f64 / new as f64,
                (working.seconds() - seconds) * 1000.0 / looks as f64,
            );
            told.push(each);
        }
        // With many of them none costs more than if it were alone: no look lists what belongs to the others.
        assert!(told[1] < told[0] * 1.5, "{told:?}");
        // One changes: that costs what it is to be written, whoever else is there.
        let (asked, writes) = (working.asked(), writes(&world).len());
        let mut other = spec.clone();
        other["limits"] = json!({ "connections": 7 });
        world.declare("chat-7", other).await.unwrap();
        eventually(&world, "its pod is replaced", async || {
            (self::writes(&world).len() > writes).then_some(())
        })
        .await;
        working.rests().await;
        println!("one of {MANY} gets other settings: {} requests", working.asked() - asked);
        let new = self::writes(&world).split_off(writes);
        assert!(new.iter().all(|write| write.contains("chat-7")), "{new:?}");
        assert!(((working.asked() - asked) as f64) < told[0] * 2.0);
    });
}
