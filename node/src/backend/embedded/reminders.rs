//! Reminders of `standalone`: a row per user, and all of them in memory.

use std::{collections::HashMap, sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rookery_protocol::id::UserId;
use tokio::sync::Notify;

use super::{Clock, Store};
use crate::backend::{Due, Expect, Reminders, Row, Rows as _, Table, Unavailable};

/// Rows read at once when the store is opened.
const PAGE: usize = 1_000;
/// Who was taken and never put off nor done with comes again after this time, milliseconds.
const TAKEN_MS: u64 = 60_000;
/// Users at most; nobody is reminded of beyond that.
const USERS: usize = 100_000;

/// Who is waited for and who is being looked at; times in Unix milliseconds.
#[derive(Default)]
struct Users {
    /// When to look at whom.
    waiting: HashMap<UserId, u64>,
    /// When who was taken comes again by himself.
    taken: HashMap<UserId, u64>,
}

impl Users {
    /// When a user is to be looked at, for all that is known.
    fn of(&self, user: UserId) -> Option<u64> {
        self.waiting.get(&user).or_else(|| self.taken.get(&user)).copied()
    }

    fn first(&self) -> Option<(UserId, u64)> {
        let all = self.waiting.iter().chain(&self.taken);
        all.min_by_key(|(_, at)| **at).map(|(user, at)| (*user, *at))
    }
}

/// The embedded [`Reminders`].
pub struct EmbeddedReminders {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    users: Mutex<Users>,
    /// Rows are written one after the other: what is on disk is what was in memory last.
    writing: tokio::sync::Mutex<()>,
    changed: Notify,
}

impl EmbeddedReminders {
    /// Reads what a former run left.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open(store: Arc<Store>, clock: Arc<dyn Clock>) -> Result<Self, Unavailable> {
        let (mut users, mut after): (Users, Option<Bytes>) = (Users::default(), None);
        loop {
            let page = store.scan(Table::Reminders, b"", after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            for entry in page {
                let user = entry.key.as_ref().try_into().map(UserId::from_bytes);
                let at = entry.value.as_ref().try_into().map(u64::from_be_bytes);
                if let (Ok(user), Ok(at)) = (user, at) {
                    users.waiting.insert(user, at);
                }
            }
        }
        let (users, writing) = (Mutex::new(users), tokio::sync::Mutex::default());
        Ok(Self { store, clock, users, writing, changed: Notify::new() })
    }

    fn later(&self, after: Duration) -> u64 {
        let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        // Never early, though the clock's milliseconds are rounded down.
        self.clock.now_ms().saturating_add(after).saturating_add(1)
    }

    async fn save(&self, user: UserId) -> Result<(), Unavailable> {
        self.changed.notify_one();
        let _turn = self.writing.lock().await;
        let at = self.users.lock().of(user);
        let key = Bytes::copy_from_slice(&user.to_bytes());
        let value = at.map(|at| Bytes::copy_from_slice(&at.to_be_bytes()));
        let row = Row { table: Table::Reminders, key, value };
        self.store.write(vec![(row, Expect::Any)]).await.map(drop)
    }
}

#[async_trait]
impl Reminders for EmbeddedReminders {
    async fn remind(&self, user: UserId, after: Duration) -> Result<(), Unavailable> {
        let at = self.later(after);
        {
            let mut users = self.users.lock();
            if users.waiting.contains_key(&user) || users.waiting.len() >= USERS {
                return Ok(());
            }
            users.waiting.insert(user, at);
        }
        self.save(user).await
    }

    async fn due(&self) -> Result<Due, Unavailable> {
        loop {
            let changed = self.changed.notified();
            let now = self.clock.now_ms();
            let first = {
                let mut users = self.users.lock();
                let first = users.first();
                if let Some((user, at)) = first
                    && at <= now
                {
                    users.waiting.remove(&user);
                    users.taken.insert(user, now + TAKEN_MS);
                    return Ok(Due { user, ticket: String::new() });
                }
                first
            };
            let wait = first.map_or(TAKEN_MS, |(_, at)| at - now);
            let _ = tokio::time::timeout(Duration::from_millis(wait), changed).await;
        }
    }

    async fn put_off(&self, due: &Due, after: Duration) -> Result<(), Unavailable> {
        let at = self.later(after);
        {
            let mut users = self.users.lock();
            users.taken.remove(&due.user);
            users.waiting.insert(due.user, at);
        }
        self.save(due.user).await
    }

    async fn done(&self, due: &Due) -> Result<(), Unavailable> {
        self.users.lock().taken.remove(&due.user);
        self.save(due.user).await
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;
    use crate::backend::{
        embedded::{StoreMetrics, StoreSettings, SystemClock},
        reminders_tests,
    };

    async fn open(dir: &std::path::Path) -> EmbeddedReminders {
        let metrics = StoreMetrics::register(&mut Registry::default());
        let store = Store::open(dir, &StoreSettings::default(), metrics).unwrap();
        EmbeddedReminders::open(store, Arc::new(SystemClock)).await.unwrap()
    }

    #[tokio::test]
    async fn each_user_is_looked_at_once_and_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let reminders = open(dir.path()).await;
        reminders_tests::all(&reminders, &reminders).await;
    }

    #[tokio::test]
    async fn reminders_outlive_the_process() {
        let dir = tempfile::tempdir().unwrap();
        let reminders = open(dir.path()).await;
        reminders.remind(UserId(7), Duration::ZERO).await.unwrap();
        drop(reminders);
        let reminders = open(dir.path()).await;
        let due = reminders.due().await.unwrap();
        assert_eq!(due.user, UserId(7));
        reminders.done(&due).await.unwrap();
        drop(reminders);
        let reminders = open(dir.path()).await;
        assert_eq!(reminders.users.lock().first(), None);
    }
}
