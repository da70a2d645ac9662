//! Mails that are kept instead of sent: what `standalone` has for an outbox.
//!
//! The newest are kept, on disk and in memory; what they say is in the mailer's templates.

#[cfg(test)]
mod tests;

use std::{
    collections::{HashSet, VecDeque},
    sync::Arc,
};

use async_trait::async_trait;
use bytes::Bytes;
use parking_lot::Mutex;
use rookery_mailer::templates;
use serde::{Deserialize, Serialize};

use super::{Clock, Store, StoreSettings};
use crate::backend::{self, Expect, MailJob, Outbox, Row, Rows as _, StoredMail, Table, Unavailable};

/// Rows read at once when the store is opened.
const PAGE: usize = 1_000;
/// Longest id and address, bytes.
const FIELD_BYTES: usize = 512;
/// A rendered mail has less, bytes.
const MAIL_BYTES: usize = 16 << 10;

#[derive(Serialize, Deserialize)]
struct Kept {
    id: String,
    mail: StoredMail,
}

#[derive(Default)]
struct Mails {
    /// Oldest first, with the key of its row.
    mails: VecDeque<(u64, Arc<Kept>)>,
    ids: HashSet<String>,
    next: u64,
}

/// The embedded [`Outbox`].
pub struct Mailbox {
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    limit: usize,
    mails: Mutex<Mails>,
}

fn row(number: u64, value: Option<Bytes>) -> (Row, Expect) {
    let key = Bytes::copy_from_slice(&number.to_be_bytes());
    (Row { table: Table::Mailbox, key, value }, Expect::Any)
}

impl Mailbox {
    /// Reads what a former run kept.
    ///
    /// # Errors
    /// The store cannot be read.
    pub async fn open(
        store: Arc<Store>,
        settings: &StoreSettings,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, Unavailable> {
        let mut mails = Mails::default();
        let mut after: Option<Bytes> = None;
        loop {
            let page = store.scan(Table::Mailbox, b"", after.as_deref(), PAGE).await?;
            let Some(last) = page.last() else { break };
            after = Some(last.key.clone());
            for entry in page {
                let number = entry.key.as_ref().try_into().map(u64::from_be_bytes);
                if let (Ok(number), Ok(kept)) = (number, serde_json::from_slice::<Kept>(&entry.value)) {
                    mails.next = number + 1;
                    mails.ids.insert(kept.id.clone());
                    mails.mails.push_back((number, Arc::new(kept)));
                }
            }
        }
        Ok(Self { store, clock, limit: settings.mailbox_mails, mails: Mutex::new(mails) })
    }

    /// The mails, newest first; to one address (compared without case) or to all.
    pub fn list(&self, to: Option<&str>) -> Vec<StoredMail> {
        let mails = self.mails.lock();
        let wanted = mails.mails.iter().rev().map(|(_, kept)| &kept.mail);
        wanted.filter(|mail| to.is_none_or(|to| same_address(to, &mail.to))).cloned().collect()
    }
}

#[async_trait]
impl backend::Mails for Mailbox {
    async fn list(&self, to: Option<&str>) -> Result<Vec<StoredMail>, Unavailable> {
        Ok(Self::list(self, to))
    }
}

/// Addresses are compared without case.
pub(in crate::backend) fn same_address(left: &str, right: &str) -> bool {
    left.to_lowercase() == right.to_lowercase()
}

#[async_trait]
impl Outbox for Mailbox {
    async fn enqueue(&self, job: MailJob) -> Result<(), Unavailable> {
        if job.id.len() > FIELD_BYTES || job.to.len() > FIELD_BYTES {
            return Err(Unavailable("The mail's id or address is too long.".into()));
        }
        let text = templates::built_in().render(&job.mail, &job.language);
        let text = text.map_err(|error| Unavailable(error.to_string().into()))?;
        let ts = i64::try_from(self.clock.now_ms()).unwrap_or(i64::MAX);
        let mail = StoredMail { to: job.to, subject: text.subject, text: text.text, html: text.html, ts };
        let kept = Kept { id: job.id, mail };
        let json = serde_json::to_vec(&kept).map_err(|error| Unavailable(error.to_string().into()))?;
        let place = self.store.place(MAIL_BYTES).await?;
        let pending = {
            let mut mails = self.mails.lock();
            let mut rows = Vec::new();
            // A mail enqueued again writes nothing, but waits behind the first: that one is stored then.
            if mails.ids.insert(kept.id.clone()) {
                let number = mails.next;
                mails.next += 1;
                mails.mails.push_back((number, Arc::new(kept)));
                rows.push(row(number, Some(json.into())));
            }
            while mails.mails.len() > self.limit
                && let Some((number, old)) = mails.mails.pop_front()
            {
                mails.ids.remove(&old.id);
                rows.push(row(number, None));
            }
            place.write(rows)
        };
        pending.done().await.map(drop)
    }
}
