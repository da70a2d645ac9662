//! `docs/kubectl.md`: what an administrator sees of a chat in each state that it can be in, as kubectl shows it.

use std::{
    fmt::Write as _,
    time::{Duration, Instant},
};

use rookery_e2e::{report, service::Service, user::User, ws::Subprotocol};
use serde_json::json;

use crate::{
    World,
    chat::{Chat, condition, name_of},
    steps::laptop,
};

/// A state that passes is caught if it lasts so long.
const PACE: Duration = Duration::from_millis(100);
/// How long it is waited for.
const PATIENCE: Duration = Duration::from_secs(120);

struct Page<'a> {
    chat: &'a Chat,
    text: String,
}

impl Page<'_> {
    /// Waits until the condition `Ready` has this reason and shows what kubectl shows then.
    fn show(&mut self, reason: &str, what: &str) {
        let deadline = Instant::now() + PATIENCE;
        let (list, told) = loop {
            let kubectl = |args: &[&str]| self.chat.kubernetes.kubectl(args);
            let object = self.chat.object();
            let ready = condition(&object, "Ready");
            if ready.is_some_and(|ready| {
                ready["reason"] == reason && ready["observedGeneration"] == object["metadata"]["generation"]
            }) {
                let list = kubectl(&["get", "cc"]);
                let told = kubectl(&["describe", "cc", &self.chat.name]);
                // It may be over by now.
                let is_told = told.contains(&format!("Reason:                {reason}\n"));
                if list.contains(reason) && is_told {
                    break (list, told);
                }
            }
            assert!(Instant::now() < deadline, "waited in vain for {reason}: {object:#}");
            std::thread::sleep(PACE);
        };
        let told = told.split_once("\nStatus:\n").map_or(&*told, |(_, status)| status);
        let name = &self.chat.name;
        let _ = write!(
            self.text,
            "## {reason}\n\n{what}\n\n```\n$ kubectl get cc\n{}\n$ kubectl describe cc {name}\n...\nStatus:\n{}\n```\n\n",
            lines(&list),
            lines(told),
        );
        println!("    {reason}");
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

    let image = format!("{}/node:no-such-tag", world.settings.next.repository);
    page.chat.change(&json!({"images": {"node": image}}));
    page.show("NodeStuck", "An image that there is not. The other node serves on, and nobody has to undo anything but the manifest.");
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

    page.chat.change(&json!({"paused": true}));
    page.show("Paused", "`spec.paused` is set.");
    world.clean(&kubernetes);
    report::write("ROOKERY_E2E_TRANSCRIPTS", &page.text);
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
