//! The bus over a real NATS server.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use rookery_protocol::id::{RoomId, UserId};
use rookery_testbed::NatsCluster;

use super::{Bus, BusMetrics, Listener, NatsBus, News, NodeRun, RoomNews};

#[derive(Default)]
struct Log {
    heard: Mutex<Vec<News>>,
    rooms: Mutex<Vec<(RoomId, RoomNews)>>,
    silent: Mutex<Vec<NodeRun>>,
    missed: Mutex<u32>,
}

impl Listener for Log {
    fn heard(&self, news: News) {
        self.heard.lock().push(news);
    }
    fn heard_in(&self, room: RoomId, _: NodeRun, news: RoomNews) {
        self.rooms.lock().push((room, news));
    }
    fn silent(&self, node: NodeRun) {
        self.silent.lock().push(node);
    }
    fn missed(&self) {
        *self.missed.lock() += 1;
    }
}

struct Node {
    bus: Arc<NatsBus>,
    log: Arc<Log>,
    metrics: BusMetrics,
}

async fn node(nats: &NatsCluster, cluster: &str) -> Node {
    let options = async_nats::ConnectOptions::new()
        .ping_interval(Duration::from_millis(500))
        .reconnect_delay_callback(|_| Duration::from_millis(50));
    let client = options.connect(nats.urls()).await.unwrap();
    let (log, metrics) = (Arc::new(Log::default()), BusMetrics::default());
    let bus = NatsBus::new(client, cluster, metrics.clone());
    bus.listen(log.clone());
    Node { bus, log, metrics }
}

async fn until(what: &str, wanted: impl Fn() -> bool) {
    let waited = async {
        while !wanted() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waited).await.unwrap_or_else(|_| panic!("{what}"));
}

fn changed(user: u128) -> News {
    News::UserChanged { user: UserId(user) }
}

/// Each knows of the other.
async fn met(nodes: &[&Node]) {
    for node in nodes {
        until("all nodes hear each other", || {
            node.metrics.nodes.get() == i64::try_from(nodes.len()).unwrap() - 1
        })
        .await;
    }
}

#[tokio::test]
async fn others_hear_all_in_order_and_nobody_himself() {
    let Some(nats) = rookery_testbed::nats_single() else { return };
    let (one, two, stranger) = (node(&nats, "c").await, node(&nats, "c").await, node(&nats, "d").await);
    met(&[&one, &two]).await;
    let all: Vec<_> = (0..2_000).map(changed).collect();
    for news in &all {
        one.bus.tell(news.clone());
    }
    until("all arrives", || two.log.heard.lock().len() == all.len()).await;
    assert_eq!(*two.log.heard.lock(), all);
    assert!(one.log.heard.lock().is_empty() && stranger.log.heard.lock().is_empty());
    assert!(one.metrics.told.get() < 1_000, "news share messages");
}

#[tokio::test]
async fn a_room_is_heard_from_the_moment_it_is_followed() {
    let Some(nats) = rookery_testbed::nats_single() else { return };
    let (one, two) = (node(&nats, "c").await, node(&nats, "c").await);
    met(&[&one, &two]).await;
    let (here, elsewhere) = (RoomId(1), RoomId(2));
    let typing = |user| RoomNews::Typing { user: UserId(user) };
    two.bus.follow(here, true);
    // Told on the same connection after the subscription, and answered by who hears it: by then it is in force.
    two.bus.tell(changed(1));
    until("two's word arrives", || !one.log.heard.lock().is_empty()).await;
    one.bus.tell_room(elsewhere, typing(1));
    one.bus.tell_room(here, typing(2));
    until("the room is heard", || !two.log.rooms.lock().is_empty()).await;
    assert_eq!(*two.log.rooms.lock(), [(here, typing(2))]);
    two.bus.follow(here, false);
    two.bus.tell(changed(2));
    until("two's word arrives", || one.log.heard.lock().len() == 2).await;
    one.bus.tell_room(here, typing(3));
    one.bus.tell(changed(3));
    until("one's word arrives", || !two.log.heard.lock().is_empty()).await;
    assert_eq!(two.log.rooms.lock().len(), 1);
}

#[tokio::test]
async fn a_node_that_falls_silent_is_noticed() {
    let Some(nats) = rookery_testbed::nats_single() else { return };
    let (one, two) = (node(&nats, "c").await, node(&nats, "c").await);
    met(&[&one, &two]).await;
    let gone = two.bus.shared.me;
    drop(two.bus);
    until("it is noticed", || *one.log.silent.lock() == [gone]).await;
}

#[tokio::test]
async fn what_was_told_while_nats_was_away_arrives_or_is_missed() {
    let Some(nats) = rookery_testbed::nats_single() else { return };
    let (one, two) = (node(&nats, "c").await, node(&nats, "c").await);
    met(&[&one, &two]).await;
    let missed = *two.log.missed.lock();
    nats.kill(0);
    until("it is noticed", || !one.bus.shared.is_connected()).await;
    for user in 0..20_000 {
        one.bus.tell(changed(user));
    }
    nats.restart(0);
    until("something was lost, and that is known", || *two.log.missed.lock() > missed).await;
    assert!(one.metrics.dropped.get() > 0);
    one.bus.tell(changed(99_999));
    until("all is well again", || two.log.heard.lock().last() == Some(&changed(99_999))).await;
    assert!(one.log.silent.lock().is_empty(), "who hears nothing takes nobody for gone");
}
