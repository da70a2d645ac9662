//! Mails of a cluster, by SMTP: from the sign-up to the notice of what somebody has not read.

use std::{
    path::Path,
    sync::Mutex,
    time::{Duration, Instant},
};

use rookery_e2e::{eventually, http::Api, service::code_in, unique, user::PASSWORD, ws::Subprotocol};
use rookery_testbed::{Bed, Cluster, ClusterOptions, Node, Process, Smtp, SmtpOptions};
use serde_json::{Value, json};
use tokio::task::block_in_place;

use crate::support::{self, post};

/// Something must be unread for so long: longer than a busy machine takes for a few messages over two nodes.
const DELAY: Duration = Duration::from_secs(8);

struct World {
    cluster: Cluster,
    smtp: Smtp,
    mailers: Vec<Process>,
    /// All that anybody was sent.
    codes: Mutex<Vec<String>>,
}

/// A small cluster whose mails are sent by two mailers, over STARTTLS with a login.
fn start() -> Option<World> {
    let mut options = support::options();
    let seconds = DELAY.as_secs().to_string();
    options.settings.extend([
        ("ROOKERY_NOTICES__DELAY_SECONDS".to_owned(), seconds),
        ("ROOKERY_HTTP__PUBLIC_URL".to_owned(), "https://chat.example.org".to_owned()),
        // So that there is something to be looked through for codes.
        (
            "ROOKERY_LOG__LEVEL".to_owned(),
            "info,rookery_node::accounts=trace,rookery_node::backend=debug".to_owned(),
        ),
    ]);
    options.shards.truncate(2);
    let options = ClusterOptions { nats_servers: 1, etcd_members: 1, ..options };
    let users = vec![("chat".to_owned(), "password of the server".to_owned())];
    let smtp = Smtp::start(&SmtpOptions { tls: true, users, ..SmtpOptions::default() })?;
    let cluster = Cluster::start(&options)?;
    let program = options.program.with_file_name("rookery-mailer");
    assert!(program.exists(), "{} is missing: cargo build -p rookery-mailer", program.display());
    let bed = Bed::temporary();
    let mailers = (0..2).map(|n| {
        let config = bed.dir().join(format!("mailer-{n}.toml"));
        let text = format!(
            "[server]\nmanagement = '127.0.0.1:{}'\n[cluster]\nname = '{}'\n[nats]\nurls = {:?}\nreplicas = 1\n\
             [mail]\nfrom = 'Tea Chat <chat@example.org>'\n[smtp]\nhost = 'localhost'\nport = {}\ntls_ca = '{}'\n\
             user = 'chat'\npassword = 'password of the server'\ntimeout_seconds = 5\n",
            rookery_testbed::free_port(),
            options.name,
            cluster.nats().urls(),
            smtp.port(),
            smtp.ca().display(),
        );
        std::fs::write(&config, text).expect("a configuration can be written");
        let config = config.to_string_lossy().into_owned();
        let args = ["run", "--config", &config, "--log-level", "info,rookery_mailer=trace"];
        let args = args.map(str::to_owned).to_vec();
        let process = bed.process(&format!("mailer-{n}"), &program, args);
        process.start();
        process
    });
    let mailers = mailers.collect();
    Some(World { cluster, smtp, mailers, codes: Mutex::default() })
}

impl World {
    /// The `count`th mail to an address.
    async fn mail(&self, to: &str, count: usize) -> Value {
        eventually(&format!("mail {count} to {to} arrives"), async || {
            self.mailers.iter().for_each(Process::assert_running);
            self.mails(to).into_iter().nth(count - 1)
        })
        .await
    }

    fn mails(&self, to: &str) -> Vec<Value> {
        self.smtp.mails().into_iter().filter(|mail| mail["to"][0] == to).collect()
    }

    async fn code(&self, to: &str, count: usize) -> String {
        let code = code_in(&self.mail(to, count).await).expect("the mail has a code");
        self.codes.lock().expect("nobody panicked").push(code.clone());
        code
    }

    /// What its nodes and mailers have logged.
    fn logs(&self) -> Vec<(String, String)> {
        let nodes = self.cluster.nodes().iter().map(Node::process);
        let all = nodes.chain(&self.mailers).map(Process::log);
        let read = |log: &Path| {
            (log.display().to_string(), std::fs::read_to_string(log).expect("a log can be read"))
        };
        all.map(read).collect()
    }
}

/// Registers with the code that came by SMTP; answers calls with his token, and his name.
async fn sign_up(
    world: &World,
    node: usize,
    hint: &str,
    language: &str,
) -> (rookery_e2e::user::User, String) {
    let api = Api::new(&world.cluster.nodes()[node].url());
    let username = unique(hint);
    let email = format!("{username}@example.com");
    let request = json!({
        "email": email, "username": username, "password": PASSWORD, "display_name": hint, "language": language,
    });
    api.post("/v1/auth/register", request).await.is(202);
    let code = world.code(&email, 1).await;
    let session = api.post("/v1/auth/verify", json!({"email": email, "code": code})).await.is(201);
    // "Welcome" comes second.
    world.mail(&email, 2).await;
    let token = session["access_token"].as_str().expect("a session has a token").to_owned();
    let id = session["user"]["id"].as_str().expect("a session has a user").to_owned();
    let user =
        rookery_e2e::user::User { api: api.with_token(&token), id, username, email: email.clone(), session };
    (user, email)
}

