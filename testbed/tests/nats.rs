//! Three NATS servers form a cluster in seconds, and what they acknowledged survives `kill -9`.

use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use rookery_testbed::{NatsCluster, NatsOptions};

#[tokio::test(flavor = "multi_thread")]
async fn acknowledged_messages_survive_the_death_of_the_leader() {
    let began = Instant::now();
    let Some(nats) = rookery_testbed::nats() else { return };
    assert!(began.elapsed() < Duration::from_secs(15), "formed after {:?}", began.elapsed());

    let urls: Vec<async_nats::ServerAddr> = nats.urls().iter().map(|url| url.parse().unwrap()).collect();
    let jetstream = jetstream::new(async_nats::connect(urls).await.unwrap());
    let config = stream::Config {
        name: "log".to_owned(),
        subjects: vec!["log.>".to_owned()],
        num_replicas: 3,
        storage: stream::StorageType::File,
        ..stream::Config::default()
    };
    jetstream.create_stream(config).await.expect("all three servers can take a copy");
    for n in 0..10 {
        jetstream.publish("log.a", format!("{n}").into()).await.unwrap().await.unwrap();
    }

    let leader = nats.leader_of("log").expect("a stream that takes messages has a leader");
    nats.kill(leader);
    let sequence = loop {
        let Ok(sent) = jetstream.publish("log.a", "after".into()).await else { continue };
        if let Ok(Ok(ack)) = tokio::time::timeout(Duration::from_secs(1), sent).await {
            break ack.sequence;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no new leader");
    };
    assert!(sequence > 10, "{sequence}: nothing that was acknowledged is overwritten");
    assert_ne!(nats.leader_of("log"), Some(leader));

    nats.restart(leader);
    let log = jetstream.get_stream("log").await.unwrap();
    for n in 0..10 {
        let message = log.get_raw_message(n + 1).await.unwrap();
        assert_eq!(message.payload, format!("{n}"));
    }
}

/// A leader that is cut off cannot commit; the others elect another one, and it follows that one once it is back.
#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_cut_off_commits_nothing_and_comes_back() {
    let Some(nats) = NatsCluster::start(&NatsOptions { proxied: true, ..NatsOptions::default() }) else {
        return;
    };
    let connect = async |server: usize| {
        let url = nats.urls()[server].clone();
        let mut context = jetstream::new(async_nats::connect(url).await.expect("clients reach each server"));
        context.set_timeout(Duration::from_secs(2));
        context
    };
    let config = stream::Config {
        name: "log".to_owned(),
        subjects: vec!["log.>".to_owned()],
        num_replicas: 3,
        ..stream::Config::default()
    };
    connect(0).await.create_stream(config).await.expect("all three servers can take a copy");
    let leader = nats.leader_of("log").expect("a stream that was made has a leader");
    nats.cut_off(leader);
    let stored = async |context: &jetstream::Context, text: &'static str| match context
        .publish("log.a", text.into())
        .await
    {
        Ok(sent) => sent.await.ok().map(|ack| ack.sequence),
        Err(_) => None,
    };
    assert_eq!(stored(&connect(leader).await, "alone").await, None, "one of three is no majority");
    let others = connect((leader + 1) % 3).await;
    let began = Instant::now();
    let sequence = loop {
        if let Some(sequence) = stored(&others, "by two").await {
            break sequence;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "no new leader");
    };
    nats.heal();
    let log = others.get_stream_no_info("log").await.expect("it is a handle");
    let back = connect(leader).await;
    loop {
        let by_it = stored(&back, "all").await;
        if by_it.is_some_and(|later| later > sequence) {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "it does not come back");
    }
    // Whoever leads the stream answers; around a change of leaders that is nobody, or one who does not know all of it yet.
    let kept = loop {
        match log.get_raw_message(sequence).await {
            Ok(kept) => break kept,
            Err(error) => {
                assert!(began.elapsed() < Duration::from_secs(60), "what two acknowledged is gone: {error}");
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    assert_eq!(kept.payload, "by two");
}

#[test]
fn the_servers_say_that_they_sync_every_write() {
    let Some(nats) = rookery_testbed::nats_single() else { return };
    let told = nats.monitor(0, "/varz").expect("a running server answers");
    assert_eq!(told["jetstream"]["config"]["sync_always"], true, "{}", told["jetstream"]);
}

/// The test above, in a process that finds no servers.
fn without_servers(required: &str) -> std::process::Output {
    std::process::Command::new(std::env::current_exe().expect("a test is a program"))
        .args(["--exact", "the_servers_say_that_they_sync_every_write"])
        .env("PATH", "/nowhere")
        .env("ROOKERY_SERVERS", "/nowhere")
        .env("XDG_CACHE_HOME", "/nowhere")
        .env("ROOKERY_REQUIRE_SERVERS", required)
        .output()
        .expect("it runs again")
}

#[test]
fn missing_servers_are_a_failure_where_they_are_required() {
    let lenient = without_servers("");
    let said = String::from_utf8_lossy(&lenient.stderr).into_owned();
    assert!(lenient.status.success() && said.contains("SKIPPED: nats-server"), "{said}");
    let strict = without_servers("1");
    let said = String::from_utf8_lossy(&strict.stdout).into_owned();
    assert!(!strict.status.success() && said.contains("ROOKERY_REQUIRE_SERVERS=1"), "{said}");
}
