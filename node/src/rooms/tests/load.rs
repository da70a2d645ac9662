//! How fast. Not a test: it measures, and is run by hand.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::house::{House, post, user};

/// `cargo test --release -p rookery-node rooms::tests::load -- --ignored --nocapture`
#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "measures"]
async fn durable_sends() {
    let (house, ada) = (House::new(), user(1, "ada"));
    let done = Arc::new(AtomicU64::new(0));
    let mut rooms = Vec::new();
    for _ in 0..200 {
        rooms.push(house.room(&ada, &[]).await);
    }
    let until = Instant::now() + Duration::from_secs(5);
    let mut senders = Vec::new();
    for room in rooms {
        for sender in 0..10 {
            let (rooms, ada, done) = (house.rooms.clone(), ada.clone(), done.clone());
            senders.push(tokio::spawn(async move {
                let text = "x".repeat(128);
                let mut number = 0u64;
                while Instant::now() < until {
                    rooms.command(room, &ada, post(&text, &format!("{sender}-{number}"))).await.unwrap();
                    number += 1;
                    done.fetch_add(1, Ordering::Relaxed);
                }
            }));
        }
    }
    for sender in senders {
        sender.await.unwrap();
    }
    let count = done.load(Ordering::Relaxed);
    println!("{} durable sends/s through 200 rooms", count / 5);
}
