//! Planned moves: the ring changes under load, and nobody notices.

use std::time::Duration;

use super::{crowd::Crowd, town::Town};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_planned_move_fails_nothing() {
    let mut town = Town::new(3).await;
    let crowd = Crowd::start(&town, 0, &[0, 0, 1, 1, 2, 2]).await;
    crowd.goes_on(200).await;
    for round in 0..6 {
        let owner = town.owner(crowd.room);
        // Away from its owner, and back again.
        let view =
            town.next_view(|active| if round % 2 == 0 { active[owner] = false } else { active.fill(true) });
        // Nodes hear of it one after another, in any order.
        for step in 0..3 {
            town.tell((round + step) % 3, &view);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        crowd.goes_on(200).await;
        for node in &town.nodes {
            tokio::time::timeout(Duration::from_secs(10), node.rooms.moved_away()).await.unwrap();
        }
    }
    let sum = crowd.end(&town).await;
    assert_eq!(sum.unavailable, 0, "{sum:?}");
    assert!(town.nodes.iter().any(|node| node.metrics.handed_over.get() > 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hears_late_still_finds_the_owner() {
    let mut town = Town::new(3).await;
    let crowd = Crowd::start(&town, 0, &[1, 2]).await;
    crowd.goes_on(100).await;
    let next = town.next(crowd.room);
    let late = 3 - next;
    let view = town.next_view(|active| active[0] = false);
    town.tell(0, &view);
    // The successor hears of it before what it is asked for is too late; the other edge never does.
    tokio::time::sleep(Duration::from_millis(100)).await;
    town.tell(next, &view);
    crowd.goes_on(200).await;
    assert!(town.nodes[late].rooms.revision() < view.revision());
    let sum = crowd.end(&town).await;
    assert_eq!(sum.unavailable, 0, "{sum:?}");
}
