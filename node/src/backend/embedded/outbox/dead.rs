//! Mails of `standalone` that were given up: kept with the reason, so that they can be looked at and put back.

use std::fmt::Write as _;

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use rookery_protocol::time;

use super::{EmbeddedOutbox, Waiting, row};
use crate::backend::{Expect, MailJob, Row, Rows as _, Table, Unavailable};

/// Kept at most; then the oldest go.
pub(super) const KEPT: usize = 1_000;
/// Before the number of a dead letter in its key: those of jobs are numbers alone.
const PREFIX: &[u8; 4] = b"dead";
/// A reason is no longer, bytes.
const WHY_BYTES: usize = 1_000;

/// A mail that was given up.
pub(super) struct Dead {
    /// When, Unix milliseconds.
    pub(super) at: u64,
    /// Tries that failed.
    pub(super) failures: u32,
    /// Why.
    pub(super) why: String,
    pub(super) job: MailJob,
}

impl Dead {
    pub(super) fn new(at: u64, failures: u32, mut why: String, job: MailJob) -> Self {
        let end = (0..=WHY_BYTES.min(why.len())).rev().find(|at| why.is_char_boundary(*at));
        why.truncate(end.unwrap_or(0));
        Self { at, failures, why, job }
    }

    pub(super) fn read(mut value: Bytes) -> Option<Self> {
        if value.len() < 16 {
            return None;
        }
        let (at, failures, length) = (value.get_u64(), value.get_u32(), value.get_u32());
        let length = usize::try_from(length).ok().filter(|length| *length <= value.len())?;
        let why = String::from_utf8(value.split_to(length).to_vec()).ok()?;
        Some(Self { at, failures, why, job: MailJob::decode(&value).ok()? })
    }
}

/// The number of a dead letter, of its key.
pub(super) fn number(key: &[u8]) -> Option<u64> {
    key.strip_prefix(PREFIX)?.try_into().ok().map(u64::from_be_bytes)
}

/// The row of a dead letter; `None` removes it.
pub(super) fn dead_row(number: u64, dead: Option<&Dead>) -> (Row, Expect) {
    let mut key = BytesMut::from(&PREFIX[..]);
    key.put_u64(number);
    let value = dead.map(|dead| {
        let mut value = BytesMut::new();
        value.put_u64(dead.at);
        value.put_u32(dead.failures);
        value.put_u32(u32::try_from(dead.why.len()).unwrap_or_default());
        value.put_slice(dead.why.as_bytes());
        value.put_slice(&dead.job.encode());
        value.freeze()
    });
    (Row { table: Table::Outbox, key: key.freeze(), value }, Expect::Any)
}

impl EmbeddedOutbox {
    /// The dead letters, the oldest first, a line each: job, since when, tries, kind, address, reason; separated by tabs.
    pub fn dead_letters(&self) -> String {
        let mut text = String::new();
        for dead in self.jobs.lock().dead.values() {
            let since = time::format(i64::try_from(dead.at).unwrap_or(i64::MAX));
            let (since, plain) = (String::from_utf8_lossy(&since), |c: &char| !c.is_control());
            // An address may hold anything; the list has a line each.
            let to: String = dead.job.to.chars().filter(plain).collect();
            let why: String = dead.why.chars().filter(plain).collect();
            let (id, kind, failures) = (&dead.job.id, dead.job.mail.kind(), dead.failures);
            let _ = writeln!(text, "{id}\t{since}\t{failures}\t{kind}\t{to}\t{why}");
        }
        text
    }

    /// Puts the dead letter of a job back, or all of them, to be tried as often as new ones; returns how many those were.
    ///
    /// # Errors
    /// The store does not take it; nothing is lost.
    pub async fn requeue(&self, job: Option<&str>) -> Result<usize, Unavailable> {
        let now = self.clock.now_ms();
        let wanted: Vec<u64> = {
            let jobs = self.jobs.lock();
            let wanted = jobs.dead.iter().filter(|(_, dead)| job.is_none_or(|id| dead.job.id == id));
            wanted.map(|(number, _)| *number).collect()
        };
        let mut done = 0;
        for number in wanted {
            let waiting = {
                let mut jobs = self.jobs.lock();
                let Some(dead) = jobs.dead.get(&number) else { continue };
                let job = dead.job.clone();
                // Enqueued again meanwhile, it is on its way.
                let is_new = jobs.ids.insert(job.id.clone());
                is_new.then_some(Waiting { at: now, since: now, failures: 0, taken: false, job })
            };
            let mut rows = vec![dead_row(number, None)];
            rows.extend(waiting.as_ref().map(|waiting| row(number, Some(waiting))));
            let stored = self.store.write(rows).await;
            let mut jobs = self.jobs.lock();
            if let Err(why) = stored {
                if let Some(waiting) = waiting {
                    jobs.ids.remove(&waiting.job.id);
                }
                return Err(why);
            }
            jobs.dead.remove(&number);
            if let Some(waiting) = waiting {
                jobs.waiting.insert(number, waiting);
            }
            done += 1;
            self.changed.notify_one();
        }
        Ok(done)
    }
}
