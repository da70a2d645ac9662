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
    memory::{Claim, Memory, State},
};
use crate::{
    courier::{Courier, Tried, now_ms},
    metrics::MailerMetrics,
    retry::RetrySettings,
    smtp::SmtpSettings,
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
    /// A mail is under way for no longer.
    longest: Duration,
    standing: watch::Sender<Standing>,
}

impl Worker {
    /// One that has as many mails under way as there are connections.
    pub fn new(
        queue: Queue,
        courier: Courier,
        retry: RetrySettings,
        metrics: MailerMetrics,
        smtp: &SmtpSettings,
    ) -> Arc<Self> {
        Arc::new(Self {
            queue,
            courier,
            retry,
            metrics,
            places: Arc::new(Semaphore::new(smtp.connections as usize)),
            all: smtp.connections,
            // Marks of progress keep what takes longer.
            ack_wait: smtp.timeout() + SPARE,
            longest: smtp.longest() + SPARE,
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
                return self.give_up(message, seq, None, ("the job cannot be read", 0)).await;
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
                        self.give_up(message, seq, None, (&why, failures)).await
                    }
                };
            }
        };
        let kind = job.mail.kind();
        if delivery > DELIVERIES {
            let why = "it was taken too often and never seen through";
            return self.give_up(message, seq, Some(&job), (why, 0)).await;
        }
        if let Err(wait) = self.courier.admit(&job) {
            self.metrics.held.inc();
            self.put_off(message, wait.max(SOON)).await;
            return Ok(());
        }
        let theirs_ms = i64::try_from(self.longest.as_millis()).unwrap_or(i64::MAX);
        let claim = Memory::now(State::Sending, (seq, delivery), 0);
        let ours = match self.surely(|| self.queue.claim(&job.id, &claim, theirs_ms)).await? {
            Claim::Ours(ours) => ours,
            Claim::Sent => return self.sent_before(message).await,
            Claim::Theirs => {
                self.put_off(message, self.ack_wait).await;
                return Ok(());
            }
        };
        if ours.again {
            tracing::info!(job = job.id, kind, "a mail may have been sent, and is sent again");
            self.metrics.uncertain.inc();
        }
        let begun = Instant::now();
        let tried = self.courier.send(&job).await;
        self.metrics.smtp_seconds.observe(begun.elapsed().as_secs_f64());
        let (state, why, may_retry) = match tried {
            Tried::Sent => {
                self.say_smtp(None);
                self.metrics.sent(kind, i128::from(now_ms()) - enqueued_ms);
                tracing::debug!(job = job.id, kind, "sent");
                let sent = Memory::now(State::Sent, (seq, delivery), ours.failures);
                self.surely(|| self.queue.ended(&job.id, &ours, &sent)).await?;
                return acknowledge(message, AckKind::Ack).await;
            }
            Tried::Failed(why) => (State::Waiting, why, true),
            // What nobody knows stays a claim, and is taken for one that nobody ended.
            Tried::Unknown(why) => (State::Sending, why, true),
            Tried::Hopeless(why) => (State::Waiting, why, false),
        };
        let failures = ours.failures.saturating_add(1);
        let after = self.retry.after(failures).filter(|_| may_retry);
        let Some(after) = after else {
            self.bury(message, seq, Some(&job), (&why, failures)).await?;
            let given_up = Memory::given_up(state, seq);
            self.surely(|| self.queue.ended(&job.id, &ours, &given_up)).await?;
            return acknowledge(message, AckKind::Term).await;
        };
        self.say_smtp(Some(why.clone()));
        tracing::warn!(job = job.id, kind, failures, why, "a mail could not be handed over");
        self.metrics.retried(kind);
        let failed = Memory::now(state, (seq, delivery), failures);
        let is_ours = self.surely(|| self.queue.ended(&job.id, &ours, &failed)).await?;
        // Whoever has claimed it since sees it through; this delivery only comes to see that.
        self.put_off(message, if is_ours { after } else { self.longest }).await;
        Ok(())
    }

    /// A job that came again although its mail was sent.
    async fn sent_before(&self, message: &Message) -> Result<(), Away> {
        self.metrics.repeats_avoided.inc();
        acknowledge(message, AckKind::Ack).await
    }

    /// Tries something again that must be written down, while the job stays ours.
    async fn surely<T, F>(&self, write: impl Fn() -> F) -> Result<T, Away>
    where
        F: Future<Output = Result<T, Away>>,
    {
        let end = Instant::now() + self.ack_wait;
        loop {
            match write().await {
                Ok(done) => return Ok(done),
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
        (why, failures): (&str, u32),
    ) -> Result<(), Away> {
        self.bury(message, seq, job, (why, failures)).await?;
        acknowledge(message, AckKind::Term).await
    }

    async fn bury(
        &self,
        message: &Message,
        seq: u64,
        job: Option<&MailJob>,
        (why, failures): (&str, u32),
    ) -> Result<(), Away> {
        let kind = job.map_or("unreadable", |job| job.mail.kind());
        let made_up = format!("unreadable-{seq}");
        let id = job.map_or(made_up.as_str(), |job| job.id.as_str());
        tracing::error!(job = id, kind, failures, why, "a mail is given up; see `rookery-mailer dead list`");
        let header = message.headers.as_ref().and_then(|headers| headers.get(VERSION_HEADER));
        let version = header.map_or("", |version| version.as_str());
        self.surely(|| self.queue.bury((id, seq), message.payload.clone(), version, (why, failures))).await?;
        self.metrics.dead(kind);
        Ok(())
    }
}

/// Waits for the server's word. Without it the job comes again, and what is remembered says that nothing is to be done.
async fn acknowledge(message: &Message, kind: AckKind) -> Result<(), Away> {
    message
        .double_ack_with(kind)
        .await
        .map_err(|error| Away(format!("an acknowledgement was not confirmed: {error}")))
}
