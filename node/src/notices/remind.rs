//! From a room's owner to the backend's reminders: users wait here until their reminder is stored.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use rookery_protocol::id::UserId;
use tokio::sync::Notify;

use super::{NoticesMetrics, PAUSE};
use crate::backend::Reminders;

/// Users who wait at most; those beyond are dropped, and counted.
const USERS: usize = 100_000;

#[derive(Default)]
struct Users {
    /// When a user was taken in last.
    recent: HashMap<UserId, Instant>,
    queue: VecDeque<UserId>,
    queued: HashSet<UserId>,
}

/// Users whose reminder is not stored yet, each once.
pub(super) struct Waiting {
    users: Mutex<Users>,
    some: Notify,
    /// A user is not taken in again for so long.
    for_a_while: Duration,
    metrics: NoticesMetrics,
}

impl Waiting {
    /// For reminders that are due after `delay`.
    pub(super) fn new(delay: Duration, metrics: NoticesMetrics) -> Arc<Self> {
        // Shorter than the delay: the reminder that was stored for him is still to come then.
        let for_a_while = delay / 2;
        Arc::new(Self { users: Mutex::default(), some: Notify::new(), for_a_while, metrics })
    }

    /// Takes users in. Called by the rooms' owners: waits for nothing.
    pub(super) fn add(&self, users: &[UserId]) {
        let now = Instant::now();
        let is_recent = |at: &Instant| now.duration_since(*at) < self.for_a_while;
        let mut all = self.users.lock();
        for &user in users {
            if all.queued.contains(&user) || all.recent.get(&user).is_some_and(is_recent) {
                continue;
            }
            if all.queue.len() >= USERS {
                self.metrics.lost.inc();
                continue;
            }
            if all.recent.len() >= USERS {
                all.recent.retain(|_, at| is_recent(at));
                if all.recent.len() >= USERS {
                    all.recent.clear();
                }
            }
            all.recent.insert(user, now);
            all.queued.insert(user);
            all.queue.push_back(user);
        }
        self.tell(&all);
        drop(all);
        self.some.notify_one();
    }

    fn tell(&self, users: &Users) {
        self.metrics.waiting.set(i64::try_from(users.queued.len()).unwrap_or(i64::MAX));
    }

    /// The next of them. He is no longer among them when his reminder is [`Waiting::stored`].
    async fn next(&self) -> UserId {
        loop {
            let some = self.some.notified();
            {
                let mut users = self.users.lock();
                if let Some(user) = users.queue.pop_front() {
                    if !users.queue.is_empty() {
                        self.some.notify_one();
                    }
                    return user;
                }
            }
            some.await;
        }
    }

    fn stored(&self, user: UserId) {
        let mut users = self.users.lock();
        users.queued.remove(&user);
        self.tell(&users);
    }

    /// Has reminders stored, each for as long as that takes: one that failed is stored when the backend is there again. Until it is
    /// dropped.
    pub(super) async fn store(self: Arc<Self>, reminders: Arc<dyn Reminders>, delay: Duration) {
        loop {
            let user = self.next().await;
            let mut told = false;
            while let Err(why) = reminders.remind(user, delay).await {
                if !told {
                    tracing::warn!(%why, %user, "it cannot be stored that a user is to be told what he has not read; again soon");
                    told = true;
                }
                tokio::time::sleep(PAUSE).await;
            }
            self.stored(user);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};

    use async_trait::async_trait;
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::backend::{
        Due, Unavailable,
        embedded::{EmbeddedReminders, Store, StoreMetrics, StoreSettings, SystemClock},
    };

    /// Real reminders that are away for a while.
    struct Away {
        away: AtomicBool,
        reminders: EmbeddedReminders,
    }

    #[async_trait]
    impl Reminders for Away {
        async fn remind(&self, user: UserId, after: Duration) -> Result<(), Unavailable> {
            if self.away.load(Ordering::Acquire) {
                return Err(Unavailable("away".into()));
            }
            self.reminders.remind(user, after).await
        }

        async fn due(&self) -> Result<Due, Unavailable> {
            self.reminders.due().await
        }

        async fn put_off(&self, due: &Due, after: Duration) -> Result<(), Unavailable> {
            self.reminders.put_off(due, after).await
        }

        async fn done(&self, due: &Due) -> Result<(), Unavailable> {
            self.reminders.done(due).await
        }
    }

    #[tokio::test]
    async fn reminders_outlive_an_outage_of_the_backend() {
        let dir = tempfile::tempdir().unwrap();
        let metrics = StoreMetrics::register(&mut Registry::default());
        let store = Store::open(dir.path(), &StoreSettings::default(), metrics).unwrap();
        let reminders = EmbeddedReminders::open(store, Arc::new(SystemClock)).await.unwrap();
        let backend = Arc::new(Away { away: AtomicBool::new(true), reminders });
        let metrics = NoticesMetrics::register(&mut Registry::default());
        let waiting = Waiting::new(Duration::ZERO, metrics.clone());
        let storing = tokio::spawn(waiting.clone().store(backend.clone(), Duration::ZERO));
        // The second time changes nothing: he waits still.
        for _ in 0..2 {
            waiting.add(&[UserId(1), UserId(2), UserId(3)]);
        }
        assert_eq!(metrics.waiting.get(), 3);
        let none = tokio::time::timeout(Duration::from_millis(300), backend.due()).await;
        assert!(none.is_err(), "{none:?}");
        backend.away.store(false, Ordering::Release);
        let mut came = HashSet::new();
        for _ in 0..3 {
            let due = tokio::time::timeout(Duration::from_secs(60), backend.due()).await;
            let due = due.expect("his reminder was kept").unwrap();
            backend.done(&due).await.unwrap();
            assert!(came.insert(due.user), "{due:?} comes again");
        }
        assert_eq!(metrics.lost.get(), 0);
        storing.abort();
    }
}
