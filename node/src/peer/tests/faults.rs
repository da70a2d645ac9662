//! Nodes and streams that fail under load: everybody is answered once, in order, and what is acknowledged is there.

use std::{collections::HashSet, time::Duration};

use super::{crowd::Crowd, town::Town};
use crate::{peer::PeerSettings, rooms::RoomsSettings};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_owner_that_is_killed_is_replaced_at_once() {
    // Longer than anything takes here: what the dead might still begin is not waited for.
    let settings = PeerSettings { late_ms: 4_000, ..PeerSettings::default() };
    let mut town = Town::with(3, settings, RoomsSettings::default()).await;
    let crowd = Crowd::start(&town, 0, &[1, 1, 2, 2]).await;
    crowd.goes_on(200).await;
    town.kill(0);
    // The ring says nothing of it yet.
    crowd.goes_on(500).await;
    town.change(|active| active[0] = false);
    crowd.goes_on(200).await;
    let sum = crowd.end(&town).await;
    assert_eq!(sum.posts_unavailable, 0, "{sum:?}");
    let instead: u64 = town.nodes.iter().map(|node| node.metrics.instead.get()).sum();
    assert!(instead >= 1, "taken over before the ring knew");
    assert!(sum.gap < Duration::from_millis(2_500), "{sum:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stands_still_does_nothing_late() {
    let town = Town::new(3).await;
    let crowd = Crowd::start(&town, 0, &[1, 1, 2, 2]).await;
    crowd.goes_on(200).await;
    town.pause(0);
    crowd.goes_on(500).await;
    // It comes back, with all that it had begun and all that waited for it.
    town.resume(0);
    crowd.goes_on(500).await;
    let sum = crowd.end(&town).await;
    assert_eq!(sum.posts_unavailable, 0, "{sum:?}");
    assert!(sum.gap < Duration::from_secs(5), "{sum:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn streams_that_break_lose_nothing() {
    let town = Town::new(3).await;
    let crowd = Crowd::start(&town, 0, &[0, 1, 1, 2, 2]).await;
    for _ in 0..8 {
        crowd.goes_on(100).await;
        town.proxy(0).reset();
    }
    crowd.goes_on(200).await;
    let sum = crowd.end(&town).await;
    assert_eq!(sum.posts_unavailable, 0, "{sum:?}");
    assert!(town.nodes[1].metrics.retried.get() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_does_not_reach_an_owner_asks_by_way_of_another() {
    let mut town = Town::new(3).await;
    // A room for which the third node is next.
    let crowd = Crowd::in_room(&town, 0, &[0, 1, 1, 2, 2], |room| town.next(room) == 2).await;
    let room = crowd.room;
    crowd.goes_on(200).await;
    town.part(1, 0);
    // What is asked over a stream that stands goes on over it; with all of them ended, only the others find it again.
    town.proxy(0).reset();
    let own = crowd.done_by(1);
    while crowd.done_by(1) < own + 200 {
        crowd.goes_on(10).await;
    }
    // And back.
    town.change(|_| {});
    crowd.goes_on(500).await;
    let sum = crowd.end(&town).await;
    assert_eq!(sum.posts_unavailable, 0, "{sum:?}");
    // The third node looked itself, found the owner there, and left the room where it was.
    assert!(town.nodes.iter().all(|node| node.metrics.instead.get() == 0), "nobody was gone");
    let epochs: HashSet<u64> = town.records(room).await.iter().map(|record| record.epoch).collect();
    assert_eq!(epochs.len(), 1, "{epochs:?}");
}
