//! A cluster of the test's own, and users on each of its nodes.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use rookery_e2e::{
    server::{self, Options},
    service::Service,
    unique,
    user::{User, seq_of},
};
use rookery_testbed::{Cluster, ClusterOptions};
use serde_json::json;
use tokio::task::block_in_place;

/// No send may take longer, whatever has happened: clients have waited long enough then.
pub(crate) const RECOVERY: Duration = Duration::from_secs(30);

/// Options for a cluster that tests may break.
pub(crate) fn options() -> ClusterOptions {
    let settings = Options::generous().set("server.drain_window_seconds", 1).environment().to_vec();
    ClusterOptions { settings, ..ClusterOptions::of(server::program()) }
}

/// The token of [`operated`].
pub(crate) const OPERATOR_TOKEN: &str = "what-only-the-operator-knows";

/// Options for a cluster whose nodes do what the operator asks. Its token lies in `dir`.
pub(crate) fn operated(dir: &Path) -> ClusterOptions {
    let file = dir.join("token");
    std::fs::write(&file, OPERATOR_TOKEN).expect("it is written");
    let mut options = options();
    options.settings.push(("ROOKERY_PEER__OPERATOR_TOKEN_FILE".into(), file.to_string_lossy().into_owned()));
    options
}

/// Starts it. `None`, said loudly, when a server is not installed.
pub(crate) fn start(options: &ClusterOptions) -> Option<Cluster> {
    block_in_place(|| Cluster::start(options))
}

/// Somebody who is registered at a node and talks to it.
pub(crate) async fn user_at(cluster: &Cluster, node: usize, hint: &str) -> User {
    User::register(&Service::of_node(&cluster.nodes()[node]), hint).await
}

/// Posts as a client does: the same message again, by its `client_msg_id`, while it is answered `unavailable`. Returns the
/// seq, and how often it was refused.
pub(crate) async fn post(user: &User, room: &str, text: &str) -> (u64, u32) {
    let path = format!("/v1/rooms/{room}/messages");
    let message = json!({"text": text, "client_msg_id": unique("m")});
    let (begun, mut refused) = (Instant::now(), 0);
    loop {
        let answer = user.api.post(&path, message.clone()).await;
        match answer.status {
            200 | 201 => return (seq_of(&answer.body), refused),
            503 => refused += 1,
            other => panic!("{text:?} was answered {other}: {}", answer.body),
        }
        assert!(begun.elapsed() < RECOVERY, "{text:?} is still refused: {}", answer.body);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Texts of all messages of a room, oldest first; checks that each seq is there once.
pub(crate) async fn texts(user: &User, room: &str) -> Vec<String> {
    let mut all: Vec<(u64, String)> = Vec::new();
    let mut before = String::new();
    loop {
        let path = format!("/v1/rooms/{room}/messages?limit=100{before}");
        let page = user.api.get(&path).await.is(200);
        let messages = page["messages"].as_array().expect("a page has messages");
        let Some(oldest) = messages.iter().map(seq_of).min() else { break };
        all.extend(messages.iter().map(|m| (seq_of(m), m["text"].as_str().unwrap_or_default().to_owned())));
        before = format!("&before={oldest}");
    }
    all.sort();
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0), "a seq is there twice: {all:?}");
    all.into_iter().map(|(_, text)| text).collect()
}
