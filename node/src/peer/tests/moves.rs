//! Planned moves: the ring changes under load, and nobody notices.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rookery_core::room::Reply;
use tokio::task::JoinSet;

use super::{
    crowd::Crowd,
    town::{Town, Way, post, until, user},
};

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
    // Each was told by the other's messages: the successor by what it was asked, the other by what it was answered.
    for behind in [next, late] {
        assert!(town.nodes[behind].behind.lock().contains(&view.revision()), "node-{behind} was not told");
    }
    let sum = crowd.end(&town).await;
    assert_eq!(sum.unavailable, 0, "{sum:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rooms_follow_an_etcd_that_counts_from_the_beginning() {
    let mut town = Town::new(3).await;
    for _ in 0..5 {
        town.change(|_| {});
    }
    let ada = user(1);
    let room = town.room(0, &ada, &[]).await;
    let before = town.nodes[0].rooms.revision();
    town.forget_history();
    town.change(|active| active[0] = false);
    let next = town.owner(room);
    until("the room moves", 10, || !town.nodes[0].rooms.takes(room) && town.nodes[next].rooms.takes(room))
        .await;
    assert!(town.nodes.iter().all(|node| node.rooms.revision() < before));
    town.nodes[0].rooms.command(room, &ada, post("after")).await.unwrap();
    assert_eq!(town.records(room).await.last().unwrap().owner, format!("node-{next}"));
}

/// What the next owner is left is enough: the log is not read, and its first record fences.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_is_left_with_all_that_there_is_to_know_of_it() {
    let mut town = Town::new(2).await;
    let (ada, bob) = (user(1), user(2));
    let room = town.room(0, &ada, std::slice::from_ref(&bob)).await;
    for number in 0..5 {
        town.nodes[0].rooms.command(room, &ada, post(&format!("m{number}"))).await.unwrap();
    }
    let read = town.nodes[1].tails.load(Ordering::Relaxed);
    town.change(|active| active[0] = false);
    until("the room moves", 10, || town.nodes[1].rooms.counts().rooms > 0).await;
    // Over the node that it came from, and what was said there already.
    let said = town.nodes[0].rooms.command(room, &bob, post("after")).await.unwrap();
    assert!(matches!(said, Reply::Posted { seq: 8, repeated: false, .. }), "{said:?}");
    let again = town.nodes[1].rooms.command(room, &ada, post("m3")).await.unwrap();
    assert!(matches!(again, Reply::Posted { seq: 6, repeated: true, .. }), "{again:?}");
    assert_eq!(town.nodes[1].tails.load(Ordering::Relaxed), read, "nothing was read");
    for record in town.records(room).await {
        assert_eq!(record.epoch, if record.owner == "node-0" { 1 } else { 2 }, "{record:?}");
    }
}

/// A node that has come back is in the ring before others reach it: it is left its rooms once they do.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_room_is_left_to_a_node_that_is_not_reached_yet() {
    let mut town = Town::new(2).await;
    let ada = user(1);
    let room = town.room(1, &ada, &[]).await;
    town.change(|active| active[1] = false);
    until("the room moves", 10, || town.nodes[0].rooms.counts().rooms > 0).await;
    town.nodes[0].rooms.command(room, &ada, post("by the other")).await.unwrap();
    town.proxy(1).refuse();
    until("the way to it is lost", 10, || town.nodes[0].metrics.streams.get() == 0).await;
    town.proxy(1).heal();
    until("it is back", 10, || std::net::TcpStream::connect(town.proxy(1).address()).is_ok()).await;
    town.proxy(1).delay(Duration::from_millis(20));
    let read = town.nodes[1].tails.load(Ordering::Relaxed);
    town.started_anew(1);
    town.change(|active| active[1] = true);
    until("it is told of its room", 10, || town.nodes[1].rooms.counts().rooms > 0).await;
    let said = town.nodes[1].rooms.command(room, &ada, post("after")).await.unwrap();
    assert!(matches!(said, Reply::Posted { repeated: false, .. }), "{said:?}");
    assert_eq!(town.nodes[1].tails.load(Ordering::Relaxed), read, "nothing was read");
}

