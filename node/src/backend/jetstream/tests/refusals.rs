//! What is refused at the start, by name.

use async_nats::jetstream::stream::Config;
use rookery_testbed::NatsOptions;

use super::*;
use crate::{backend::jetstream::ConnectError, secret::Secret};

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
        let why = refusal(&NatsSettings { connect_seconds: 2, urls, ..settings }, "away").await;
        assert!(why.contains("1 of 3 servers say"), "{why}");
        servers.process(1).resume();
        servers.process(2).resume();
    });
}
