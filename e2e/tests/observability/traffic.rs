//! Everything that a cluster is used for, over and over, and some of what goes wrong, so that every panel has something to show.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rookery_e2e::{
    service::Service,
    unique,
    user::{PASSWORD, User},
    ws::Subprotocol,
};
use serde_json::json;
use tokio::task::JoinHandle;

use crate::world::{CONNECTS, PACE, World};

/// Somebody who uses it until it ends.
pub(crate) struct Traffic {
    stop: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Traffic {
    /// Makes users and a room, and begins.
    pub(crate) async fn begin(world: &World) -> Self {
        let nodes = world.cluster.nodes();
        // The mailer takes the mails out of the outbox: codes are where they were sent to.
        let service = |node: usize| Service::with_smtp(&nodes[node].url(), world.smtp.clone());
        let rules = json!([
            {"to": "later", "at": "rcpt", "reply": "451 not now", "times": 2},
            {"to": "never", "at": "rcpt", "reply": "550 no such user"},
        ]);
        world.smtp.obey(&rules);
        let ada = User::register(&service(0), "ada").await;
        let bob = User::register(&service(1), "bob").await;
        let eve = User::register(&service(2), "eve").await;
        let liz = User::register(&service(0), "liz").await;
        // Logs in so often that his sessions end.
        let max = User::register(&service(1), "max").await;
        bob.api.patch("/v1/users/me", json!({"language": "es"})).await.is(200);
        let mut rooms = Vec::new();
        for _ in 0..6 {
            rooms.push(ada.room_with(&[&bob, &liz]).await);
        }
        // More at once than are taken.
        let connects = (0..25 * CONNECTS).map(|_| tokio::net::TcpStream::connect(nodes[2].listen()));
        drop(futures_util::future::join_all(connects).await);
        let stop = Arc::new(AtomicBool::new(false));
        let ending = stop.clone();
        let task = tokio::spawn(async move {
            let mut follower = bob.online(Subprotocol::Proto).await;
            let follows = tokio::spawn(async move { while follower.try_next().await.is_ok() {} });
            let mut count = 0;
            while !ending.load(Ordering::Acquire) {
                for room in &rooms {
                    count += 1;
                    // Another text each time: known ones are not translated again. Bob follows, Liz is not there.
                    let text =
                        format!("The house is big and the water is cold, number {count}. @{}", liz.username);
                    ada.say(room, &text).await;
                }
                // A known one.
                ada.say(&rooms[0], "The water is cold and the house is big.").await;
                // Refused: she is no member.
                let message = json!({"text": "hello", "client_msg_id": unique("m")});
                eve.api.post(&format!("/v1/rooms/{}/messages", rooms[0]), message).await.refused(403);
                let login = |password: &str| json!({"login": max.username, "password": password});
                max.api.post("/v1/auth/login", login("wrong")).await.refused(401);
                let session = max.api.post("/v1/auth/login", login(PASSWORD)).await.is(200);
                let token = json!({"refresh_token": session["refresh_token"]});
                max.api.post("/v1/auth/refresh", token).await.is(200);
                for who in ["ada", "later", "never"] {
                    let name = unique(who);
                    let request = json!({"email": format!("{name}@example.com"), "username": name, "password": PASSWORD});
                    ada.api.post("/v1/auth/register", request).await.is(202);
                }
                let visitor = bob.online(Subprotocol::Json).await;
                visitor.close().await;
                tokio::time::sleep(PACE).await;
            }
            follows.abort();
        });
        Self { stop, task }
    }

    /// Ends it; nothing may have gone wrong.
    pub(crate) async fn end(self) {
        self.stop.store(true, Ordering::Release);
        self.task.await.expect("nothing unexpected was answered");
    }
}
