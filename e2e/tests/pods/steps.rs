//! What is done, in this order: to a chat that is made in a minute and deleted in use; then to one with three of each server.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use rand::{RngExt as _, SeedableRng as _, rngs::StdRng};
use rookery_e2e::service::Service;
use serde_json::{Value, json};

use crate::{
    MOMENT, World,
    chat::{Chat, condition, is_ready, name_of, three_of_each, uid_of},
    kubernetes::{Kubernetes, until},
    report::{Report, Row},
    round::{Clients, round},
    step, transcripts,
};

/// Pods that are deleted at random.
const DELETED: usize = 12;

/// In words, what Kubernetes it is.
pub(crate) fn about(world: &World) -> String {
    let nodes = world.kubernetes.get("nodes", &[]).expect("there are machines");
    let nodes = nodes["items"].as_array().cloned().unwrap_or_default();
    let version = nodes.first().and_then(|node| node["status"]["nodeInfo"]["kubeletVersion"].as_str());
    format!("Kubernetes {} on {} machine(s)", version.unwrap_or("?"), nodes.len())
}

pub(crate) fn all(world: &World, report: &mut Report) {
    let wanted = |name: &str| world.settings.wants(name);
    // What a run that was ended left behind would have this one's Ingress and volumes.
    for name in ["example", "show", "three"] {
        world.clean(&world.kubernetes.in_namespace(&format!("rookery-e2e-{name}")));
    }
    if !step(world, report, "install", "none", || vec![install(world)]) {
        return;
    }
    if wanted("example") {
        step(world, report, "example", "example", || example(world));
    }
    if wanted("transcripts") {
        step(world, report, "transcripts", "show", || {
            transcripts::write(world);
            Vec::new()
        });
    }
    let kubernetes = world.kubernetes.in_namespace("rookery-e2e-three");
    let chat = Chat { kubernetes, name: "pods".to_owned() };
    let service = Service::with_smtp(&world.settings.ingress, world.smtp.clone());
    type Act = fn(&World, &Chat, &Service) -> Row;
    let acts: [(&str, Act); 9] = [
        ("nothing", nothing),
        ("scale", scale),
        ("upgrade", upgrade),
        ("servers", roll_the_servers),
        ("bad image", bad_image),
        ("delete pods", delete_pods),
        ("drain", drain),
        ("operator", upgrade_of_the_operator),
        ("namespace", delete_the_namespace),
    ];
    if !acts.iter().any(|(name, _)| wanted(name))
        || !step(world, report, "three of each", "three", || vec![three(world)])
    {
        return;
    }
    for (name, act) in acts {
        if wanted(name) && !step(world, report, name, "three", || vec![act(world, &chat, &service)]) {
            return;
        }
    }
}

fn row(what: &'static str, said: String, began: Instant) -> Row {
    Row { what, said, took: began.elapsed(), wait: None, failed: 0, traffic: None }
}

fn install(world: &World) -> Row {
    let began = Instant::now();
    world.deploy(&world.settings.images);
    row("`helm install` of both charts", "the operator is ready".to_owned(), began)
}

/// The example as it is in the repository; images, and the host by which the ingress controller is asked, are this Kubernetes'.
pub(crate) fn laptop(world: &World, kubernetes: &Kubernetes) -> Value {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../operator/examples/laptop.yaml");
    let text = kubernetes.kubectl(&["create", "--dry-run=client", "--output", "json", "--filename", file]);
    let mut object: Value = serde_json::from_str(&text).expect("kubectl writes JSON");
    object["spec"]["version"] = world.settings.images.tag.as_str().into();
    object["spec"]["images"] = json!({"repository": world.settings.images.repository});
    object["spec"]["ingress"]["host"] = world.settings.host().into();
    object
}

/// So soon after `kubectl apply` people chat, with the images there.
const MINUTE: Duration = Duration::from_secs(60);

