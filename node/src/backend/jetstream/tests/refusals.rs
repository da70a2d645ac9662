//! What is refused at the start, by name.

use async_nats::jetstream::stream::{Config, RetentionPolicy};
use rookery_testbed::NatsOptions;
use tokio::{
    io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader},
    net::TcpListener,
    sync::Notify,
};

use super::*;
use crate::{
    backend::jetstream::{ConnectError, connect, link::Link},
    secret::Secret,
};

async fn refusal(settings: &NatsSettings, cluster: &str) -> String {
    let metrics = NatsMetrics::register(&mut Registry::default());
    match JetStream::connect(settings, cluster, metrics).await {
        Ok(_) => panic!("accepted"),
        Err(error) => error.to_string(),
    }
}

#[test]
fn another_layout_is_refused() {
    let Some(servers) = servers() else { return };
    run(async {
        let settings = settings(&servers);
        open_with(&settings, "layout").await;
        open_with(&settings, "layout").await;
        for log_streams in [1, 3] {
            let why = refusal(&NatsSettings { log_streams, ..settings.clone() }, "layout").await;
            assert!(why.contains("layout-") && why.contains("set it to 2"), "{why}");
        }
        let why = refusal(&NatsSettings { replicas: 1, ..settings.clone() }, "layout").await;
        assert!(why.contains("3 replicas, and nats.replicas is 1"), "{why}");
        let log = open_with(&settings, "layout").await;
        // Whatever could remove a record some day.
        let context = async_nats::jetstream::new(log.client());
        for stream in ["layout-log-0", "layout-accounts"] {
            let made = context.get_stream(stream).await.unwrap().cached_info().config.clone();
            let day = Duration::from_secs(86_400);
            for (wrong, setting) in [
                (Config { max_messages_per_subject: 5, ..made.clone() }, "limits"),
                (Config { max_messages: 1_000_000, ..made.clone() }, "limits"),
                (Config { max_bytes: 1 << 30, ..made.clone() }, "limits"),
                (Config { max_age: day, ..made.clone() }, "max_age"),
                // Or would not take one.
                (Config { max_message_size: 1000, ..made.clone() }, "max_msg_size"),
            ] {
                context.update_stream(wrong).await.unwrap();
                let why = refusal(&settings, "layout").await;
                assert!(why.contains(&format!("stream {stream}: its {setting} differ")), "{why}");
            }
            context.update_stream(made).await.unwrap();
        }
        open_with(&settings, "layout").await;
    });
}

/// Made by somebody else, before the first node came.
#[test]
fn streams_that_would_lose_or_hide_messages_are_refused() {
    let Some(servers) = servers() else { return };
    run(async {
        let settings = settings(&servers);
        let context = async_nats::jetstream::new(open_with(&settings, "made").await.client());
        let made = context.get_stream("made-log-0").await.unwrap().cached_info().config.clone();
        for (wrong, named) in [
            (Config { retention: RetentionPolicy::WorkQueue, ..made.clone() }, "retention"),
            (Config { republish: None, ..made.clone() }, "republish"),
        ] {
            context.delete_stream("made-log-0").await.unwrap();
            context.create_stream(wrong).await.unwrap();
            let why = refusal(&settings, "made").await;
            assert!(why.contains(&format!("stream made-log-0: its {named} differ")), "{why}");
        }
        context.delete_stream("made-log-0").await.unwrap();
        open_with(&settings, "made").await;
    });
}

/// A port that greets as a server does, with the next of these at each connection, and ends connections when it is told to.
async fn greeter(greetings: Vec<String>, end: Arc<Notify>) -> NatsSettings {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("nats://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        for greeting in greetings {
            let (stream, _) = listener.accept().await.unwrap();
            let end = end.clone();
            tokio::spawn(async move {
                let (read, mut write) = stream.into_split();
                write.write_all(format!("INFO {greeting}\r\n").as_bytes()).await.unwrap();
                let mut lines = BufReader::new(read).lines();
                let ended = end.notified();
                let talk = async {
                    while let Ok(Some(line)) = lines.next_line().await {
                        if line == "PING" {
                            let _ = write.write_all(b"PONG\r\n").await;
                        }
                    }
                };
                tokio::select! { () = talk => {}, () = ended => {} }
            });
        }
    });
    NatsSettings {
        urls: vec![url],
        connect_seconds: 5,
        require_sync_always: false,
        ..NatsSettings::default()
    }
}

fn greeting(name: &str, version: &str, max_payload: usize) -> String {
    serde_json::json!({
        "server_id": "NABC", "server_name": name, "version": version, "go": "go1.25", "host": "127.0.0.1", "port": 4222,
        "headers": true, "proto": 1, "max_payload": max_payload,
    })
    .to_string()
}

#[test]
fn a_server_that_is_too_old_or_takes_too_little_is_refused_by_name() {
    run(async {
        for (said, wanted) in [
            (greeting("nats-7", "2.10.0", 1 << 20), ["nats-7", "2.10.0", "2.14.4"]),
            (greeting("nats-8", "2.15.1", 65_536), ["nats-8", "65536", "max_payload"]),
        ] {
            let why = refusal(&greeter(vec![said], Arc::default()).await, "c").await;
            assert!(wanted.iter().all(|part| why.contains(part)), "{why}");
        }
    });
}

