//! Takes jobs from the outbox and sees each through: sent and acknowledged, put off, or among the dead letters.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{AckKind, Message, consumer::PullConsumer};
use futures_util::StreamExt as _;
use rookery_protocol::outbox::{JobError, MailJob, VERSION_HEADER};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::Instant,
};

use super::{
    Away, Queue,
    memory::{Claim, State},
};
use crate::{
    courier::{Courier, Tried, now_ms},
    metrics::MailerMetrics,
    retry::RetrySettings,
};

/// A request for jobs waits so long at the server. At the end of the process this is waited for, so that no job is on its way to nobody.
const PULL: Duration = Duration::from_secs(2);
/// After something failed that is not a mail's fault.
const PAUSE: Duration = Duration::from_millis(500);
/// A job is acknowledged late by so much more than sending may take.
const SPARE: Duration = Duration::from_secs(5);
/// A job that could not be claimed, or that a rate holds back, comes again after this time at the earliest.
const SOON: Duration = Duration::from_secs(1);
/// A job that is delivered so often ends those who take it.
const DELIVERIES: i64 = 1_000;

/// What is known about sending now; for readiness.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    /// Why the last mail could not be handed over; `None`: it could.
    pub trouble: Option<String>,
    /// Why no jobs come.
    pub no_jobs: Option<String>,
}

/// Sends the jobs of the outbox.
pub struct Worker {
    queue: Queue,
    courier: Courier,
    retry: RetrySettings,
    metrics: MailerMetrics,
    places: Arc<Semaphore>,
    all: u32,
    ack_wait: Duration,
    standing: watch::Sender<Standing>,
}

impl Worker {
    /// One that has `places` mails under way at the same time, each of which takes `timeout` at most.
    pub fn new(
        queue: Queue,
        courier: Courier,
        retry: RetrySettings,
        metrics: MailerMetrics,
        (places, timeout): (u32, Duration),
    ) -> Arc<Self> {
        Arc::new(Self {
            queue,
            courier,
            retry,
            metrics,
            places: Arc::new(Semaphore::new(places as usize)),
            all: places,
            ack_wait: timeout + SPARE,
            standing: watch::Sender::default(),
        })
    }

    /// What is known about sending now.
    pub fn standing(&self) -> watch::Receiver<Standing> {
        self.standing.subscribe()
    }

    /// Takes jobs until `stop` says so; those that it has then are seen through, if `within` suffices.
    pub async fn run(self: &Arc<Self>, mut stop: watch::Receiver<bool>, within: Duration) {
        while !*stop.borrow() {
            let consumer = tokio::select! {
                consumer = self.queue.consumer(self.ack_wait) => consumer,
                _ = stop.wait_for(|stop| *stop) => break,
            };
            match consumer {
                Ok(consumer) => {
                    self.say_jobs(None);
                    if let Err(why) = self.take(&consumer, &stop).await {
                        self.say_jobs(Some(why));
                    }
                }
                Err(why) => self.say_jobs(Some(why)),
            }
            tokio::time::sleep(PAUSE).await;
        }
        let seen_through = self.places.acquire_many(self.all);
        if tokio::time::timeout(within, seen_through).await.is_err() {
            tracing::warn!(
                "not all mails could be handed over in time; they are tried again by another mailer"
            );
        }
        self.courier.smtp().close().await;
    }

    fn say_jobs(&self, why: Option<String>) {
        let changed = self.standing.send_if_modified(|now| {
            let changed = now.no_jobs != why;
            now.no_jobs.clone_from(&why);
            changed
        });
        if let Some(why) = why.filter(|_| changed) {
            tracing::warn!(why, "no jobs can be taken");
        }
    }

    fn say_smtp(&self, trouble: Option<String>) {
        self.standing.send_if_modified(|now| {
            let changed = now.trouble != trouble;
            now.trouble = trouble;
            changed
        });
    }

    async fn take(
        self: &Arc<Self>,
        consumer: &PullConsumer,
        stop: &watch::Receiver<bool>,
    ) -> Result<(), String> {
        while !*stop.borrow() {
            // Asked now, a request would be sent after the reconnect, when nobody waits for its jobs any more.
            if !self.queue.connected() {
                return Err("there is no connection to NATS".to_owned());
            }
            let Ok(first) = self.places.clone().acquire_owned().await else { return Ok(()) };
            let mut permits = vec![first];
            while permits.len() < self.all as usize
                && let Ok(more) = self.places.clone().try_acquire_owned()
            {
                permits.push(more);
            }
            let asked = consumer.batch().max_messages(permits.len()).expires(PULL).messages().await;
            let mut messages = asked.map_err(|error| error.to_string())?;
            let end = Instant::now() + PULL + SPARE;
            while let Some(permit) = permits.pop() {
                let message = match tokio::time::timeout_at(end, messages.next()).await {
                    Ok(Some(Ok(message))) => message,
                    Ok(Some(Err(error))) => return Err(error.to_string()),
                    Ok(None) | Err(_) => break,
                };
                tokio::spawn(self.clone().see_through(message, permit));
            }
        }
        Ok(())
    }

    async fn see_through(self: Arc<Self>, message: Message, _place: OwnedSemaphorePermit) {
        self.metrics.under_way.inc();
        let handled = {
            let handled = self.handle(&message);
            tokio::pin!(handled);
            let mut progress =
                tokio::time::interval_at(Instant::now() + self.ack_wait / 3, self.ack_wait / 3);
            loop {
                tokio::select! {
                    handled = &mut handled => break handled,
                    _ = progress.tick() => {
                        // Lost, it is made up for by the next.
                        let _ = message.ack_with(AckKind::Progress).await;
                    }
                }
            }
        };
        self.metrics.under_way.dec();
        if let Err(why) = handled {
            tracing::warn!(%why, "a job could not be seen through; it comes again");
            self.put_off(&message, SOON).await;
        }
    }

