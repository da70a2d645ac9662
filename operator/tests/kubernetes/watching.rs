//! What the operator watches wakes it, and what does not change costs nothing.

use std::time::Duration;

use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::{
    creation::example,
    working::{MORE, Working, eventually},
    world::run_with,
};

#[test]
fn what_people_give_is_seen_when_it_comes_and_when_it_changes() {
    run_with(MORE, async |world| {
        let working = Working::start(&world).await;
        let mut spec = example("laptop");
        spec["mailer"] = json!({
            "from": "a@example.org", "smtp": { "host": "smtp.example.org", "caSecret": { "name": "authority", "key": "ca.crt" } },
            "templatesRef": { "name": "templates" },
        });
        world.declare("tea", spec).await.unwrap();
        eventually(&world, "it is told what is missing", async || {
            let (_, _, message) = world.condition("tea", "Degraded").await;
            (message.contains("authority") && message.contains("templates")).then_some(())
        })
        .await;
        let is_degraded = async |what: &str, told: Option<bool>| {
            eventually(&world, what, async || (working.is_degraded(&world, "tea") == told).then_some(()))
                .await;
        };
        is_degraded("the metric says so", Some(true)).await;
        world.secret("authority", &["ca.crt"]).await;
        let map = json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "templates" } });
        let params = PatchParams::apply("somebody");
        world.objects("ConfigMap").patch("templates", &params, &Patch::Apply(&map)).await.unwrap();
        let mailer = async || world.objects("Deployment").get_opt("tea-mailer").await.unwrap();
        let first = eventually(&world, "the mailer is made", mailer).await;
        is_degraded("the metric says so no more", Some(false)).await;
        let hash = |object: &kube::api::DynamicObject| {
            object.data["spec"]["template"]["metadata"]["annotations"]["rookery.chat/outside"].clone()
        };
        let patch = json!({ "stringData": { "ca.crt": "another" } });
        world
            .objects("Secret")
            .patch("authority", &PatchParams::default(), &Patch::Merge(&patch))
            .await
            .unwrap();
        eventually(&world, "the mailer gets the new one", async || {
            let now = mailer().await?;
            (hash(&now) != hash(&first)).then_some(())
        })
        .await;
        world.clusters().delete("tea", &DeleteParams::background()).await.unwrap();
        is_degraded("the metric goes with the chat", None).await;
    });
}

/// Of every kind that the operator makes.
#[test]
fn what_is_thrown_away_is_made_again_at_once() {
    run_with(MORE, async |world| {
        let working = Working::start(&world).await;
        let mut spec = example("minimal");
        spec["gateway"] = json!({ "parentRefs": [{ "name": "public" }], "hostnames": ["chat.example.org"] });
        spec["monitoring"] = monitoring();
        world.secret("smtp", &["password"]).await;
        world.declare("chat", spec).await.unwrap();
        for (kind, name) in [
            ("HTTPRoute", "chat-client"),
            ("PodMonitor", "chat-pods"),
            ("PrometheusRule", "chat-alerts"),
            ("Ingress", "chat-client"),
            ("Service", "chat-client"),
            ("ServiceAccount", "chat-node"),
            ("NetworkPolicy", "chat-node"),
            ("PodDisruptionBudget", "chat-main"),
            ("Deployment", "chat-mailer"),
            ("StatefulSet", "chat-etcd"),
            ("ConfigMap", ""),
        ] {
            let objects = world.objects(kind);
            let find = async || {
                let ours = kube::api::ListParams::default().labels("rookery.chat/cluster=chat");
                let list = objects.list(&ours).await.unwrap();
                list.into_iter()
                    .find(|object| name.is_empty() || object.metadata.name.as_deref() == Some(name))
            };
            let old = eventually(&world, &format!("{kind} {name} is made"), find).await;
            let name = old.metadata.name.clone().unwrap();
            objects.delete(&name, &DeleteParams::default()).await.unwrap();
            eventually(&world, &format!("{kind} {name} is made again"), async || {
                let now = objects.get_opt(&name).await.unwrap()?;
                (now.metadata.uid != old.metadata.uid).then_some(())
            })
            .await;
        }
        working.rests().await;
    });
}