fn example(world: &World) -> Vec<Row> {
    let kubernetes = world.namespace("example");
    let object = laptop(world, &kubernetes);
    let began = Instant::now();
    kubernetes.apply(&object);
    world.script("scripts/chat", &[&world.settings.ingress, "300"]);
    let mut rows = vec![row(
        "`kubectl apply` of the example: two people chat through its Ingress",
        "within a minute".to_owned(),
        began,
    )];
    let took = rows[0].took;
    assert!(took <= MINUTE, "from `kubectl apply` to a chat it took {took:?}");

    let chat = Chat { kubernetes: kubernetes.clone(), name: name_of(&object).to_owned() };
    chat.await_ready();
    let began = Instant::now();
    let forward = kubernetes.forward(&format!("service/{}-client", chat.name), 80);
    world.script("scripts/chat", &[&forward.url()]);
    drop(forward);
    rows.push(row("the same through its Service", String::new(), began));

    let service = Service::with_mailbox(&world.settings.ingress);
    rows.push(delete_in_use(world, &chat, &service, "`kubectl delete namespace` of the example, in use"));
    rows
}

/// Deletes a chat's namespace under load, and waits until nothing of it is there any more.
fn delete_in_use(world: &World, chat: &Chat, service: &Service, what: &'static str) -> Row {
    let clients = Clients::start(&world.runtime, service, 2);
    clients.await_progress();
    let began = Instant::now();
    let namespace = chat.kubernetes.namespace();
    chat.kubernetes.kubectl(&["delete", "namespace", namespace, "--wait=false"]);
    until("the namespace is gone", || {
        chat.kubernetes.get(&format!("namespace/{namespace}"), &[]).is_none().then_some(())
    });
    let row = row(what, "it is gone".to_owned(), began);
    clients.abort();
    world.script("e2e/kubernetes/prepare", &[]);
    row
}

fn three(world: &World) -> Row {
    let kubernetes = world.namespace("three");
    let smtp = json!({
        "host": world.kubernetes.address_of_this_machine(), "port": world.smtp.port(), "security": "Plain",
    });
    let began = Instant::now();
    kubernetes.apply(&three_of_each("pods", &world.settings, &world.settings.images, 2, &smtp));
    let chat = Chat { kubernetes, name: "pods".to_owned() };
    chat.await_ready();
    row(
        "`kubectl apply`: three NATS, three etcd, Redis, a mailer and two nodes are ready",
        String::new(),
        began,
    )
}

/// What the rest is compared with.
fn nothing(world: &World, chat: &Chat, service: &Service) -> Row {
    round(&world.runtime, service, chat, "nothing, for comparison", |_| {
        std::thread::sleep(MOMENT);
        "codes came by mail".to_owned()
    })
}

fn scale(world: &World, chat: &Chat, service: &Service) -> Row {
    round(&world.runtime, service, chat, "`kubectl scale` 2 → 4 → 2", |clients| {
        for replicas in [4, 2] {
            let to = format!("--replicas={replicas}");
            chat.kubernetes.kubectl(&["scale", &format!("chatcluster/{}", chat.name), &to]);
            chat.await_ready();
            let ready = chat.nodes().iter().filter(|pod| is_ready(pod)).count();
            assert_eq!(ready, replicas, "nodes that are ready");
            clients.await_progress();
        }
        String::new()
    })
}

/// All pods of our own programs run these images.
fn run_images(chat: &Chat, tag: &str) {
    for component in ["node", "mailer"] {
        let pods = chat.kubernetes.list("pods", &chat.selector(component));
        let of_tag = |pod: &&Value| {
            let image = pod["spec"]["containers"][0]["image"].as_str().unwrap_or_default();
            image.ends_with(&format!(":{tag}")) || pod["metadata"].get("deletionTimestamp").is_some()
        };
        assert_eq!(pods.iter().filter(of_tag).count(), pods.len(), "{component}s of {tag}");
        assert!(!pods.is_empty(), "there are {component}s");
    }
}

