//! Sending in the process that has the outbox, too: what `standalone` does when it is given an SMTP server.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use rookery_protocol::outbox::MailJob;
use rookery_service::{Failure, Health, settings::Wrong};
use serde::{Deserialize, Serialize};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    task::JoinHandle,
    time::Instant,
};

use crate::{
    compose::MailSettings,
    courier::{Courier, Tried, is_expired, now_ms},
    metrics::MailerMetrics,
    program,
    retry::RetrySettings,
    smtp::{Admission, SmtpSettings},
};

/// A mail that could not be begun is looked at again after this time.
const SOON: Duration = Duration::from_secs(1);
/// After something failed that is not a mail's fault.
const PAUSE: Duration = Duration::from_secs(1);
/// What waits is looked at so often.
const LOOK: Duration = Duration::from_secs(2);
/// What has waited for so long is given up, as what is in the outbox of a cluster is.
const LIFE: Duration = Duration::from_secs(24 * 3600);

/// `[mailer]` of a process that has an outbox of its own.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalSettings {
    /// The SMTP server. Without a host nothing is sent.
    pub smtp: SmtpSettings,
    /// What mails are like.
    pub mail: MailSettings,
    /// Retries.
    pub retry: RetrySettings,
}

impl LocalSettings {
    /// Whether mails are sent.
    pub fn sends(&self) -> bool {
        !self.smtp.host.is_empty()
    }

    /// What cannot work.
    pub fn check(&self) -> Vec<Wrong> {
        if !self.sends() {
            return Vec::new();
        }
        let all = self.smtp.check().into_iter().chain(self.mail.check()).chain(self.retry.check());
        all.map(|wrong| Wrong { key: format!("mailer.{}", wrong.key), ..wrong }).collect()
    }
}

/// A job that it is time for. It stays in the outbox until it is ended.
pub struct LocalJob {
    /// Its place in the outbox.
    pub number: u64,
    /// Tries that failed.
    pub failures: u32,
    /// When it was put there, Unix milliseconds.
    pub since: i64,
    /// Whether it was put off before.
    pub waited: bool,
    /// The job.
    pub job: MailJob,
}

/// What waits in an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// How many jobs.
    pub jobs: usize,
    /// When the oldest of them was put there, Unix milliseconds.
    pub since: Option<i64>,
}

/// The outbox of this process.
#[async_trait]
pub trait LocalOutbox: Send + Sync {
    /// Waits for a job that it is time for.
    async fn next(&self) -> LocalJob;
    /// It is time for it again after a while.
    ///
    /// # Errors
    /// In words: it could not be written down.
    async fn put_off(&self, number: u64, failures: u32, after: Duration) -> Result<(), String>;
    /// It is over: sent, or of no use any more.
    ///
    /// # Errors
    /// In words: it could not be written down.
    async fn ended(&self, number: u64) -> Result<(), String>;
    /// It is given up after so many tries, and kept with the reason.
    ///
    /// # Errors
    /// In words: it could not be written down.
    async fn give_up(&self, number: u64, failures: u32, why: &str) -> Result<(), String>;
    /// How many are kept that were given up.
    fn given_up(&self) -> usize;
    /// What waits, also what is being sent.
    fn waiting(&self) -> Waiting;
    /// A job that nobody is at and that was put there before this time, Unix milliseconds, whether it is time for it or not.
    fn take_older(&self, than: i64) -> Option<LocalJob>;
}

/// What sends the mails of an outbox of this process.
pub struct LocalMailer {
    stop: watch::Sender<bool>,
    running: JoinHandle<()>,
    place: String,
    away: watch::Receiver<Option<String>>,
}

impl LocalMailer {
    /// Begins. In a Tokio runtime.
    ///
    /// # Errors
    /// [`Failure::Config`]: a file or a template that the settings name cannot be used.
    pub fn start(
        settings: &LocalSettings,
        outbox: Arc<dyn LocalOutbox>,
        metrics: MailerMetrics,
    ) -> Result<Self, Failure> {
        let courier = program::courier(&settings.mail, &settings.smtp, metrics.clone())?;
        let (place, away) = (courier.smtp().place(), courier.away());
        let sender = Sender { outbox, courier, retry: settings.retry.clone(), metrics };
        let (stop, stopped) = watch::channel(false);
        let running = tokio::spawn(Arc::new(sender).run(settings.smtp.connections, stopped));
        Ok(Self { stop, running, place, away })
    }

    /// How the SMTP server is, whenever that is asked; for readiness.
    pub fn health(&self) -> impl Fn() -> Health + Send + Sync + use<> {
        let (place, away) = (self.place.clone(), self.away.clone());
        move || match &*away.borrow() {
            None => Health { good: true, says: place.clone() },
            Some(why) => Health { good: false, says: why.clone() },
        }
    }

    /// Begins no more mails, and waits for those under way, so long at most.
    pub async fn stop(self, within: Duration) {
        let _ = self.stop.send(true);
        if tokio::time::timeout(within, self.running).await.is_err() {
            tracing::warn!("not all mails could be handed over in time; they are sent at the next start");
        }
    }
}

