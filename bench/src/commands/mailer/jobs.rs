//! Jobs put into a cluster's outbox as its nodes do it.

use anyhow::Context as _;
use async_nats::{HeaderMap, jetstream};
use rookery_protocol::outbox::{self, Mail, MailJob, VERSION, VERSION_HEADER};
use tokio::runtime::Runtime;

/// Jobs published before their acknowledgements are awaited.
const AT_ONCE: u64 = 100;

/// A way into the outbox.
pub(super) struct Jobs {
    context: jetstream::Context,
    subject: String,
    /// Part of each id, so that no job of another run has it.
    run: String,
    count: u64,
    runtime: Runtime,
}

impl Jobs {
    pub(super) fn new(nats: &[String], cluster: &str, run: String) -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        // Inside the runtime: it starts a task.
        let context = runtime.block_on(async { async_nats::connect(nats).await.map(jetstream::new) });
        let context = context.context("NATS cannot be reached")?;
        Ok(Self { context, subject: outbox::subject(cluster), run, count: 0, runtime })
    }

    /// How many there were.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Puts in so many, and waits until they are stored.
    pub(super) fn put(&mut self, count: u64) -> anyhow::Result<()> {
        let mut left = count;
        while left > 0 {
            let some = left.min(AT_ONCE);
            self.put_some(some)?;
            left -= some;
        }
        Ok(())
    }

    fn put_some(&mut self, count: u64) -> anyhow::Result<()> {
        let jobs: Vec<MailJob> = (self.count..self.count + count).map(|number| self.job(number)).collect();
        self.count += count;
        self.runtime.block_on(async {
            let mut acknowledgements = Vec::with_capacity(jobs.len());
            for job in jobs {
                let mut headers = HeaderMap::new();
                headers.insert(VERSION_HEADER, VERSION);
                headers.insert("Nats-Msg-Id", job.id.as_str());
                let subject = self.subject.clone();
                acknowledgements
                    .push(self.context.publish_with_headers(subject, headers, job.encode().into()).await?);
            }
            for acknowledgement in acknowledgements {
                acknowledgement.await?;
            }
            Ok(())
        })
    }

    fn job(&self, number: u64) -> MailJob {
        MailJob {
            id: format!("{}-{number}", self.run),
            to: format!("reader-{number}@example.org"),
            language: "en".to_owned(),
            not_after: None,
            mail: Mail::SignUpCode { code: "123456".to_owned(), username: "ada".to_owned(), minutes: 15 },
        }
    }
}
