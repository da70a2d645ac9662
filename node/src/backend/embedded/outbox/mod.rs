//! The outbox of `standalone` when mails are sent: jobs as rows, until the mailer in this process has ended them.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use parking_lot::Mutex;
use rookery_mailer::local::{LocalJob, LocalOutbox};
use tokio::sync::Notify;

use super::{Clock, Store};
use crate::backend::{Expect, Mail, MailJob, Outbox, Row, Rows as _, Table, Unavailable};

/// Rows read at once when the store is opened.
const PAGE: usize = 500;
/// Jobs that wait at most.
const JOBS: usize = 50_000;
/// Notices beyond this number are refused, and looked at again later: a rate may hold many back, and codes must have room.
const NOTICES: usize = JOBS / 5 * 4;
/// Who looks for a job looks again after this time at the latest.
const LOOK: Duration = Duration::from_secs(60);

struct Waiting {
    /// Not before, Unix milliseconds.
    at: u64,
    since: u64,
    failures: u32,
    /// Somebody is at it.
    taken: bool,
    job: MailJob,
}

#[derive(Default)]
struct Jobs {
    waiting: BTreeMap<u64, Waiting>,
    ids: HashSet<String>,
    next: u64,
}

/// The embedded [`Outbox`] of mails that are sent.
pub struct EmbeddedOutbox {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    jobs: Mutex<Jobs>,
    changed: Notify,
}

fn row(number: u64, waiting: Option<&Waiting>) -> Vec<(Row, Expect)> {
    let value = waiting.map(|waiting| {
        let job = waiting.job.encode();
        let mut value = BytesMut::with_capacity(20 + job.len());
        value.put_u64(waiting.at);
        value.put_u64(waiting.since);
        value.put_u32(waiting.failures);
        value.put_slice(&job);
        value.freeze()
    });
    let key = Bytes::copy_from_slice(&number.to_be_bytes());
    vec![(Row { table: Table::Outbox, key, value }, Expect::Any)]
}

fn read(mut value: Bytes) -> Option<Waiting> {
    if value.len() < 20 {
        return None;
    }
    let (at, since, failures) = (value.get_u64(), value.get_u64(), value.get_u32());
    Some(Waiting { at, since, failures, taken: false, job: MailJob::decode(&value).ok()? })
}

impl EmbeddedOutbox {
    /// Reads what a former run left.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open(store: Arc<Store>, clock: Arc<dyn Clock>) -> Result<Self, Unavailable> {
        let (mut jobs, mut after): (Jobs, Option<Bytes>) = (Jobs::default(), None);
        loop {
            let page = store.scan(Table::Outbox, b"", after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            for entry in page {
                let number = entry.key.as_ref().try_into().map(u64::from_be_bytes);
                if let (Ok(number), Some(waiting)) = (number, read(entry.value)) {
                    jobs.next = number + 1;
                    jobs.ids.insert(waiting.job.id.clone());
                    jobs.waiting.insert(number, waiting);
                }
            }
        }
        Ok(Self { store, clock, jobs: Mutex::new(jobs), changed: Notify::new() })
    }

    async fn write(&self, rows: Vec<(Row, Expect)>) -> Result<(), String> {
        self.store.write(rows).await.map(drop).map_err(|why| why.to_string())
    }
}

#[async_trait]
impl Outbox for EmbeddedOutbox {
    async fn enqueue(&self, job: MailJob) -> Result<(), Unavailable> {
        let now = self.clock.now_ms();
        let (number, rows) = {
            let mut jobs = self.jobs.lock();
            let most = if matches!(job.mail, Mail::Unread { .. }) { NOTICES } else { JOBS };
            if jobs.waiting.len() >= most {
                return Err(Unavailable("Too many mails wait to be sent.".into()));
            }
            if !jobs.ids.insert(job.id.clone()) {
                return Ok(());
            }
            let number = jobs.next;
            jobs.next += 1;
            // Nobody takes it before it is stored.
            let waiting = Waiting { at: now, since: now, failures: 0, taken: true, job };
            let rows = row(number, Some(&waiting));
            jobs.waiting.insert(number, waiting);
            (number, rows)
        };
        let stored = self.store.write(rows).await;
        let mut jobs = self.jobs.lock();
        match stored {
            Ok(_) => {
                if let Some(waiting) = jobs.waiting.get_mut(&number) {
                    waiting.taken = false;
                }
                self.changed.notify_one();
                Ok(())
            }
            Err(why) => {
                if let Some(waiting) = jobs.waiting.remove(&number) {
                    jobs.ids.remove(&waiting.job.id);
                }
                Err(why)
            }
        }
    }
}

#[async_trait]
impl LocalOutbox for EmbeddedOutbox {
    async fn next(&self) -> LocalJob {
        loop {
            let changed = self.changed.notified();
            let now = self.clock.now_ms();
            let wait = {
                let mut jobs = self.jobs.lock();
                let free = jobs.waiting.iter_mut().filter(|(_, waiting)| !waiting.taken);
                match free.min_by_key(|(_, waiting)| waiting.at) {
                    Some((&number, waiting)) if waiting.at <= now => {
                        waiting.taken = true;
                        let since = i64::try_from(waiting.since).unwrap_or(i64::MAX);
                        let waited = waiting.at > waiting.since;
                        let (failures, job) = (waiting.failures, waiting.job.clone());
                        return LocalJob { number, failures, since, waited, job };
                    }
                    Some((_, waiting)) => Duration::from_millis(waiting.at - now).min(LOOK),
                    None => LOOK,
                }
            };
            let _ = tokio::time::timeout(wait, changed).await;
        }
    }

    async fn put_off(&self, number: u64, failures: u32, after: Duration) -> Result<(), String> {
        let after = u64::try_from(after.as_millis()).unwrap_or(u64::MAX);
        let rows = {
            let mut jobs = self.jobs.lock();
            let Some(waiting) = jobs.waiting.get_mut(&number) else { return Ok(()) };
            waiting.at = self.clock.now_ms().saturating_add(after);
            waiting.failures = failures;
            waiting.taken = false;
            row(number, Some(waiting))
        };
        self.changed.notify_one();
        self.write(rows).await
    }

    async fn ended(&self, number: u64) -> Result<(), String> {
        self.write(row(number, None)).await?;
        let mut jobs = self.jobs.lock();
        if let Some(waiting) = jobs.waiting.remove(&number) {
            jobs.ids.remove(&waiting.job.id);
        }
        Ok(())
    }
}