struct Sender {
    outbox: Arc<dyn LocalOutbox>,
    courier: Courier,
    retry: RetrySettings,
    metrics: MailerMetrics,
}

impl Sender {
    async fn run(self: Arc<Self>, all: u32, mut stop: watch::Receiver<bool>) {
        let places = Arc::new(Semaphore::new(all as usize));
        self.show_given_up();
        let looking = tokio::spawn(self.clone().look());
        loop {
            let Ok(place) = places.clone().acquire_owned().await else { return };
            let job = tokio::select! {
                job = self.next() => job,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            tokio::spawn(self.clone().see_through(job, place));
        }
        looking.abort();
        let _seen_through = places.acquire_many(all).await;
        self.courier.smtp().close().await;
    }

    /// A job, once the SMTP server can be used.
    async fn next(&self) -> LocalJob {
        self.courier.usable().await;
        self.outbox.next().await
    }

    async fn see_through(self: Arc<Self>, taken: LocalJob, _place: OwnedSemaphorePermit) {
        self.metrics.under_way.inc();
        let (id, kind) = (taken.job.id.clone(), taken.job.mail.kind());
        if let Err(why) = self.handle(taken).await {
            tracing::warn!(job = id, kind, why, "what became of a mail cannot be written down");
            tokio::time::sleep(PAUSE).await;
        }
        self.show_given_up();
        self.metrics.under_way.dec();
    }

    /// Shows what waits, and gives up what has waited for too long, also while nothing can be sent. Until it is aborted.
    async fn look(self: Arc<Self>) {
        let mut tick = tokio::time::interval(LOOK);
        loop {
            tick.tick().await;
            let now = now_ms();
            let waiting = self.outbox.waiting();
            self.metrics.jobs.set(i64::try_from(waiting.jobs).unwrap_or(i64::MAX));
            self.metrics.oldest_job_seconds.set(waiting.since.map_or(0, |since| (now - since).max(0) / 1000));
            let life = i64::try_from(LIFE.as_millis()).unwrap_or(i64::MAX);
            while let Some(LocalJob { number, failures, since, job, .. }) = self.outbox.take_older(now - life)
            {
                let tried = match is_expired(&job) {
                    true => Tried::Expired,
                    false => Tried::Hopeless("it could not be sent for as long as mails wait".to_owned()),
                };
                let about = (job.mail.kind(), job.id.as_str());
                if let Err(why) = self.end(number, about, (failures, since), tried).await {
                    tracing::warn!(job = job.id, why, "that a mail is given up cannot be written down");
                    // It is not free again, or it would come at once: it is looked at at the next start.
                    break;
                }
            }
            self.show_given_up();
        }
    }

    fn show_given_up(&self) {
        self.metrics.dead_letters.set(i64::try_from(self.outbox.given_up()).unwrap_or(i64::MAX));
    }

    async fn handle(&self, taken: LocalJob) -> Result<(), String> {
        let LocalJob { number, failures, since, waited, job } = taken;
        if !is_expired(&job) {
            match self.courier.admit(&job, waited) {
                Admission::Go(wait) => tokio::time::sleep(wait).await,
                Admission::Later(after) => return self.outbox.put_off(number, failures, after).await,
            }
        }
        let turn = self.courier.smtp().turn().await;
        let begun = Instant::now();
        let tried = self.courier.send(&job, turn).await;
        if !matches!(tried, Tried::Away(_) | Tried::Expired) {
            self.metrics.smtp_seconds.observe(begun.elapsed().as_secs_f64());
        }
        self.end(number, (job.mail.kind(), &job.id), (failures, since), tried).await
    }

    async fn end(
        &self,
        number: u64,
        (kind, id): (&'static str, &str),
        (before, since): (u32, i64),
        tried: Tried,
    ) -> Result<(), String> {
        let failures = before.saturating_add(1);
        let why = match tried {
            Tried::Sent => {
                self.metrics.sent(kind, i128::from(now_ms().saturating_sub(since)));
                tracing::debug!(job = id, kind, "sent");
                return self.outbox.ended(number).await;
            }
            Tried::Expired => {
                tracing::info!(job = id, kind, "a mail is dropped: what it says is not valid any more");
                self.metrics.expired(kind);
                return self.outbox.ended(number).await;
            }
            Tried::Away(_) => return self.outbox.put_off(number, before, SOON).await,
            Tried::Failed(ref why) | Tried::Unknown(ref why) => {
                if let Some(after) = self.retry.after(failures) {
                    tracing::warn!(job = id, kind, failures, why, "a mail could not be handed over");
                    self.metrics.retried(kind);
                    if matches!(tried, Tried::Unknown(_)) {
                        self.metrics.uncertain.inc();
                    }
                    return self.outbox.put_off(number, failures, after).await;
                }
                why.clone()
            }
            Tried::Hopeless(why) => why,
        };
        tracing::error!(
            job = id,
            kind,
            failures,
            why,
            "a mail is given up; see /mails/dead at the management port"
        );
        self.metrics.dead(kind);
        self.outbox.give_up(number, failures, &why).await
    }
}
