//! The management port: `/livez`, `/readyz`, `/metrics`.

use std::collections::BTreeMap;

use rookery_e2e::{
    http::Api,
    server::{Options, Server},
    service::{self, Service},
    user::{User, seq_of},
    ws::Subprotocol,
};

/// Samples of the OpenMetrics text format: name with labels → value; panics at what is no line of it.
/// <https://prometheus.io/docs/specs/om/open_metrics_spec/>
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut samples = BTreeMap::new();
    let mut lines = text.lines();
    let mut ended = false;
    for line in lines.by_ref() {
        if line == "# EOF" {
            ended = true;
            break;
        }
        if let Some(comment) = line.strip_prefix("# ") {
            let word = comment.split(' ').next().unwrap_or_default();
            assert!(["HELP", "TYPE", "UNIT"].contains(&word), "{line}");
            continue;
        }
        let (name, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no value: {line:?}"));
        let bare = name.split('{').next().unwrap_or_default();
        assert!(
            !bare.is_empty() && bare.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b':'),
            "no name: {line:?}"
        );
        assert!(!name.contains('{') || name.ends_with('}'), "labels do not end: {line:?}");
        let value = value.parse().unwrap_or_else(|_| panic!("no number: {line:?}"));
        assert!(samples.insert(name.to_owned(), value).is_none(), "twice: {line:?}");
    }
    assert!(ended && lines.next().is_none(), "# EOF is the last line");
    samples
}

fn management() -> Option<Api> {
    Service::shared().management().first().map(|url| Api::new(url))
}

/// `/livez`, `/readyz`: 200 while it serves.
#[tokio::test]
async fn says_that_it_lives_and_is_ready() {
    let Some(management) = management() else {
        return rookery_e2e::skipped("says_that_it_lives_and_is_ready", "no management URL is known");
    };
    management.get("/livez").await.is(200);
    management.get("/readyz").await.is(200);
    management.get("/nothing").await;
}

/// `/metrics`: what Prometheus can read, with what is going on and without anybody's name.
#[tokio::test]
async fn says_what_is_going_on() {
    let Some(management) = management() else {
        return rookery_e2e::skipped("says_what_is_going_on", "no management URL is known");
    };
    let ada = User::register(Service::shared(), "ada").await;
    let room = ada.room_with(&[]).await;
    let mut ws = ada.online(Subprotocol::Json).await;
    ada.say(&room, "hello").await;
    ws.event("message").await;
    let answer = management.get("/metrics").await;
    let content_type = answer.headers["content-type"].to_str().expect("text").to_owned();
    assert!(content_type.starts_with("application/openmetrics-text"), "{content_type}");
    let body = answer.is(200);
    let text = body.as_str().expect("metrics are text");
    let samples = parse(text);
    assert!(samples.len() > 20, "{samples:?}");
    assert!(samples.values().any(|value| *value > 0.0));
    for private in [&ada.id, &ada.username, &ada.email, &room] {
        assert!(!text.contains(private.as_str()), "{private} is a label");
    }
}

/// A message is encoded once for each subprotocol, however many read it.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_is_encoded_once_per_subprotocol() {
    if service::is_external() {
        return rookery_e2e::skipped(
            "a_message_is_encoded_once_per_subprotocol",
            "what others do is counted there, too",
        );
    }
    let server = tokio::task::block_in_place(|| Server::start(Options::generous()));
    let ada = User::register(&Service::of(&server), "ada").await;
    let room = ada.room_with(&[]).await;
    let mut readers = Vec::new();
    for number in 0..6 {
        readers.push(ada.online(Subprotocol::BOTH[number % 2]).await);
    }
    let management = Api::new(&server.management_url());
    let counted = async || {
        let text = management.get("/metrics").await.is(200);
        let samples = parse(text.as_str().expect("metrics are text"));
        ["rookery_live_frames_total", "rookery_live_deliveries_total"].map(|name| samples[name])
    };
    let before = counted().await;
    let seq = seq_of(&ada.say(&room, "hello").await);
    for reader in &mut readers {
        assert_eq!(seq_of(&reader.event_in("message", &room).await), seq);
    }
    let [frames, deliveries] = counted().await;
    assert_eq!((frames - before[0], deliveries - before[1]), (2.0, 6.0), "frames and deliveries");
}

/// The management port is apart: clients cannot reach it at theirs.
#[tokio::test]
async fn is_not_on_the_clients_port() {
    for path in ["/metrics", "/livez", "/readyz"] {
        let answer = Service::shared().api().get(path).await;
        assert_eq!(answer.status, 404, "{path}");
    }
    if let Some(management) = management() {
        assert_eq!(management.get("/v1/openapi.json").await.status, 404);
    }
}