/// A new version, rolled node by node; whoever leads among the operators is killed in the middle.
fn upgrade(world: &World, chat: &Chat, service: &Service) -> Row {
    let what = "a new `version`, the operator killed in the middle";
    round(&world.runtime, service, chat, what, |_| {
        let before: BTreeSet<_> = chat.nodes().iter().map(uid_of).collect();
        chat.change(&json!({"version": world.settings.next.tag}));
        until("the first node is replaced", || {
            chat.nodes().iter().any(|pod| !before.contains(&uid_of(pod))).then_some(())
        });
        let killed = kill_the_leader(world);
        chat.await_ready();
        run_images(chat, &world.settings.next.tag);
        assert_eq!(chat.object()["status"]["version"], world.settings.next.tag.as_str());
        format!("{killed} was killed")
    })
}

/// Kills the operator that holds the lease.
fn kill_the_leader(world: &World) -> String {
    let operator = world.kubernetes.in_namespace("rookery");
    let lease = operator.get("lease/rookery-operator", &[]).expect("the operators have a Lease");
    let leader = lease["spec"]["holderIdentity"].as_str().expect("somebody leads").to_owned();
    operator.kubectl(&["delete", "pod", &leader, "--force", "--grace-period=0"]);
    leader
}

/// Every NATS, etcd and Redis is replaced, one of a kind at a time; nothing else is.
fn roll_the_servers(world: &World, chat: &Chat, service: &Service) -> Row {
    let what = "other `resources` for NATS, etcd and Redis";
    round(&world.runtime, service, chat, what, |_| {
        let of = |components: &[&str]| -> BTreeSet<String> {
            let pods = components.iter().flat_map(|part| chat.kubernetes.list("pods", &chat.selector(part)));
            pods.map(|pod| uid_of(&pod)).collect()
        };
        let servers = || of(&["nats", "etcd", "redis"]);
        let programs = || of(&["node", "mailer"]);
        let before = (servers(), programs());
        let changed = json!({"managed": {"resources": {"requests": {"memory": "56Mi"}}}});
        chat.change(&json!({"nats": changed, "etcd": changed, "redis": changed}));
        chat.await_ready();
        let after = servers();
        assert_eq!(
            (after.len(), before.0.intersection(&after).count()),
            (7, 0),
            "servers in all, and those not replaced"
        );
        assert_eq!(programs(), before.1, "nodes and mailers are left alone");
        format!("{} servers were replaced", after.len())
    })
}

fn bad_image(world: &World, chat: &Chat, service: &Service) -> Row {
    round(&world.runtime, service, chat, "an image that there is not, then the good one again", |clients| {
        let image = format!("{}/node:no-such-tag", world.settings.images.repository);
        chat.change(&json!({"images": {"node": image}}));
        chat.await_condition("Degraded", "True", Some("NodeStuck"));
        let object = chat.object();
        let said = condition(&object, "Degraded").expect("it is told")["message"].clone();
        // The rollout stands: all but that one serve on.
        std::thread::sleep(MOMENT);
        clients.await_progress();
        let nodes = chat.nodes();
        assert_eq!(nodes.iter().filter(|pod| !is_ready(pod)).count(), 1, "one node stands");
        chat.change(&json!({"images": {"node": null}}));
        chat.await_ready();
        format!("meanwhile: \"{}\"", shortened(said.as_str().unwrap_or_default()))
    })
}

fn shortened(text: &str) -> String {
    let line = text.lines().next().unwrap_or_default().replace('|', "\\|");
    if line.chars().count() > 120 {
        format!("{}…", line.chars().take(120).collect::<String>())
    } else {
        line
    }
}