#[test]
fn a_server_that_a_node_comes_to_later_is_looked_at() {
    run(async {
        let end = Arc::new(Notify::new());
        let (good, old) = (greeting("nats-1", "2.15.1", 1 << 20), greeting("nats-2", "2.10.0", 1 << 20));
        let settings = greeter(vec![good.clone(), old, good], end.clone()).await;
        let metrics = NatsMetrics::register(&mut Registry::default());
        let (client, signals) = connect::connect(&settings, "c", &metrics).await.unwrap();
        let link = Link::open(client, signals, metrics.clone(), Duration::from_secs(1)).await.unwrap();
        let looking = tokio::spawn(connect::look_at_servers(Arc::new(link)));
        for (reconnects, unfit) in [(1, 1), (2, 0)] {
            assert_ne!(metrics.unfit_server.get(), unfit);
            end.notify_waiters();
            let looked = async {
                while (metrics.reconnects.get(), metrics.unfit_server.get()) != (reconnects, unfit) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            soon("the server is looked at", looked).await;
        }
        looking.abort();
    });
}

#[test]
fn servers_that_do_not_do_are_refused() {
    let options = NatsOptions { servers: 1, jetstream: false, ..NatsOptions::default() };
    let Some(without) = NatsCluster::start(&options) else { return };
    let extra = "authorization { user: rook, password: \"s3cret pass\" }\nmax_payload: 2MB\n".to_owned();
    let options = NatsOptions { servers: 1, sync_always: false, extra, ..NatsOptions::default() };
    let Some(careless) = NatsCluster::start(&options) else { return };
    run(async {
        let one = |servers: &NatsCluster| NatsSettings { connect_seconds: 1, ..settings(servers) };
        let why = refusal(&one(&without), "c").await;
        assert!(why.contains("JetStream"), "{why}");

        let why = refusal(&one(&careless), "c").await;
        assert!(why.contains("refuses this node") && why.contains("nats.user"), "{why}");
        let known = NatsSettings {
            user: Some("rook".into()),
            password: Secret::from("s3cret pass".to_owned()),
            ..one(&careless)
        };
        let wrong = NatsSettings { password: Secret::from("guessed".to_owned()), ..known.clone() };
        let why = refusal(&wrong, "c").await;
        assert!(why.contains("refuses this node") && !why.contains("guessed"), "{why}");

        let port = careless.monitor(0, "/varz").unwrap()["http_port"].as_u64().unwrap();
        let monitored = NatsSettings {
            require_sync_always: true,
            monitoring_urls: vec![format!("http://127.0.0.1:{port}")],
            ..known.clone()
        };
        let why = refusal(&monitored, "c").await;
        assert!(why.contains("sync_interval: always"), "{why}");
        open_with(&NatsSettings { require_sync_always: false, ..monitored }, "c").await;

        let why = refusal(&NatsSettings { replicas: 3, ..known }, "d").await;
        assert!(why.contains("a single server cannot keep 3 replicas"), "{why}");

        careless.kill(0);
        let began = std::time::Instant::now();
        let metrics = NatsMetrics::register(&mut Registry::default());
        let gone = JetStream::connect(&one(&careless), "c", metrics).await.err().unwrap();
        assert!(matches!(gone, ConnectError::Unreachable { .. }), "{gone}");
        assert!(began.elapsed().as_secs() < 10);
    });
}

#[test]
fn servers_that_are_away_keep_nobody_from_starting_unless_too_many_are() {
    let Some(servers) = NatsCluster::start(&NatsOptions::default()) else { return };
    run(async {
        let port = |server| servers.monitor(server, "/varz").unwrap()["http_port"].as_u64().unwrap();
        let monitors = (0..3).map(|server| format!("http://127.0.0.1:{}", port(server)));
        let settings = NatsSettings {
            require_sync_always: true,
            monitoring_urls: monitors.collect(),
            ..settings(&servers)
        };
        drop(open_with(&settings, "away").await);
        servers.kill(2);
        drop(open_with(&settings, "away").await);
        // It answers nobody, and refuses nobody either.
        servers.restart(2);
        servers.process(2).pause();
        drop(open_with(&settings, "away").await);
        servers.process(1).pause();
        // The one that is there is asked: to find out that another does not answer would take long.
        let urls = settings.urls[..1].to_vec();
        let one = NatsSettings { connect_seconds: 2, urls, ..settings };
        let why = refusal(&one, "away").await;
        assert!(why.contains("1 of 3 servers say"), "{why}");
        // Nor does it answer about streams, without the others, once it knows that it leads them no more. That may pass, so a node waits
        // for it.
        let unasked = NatsSettings { monitoring_urls: Vec::new(), ..one };
        let why = loop {
            let metrics = NatsMetrics::register(&mut Registry::default());
            if let Err(why) = JetStream::connect(&unasked, "away", metrics).await {
                break why;
            }
        };
        assert!(matches!(why, ConnectError::NotYet { .. }) && why.passes(), "{why}");
        assert!(why.to_string().contains("stream away-"), "{why}");
        servers.process(1).resume();
        servers.process(2).resume();
    });
}
