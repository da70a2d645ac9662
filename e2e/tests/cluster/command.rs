//! `make cluster`: the program that people start, with the real node. It serves, ends well when it is asked to, and goes on with its data.

use std::{fs, time::Duration};

use rookery_e2e::{
    server,
    service::Service,
    user::{PASSWORD, User},
    ws::{Connect, Subprotocol},
};
use rookery_testbed::{Bed, ClusterOptions, Ports, Process, find_program_or_say};
use rustix::process::{Pid, Signal};
use serde_json::json;
use tokio::task::block_in_place;

use crate::support::{post, texts};

/// Nodes, then servers, have 20 s each to end before they are killed.
const ENDING: Duration = Duration::from_secs(60);

/// How far its ports are moved: they are all free, and must be the same after a restart, as etcd remembers its members' addresses.
fn moved() -> u16 {
    let first = (std::process::id() % 400) as u16;
    let mut all = (0..400).map(|step| 100 + (first + step) % 400 * 20);
    let is_free = |&moved: &u16| {
        let ports = Ports::Fixed(moved);
        ClusterOptions { ports, ..ClusterOptions::of(server::program()) }.taken_ports().is_empty()
    };
    all.find(is_free).expect("one of so many places is free")
}

fn said(command: &Process) -> String {
    fs::read_to_string(command.log()).unwrap_or_default()
}

/// Starts it, and returns the nodes' URLs when it has said that it runs. Each `name` has a log of its own.
fn start(bed: &Bed, name: &str, moved: u16) -> (Process, Vec<String>) {
    let program = server::program().with_file_name("rookery-testbed");
    assert!(program.exists(), "{} is missing: cargo build -p rookery-testbed", program.display());
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    let (ports, data, node) = (moved.to_string(), text(&bed.dir().join("data")), text(&server::program()));
    let mut flags =
        vec!["cluster", "--ports", &ports, "--translators", "0", "--data", &data, "--node", &node];
    flags.extend(["--set", "edge.url_token=false", "--set", "server.drain_window_seconds=1"]);
    let command = bed.process(name, &program, flags.into_iter().map(str::to_owned).collect());
    command.start();
    let running = rookery_testbed::eventually(
        "the cluster runs",
        || command.log_tail(40),
        || {
            command.assert_running();
            said(&command).split_once("The cluster is running").map(|(_, rest)| rest.to_owned())
        },
    );
    let nodes =
        running.lines().find_map(|line| line.trim().strip_prefix("nodes ")).expect("it says where nodes are");
    let urls = nodes.split_whitespace().map(str::to_owned).collect();
    (command, urls)
}

/// Ctrl-C.
fn end(command: &Process, bed: &Bed) {
    let pid = command.pid().and_then(|pid| Pid::from_raw(pid.try_into().ok()?)).expect("it runs");
    rustix::process::kill_process(pid, Signal::INT).expect("our child can be signalled");
    let status = command.wait(ENDING);
    let said = said(command);
    assert_eq!(status.and_then(|status| status.code()), Some(0), "{said}");
    assert!(said.contains("all parts have ended") && !said.contains("was killed"), "{said}");
    assert!(!said.contains("started again in"), "nothing ended meanwhile: {said}");
    let dir = format!("{}/data/", bed.dir().display());
    let commands = fs::read_dir("/proc").expect("Linux").flatten();
    let commands = commands.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    let left: Vec<_> = commands
        .map(|bytes| String::from_utf8_lossy(&bytes).replace('\0', " "))
        .filter(|command| command.contains(&dir))
        .collect();
    assert_eq!(left, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_for_people_ends_well_and_goes_on_with_its_data() {
    if ["nats-server", "etcd", "redis-server"].map(find_program_or_say).iter().any(Option::is_none) {
        return;
    }
    let (bed, moved) = (Bed::temporary(), moved());
    let (first, urls) = block_in_place(|| start(&bed, "first", moved));
    assert_eq!(urls.len(), 3, "{urls:?}");
    let ada = User::register(&Service::with_mailbox(&urls[0]), "ada").await;
    let room = ada.room_with(&[]).await;
    let mut all = Vec::new();
    for (node, url) in urls.iter().enumerate() {
        all.push(format!("over node {node}"));
        post(&ada.at(url), &room, &all[node]).await;
    }
    // By the setting that it was given: `make cluster` alone lets a token come in the URL.
    let mut in_url = Connect::to(&urls[0], Subprotocol::Json);
    in_url.query = format!("?token={}", ada.token());
    let mut ws = in_url.open().await.expect("refused by a close code");
    let _ = ws.try_send(json!({"t": "hello"})).await;
    assert_eq!(ws.closed().await.code, 4401);
    drop(ws);
    block_in_place(|| end(&first, &bed));

    let (second, again) = block_in_place(|| start(&bed, "second", moved));
    assert_eq!(again, urls);
    for url in &urls {
        // By the token that he had before.
        assert_eq!(texts(&ada.at(url), &room).await, all, "over {url}");
    }
    let api = rookery_e2e::http::Api::new(&urls[1]);
    api.post("/v1/auth/login", json!({"login": ada.username, "password": PASSWORD})).await.is(200);
    all.push("after all".to_owned());
    post(&ada.at(&urls[2]), &room, &all[3]).await;
    assert_eq!(texts(&ada, &room).await, all);
    block_in_place(|| end(&second, &bed));
}
