//! One writer per room that never stops: how long each of its messages took until it was acknowledged is what a fault cost
//! the room, and that there is such a message at all is progress.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Load, log_in_again, post};
use crate::{history::What, user::User};

/// Between two messages to a room.
const CADENCE: Duration = Duration::from_millis(60);
/// A writer asks again, by a new connection, when there was no answer for so long.
const GIVE_UP: Duration = Duration::from_secs(10);

/// One acknowledged message.
#[derive(Debug, Clone, Copy)]
struct Write {
    asked: Duration,
    acked: Duration,
    node: usize,
    /// Tries that were refused or not answered.
    failed: u32,
}

/// The writers of all rooms.
pub struct Meter {
    load: Arc<Load>,
    user: User,
    urls: Vec<String>,
    /// Node that is asked.
    node: AtomicUsize,
    /// Of each room, oldest first.
    writes: Vec<Mutex<Vec<Write>>>,
    /// What became of the last try in each room that failed.
    failures: Vec<Mutex<String>>,
}

impl Meter {
    /// Writers to all rooms of this load, over these nodes, the first of them for now.
    pub fn new(load: &Arc<Load>, user: User, urls: Vec<String>) -> Arc<Self> {
        let writes = load.rooms.iter().map(|_| Mutex::default()).collect();
        let failures = load.rooms.iter().map(|_| Mutex::default()).collect();
        Arc::new(Self { load: load.clone(), user, urls, node: AtomicUsize::new(0), writes, failures })
    }

    /// Writes to the `room`th room until the load finishes.
    pub async fn run(self: Arc<Self>, room: usize) {
        let mut users = self.users();
        let connection = self.load.next_connection();
        while !self.load.is_finishing() {
            let request = self.load.message(&self.user, &self.load.rooms[room]);
            let asked = self.load.now();
            let mut failed = 0;
            loop {
                let node = self.node.load(Ordering::Acquire);
                self.load.note(request.asked(connection));
                let tried = self.load.now();
                let answer = tokio::time::timeout(GIVE_UP, post(&users[node], &request)).await;
                let failure = match &answer {
                    Ok(Ok(answer)) => format!("{} {}", answer.status, answer.body),
                    Ok(Err(error)) => format!("{error:?}"),
                    Err(_) => "no answer".to_owned(),
                };
                let failure = format!("node-{node} from {tried:.3?} to {:.3?}: {failure}", self.load.now());
                if let Ok(Ok(answer)) = &answer
                    && answer.is_of_a_node()
                {
                    if matches!(answer.status, 200 | 201) {
                        self.load.note(What::Acked { op: request.op, seq: answer.body["seq"].as_u64() });
                        let write = Write { asked, acked: self.load.now(), node, failed };
                        self.writes(room).push(write);
                        break;
                    }
                    if answer.status == 401 {
                        log_in_again(&mut users).await;
                        continue;
                    }
                    let code = answer.body["code"].as_str().unwrap_or_default().to_owned();
                    self.load.note(What::Refused { op: request.op, code });
                } else {
                    // The pool of connections may be full of dead ones.
                    users = users.iter().map(|user| user.at(user.api.base())).collect();
                }
                failed += 1;
                *self.failures[room].lock().unwrap_or_else(PoisonError::into_inner) = failure;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            tokio::time::sleep(CADENCE).await;
        }
    }

    /// From now on that node is asked.
    pub fn ask(&self, node: usize) {
        self.node.store(node, Ordering::Release);
    }

    /// Waits until every room acknowledged a message that was asked of that node from now on.
    ///
    /// # Errors
    /// The rooms that do not within `patience`.
    pub fn progress(&self, node: usize, patience: Duration) -> Result<(), Vec<String>> {
        self.ask(node);
        let since = self.load.now();
        self.wait(patience, |write| write.asked >= since && write.node == node)
    }

    /// Waits until every room acknowledged a message that was asked after `since`, at whichever node.
    ///
    /// # Errors
    /// The rooms that do not within `patience`.
    pub fn writes_after(&self, since: Duration, patience: Duration) -> Result<(), Vec<String>> {
        self.wait(patience, |write| write.asked >= since)
    }

    fn wait(&self, patience: Duration, is_it: impl Fn(&Write) -> bool) -> Result<(), Vec<String>> {
        let deadline = Instant::now() + patience;
        loop {
            let stuck: Vec<String> = (0..self.writes.len())
                .filter(|&room| !self.writes(room).last().is_some_and(&is_it))
                .map(|room| {
                    let failure = self.failures[room].lock().unwrap_or_else(PoisonError::into_inner);
                    let last = self.writes(room).last().map(|write| (write.node, write.acked));
                    format!("{} (last write {last:?}, last failure {failure})", self.load.rooms[room])
                })
                .collect();
            if stuck.is_empty() {
                return Ok(());
            }
            if Instant::now() >= deadline {
                return Err(stuck);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// What the time from `from` to `to` was like: the longest wait of each room, shortest first, and failed tries.
    pub fn between(&self, from: Duration, to: Duration) -> (Vec<Duration>, u32) {
        let (mut waits, mut failed) = (Vec::new(), 0);
        for room in 0..self.writes.len() {
            let mut worst = Duration::ZERO;
            for write in self.writes(room).iter().filter(|write| write.acked >= from && write.asked <= to) {
                worst = worst.max(write.acked - write.asked);
                failed += write.failed;
            }
            waits.push(worst);
        }
        waits.sort_unstable();
        (waits, failed)
    }

    fn users(&self) -> Vec<User> {
        self.urls.iter().map(|url| self.user.at(url)).collect()
    }

    fn writes(&self, room: usize) -> std::sync::MutexGuard<'_, Vec<Write>> {
        self.writes[room].lock().unwrap_or_else(PoisonError::into_inner)
    }
}
