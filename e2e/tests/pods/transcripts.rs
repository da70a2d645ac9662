//! `docs/kubectl.md`: what an administrator sees of a chat in each state that it can be in, as kubectl shows it.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use rookery_e2e::{report, service::Service, user::User, ws::Subprotocol};
use serde_json::{Value, json};

use crate::{
    World,
    chat::{Chat, condition, name_of},
    steps::laptop,
};

/// A state that passes is caught if it lasts so long.
const PACE: Duration = Duration::from_millis(100);
/// How long it is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

/// A registry that there is not, and of which the same is said wherever this runs.
const NOWHERE: &str = "localhost:1";

struct Page<'a> {
    chat: &'a Chat,
    text: String,
}

impl Page<'_> {
    /// Waits until the condition `Ready` of this object has this reason; what `kubectl get` (with these options) and `kubectl describe`
    /// show then.
    fn catch(&self, kind: &str, name: &str, reason: &str, options: &[&str]) -> (String, String) {
        let deadline = Instant::now() + PATIENCE;
        let kubectl = |args: &[&str]| lines(&self.chat.kubernetes.kubectl(args));
        loop {
            let object = self.chat.kubernetes.get(&format!("{kind}/{name}"), &[]).expect("it is there");
            let ready = condition(&object, "Ready");
            if ready.is_some_and(|ready| {
                ready["reason"] == reason && ready["observedGeneration"] == object["metadata"]["generation"]
            }) {
                let list = kubectl(&[&["get", kind, name], options].concat());
                let told = kubectl(&["describe", kind, name]);
                // It may be over by now.
                if list.contains(reason) && told.contains(&format!("Reason:                {reason}\n")) {
                    println!("    {reason}");
                    return (list, told);
                }
            }
            assert!(Instant::now() < deadline, "waited in vain for {reason}: {object:#}");
            std::thread::sleep(PACE);
        }
    }

    /// Shows the chat when it has come into this state: all that is told.
    fn show(&mut self, reason: &str, what: &str) {
        self.show_whole("cc", &self.chat.name, &format!("## {reason}"), reason, what);
    }

    /// The same of a room.
    fn show_room(&mut self, name: &str, reason: &str, what: &str) {
        self.show_whole("room", name, &format!("### {reason}"), reason, what);
    }

    fn show_whole(&mut self, kind: &str, name: &str, title: &str, reason: &str, what: &str) {
        let (list, told) = self.catch(kind, name, reason, &[]);
        let told = told.split_once("\nStatus:\n").map_or(&*told, |(_, status)| status);
        let _ = write!(
            self.text,
            "{title}\n\n{what}\n\n```\n$ kubectl get {kind} {name}\n{list}\n$ kubectl describe {kind} {name}\n...\nStatus:\n{told}\n```\n\n",
        );
    }

    /// Shows only the line of the chat, with its message.
    fn show_line(&mut self, reason: &str, what: &str) {
        let name = &self.chat.name;
        let (list, _) = self.catch("cc", name, reason, &["--output", "wide"]);
        let _ = write!(
            self.text,
            "### {reason}\n\n{what}\n\n```\n$ kubectl get cc {name} --output wide\n{list}\n```\n\n",
        );
    }

    /// Declares something that cannot be, shows what is said of it, and takes it back.
    fn show_mistake(&mut self, spec: &Value, back: &Value, reason: &str, what: &str) {
        self.chat.change(spec);
        self.show_line(reason, what);
        self.chat.change(back);
        self.chat.await_ready();
    }
}

/// Without spaces at the ends of lines and lines at the end.
fn lines(text: &str) -> String {
    let lines: Vec<_> = text.trim_end().lines().map(str::trim_end).collect();
    lines.join("\n")
}

/// Brings a chat into each state, and writes the page.
pub(crate) fn write(world: &World) {
    let kubernetes = world.namespace("show");
    let mut object = laptop(world, &kubernetes);
    object["spec"]["replicas"] = 2.into();
    // So long that what passes can be seen.
    object["spec"]["rollout"] = json!({"drainWindowSeconds": 8, "drainDeadlineSeconds": 10});
    let chat = Chat { kubernetes: kubernetes.clone(), name: name_of(&object).to_owned() };
    let mut page = Page { chat: &chat, text: String::new() };

    kubernetes.apply(&object);
    page.show("Starting", "`kubectl apply` was a moment ago.");
    page.show("AsDeclared", "Nothing is to be done.");
    let clients = clients(world);
    page.chat.change(&json!({"version": world.settings.next.tag}));
    page.show("Rolling", "`spec.version` is another one: nodes are replaced, one after the other.");
    chat.await_ready();

    page.chat.change(&json!({"images": {"node": format!("{NOWHERE}/node:1")}}));
    page.show("NodeStuck", "An image that cannot be fetched. The other node serves on, and nobody has to undo anything but the manifest.");
    page.chat.change(&json!({"images": {"node": null}}));
    chat.await_ready();

    let mailer = json!({
        "from": "Chat <chat@example.org>",
        "smtp": {"host": "smtp.example.org", "user": "chat", "passwordSecret": {"name": "smtp", "key": "password"}},
    });
    page.chat.change(&json!({"mailer": mailer}));
    page.show(
        "SecretMissing",
        "A mailer is declared whose password is not there. It is not started before it is; the rest goes on.",
    );
    page.chat.change(&json!({"mailer": null}));
    chat.await_ready();

    drop(clients);
    let clients = self::clients(world);
    kubernetes.kubectl(&["scale", &format!("cc/{}", chat.name), "--replicas=1"]);
    page.show(
        "ScalingDown",
        "`kubectl scale cc/tea --replicas=1`: a node hands over its rooms and clients before it goes.",
    );
    chat.await_ready();
    drop(clients);

    mistakes(&mut page);
    rooms(&mut page);
    page.chat.change(&json!({"paused": true}));
    page.show("Paused", "`spec.paused` is set.");
    world.clean(&kubernetes);
    report::write("ROOKERY_E2E_TRANSCRIPTS", &page.text);
}

