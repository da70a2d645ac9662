//! ChatRooms: what is refused, what becomes of one that is made, changed and deleted, and what two hundred cost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams},
};
use prometheus_client::registry::Registry;
use rookery_crds::ChatRoom;
use rookery_operator::{
    cluster::Context,
    metrics::OperatorMetrics,
    rooms::{FINALIZER, reconcile},
    settings::OperatorSettings,
};
use serde_json::{Value, json};
use tonic::Status;

use crate::{
    meddler::{Calls, Fault, Meddler},
    town::{self, Town},
    working::Working,
    world::{PATIENCE, World, run},
};

fn rooms(world: &World) -> Api<ChatRoom> {
    Api::namespaced(world.client.clone(), &world.namespace)
}

/// A spec that is accepted, with more in it or other things.
fn spec(more: &Value) -> Value {
    let mut spec = json!({ "clusterRef": { "name": "chat" }, "displayName": "General" });
    for (key, value) in more.as_object().unwrap() {
        spec[key] = value.clone();
    }
    spec
}

/// Declares a room, as `kubectl apply --server-side` does.
async fn declare(world: &World, name: &str, spec: &Value) -> Result<ChatRoom, kube::Error> {
    let object = json!({
        "apiVersion": "rookery.chat/v1alpha1", "kind": "ChatRoom", "metadata": { "name": name }, "spec": spec,
    });
    let params = PatchParams::apply("somebody").force().validation_strict();
    rooms(world).patch(name, &params, &Patch::Apply(&object)).await
}

async fn look_with(world: &World, context: &Arc<Context>, name: &str) {
    let room = rooms(world).get(name).await.unwrap();
    reconcile(Arc::new(room), context.clone()).await.unwrap();
}

async fn look(world: &World, name: &str) {
    look_with(world, &world.context, name).await;
}

/// A condition of a room: status, reason, message.
async fn condition(world: &World, name: &str, kind: &str) -> (String, String, String) {
    let status = rooms(world).get(name).await.unwrap().status.unwrap_or_default();
    let found = status.conditions.into_iter().find(|condition| condition.kind == kind);
    found.map_or_else(Default::default, |found| (found.status, found.reason, found.message))
}

async fn is_there(world: &World, name: &str) -> bool {
    rooms(world).get_opt(name).await.unwrap().is_some()
}

fn delete_policy() -> Value {
    spec(&json!({ "deletionPolicy": "Delete" }))
}

async fn delete(world: &World, name: &str) {
    rooms(world).delete(name, &DeleteParams::default()).await.unwrap();
}

/// An operator that waits so long for nodes of rooms that are to be deleted.
async fn patient_for(world: &World, seconds: u32) -> Arc<Context> {
    let settings = OperatorSettings { room_deletion_seconds: seconds, ..world.context.settings.clone() };
    let metrics = OperatorMetrics::register(&mut Registry::default());
    let client = kube::Client::try_from(world.operator_config().await).unwrap();
    Arc::new(Context::new(client, settings, metrics))
}