    async fn put_off(&self, message: &Message, after: Duration) {
        // Lost, the job comes again after `ack_wait`.
        let _ = message.ack_with(AckKind::Nak(Some(after))).await;
    }

    async fn handle(&self, message: &Message) -> Result<(), Away> {
        let info = message.info().map_err(|error| Away(error.to_string()))?;
        let (seq, delivery) = (info.stream_sequence, info.delivered);
        let enqueued_ms = info.published.unix_timestamp_nanos() / 1_000_000;
        let header = message.headers.as_ref().and_then(|headers| headers.get(VERSION_HEADER));
        let version = header.map_or("", |version| version.as_str());
        let job = match MailJob::read(version, &message.payload) {
            Ok(job) => job,
            Err(JobError::Malformed) => {
                return self.give_up(message, seq, None, "the job cannot be read", 0).await;
            }
            // A later version may be rolled out now, and its mailers will know.
            Err(JobError::UnknownMail) => {
                let failures = u32::try_from(delivery).unwrap_or(u32::MAX);
                return match self.retry.after(failures) {
                    Some(after) => {
                        self.put_off(message, after).await;
                        Ok(())
                    }
                    None => {
                        let why =
                            format!("the job is of version {version:?}, which this mailer does not know");
                        self.give_up(message, seq, None, &why, failures).await
                    }
                };
            }
        };
        let kind = job.mail.kind();
        if delivery > DELIVERIES {
            return self
                .give_up(message, seq, Some(&job), "it was taken too often and never seen through", 0)
                .await;
        }
        if let Err(wait) = self.courier.admit(&job) {
            self.metrics.held.inc();
            self.put_off(message, wait.max(SOON)).await;
            return Ok(());
        }
        let theirs_ms = i64::try_from(self.ack_wait.as_millis()).unwrap_or(i64::MAX);
        let failures = match self.queue.claim(&job.id, seq, delivery, theirs_ms).await? {
            Claim::Ours { failures, again } => {
                if again {
                    tracing::info!(job = job.id, kind, "a mail may have been sent, and is sent again");
                    self.metrics.uncertain.inc();
                }
                failures
            }
            Claim::Sent => {
                self.metrics.repeats_avoided.inc();
                return acknowledge(message, AckKind::Ack).await;
            }
            Claim::Theirs => {
                self.put_off(message, self.ack_wait).await;
                return Ok(());
            }
        };
        let begun = Instant::now();
        let tried = self.courier.send(&job).await;
        self.metrics.smtp_seconds.observe(begun.elapsed().as_secs_f64());
        match tried {
            Tried::Sent => {
                self.say_smtp(None);
                self.metrics.sent(kind, i128::from(now_ms()) - enqueued_ms);
                tracing::debug!(job = job.id, kind, "sent");
                self.surely(|| self.queue.ended(&job.id, seq, delivery, (State::Sent, failures))).await?;
                acknowledge(message, AckKind::Ack).await
            }
            Tried::Failed(why) => {
                self.say_smtp(Some(why.clone()));
                let failures = failures.saturating_add(1);
                tracing::warn!(job = job.id, kind, failures, why, "a mail could not be handed over");
                match self.retry.after(failures) {
                    Some(after) => {
                        self.metrics.retried(kind);
                        self.surely(|| self.queue.ended(&job.id, seq, delivery, (State::Waiting, failures)))
                            .await?;
                        self.put_off(message, after).await;
                        Ok(())
                    }
                    None => self.give_up(message, seq, Some(&job), &why, failures).await,
                }
            }
            Tried::Hopeless(why) => {
                self.give_up(message, seq, Some(&job), &why, failures.saturating_add(1)).await
            }
        }
    }

    /// Tries something again that must be written down, while the job stays ours.
    async fn surely<F>(&self, write: impl Fn() -> F) -> Result<(), Away>
    where
        F: Future<Output = Result<(), Away>>,
    {
        let end = Instant::now() + self.ack_wait;
        loop {
            match write().await {
                Ok(()) => return Ok(()),
                Err(why) if Instant::now() + PAUSE >= end => return Err(why),
                Err(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// First among the dead letters, then out of the outbox: at no time in neither.
    async fn give_up(
        &self,
        message: &Message,
        seq: u64,
        job: Option<&MailJob>,
        why: &str,
        failures: u32,
    ) -> Result<(), Away> {
        let kind = job.map_or("unreadable", |job| job.mail.kind());
        let made_up = format!("unreadable-{seq}");
        let id = job.map_or(made_up.as_str(), |job| job.id.as_str());
        tracing::error!(job = id, kind, failures, why, "a mail is given up; see `rookery-mailer dead list`");
        let header = message.headers.as_ref().and_then(|headers| headers.get(VERSION_HEADER));
        let version = header.map_or("", |version| version.as_str());
        self.surely(|| self.queue.bury((id, seq), message.payload.clone(), version, (why, failures))).await?;
        // Put back into the outbox, it is tried as often as a new one.
        self.surely(|| self.queue.ended(id, seq, i64::MAX, (State::Waiting, 0))).await?;
        self.metrics.dead(kind);
        acknowledge(message, AckKind::Term).await
    }
}

/// Waits for the server's word. Without it the job comes again, and what is remembered says that nothing is to be done.
async fn acknowledge(message: &Message, kind: AckKind) -> Result<(), Away> {
    message
        .double_ack_with(kind)
        .await
        .map_err(|error| Away(format!("an acknowledgement was not confirmed: {error}")))
}