/// Pods of all parts at random, one after the other: some are told to stop, some are gone at once.
fn delete_pods(world: &World, chat: &Chat, service: &Service) -> Row {
    round(
        &world.runtime,
        service,
        chat,
        "pods deleted at random, every second one without notice",
        |clients| {
            let mut random = StdRng::seed_from_u64(7);
            let mut deleted = Vec::new();
            for number in 0..DELETED {
                let pods = chat.pods();
                let name = name_of(&pods[random.random_range(0..pods.len())]).to_owned();
                let gone = if number % 2 == 0 {
                    &["--wait=false"][..]
                } else {
                    &["--force", "--grace-period=0"][..]
                };
                chat.kubernetes.kubectl(&[&["delete", "pod", &name], gone].concat());
                println!("    deleted {name}");
                deleted.push(name);
                clients.await_progress();
                // The old one may be ready for a moment yet.
                std::thread::sleep(MOMENT / 5);
                until("every pod is ready again", || chat.pods().iter().all(is_ready).then_some(()));
                chat.await_ready();
            }
            format!("{DELETED}: {}", deleted.join(", "))
        },
    )
}

/// Empties a machine. Where it is the only one it is opened again at once, so that pods that were evicted have somewhere to go; that
/// only one of a part goes at a time is what the PodDisruptionBudgets see to.
fn drain(world: &World, chat: &Chat, service: &Service) -> Row {
    round(&world.runtime, service, chat, "`kubectl drain` of a machine", |_| {
        let kubernetes = &world.kubernetes;
        let machines = kubernetes.get("nodes", &[]).expect("there are machines");
        let machines = machines["items"].as_array().cloned().unwrap_or_default();
        let free = |machine: &&Value| machine["spec"]["taints"].is_null();
        let free: Vec<_> = machines.iter().filter(free).collect();
        // The one with most of the nodes.
        let on = |machine: &Value| {
            chat.nodes().iter().filter(|pod| pod["spec"]["nodeName"] == *name_of(machine)).count()
        };
        let machine = free.iter().max_by_key(|machine| on(machine)).expect("one takes pods");
        let machine = name_of(machine);
        let before: BTreeSet<_> = on_machine(chat, machine);
        let selector = format!("rookery.chat/cluster={}", chat.name);
        let drain = [
            "drain",
            machine,
            "--ignore-daemonsets",
            "--delete-emptydir-data",
            "--timeout=280s",
            "--pod-selector",
            &selector,
        ];
        let draining = |kubernetes: Kubernetes| move || kubernetes.try_kubectl(&drain, "");
        let said = std::thread::scope(|scope| {
            let draining = scope.spawn(draining(kubernetes.clone()));
            if free.len() == 1 {
                until("the machine is closed", || {
                    let machine = kubernetes.get(&format!("node/{machine}"), &[])?;
                    (machine["spec"]["unschedulable"] == true).then_some(())
                });
                kubernetes.kubectl(&["uncordon", machine]);
            }
            draining.join().expect("it ends")
        });
        said.unwrap_or_else(|error| panic!("kubectl drain: {error}"));
        kubernetes.kubectl(&["uncordon", machine]);
        chat.await_ready();
        let after = on_machine(chat, machine);
        let stayed: Vec<_> = before.intersection(&after).collect();
        assert!(stayed.is_empty(), "pods that were not evicted: {stayed:?}");
        let alone = if free.len() == 1 { "; the only one, so that it was opened again at once" } else { "" };
        format!("{} pods evicted{alone}", before.len())
    })
}

fn on_machine(chat: &Chat, machine: &str) -> BTreeSet<String> {
    chat.pods().iter().filter(|pod| pod["spec"]["nodeName"] == machine).map(uid_of).collect()
}

/// A new operator must leave every pod where it is.
fn upgrade_of_the_operator(world: &World, chat: &Chat, service: &Service) -> Row {
    round(&world.runtime, service, chat, "`helm upgrade` of the operator", |_| {
        let before: BTreeSet<_> = chat.pods().iter().map(uid_of).collect();
        world.deploy(&world.settings.next);
        std::thread::sleep(MOMENT);
        chat.await_ready();
        let after: BTreeSet<_> = chat.pods().iter().map(uid_of).collect();
        assert_eq!(before, after, "pods were replaced");
        "no pod of the chat was replaced".to_owned()
    })
}

fn delete_the_namespace(world: &World, chat: &Chat, service: &Service) -> Row {
    delete_in_use(world, chat, service, "`kubectl delete namespace`, in use")
}