async fn eventually<T>(world: &World, what: &str, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        let there = || world.kubectl(&["get", "cc,rooms,pods", "-o", "wide"]);
        assert!(Instant::now() < deadline, "waited in vain: {what}\n{}", there());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What it is called, what is declared, and what the refusal says.
fn bad() -> Vec<(&'static str, Value, &'static str)> {
    let with = |key: &str, value: Value| spec(&json!({ (key): value }));
    let member = |username: &str| json!({ "username": username });
    vec![
        ("no cluster", json!({ "displayName": "General" }), "spec.clusterRef: Required value"),
        ("no name", json!({ "clusterRef": { "name": "chat" } }), "spec.displayName: Required value"),
        ("empty name", with("displayName", json!("")), "spec.displayName in body should be at least 1 chars"),
        ("blank name", with("displayName", json!("  ")), "spec.displayName in body should match"),
        ("two lines", with("displayName", json!("a\nb")), "spec.displayName in body should match"),
        ("long name", with("displayName", json!("x".repeat(101))), "spec.displayName: Too long"),
        ("long topic", with("topic", json!("x".repeat(501))), "spec.topic: Too long"),
        ("kind", with("kind", json!("direct")), "spec.kind: Unsupported value: \"direct\""),
        ("visibility", with("visibility", json!("Public")), "spec.visibility: Unsupported value: \"Public\""),
        ("policy", with("deletionPolicy", json!("delete")), "spec.deletionPolicy: Unsupported value"),
        (
            "member twice",
            with("members", json!([member("ada"), member("ada")])),
            "duplicate entries for key [username=\"ada\"]",
        ),
        (
            "member by mail",
            with("members", json!([member("ada@example.org")])),
            "username in body should match",
        ),
        (
            "member's role",
            with("members", json!([{ "username": "ada", "role": "admin" }])),
            "Unsupported value: \"admin\"",
        ),
        (
            "too many members",
            with("members", json!((0..501).map(|n| member(&format!("user{n}"))).collect::<Vec<_>>())),
            "spec.members: Too many: 501: must have at most 500 items",
        ),
        (
            "more than may be",
            spec(&json!({ "maxMembers": 1, "members": [member("ada"), member("bob")] })),
            "spec.maxMembers must not be less than the number of spec.members",
        ),
        (
            "a silent channel",
            spec(&json!({ "kind": "channel", "members": [member("ada")] })),
            "a channel needs an owner or a moderator in spec.members",
        ),
        ("shard", with("shard", json!("Main")), "spec.shard in body should match"),
        (
            "retention",
            with("retentionDays", json!(0)),
            "spec.retentionDays in body should be greater than or equal to 1",
        ),
        ("slow mode", with("slowModeSeconds", json!(21_601)), "should be less than or equal to 21600"),
        (
            "no members at all",
            with("maxMembers", json!(0)),
            "spec.maxMembers in body should be greater than or equal to 1",
        ),
        ("misspelt", with("slowmode", json!(1)), "spec.slowmode: field not declared in schema"),
    ]
}

#[test]
fn what_cannot_be_is_refused_with_a_sentence() {
    run(async |world| {
        for (what, spec, says) in bad() {
            let refused =
                declare(&world, "bad", &spec).await.err().unwrap_or_else(|| panic!("{what} is accepted"));
            let text = refused.to_string();
            assert!(text.contains(says), "{what}: {text}");
        }
        declare(&world, "general", &spec(&json!({}))).await.unwrap();
        for (more, says) in [
            (json!({ "clusterRef": { "name": "other" } }), "spec.clusterRef cannot be changed"),
            (
                json!({ "kind": "channel", "members": [{ "username": "ada", "role": "owner" }] }),
                "spec.kind cannot be changed",
            ),
        ] {
            let refused = declare(&world, "general", &spec(&more)).await.unwrap_err().to_string();
            assert!(refused.contains(says), "{refused}");
        }
        // The example is accepted, and what it does not say has a default.
        let example = format!("{}/examples/room.yaml", env!("CARGO_MANIFEST_DIR"));
        world.kubectl(&["delete", "rooms", "--all"]);
        world.kubectl(&["apply", "--server-side", "-f", &example]);
        let room = rooms(&world).get("general").await.unwrap();
        let shown = serde_json::to_value(&room.spec).unwrap();
        assert_eq!(
            (&shown["kind"], &shown["translation"], &shown["deletionPolicy"]),
            (&json!("group"), &json!(true), &json!("Retain"))
        );
    });
}

#[test]
fn a_room_is_made_changed_and_kept_or_deleted() {
    run(async |world| {
        declare(&world, "general", &spec(&json!({}))).await.unwrap();
        look(&world, "general").await;
        let (holds, reason, message) = condition(&world, "general", "Ready").await;
        assert_eq!((&*holds, &*reason), ("False", "ClusterMissing"));
        assert!(message.starts_with("there is no ChatCluster chat in this namespace: make it"), "{message}");

        let town = Town::start(&world).await;
        town.known().users.insert("ada".into());
        let members = json!([{ "username": "ada", "role": "owner" }, { "username": "bob" }]);
        let wanted =
            spec(&json!({ "members": members, "shard": "blue", "maxMembers": 9, "retentionDays": 30 }));
        declare(&world, "general", &wanted).await.unwrap();
        look(&world, "general").await;
        let (_, reason, message) = condition(&world, "general", "Ready").await;
        assert_eq!(reason, "UsersUnknown");
        assert!(message.starts_with("nobody is called bob: "), "{message}");
        assert_eq!(condition(&world, "general", "Available").await.0, "True");
        town.known().users.insert("bob".into());
        look(&world, "general").await;
        let (_, reason, message) = condition(&world, "general", "Ready").await;
        assert_eq!(reason, "ShardUnknown");
        assert!(message.contains("has no shard blue") && message.contains("in shard hashed"), "{message}");
        let mut wanted = wanted;
        wanted["shard"] = "main".into();
        declare(&world, "general", &wanted).await.unwrap();
        look(&world, "general").await;
        assert_eq!(condition(&world, "general", "Ready").await.1, "AsDeclared");
        {
            let known = town.known();
            let made = &known.rooms["general"];
            assert_eq!((&*made.display_name, made.members.len(), &*made.shard), ("General", 2, "main"));
            assert_eq!((made.max_members, made.retention_days, made.translation), (Some(9), Some(30), true));
        }
        let shown = world.kubectl(&["get", "rooms"]);
        let line: Vec<_> = shown.lines().nth(1).unwrap().split_whitespace().collect();
        assert_eq!(line[..6], ["general", "True", "AsDeclared", "chat", "chat-main-0", "2"], "{shown}");
        println!("{shown}\n{}", world.kubectl(&["get", "rooms", "-o", "wide"]));

        // A look that finds nothing new writes nothing, though much was said meanwhile.
        let writes = world.writes().len();
        town.known().last_seq = 100;
        for _ in 0..3 {
            look(&world, "general").await;
        }
        assert_eq!(world.writes().len(), writes, "{:?}", world.writes());
        town.known().last_seq = 101;
        look(&world, "general").await;
        assert_eq!(rooms(&world).get("general").await.unwrap().status.unwrap().last_seq, 101);

        // What a node says against it is told.
        town.known().says =
            Some(Status::invalid_argument("members: must name each user once, in whatever case"));
        look(&world, "general").await;
        let (_, reason, message) = condition(&world, "general", "Ready").await;
        assert_eq!((&*reason, &*message), ("Refused", "members: must name each user once, in whatever case"));
        town.known().says = None;
        let token = std::mem::replace(&mut town.known().token, "another-one-by-mistake".into());
        look(&world, "general").await;
        assert_eq!(condition(&world, "general", "Ready").await.1, "TokenRefused");
        town.known().token = token;

        // Retained: it goes at once, and one of its name finds the room again.
        delete(&world, "general").await;
        assert!(!is_there(&world, "general").await);
        assert!(town.known().rooms.contains_key("general"));
        wanted["deletionPolicy"] = "Delete".into();
        declare(&world, "general", &wanted).await.unwrap();
        look(&world, "general").await;
        let room = rooms(&world).get("general").await.unwrap();
        assert_eq!(room.finalizers(), [FINALIZER]);
        // It may be decided otherwise, and again.
        wanted["deletionPolicy"] = "Retain".into();
        declare(&world, "general", &wanted).await.unwrap();
        look(&world, "general").await;
        assert!(rooms(&world).get("general").await.unwrap().finalizers().is_empty());
        wanted["deletionPolicy"] = "Delete".into();
        declare(&world, "general", &wanted).await.unwrap();
        look(&world, "general").await;
        delete(&world, "general").await;
        assert!(is_there(&world, "general").await, "it waits for the room");
        look(&world, "general").await;
        assert!(!is_there(&world, "general").await);
        assert!(town.known().rooms.is_empty());
        let events = world.kubectl(&["get", "events"]);
        for reason in ["ClusterMissing", "UsersUnknown", "AsDeclared", "RoomDeleted"] {
            assert!(events.contains(reason), "{reason} is not among\n{events}");
        }
    });
}

/// Who is to be deleted goes in the end, whatever else is gone or silent.
/// Each reason for which a room is not made yet, but those of other tests.
#[test]
fn what_keeps_a_room_from_being_made_is_told() {
    run(async |world| {
        world.declare("chat", town::spec()).await.unwrap();
        world.look("chat").await;
        declare(&world, "general", &spec(&json!({}))).await.unwrap();
        let told = async || {
            look(&world, "general").await;
            let (status, reason, message) = condition(&world, "general", "Ready").await;
            assert_eq!(status, "False", "{reason}: {message}");
            (reason, message)
        };
        let says = |reason: &str, message: &str| (reason.to_owned(), message.to_owned());
        assert_eq!(told().await, says("NoNodeReady", "no node of ChatCluster chat is ready"));
        let (status, reason, _) = condition(&world, "general", "Available").await;
        assert_eq!((&*status, &*reason), ("False", "NoNodeReady"));

        let town = Town::play(&world).await;
        town.known().says = Some(Status::unimplemented("no such service"));
        assert_eq!(told().await.0, "NodesTooOld");
        town.known().says = None;
        look(&world, "general").await;
        assert_eq!(condition(&world, "general", "Ready").await.1, "AsDeclared");

        // Until the ChatCluster is looked at.
        let patch = Patch::Merge(json!({ "data": { "operator-token": null } }));
        world.objects("Secret").patch("chat-internal", &PatchParams::default(), &patch).await.unwrap();
        let (reason, message) = told().await;
        assert_eq!(reason, "TokenMissing");
        assert!(
            message.starts_with("Secret chat-internal of ChatCluster chat has no operator-token"),
            "{message}"
        );
        world.look("chat").await;
        assert_eq!(told().await.0, "TokenRefused", "the node has the old one");

        let finalizers = |all: Value| Patch::Merge(json!({ "metadata": { "finalizers": all } }));
        let hold = async |all: Value| {
            world.clusters().patch("chat", &PatchParams::default(), &finalizers(all)).await.unwrap();
        };
        hold(json!(["example.org/hold"])).await;
        world.clusters().delete("chat", &DeleteParams::background()).await.unwrap();
        assert_eq!(told().await, says("ClusterGoing", "ChatCluster chat is being deleted"));
        hold(Value::Null).await;
        eventually(&world, "the ChatCluster is gone", async || {
            world.clusters().get_opt("chat").await.unwrap().is_none().then_some(())
        })
        .await;
        assert_eq!(told().await.0, "ClusterMissing");
    });
}

#[test]
fn deleting_a_room_comes_to_an_end() {
    run(async |world| {
        let town = Town::start(&world).await;
        for name in ["silent", "paused", "orphan"] {
            declare(&world, name, &delete_policy()).await.unwrap();
            look(&world, name).await;
            assert_eq!(condition(&world, name, "Ready").await.1, "AsDeclared");
        }
        // Nodes that do not answer are waited for, and not for ever.
        town.known().says = Some(Status::unavailable("the log is away"));
        delete(&world, "silent").await;
        look_with(&world, &patient_for(&world, 3600).await, "silent").await;
        let (_, reason, message) = condition(&world, "silent", "Ready").await;
        assert_eq!(reason, "NoAnswer");
        assert!(message.contains("the log is away") && message.contains("after 3600 s"), "{message}");
        look_with(&world, &patient_for(&world, 0).await, "silent").await;
        assert!(!is_there(&world, "silent").await);
        assert!(world.kubectl(&["get", "events"]).contains("RoomKept"));
        town.known().says = None;

        // Nothing is changed of one that is paused; but who does not want it deleted any more need not wait.
        let mut paused = town::spec();
        paused["paused"] = true.into();
        world.declare("chat", paused).await.unwrap();
        let calls = town.known().calls;
        delete(&world, "paused").await;
        look(&world, "paused").await;
        assert_eq!(condition(&world, "paused", "Ready").await.1, "ClusterPaused");
        assert_eq!(town.known().calls, calls);
        declare(&world, "paused", &spec(&json!({ "deletionPolicy": "Retain" }))).await.unwrap();
        look(&world, "paused").await;
        assert!(!is_there(&world, "paused").await);
        assert!(town.known().rooms.contains_key("paused"));

        // The ChatCluster is gone, and with it whoever could delete the room.
        world.clusters().delete("chat", &DeleteParams::default()).await.unwrap();
        delete(&world, "orphan").await;
        look(&world, "orphan").await;
        assert!(!is_there(&world, "orphan").await);
    });
}

/// With the whole namespace, in whichever order Kubernetes takes things away, and though no node does anything any more.
#[test]
fn a_namespace_with_rooms_goes() {
    run(async |world| {
        let working = Working::start(&world).await;
        world.declare("chat", town::spec()).await.unwrap();
        let town = Town::play(&world).await;
        for number in 0..5 {
            declare(&world, &format!("room-{number}"), &delete_policy()).await.unwrap();
        }
        eventually(&world, "all rooms are ready", async || {
            (world.kubectl(&["get", "rooms"]).matches("AsDeclared").count() == 5).then_some(())
        })
        .await;
        town.known().says = Some(Status::unavailable("the log is away"));
        world.kubectl(&["delete", "namespace", &world.namespace, "--wait=false"]);
        eventually(&world, "no room is left", async || {
            rooms(&world).list(&ListParams::default()).await.unwrap().items.is_empty().then_some(())
        })
        .await;
        drop(working);
    });
}

/// The operator is killed after each of its writes, and goes on where it was.
#[test]
fn who_is_killed_after_each_write_arrives_all_the_same() {
    run(async |world| {
        let town = Town::start(&world).await;
        declare(&world, "general", &delete_policy()).await.unwrap();
        let mut kills = 0;
        let killed = async || {
            let meddler = Meddler::new(Calls::Writes, 1, Fault::Killed);
            let context = world.operator_through(meddler.clone()).await;
            let room = Arc::new(rooms(&world).get("general").await.unwrap());
            tokio::select! {
                done = reconcile(room, context) => {
                    done.unwrap();
                    false
                }
                () = meddler.killed.notified() => true,
            }
        };
        while killed().await {
            kills += 1;
            assert!(kills < 10, "{:#?}", world.writes());
        }
        assert_eq!(kills, 2, "its finalizer and its status: {:#?}", world.writes());
        assert_eq!(condition(&world, "general", "Ready").await.1, "AsDeclared");
        delete(&world, "general").await;
        assert!(killed().await, "its finalizer goes");
        assert!(!is_there(&world, "general").await && town.known().rooms.is_empty());
        // Nothing is lost when calls fail in other ways, either.
        for (number, fault) in
            [Fault::Says(500), Fault::Says(409), Fault::Away, Fault::Unheard].into_iter().enumerate()
        {
            let name = format!("room-{number}");
            declare(&world, &name, &delete_policy()).await.unwrap();
            for at in 1..8 {
                let meddler = Meddler::new(Calls::All, at, fault);
                let room = Arc::new(rooms(&world).get(&name).await.unwrap());
                let _ = reconcile(room, world.operator_through(meddler).await).await;
            }
            look(&world, &name).await;
            assert_eq!(condition(&world, &name, "Ready").await.1, "AsDeclared", "{fault:?}");
        }
    });
}

/// Two hundred: what making them costs, and that an operator that starts anew and looks at all of them writes nothing.
#[test]
fn two_hundred_rooms_cost_little_and_nothing_once_they_are_there() {
    const ROOMS: usize = 200;
    run(async |world| {
        let working = Working::start(&world).await;
        // Before there is a ChatCluster: it is woken when that takes clients.
        declare(&world, "early", &delete_policy()).await.unwrap();
        eventually(&world, "it waits", async || {
            (condition(&world, "early", "Ready").await.1 == "ClusterMissing").then_some(())
        })
        .await;
        world.declare("chat", town::spec()).await.unwrap();
        let town = Town::play(&world).await;
        eventually(&world, "the early one is made", async || {
            (condition(&world, "early", "Ready").await.1 == "AsDeclared").then_some(())
        })
        .await;
        working.rests().await;
        let (asked, calls) = (working.asked(), town.known().calls);
        for number in 1..ROOMS {
            let policy = if number % 2 == 0 { "Delete" } else { "Retain" };
            let spec = spec(&json!({ "displayName": format!("Room {number}"), "deletionPolicy": policy }));
            declare(&world, &format!("room-{number}"), &spec).await.unwrap();
        }
        let all_ready = async || {
            let list = rooms(&world).list(&ListParams::default()).await.unwrap();
            let ready = |room: &&ChatRoom| {
                let status = room.status.iter().flat_map(|status| &status.conditions);
                status.into_iter().any(|condition| condition.kind == "Ready" && condition.status == "True")
            };
            (list.items.iter().filter(ready).count() == ROOMS).then_some(())
        };
        eventually(&world, "all are ready", all_ready).await;
        working.rests().await;
        assert_eq!(town.known().rooms.len(), ROOMS);
        println!(
            "making {} ChatRooms, half of them with the policy Delete: {} requests to the API server, {} calls to the node",
            ROOMS - 1,
            working.asked() - asked,
            town.known().calls - calls,
        );
        drop(working);

        let (writes, calls) = (world.writes().len(), town.known().calls);
        let anew = Working::start(&world).await;
        eventually(&world, "each was looked at", async || {
            (town.known().calls - calls >= u32::try_from(ROOMS).unwrap()).then_some(())
        })
        .await;
        anew.rests().await;
        println!(
            "looking at {ROOMS} again: {} requests to the API server, {:.1} ms a look",
            anew.asked(),
            anew.room_seconds() * 1000.0 / ROOMS as f64,
        );
        let written = world.writes().split_off(writes);
        assert!(written.is_empty(), "{written:?}");
    });
}
