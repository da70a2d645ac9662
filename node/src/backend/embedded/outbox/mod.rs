//! The outbox of `standalone` when mails are sent: jobs as rows, until the mailer in this process has sent them; those that it has given
//! up stay, with the reason.

mod dead;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, HashSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use parking_lot::Mutex;
use rookery_mailer::local::{self, LocalJob, LocalOutbox};
use tokio::sync::Notify;

use super::{Clock, Store};
use crate::backend::{Expect, Mail, MailJob, Outbox, Row, Rows as _, Table, Unavailable};
use dead::{Dead, KEPT, dead_row};

/// Rows read at once when the store is opened.
const PAGE: usize = 500;
/// Jobs that wait at most.
const JOBS: usize = 50_000;
/// Notices beyond this number are refused, and looked at again later: a rate may hold many back, and codes must have room.
const NOTICES: usize = JOBS / 5 * 4;
/// A mail enqueued again within this time after it was over is not sent again, milliseconds.
const OVER_MS: u64 = 600_000;
/// Ids remembered for that at most.
const OVER: usize = 100_000;
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

impl Waiting {
    /// Somebody is at it from now on.
    fn take(&mut self, number: u64) -> LocalJob {
        self.taken = true;
        let since = i64::try_from(self.since).unwrap_or(i64::MAX);
        let (waited, failures, job) = (self.at > self.since, self.failures, self.job.clone());
        LocalJob { number, failures, since, waited, job }
    }
}

#[derive(Default)]
struct Jobs {
    waiting: BTreeMap<u64, Waiting>,
    ids: HashSet<String>,
    /// Those that are over since a short time, and when that was: whoever could not note that he had enqueued one does so again.
    over: VecDeque<(u64, String)>,
    over_ids: HashSet<String>,
    dead: BTreeMap<u64, Dead>,
    next: u64,
}

impl Jobs {
    /// A job is over.
    fn end(&mut self, number: u64, now: u64) {
        let Some(waiting) = self.waiting.remove(&number) else { return };
        let id = waiting.job.id;
        self.ids.remove(&id);
        self.forget(now);
        if self.over.len() < OVER && self.over_ids.insert(id.clone()) {
            self.over.push_back((now, id));
        }
    }

    fn forget(&mut self, now: u64) {
        while let Some((_, id)) = self.over.pop_front_if(|(at, _)| *at + OVER_MS <= now) {
            self.over_ids.remove(&id);
        }
    }
}

/// The embedded [`Outbox`] of mails that are sent.
pub struct EmbeddedOutbox {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    jobs: Mutex<Jobs>,
    changed: Notify,
}

fn row(number: u64, waiting: Option<&Waiting>) -> (Row, Expect) {
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
    (Row { table: Table::Outbox, key, value }, Expect::Any)
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
                if let Some(number) = dead::number(&entry.key) {
                    jobs.next = jobs.next.max(number + 1);
                    if let Some(dead) = Dead::read(entry.value) {
                        jobs.dead.insert(number, dead);
                    }
                    continue;
                }
                let number = entry.key.as_ref().try_into().map(u64::from_be_bytes);
                if let (Ok(number), Some(waiting)) = (number, read(entry.value)) {
                    jobs.next = jobs.next.max(number + 1);
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
            jobs.forget(now);
            if jobs.over_ids.contains(&job.id) || !jobs.ids.insert(job.id.clone()) {
                return Ok(());
            }
            let number = jobs.next;
            jobs.next += 1;
            // Nobody takes it before it is stored.
            let waiting = Waiting { at: now, since: now, failures: 0, taken: true, job };
            let rows = vec![row(number, Some(&waiting))];
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
                        return waiting.take(number);
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
            vec![row(number, Some(waiting))]
        };
        self.changed.notify_one();
        self.write(rows).await
    }

    async fn ended(&self, number: u64) -> Result<(), String> {
        self.write(vec![row(number, None)]).await?;
        self.jobs.lock().end(number, self.clock.now_ms());
        Ok(())
    }

    async fn give_up(&self, number: u64, failures: u32, why: &str) -> Result<(), String> {
        let now = self.clock.now_ms();
        let (dead, rows) = {
            let jobs = self.jobs.lock();
            let Some(waiting) = jobs.waiting.get(&number) else { return Ok(()) };
            let dead = Dead::new(now, failures, why.to_owned(), waiting.job.clone());
            let mut rows = vec![row(number, None), dead_row(number, Some(&dead))];
            let too_many = (jobs.dead.len() + 1).saturating_sub(KEPT);
            rows.extend(jobs.dead.keys().take(too_many).map(|oldest| dead_row(*oldest, None)));
            (dead, rows)
        };
        self.write(rows).await?;
        let mut jobs = self.jobs.lock();
        jobs.end(number, now);
        jobs.dead.insert(number, dead);
        while jobs.dead.len() > KEPT {
            jobs.dead.pop_first();
        }
        Ok(())
    }

    fn given_up(&self) -> usize {
        self.jobs.lock().dead.len()
    }

    fn waiting(&self) -> local::Waiting {
        let jobs = self.jobs.lock();
        // What was put back has an old number, but is as young as any.
        let since = jobs.waiting.values().map(|waiting| waiting.since).min();
        let since = since.map(|since| i64::try_from(since).unwrap_or(i64::MAX));
        local::Waiting { jobs: jobs.waiting.len(), since }
    }

    fn take_older(&self, than: i64) -> Option<LocalJob> {
        let than = u64::try_from(than).ok()?;
        let mut jobs = self.jobs.lock();
        let is_old = |waiting: &Waiting| !waiting.taken && waiting.since < than;
        let (&number, waiting) = jobs.waiting.iter_mut().find(|(_, waiting)| is_old(waiting))?;
        Some(waiting.take(number))
    }
}