/// What is declared and cannot be, besides those above: the line of the chat says all of it.
fn mistakes(page: &mut Page<'_>) {
    page.text.push_str("## What else is said in a line\n\n");
    let kubernetes = &page.chat.kubernetes;
    let defined = |name: &str| kubernetes.get(&format!("customresourcedefinition/{name}"), &[]).is_some();
    let (gateways, monitors) =
        (defined("httproutes.gateway.networking.k8s.io"), defined("podmonitors.monitoring.coreos.com"));
    let mailer = json!({"from": "Chat <chat@example.org>", "smtp": {"host": "smtp.example.org"}});
    let none = json!({"mailer": null, "images": {"mailer": null}});
    if !gateways {
        page.show_mistake(
            &json!({"gateway": {"parentRefs": [{"name": "web"}]}}),
            &json!({"gateway": null}),
            "GatewayApiMissing",
            "A `gateway`, where the Gateway API is not installed.",
        );
    }
    if !monitors {
        page.show_mistake(
            &json!({"monitoring": {"podMonitor": {"enabled": true}}}),
            &json!({"monitoring": null}),
            "PrometheusOperatorMissing",
            "A PodMonitor, where the Prometheus operator is not installed.",
        );
    }
    let mut templates = mailer.clone();
    templates["templatesRef"] = json!({"name": "our-mails"});
    page.show_mistake(
        &json!({"mailer": templates}),
        &none,
        "ConfigMapMissing",
        "Templates of mails from a ConfigMap that there is not.",
    );
    page.show_mistake(
        &json!({"mailer": mailer, "images": {"mailer": format!("{NOWHERE}/mailer:1")}}),
        &none,
        "PartStuck",
        "A mailer whose image cannot be fetched.",
    );
    let taken = format!("{}-mailer", page.chat.name);
    page.chat.kubernetes.kubectl(&["create", "deployment", &taken, "--image=somebody/else", "--replicas=0"]);
    page.chat.change(&json!({"mailer": mailer}));
    page.show_line("NameTaken", "A mailer, where a Deployment of that name is somebody else's.");
    page.chat.change(&none);
    page.chat.kubernetes.kubectl(&["delete", "deployment", &taken]);
    page.chat.await_ready();
}

/// Rooms that are declared, and what is said of those that cannot be quite so.
fn rooms(page: &mut Page<'_>) {
    page.text.push_str("## Rooms\n\n");
    let cluster = page.chat.name.clone();
    let apply = |page: &Page<'_>, name: &str, cluster: &str, more: Value| {
        let mut spec =
            json!({"clusterRef": {"name": cluster}, "displayName": "General", "visibility": "public"});
        spec.as_object_mut().expect("an object").extend(more.as_object().cloned().unwrap_or_default());
        page.chat.kubernetes.apply(&json!({
            "apiVersion": "rookery.chat/v1alpha1", "kind": "ChatRoom", "metadata": {"name": name}, "spec": spec,
        }));
    };
    apply(page, "general", &cluster, json!({}));
    page.show_room("general", "AsDeclared", "Nothing is to be done.");
    apply(page, "general", &cluster, json!({"members": [{"username": "nobody-yet", "role": "owner"}]}));
    page.show_room("general", "UsersUnknown", "A member whom nobody knows. The rest is as declared.");
    apply(page, "general", &cluster, json!({"shard": "far"}));
    page.show_room("general", "ShardUnknown", "A shard that the chat does not have.");
    apply(page, "elsewhere", "coffee", json!({}));
    page.show_room("elsewhere", "ClusterMissing", "A chat that there is not.");
}

/// Clients that go only when they are told, and do not come back, so that nodes take their time.
fn clients(world: &World) -> tokio::task::JoinSet<()> {
    let mut sockets = tokio::task::JoinSet::new();
    world.runtime.block_on(async {
        let service = Service::with_mailbox(&world.settings.ingress);
        let user = User::register(&service, "ada").await;
        for _ in 0..12 {
            let mut socket = user.connect(Subprotocol::Json).await;
            socket.hello(json!({"token": user.token(), "rooms": "all"})).await;
            sockets.spawn(async move { while socket.try_next().await.is_ok() {} });
        }
    });
    sockets
}