/// Rooms in which nothing happens come after those in which something does. When somebody asks for one of them meanwhile it moves at once,
/// with all that there is to know.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn quiet_rooms_move_after_others_until_somebody_asks() {
    let mut town = Town::new(2).await;
    let ada = user(1);
    let (mut quiet, mut first) = (Vec::new(), false);
    for _ in 0..20 {
        quiet.push(town.room(0, &ada, &[]).await);
    }
    let busy = town.room(0, &ada, &[]).await;
    let there = |town: &Town| town.nodes[1].rooms.counts().rooms;
    // It is a matter of moments, which may not be enough on a busy machine: it is enough if it is so once.
    for (round, asked) in quiet.iter().enumerate().take(10) {
        tokio::time::sleep(Duration::from_millis(1_100)).await;
        town.nodes[0].rooms.command(busy, &ada, post(&format!("busy {round}"))).await.unwrap();
        let (before, read) = (there(&town), town.nodes[1].tails.load(Ordering::Relaxed));
        let begun = Instant::now();
        town.change(|active| active[0] = false);
        let said = town.nodes[1].rooms.command(busy, &ada, post(&format!("after {round}"))).await;
        assert!(matches!(said, Ok(Reply::Posted { repeated: false, .. })), "{said:?}");
        // Long enough for all of them, if they were to move at once.
        tokio::time::sleep(Duration::from_millis(20)).await;
        let alone = there(&town) == before + 1 && begun.elapsed() < Duration::from_millis(45);
        let said = town.nodes[0].rooms.command(*asked, &ada, post(&format!("asked {round}"))).await;
        assert!(matches!(said, Ok(Reply::Posted { repeated: false, .. })), "{said:?}");
        first |= alone && town.nodes[1].tails.load(Ordering::Relaxed) == read;
        until("all move", 30, || there(&town) >= before + 21).await;
        if first {
            return;
        }
        town.change(|active| active[0] = true);
        until("all move back", 30, || there(&town) <= before).await;
    }
    panic!("quiet rooms never come later");
}

/// Somebody asks the next owner before the last one has left it the room: it waits for that, and reads nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_asked_before_a_room_is_left_waits_for_that() {
    let mut town = Town::new(2).await;
    let ada = user(1);
    let room = town.room(0, &ada, &[]).await;
    // It waits for a moment only, which may not be enough on a busy machine: it is enough if it is so once.
    for round in 0..20 {
        let [from, to] = if round % 2 == 0 { [0, 1] } else { [1, 0] };
        town.nodes[from].rooms.command(room, &ada, post(&format!("before {round}"))).await.unwrap();
        let read = town.nodes[to].tails.load(Ordering::Relaxed);
        let view = town.next_view(|active| *active = vec![from == 1, from == 0]);
        town.tell(to, &view);
        let hears = async {
            while town.nodes[to].rooms.revision() < view.revision() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), hears).await.expect("the next owner hears of it");
        let what = post(&format!("meanwhile {round}"));
        let said = town.nodes[to].rooms.command(room, &ada, what);
        let left = async { town.tell(from, &view) };
        // In this order: it is asked first.
        let (said, ()) = tokio::join!(biased; said, left);
        assert!(matches!(said, Ok(Reply::Posted { repeated: false, .. })), "{said:?}");
        if town.nodes[to].tails.load(Ordering::Relaxed) == read {
            return;
        }
    }
    panic!("the next owner never waits");
}