#[tokio::test(flavor = "multi_thread")]
async fn from_the_sign_up_to_a_notice_of_what_is_unread() {
    let Some(world) = block_in_place(start) else { return };
    let (ada, _) = sign_up(&world, 0, "ada", "en").await;
    let (bob, to_bob) = sign_up(&world, 1, "bob", "de").await;
    let first = world.mail(&to_bob, 1).await;
    assert_eq!(first["headers"]["subject"], "Bestätige deine E-Mail-Adresse");
    assert_eq!((first["tls"].as_bool(), first["user"].as_str()), (Some(true), Some("chat")));

    // A login with a code, at the other node.
    bob.api.patch("/v1/users/me", json!({"login_code": true})).await.is(200);
    let there = Api::new(&world.cluster.nodes()[0].url());
    let request = json!({"login": bob.username, "password": PASSWORD});
    let challenge = there.post("/v1/auth/login", request).await.is(202);
    let code = world.code(&to_bob, 3).await;
    let request = json!({"challenge_id": challenge["challenge_id"], "code": code});
    let session = there.post("/v1/auth/login/verify", request).await.is(200);
    assert_eq!(session["user"]["id"], bob.session["user"]["id"]);

    // Mentioned and written to while he is away.
    let room = json!({"name": "Tea", "kind": "group", "visibility": "public"});
    let room = ada.api.post("/v1/rooms", room).await.is(201);
    let tea = room["id"].as_str().expect("a room has an id").to_owned();
    bob.api.post_empty(&format!("/v1/rooms/{tea}/join")).await.success();
    let between = ada.api.put_empty(&format!("/v1/direct/{}", bob.username)).await.success();
    let between = between["id"].as_str().expect("a room has an id").to_owned();
    let begun = Instant::now();
    post(&ada, &tea, &format!("tea, @{}?", bob.username)).await;
    post(&ada, &between, "are you there?").await;
    let notice = world.mail(&to_bob, 4).await;
    assert!(begun.elapsed() >= DELAY, "{:?}", begun.elapsed());
    assert_eq!(notice["headers"]["subject"], "1 ungelesene Erwähnung");
    let text = notice["text"].as_str().expect("a mail has a text").replace("\r\n", "\n");
    assert!(
        text.contains("- Tea: 1 Erwähnung, 1 ungelesene Nachricht\n- ada: 1 ungelesene Nachricht\n"),
        "{text}"
    );

    // Who is connected is told, too: a mark says that somebody has read, and a connection does not.
    let (cleo, to_cleo) = sign_up(&world, 0, "cleo", "fr").await;
    let with_cleo = ada.api.put_empty(&format!("/v1/direct/{}", cleo.username)).await.success();
    let with_cleo = with_cleo["id"].as_str().expect("a room has an id").to_owned();
    let mut socket = cleo.online(Subprotocol::Json).await;
    post(&ada, &with_cleo, "do you see this?").await;
    socket.event_in("message", &with_cleo).await;

    // What he reads within the delay is not told; and no second mail comes within the window.
    let (seq, _) = post(&bob, &tea, &format!("@{} later", ada.username)).await;
    ada.at(&world.cluster.nodes()[1].url())
        .api
        .put(&format!("/v1/rooms/{tea}/read"), json!({"seq": seq}))
        .await
        .is(204);
    post(&ada, &between, "still there?").await;
    tokio::time::sleep(DELAY * 2).await;
    assert_eq!((world.mails(&ada.email).len(), world.mails(&to_bob).len()), (2, 4));
    let hers = world.mail(&to_cleo, 3).await;
    let text = hers["text"].as_str().expect("a mail has a text").replace("\r\n", "\n");
    assert!(text.contains("- ada : 1 message non lu"), "{text}");
    drop(socket);

    // One click at any node ends them.
    let link = notice["headers"]["list-unsubscribe"].as_str().expect("a notice can be ended");
    assert_eq!(notice["headers"]["list-unsubscribe-post"], "List-Unsubscribe=One-Click");
    let path =
        link.trim_matches(['<', '>']).strip_prefix("https://chat.example.org").expect("the public address");
    let click = b"List-Unsubscribe=One-Click".to_vec();
    there.post_raw(path, "application/x-www-form-urlencoded", click).await.is(200);
    eventually("he gets no more notices", async || {
        let me = bob.api.get("/v1/users/me").await.is(200);
        (me["notifications"]["email"] == "off").then_some(())
    })
    .await;

    // Nobody reads a code in a log.
    let codes = world.codes.lock().expect("nobody panicked").clone();
    assert_eq!(codes.len(), 4, "{codes:?}");
    for (name, log) in world.logs() {
        assert!(!log.is_empty(), "{name} is empty");
        // Whole words: a log is full of longer numbers.
        let said = log
            .split(|c: char| !c.is_ascii_alphanumeric())
            .find(|word| codes.iter().any(|code| code == word));
        assert_eq!(said, None, "in {name}");
    }
}
