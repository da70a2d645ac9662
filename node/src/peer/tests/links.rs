//! When a way to a node is tried again.

use std::{sync::Arc, time::Duration};

use rookery_core::ring::{Member, MemberState, View};
use tokio::{net::TcpListener, sync::watch};

use crate::peer::{
    PeerMetrics, PeerSettings, VERSION,
    link::{Common, PAUSES, State},
    links::Links,
    ring::Ring,
};

/// What the links of a node have that knows of no ring.
pub(super) fn common() -> Common {
    Common {
        settings: PeerSettings::default(),
        metrics: PeerMetrics::default(),
        cluster: "test".into(),
        me: "here".into(),
        process: 2,
        version: VERSION,
        tls: None,
        pauses: PAUSES,
        ring: Arc::new(Ring::new(watch::channel(Arc::default()).1, Box::new(|_| {}))),
    }
}

#[tokio::test]
async fn a_node_that_has_started_anew_is_tried_at_once() {
    let hour = Duration::from_secs(3600);
    let common = Common { pauses: [hour, hour], ..common() };
    let links = Links::new(common);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let view = |revision, incarnation| {
        let there = Member {
            name: "there".into(),
            address: address.to_string(),
            shard: "main".into(),
            weight: 1,
            shard_weight: 1,
            level: 0,
            state: MemberState::Active,
            incarnation,
        };
        View::new(revision, vec![there])
    };
    links.change(&view(1, 1));
    let (_, mut state) = links.get("there").unwrap().look();
    state.wait_for(|state| matches!(state, State::Down { tries: 1, refused: true })).await.unwrap();

    // Something else has changed: that is no reason.
    let listener = TcpListener::bind(address).await.unwrap();
    links.change(&view(2, 1));
    let soon = tokio::time::timeout(Duration::from_millis(200), listener.accept()).await;
    assert!(soon.is_err(), "it was not to be tried for an hour");
    links.change(&view(3, 2));
    let now = links.get("there").unwrap().state();
    assert!(matches!(now, State::Connecting), "what is known is of the one before: {now:?}");
    tokio::time::timeout(rookery_testbed::PATIENCE, listener.accept())
        .await
        .expect("it is tried at once")
        .unwrap();
}
