//! Nodes start in any order with what they stand on, and say what they wait for.

use std::time::Duration;

use rookery_e2e::{eventually, http::Api};
use rookery_testbed::{Cluster, Node};
use tokio::task::block_in_place;

use crate::support::options;

/// Waits until the node says that it waits for this.
async fn waits(node: &Node, wanted: &str) {
    let management = Api::new(&node.management_url());
    eventually(&format!("the node says {wanted:?}"), async || {
        let answer = management.try_call(reqwest::Method::GET, "/readyz", None).await.ok()?;
        assert_eq!(answer.status, 503, "{}", answer.body);
        answer.body.as_str()?.contains(wanted).then_some(())
    })
    .await;
}

/// "A pod that starts before NATS does must wait and say so."
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_starts_first_waits_and_says_for_what() {
    let mut options = options();
    options.shards.truncate(1);
    let Some(cluster) = block_in_place(|| Cluster::spawn(&options)) else { return };
    let node = &cluster.nodes()[0];
    block_in_place(|| {
        (0..3).for_each(|server| cluster.nats().kill(server));
        (0..3).for_each(|member| cluster.etcd().kill(member));
        node.start();
    });
    waits(node, "waiting for NATS").await;
    block_in_place(|| {
        (0..3).for_each(|server| cluster.nats().process(server).start());
        cluster.nats().await_ready();
    });
    waits(node, "waiting for etcd").await;
    block_in_place(|| {
        (0..3).for_each(|member| cluster.etcd().process(member).start());
        cluster.etcd().await_ready();
        node.await_ready();
    });
}

/// One server of three answers, and JetStream without a quorum tells nothing of streams.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_finds_no_quorum_waits_for_one() {
    let mut options = options();
    options.shards.truncate(1);
    options.settings.push(("ROOKERY_NATS__CONNECT_SECONDS".into(), "1".into()));
    // Else it is the monitors of the others that it waits for.
    options.settings.push(("ROOKERY_NATS__MONITORING_URLS".into(), String::new()));
    let Some(cluster) = block_in_place(|| Cluster::spawn(&options)) else { return };
    let node = &cluster.nodes()[0];
    block_in_place(|| {
        cluster.nats().await_ready();
        cluster.etcd().await_ready();
        (1..3).for_each(|server| cluster.nats().kill(server));
        node.start();
    });
    waits(node, "waiting for NATS: stream").await;
    block_in_place(|| {
        (1..3).for_each(|server| cluster.nats().process(server).start());
        node.await_ready();
    });
}

/// It does not wait for ever, can be stopped while it waits, and says with what it could not start.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_waits_in_vain_ends_with_a_reason() {
    let mut options = options();
    options.shards.truncate(1);
    options.settings.push(("ROOKERY_CLUSTER__START_SECONDS".into(), "2".into()));
    options.settings.push(("ROOKERY_NATS__CONNECT_SECONDS".into(), "1".into()));
    let Some(cluster) = block_in_place(|| Cluster::spawn(&options)) else { return };
    let process = cluster.nodes()[0].process();
    block_in_place(|| (0..3).for_each(|server| cluster.nats().kill(server)));
    let ended = block_in_place(|| {
        process.start();
        process.wait(rookery_testbed::PATIENCE)
    });
    assert_eq!(ended.and_then(|status| status.code()), Some(5), "{}", process.log_tail(20));
    assert!(process.log_tail(3).contains("cannot connect to NATS"), "{}", process.log_tail(3));

    block_in_place(|| {
        process.start();
        std::thread::sleep(Duration::from_millis(300));
        process.terminate();
    });
    let ended = block_in_place(|| process.wait(rookery_testbed::PATIENCE));
    assert_eq!(ended.and_then(|status| status.code()), Some(0), "{}", process.log_tail(20));
}