fn monitoring() -> Value {
    json!({
        "podMonitor": { "enabled": true }, "prometheusRule": { "enabled": true }, "dashboards": { "enabled": true },
    })
}

/// Of what not every chat has.
#[test]
fn what_is_taken_out_of_the_manifest_goes_of_every_kind() {
    run_with(MORE, async |world| {
        let working = Working::start(&world).await;
        let least = json!({ "version": "1.0.0", "replicas": 1 });
        let mut all = least.clone();
        all["replicas"] = 2.into();
        all["ingress"] = json!({ "host": "chat.example.org" });
        all["gateway"] = json!({ "parentRefs": [{ "name": "public" }], "hostnames": ["chat.example.org"] });
        all["monitoring"] = monitoring();
        all["mailer"] = json!({ "from": "a@example.org", "smtp": { "host": "smtp.example.org" } });
        all["translator"] = json!({ "libreTranslate": { "url": "http://libre.example.org" } });
        let optional = [
            ("HTTPRoute", "chat-client"),
            ("PodMonitor", "chat-pods"),
            ("PrometheusRule", "chat-alerts"),
            ("Ingress", "chat-client"),
            ("PodDisruptionBudget", "chat-main"),
            ("ConfigMap", "chat-dashboard-cluster"),
            ("ConfigMap", "chat-dashboard-node"),
            ("ConfigMap", "chat-dashboard-sides"),
            ("Deployment", "chat-mailer"),
            ("Deployment", "chat-translator"),
            ("NetworkPolicy", "chat-translator"),
            ("ServiceAccount", "chat-translator"),
        ];
        let there = async || {
            let mut there = Vec::new();
            for (kind, name) in optional {
                if world.objects(kind).get_opt(name).await.unwrap().is_some() {
                    there.push((kind, name));
                }
            }
            there
        };
        for _ in 0..2 {
            world.declare("chat", all.clone()).await.unwrap();
            eventually(&world, "all of it is made", async || (there().await == optional).then_some(())).await;
            world.declare("chat", least.clone()).await.unwrap();
            eventually(&world, "all of it goes", async || there().await.is_empty().then_some(())).await;
        }
        working.rests().await;
        assert_eq!(world.condition("chat", "Degraded").await.1, "NothingWrong");
    });
}

#[test]
fn a_look_that_finds_nothing_to_do_asks_nothing() {
    run_with(MORE, async |world| {
        let working = Working::start(&world).await;
        world.declare("tea", example("laptop")).await.unwrap();
        eventually(&world, "all pods are made", async || {
            (world.kubectl(&["get", "pods", "-o", "name"]).lines().count() == 4).then_some(())
        })
        .await;
        working.rests().await;
        let (asked, looks) = (working.asked(), working.looks());
        println!("making a ChatCluster of 4 pods: {asked} requests to the API server in {looks} looks");
        // Something happens that is nothing to it.
        let pods = world.any("v1", "Pod", "pods");
        for number in 0..3 {
            let before = working.looks();
            let note = json!({ "metadata": { "annotations": { "example.org/note": number.to_string() } } });
            pods.patch("tea-main-0", &PatchParams::default(), &Patch::Merge(&note)).await.unwrap();
            eventually(&world, "it looks", async || (working.looks() > before).then_some(())).await;
        }
        println!(
            "{} looks with nothing to do: {} requests",
            working.looks() - looks,
            working.asked() - asked
        );
        assert_eq!(working.asked(), asked);
        let took = world.kubectl(&["get", "cc", "tea", "-o", "jsonpath={.status.waitsFor}"]);
        assert!(took.contains("tea-nats"), "{took}");
    });
}