/// The next owner has asked the last one something, and the answer is on its way when it is left the room.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_is_kept_until_the_owner_before_has_answered() {
    let mut town = Town::new(2).await;
    let ada = user(1);
    let room = town.room(0, &ada, &[]).await;
    town.nodes[1].rooms.command(room, &ada, post("before")).await.unwrap();
    let read = town.nodes[1].tails.load(Ordering::Relaxed);
    // So long on its way, and as long back. What the owner leaves goes another way.
    town.proxy(0).delay(Duration::from_millis(150));
    let rooms = town.nodes[1].rooms.clone();
    let said = tokio::spawn(async move { rooms.command(room, &user(1), post("meanwhile")).await });
    tokio::time::sleep(Duration::from_millis(30)).await;
    town.change(|active| active[0] = false);
    let said = tokio::time::timeout(Duration::from_secs(30), said).await.expect("it is answered");
    let said = said.unwrap().unwrap();
    assert!(matches!(said, Reply::Posted { repeated: false, .. }), "{said:?}");
    assert_eq!(town.nodes[1].tails.load(Ordering::Relaxed), read, "nothing was read");
}

/// It has begun to read the log when it is left the room, and does not wait for what it reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_left_to_the_next_owner_does_not_wait_for_what_it_reads() {
    let mut town = Town::new(2).await;
    let ada = user(1);
    let room = town.room(0, &ada, &[]).await;
    town.nodes[0].rooms.command(room, &ada, post("before")).await.unwrap();
    town.way(1, Way::Unread);
    let read = town.nodes[1].tails.load(Ordering::Relaxed);
    let view = town.next_view(|active| active[0] = false);
    town.tell(1, &view);
    let rooms = town.nodes[1].rooms.clone();
    // Until it has heard, it asks the owner of before.
    until("the next owner hears of it", 30, || rooms.revision() >= view.revision()).await;
    let said = tokio::spawn(async move { rooms.command(room, &user(1), post("meanwhile")).await });
    until("the next owner reads", 30, || town.nodes[1].tails.load(Ordering::Relaxed) != read).await;
    town.tell(0, &view);
    let said = tokio::time::timeout(Duration::from_secs(30), said).await.expect("nothing is waited for");
    let said = said.unwrap().unwrap();
    assert!(matches!(said, Reply::Posted { repeated: false, .. }), "{said:?}");
    assert_eq!(town.records(room).await.last().unwrap().owner, "node-1");
}

/// So many that a node cannot be told of all of them in one message. Those in which nothing happens are taken up, too, before
/// somebody asks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_rooms_move_at_once_and_none_fails() {
    const ROOMS: usize = 400;
    let mut town = Town::new(3).await;
    let mut rooms = Vec::new();
    for number in 0..ROOMS {
        // Nobody may be in more than 1,000 rooms, and of those that are made most are other nodes'.
        let by = user(1 + number as u64 / 100);
        rooms.push((town.room(0, &by, &[]).await, by));
    }
    let others = |town: &Town| town.nodes[1..].iter().map(|node| node.rooms.counts().rooms).sum::<u64>();
    let before = others(&town);
    assert_eq!(town.nodes[0].rooms.counts().rooms, ROOMS as u64);
    let moved = Arc::new(AtomicBool::new(false));
    let mut writers = JoinSet::new();
    for (room, by) in rooms.into_iter().step_by(2) {
        let (edge, moved) = (town.nodes[1].rooms.clone(), moved.clone());
        writers.spawn(async move {
            // Before the move, while it happens, and by its new owner.
            let (mut posted, mut after) = (0, 0);
            while after < 2 {
                after += u32::from(moved.load(Ordering::Acquire));
                posted += 1;
                edge.command(room, &by, post(&format!("m{posted}"))).await.unwrap();
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    town.change(|active| active[0] = false);
    tokio::time::timeout(Duration::from_secs(30), town.nodes[0].rooms.moved_away()).await.unwrap();
    moved.store(true, Ordering::Release);
    while let Some(done) = writers.join_next().await {
        done.unwrap();
    }
    let taken_up = async {
        while others(&town) < before + ROOMS as u64 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let taken_up = tokio::time::timeout(Duration::from_secs(30), taken_up).await;
    assert!(taken_up.is_ok(), "{} of {ROOMS} rooms are taken up", others(&town) - before);
}
