//! Writers to each room that never stop: how long each of their messages took until it was acknowledged is what a fault cost
//! the room, and that there is such a message at all is progress.
//!
//! A message is due by the clock and not by the answer to the one before, and its wait begins when it was due: a room that
//! stands still for a moment is seen to do so whenever the moment begins.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Load, log_in_again, post};
use crate::{history::What, user::User};

/// Between the times at which messages to a room are due.
const CADENCE: Duration = Duration::from_millis(20);
/// Messages to a room that are under way at once, each over a connection of its own, so that one that takes longer than [`CADENCE`]
/// makes none late. Not more: on a machine that does not keep up they would be what everybody waits for.
const LANES: usize = 2;
/// A writer asks again, by a new connection, when there was no answer for so long.
const GIVE_UP: Duration = Duration::from_secs(10);

/// When the next message is due.
#[derive(Debug, Default)]
struct Schedule(Duration);

impl Schedule {
    /// Takes the next due time. Of times that passed while no lane was free the first is taken, which waited longest, and the
    /// others are passed over: otherwise what a long fault held up would all be written in the end.
    fn take(&mut self, now: Duration) -> Duration {
        let due = self.0;
        let next = due + CADENCE;
        self.0 = if now < next { next } else { now + CADENCE };
        due
    }
}

/// One acknowledged message.
#[derive(Debug, Clone, Copy)]
struct Write {
    due: Duration,
    acked: Duration,
    node: usize,
    /// Tries that were refused or not answered.
    failed: u32,
}

/// The writers of all rooms.
pub struct Meter {
    load: Arc<Load>,
    user: User,
    /// As he is logged in now.
    session: tokio::sync::Mutex<User>,
    urls: Vec<String>,
    /// Node that is asked.
    node: AtomicUsize,
    /// Of each room.
    schedules: Vec<Mutex<Schedule>>,
    /// Of each room, in the order of their answers.
    writes: Vec<Mutex<Vec<Write>>>,
    /// What became of the last try in each room that failed.
    failures: Vec<Mutex<String>>,
}

impl Meter {
    /// Writers to all rooms of this load, over these nodes, the first of them for now.
    pub fn new(load: &Arc<Load>, user: User, urls: Vec<String>) -> Arc<Self> {
        let writes = load.rooms.iter().map(|_| Mutex::default()).collect();
        let failures = load.rooms.iter().map(|_| Mutex::default()).collect();
        let now = load.now();
        let schedules = load.rooms.iter().map(|_| Mutex::new(Schedule(now))).collect();
        let (load, session, node) = (load.clone(), user.clone().into(), AtomicUsize::new(0));
        Arc::new(Self { load, user, session, urls, node, schedules, writes, failures })
    }

    /// Writes to the `room`th room until the load finishes.
    pub async fn run(self: Arc<Self>, room: usize) {
        futures_util::future::join_all((0..LANES).map(|_| self.lane(room))).await;
    }