/// Somebody changes back whatever the operator declares: that is told, and the operator does not answer each time.
#[test]
fn a_fight_is_told_and_does_not_go_on_at_full_speed() {
    run_with(MORE, async |world| {
        let working = Working::start(&world).await;
        world.declare("tea", example("laptop")).await.unwrap();
        let sets = world.objects("StatefulSet");
        eventually(&world, "it is made", async || sets.get_opt("tea-main").await.unwrap()).await;
        working.rests().await;
        let patch = json!({ "spec": { "template": { "spec": { "terminationGracePeriodSeconds": 1 } } } });
        let params = PatchParams { field_manager: Some("other-tool".into()), ..PatchParams::default() };
        let message = eventually(&world, "it is told", async || {
            let set = sets.get("tea-main").await.unwrap();
            if set.data["spec"]["template"]["spec"]["terminationGracePeriodSeconds"] != 1 {
                sets.patch("tea-main", &params, &Patch::Merge(&patch)).await.unwrap();
            }
            let (_, reason, message) = world.condition("tea", "Degraded").await;
            (reason == "Contested").then_some(message)
        })
        .await;
        assert!(
            message.starts_with("StatefulSet tea-main is changed again and again by other-tool;"),
            "{message}"
        );
        let repairs = || {
            world.writes().iter().filter(|write| write.starts_with("patch statefulsets/tea-main ")).count()
        };
        // However often the other one does it, in the next seconds the operator answers once or twice.
        let before = repairs();
        let until = std::time::Instant::now() + Duration::from_secs(8);
        let mut changes = 0;
        while std::time::Instant::now() < until {
            let label =
                json!({ "metadata": { "labels": { "n": changes.to_string() } }, "spec": patch["spec"] });
            sets.patch("tea-main", &params, &Patch::Merge(&label)).await.unwrap();
            changes += 1;
            // That others have to be made meanwhile is no reason.
            if changes % 4 == 0 {
                let services = world.objects("Service");
                let _ = services.delete("tea-peers", &DeleteParams::default()).await;
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        let answers = repairs() - before;
        assert!(changes > 4 && answers <= 3, "{answers} answers to {changes} changes");
        let made =
            world.writes().iter().filter(|write| write.starts_with("patch services/tea-peers ")).count();
        assert!(made > 1, "what is thrown away is made meanwhile");
        assert_eq!(world.condition("tea", "Degraded").await.1, "Contested");
    });
}

#[test]
fn of_two_that_would_be_one_chat_the_younger_is_kept_back() {
    run_with(MORE, async |world| {
        let external = |cluster_name: Option<&str>| {
            let mut spec: Value = json!({
                "version": "1.0.0", "replicas": 1,
                "nats": { "external": { "urls": ["nats://nats.example.org:4222"], "trustSync": true } },
                "etcd": { "external": { "endpoints": ["http://etcd.example.org:2379"] } },
                "redis": { "external": { "url": format!("redis://{}.example.org", world.namespace) } },
            });
            if let Some(name) = cluster_name {
                spec["clusterName"] = name.into();
            }
            spec
        };
        world.declare("first", external(None)).await.unwrap();
        world.look("first").await;
        // Of the same second the uid decides: not in a test.
        tokio::time::sleep(Duration::from_millis(1100)).await;
        world.declare("second", external(Some("first"))).await.unwrap();
        world.look("second").await;
        let (_, reason, message) = world.condition("second", "Degraded").await;
        assert_eq!(reason, "ServersShared", "{message}");
        assert!(message.contains("ChatCluster first in namespace"), "{message}");
        assert!(world.objects("StatefulSet").get_opt("second-main").await.unwrap().is_none());
        world.look("first").await;
        assert_ne!(world.condition("first", "Degraded").await.1, "ServersShared");
        world.declare("third", external(None)).await.unwrap();
        world.look("third").await;
        assert!(world.objects("StatefulSet").get_opt("third-main").await.unwrap().is_some());
    });
}