    async fn lane(&self, room: usize) {
        let mut users = self.users(&self.user);
        let connection = self.load.next_connection();
        loop {
            let due = locked(&self.schedules[room]).take(self.load.now());
            tokio::time::sleep(due.saturating_sub(self.load.now())).await;
            if self.load.is_finishing() {
                return;
            }
            let request = self.load.message(&self.user, &self.load.rooms[room]);
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
                        let write = Write { due, acked: self.load.now(), node, failed };
                        locked(&self.writes[room]).push(write);
                        break;
                    }
                    if answer.status == 401 {
                        self.log_in(&mut users).await;
                        continue;
                    }
                    let code = answer.body["code"].as_str().unwrap_or_default().to_owned();
                    self.load.note(What::Refused { op: request.op, code });
                } else {
                    // The pool of connections may be full of dead ones.
                    users = users.iter().map(|user| user.at(user.api.base())).collect();
                }
                failed += 1;
                *locked(&self.failures[room]) = failure;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }

    /// One lane logs in for all: a login costs a node more than many messages.
    async fn log_in(&self, users: &mut Vec<User>) {
        let mut session = self.session.lock().await;
        if session.token() == users[0].token() {
            log_in_again(users).await;
            *session = users[0].clone();
        } else {
            *users = self.users(&session);
        }
    }

    /// From now on that node is asked.
    pub fn ask(&self, node: usize) {
        self.node.store(node, Ordering::Release);
    }

    /// Waits until every room acknowledged a message that was due from now on, at that node.
    ///
    /// # Errors
    /// The rooms that do not within `patience`.
    pub fn progress(&self, node: usize, patience: Duration) -> Result<(), Vec<String>> {
        self.ask(node);
        let since = self.load.now();
        self.wait(patience, |write| write.due >= since && write.node == node)
    }

    /// Waits until every room acknowledged a message that was due after `since`, at whichever node.
    ///
    /// # Errors
    /// The rooms that do not within `patience`.
    pub fn writes_after(&self, since: Duration, patience: Duration) -> Result<(), Vec<String>> {
        self.wait(patience, |write| write.due >= since)
    }

    fn wait(&self, patience: Duration, is_it: impl Fn(&Write) -> bool) -> Result<(), Vec<String>> {
        let deadline = Instant::now() + patience;
        loop {
            let stuck: Vec<String> = (0..self.writes.len())
                // Answers come in another order than messages were due.
                .filter(|&room| !locked(&self.writes[room]).iter().rev().take(2 * LANES).any(&is_it))
                .map(|room| {
                    let failure = locked(&self.failures[room]);
                    let last = locked(&self.writes[room]).last().map(|write| (write.node, write.acked));
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

    /// What the time from `from` to `to` was like: the longest wait of each room and since when it lasted, in the order of the rooms, and
    /// failed tries.
    pub fn between(&self, from: Duration, to: Duration) -> (Vec<(Duration, Duration)>, u32) {
        let (mut waits, mut failed) = (Vec::new(), 0);
        for room in 0..self.writes.len() {
            let mut worst = (Duration::ZERO, from);
            let writes = locked(&self.writes[room]);
            for write in writes.iter().filter(|write| write.acked >= from && write.due <= to) {
                worst = worst.max((write.acked.saturating_sub(write.due), write.due));
                failed += write.failed;
            }
            waits.push(worst);
        }
        (waits, failed)
    }

    fn users(&self, user: &User) -> Vec<User> {
        self.urls.iter().map(|url| user.at(url)).collect()
    }
}

fn locked<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    /// The longest wait that lanes see, and how many messages they write in 1 s, of a room that needs 5 ms for each and acknowledges nothing
    /// from `stops` on for `stands`.
    fn seen(stops: Duration, stands: Duration) -> (Duration, usize) {
        let mut schedule = Schedule::default();
        let (mut free, mut worst, mut written) = ([Duration::ZERO; LANES], Duration::ZERO, 0);
        loop {
            let lane = (0..LANES).min_by_key(|&lane| free[lane]).expect("there are lanes");
            let due = schedule.take(free[lane]);
            let mut acked = due.max(free[lane]) + ms(5);
            if acked >= ms(1_000) {
                return (worst, written);
            }
            if (stops..stops + stands).contains(&acked) {
                acked = stops + stands;
            }
            free[lane] = acked;
            worst = worst.max(acked - due);
            written += 1;
        }
    }

    #[test]
    fn a_room_that_stands_still_for_a_moment_is_seen_to_whenever_that_begins() {
        for stops in 200..300 {
            let (worst, _) = seen(ms(stops), ms(50));
            assert!((ms(30)..=ms(55)).contains(&worst), "{worst:?} from {stops} ms on");
        }
    }

    #[test]
    fn what_was_due_while_no_lane_was_free_has_waited_since_then() {
        let mut schedule = Schedule::default();
        assert_eq!([0, 0].map(|now| schedule.take(ms(now))), [ms(0), CADENCE]);
        assert_eq!(schedule.take(ms(500)), 2 * CADENCE);
        assert_eq!(schedule.take(ms(501)), ms(500) + CADENCE);
    }

    #[test]
    fn what_a_long_stop_held_up_is_not_made_up_for() {
        let (worst, written) = seen(ms(200), ms(600));
        assert!(worst + CADENCE >= ms(600), "{worst:?}");
        assert!((15..25).contains(&written), "{written} messages");
    }
}
