//! Sees one job through: sent and acknowledged, put off, dropped, or among the dead letters.

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{AckKind, Message};
use rookery_protocol::outbox::{JobError, MailJob};
use tokio::time::Instant;

use super::{
    Away, Worker,
    delivery::Delivery,
    memory::{Claim, Memory, Ours, State},
    streams::Source,
    worker::{PAUSE, Place, Waited},
};
use crate::{
    courier::{Tried, is_expired, now_ms},
    retry::LIFE,
    smtp::Admission,
};

/// A job that could not be claimed comes again after this time.
const SOON: Duration = Duration::from_secs(1);
/// Between two jobs that are put off for a rate. A backlog is put off no faster than mails are sent, so that NATS has no more to do than
/// then.
const APART: Duration = Duration::from_millis(20);
/// A job that is delivered so often ends those who take it.
const DELIVERIES: i64 = 1_000;

impl Worker {
    pub(super) async fn see_through(self: Arc<Self>, source: Source, message: Message, mut place: Place) {
        self.metrics.under_way.inc();
        let handled = {
            let handled = self.handle(source, &message, &mut place);
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
            again(&message, SOON).await;
        }
    }

    async fn handle(&self, source: Source, message: &Message, place: &mut Place) -> Result<(), Away> {
        let delivery = Delivery::of(message, source == Source::Due)?;
        let job = match MailJob::read(&delivery.version, &delivery.payload) {
            Ok(job) => job,
            Err(JobError::Malformed) => {
                return self.give_up(message, &delivery, None, ("the job cannot be read", 0)).await;
            }
            // A later version may be rolled out now, and its mailers will know.
            Err(JobError::UnknownMail) => {
                let failures = u32::try_from(delivery.count).unwrap_or(u32::MAX);
                let Some(after) = self.retry.after(failures) else {
                    let version = &delivery.version;
                    let why = format!("the job is of version {version:?}, which this mailer does not know");
                    return self.give_up(message, &delivery, None, (&why, failures)).await;
                };
                again(message, after).await;
                return Ok(());
            }
        };
        if is_expired(&job) {
            return self.drop_expired(message, &job).await;
        }
        if delivery.count > DELIVERIES {
            let why = "it was taken too often and never seen through";
            return self.give_up(message, &delivery, Some(&job), (why, 0)).await;
        }
        if self.await_turn(message, &delivery, &job, place).await? {
            self.claim_and_send(message, &delivery, &job).await?;
        }
        Ok(())
    }

    /// Waits for a job's turn at the rates. `false`: it is not to be sent now, and what becomes of it instead is done.
    async fn await_turn(
        &self,
        message: &Message,
        delivery: &Delivery,
        job: &MailJob,
        place: &mut Place,
    ) -> Result<bool, Away> {
        let mut waited = delivery.has_waited();
        loop {
            let after = match self.courier.admit(job, waited) {
                Admission::Go(wait) => {
                    tokio::time::sleep(wait).await;
                    return Ok(true);
                }
                Admission::Later(after) => after,
            };
            if is_too_late(delivery.since, after) {
                let why =
                    "the rates in smtp.per_second and per_domain_per_second do not allow it within a day";
                self.give_up(message, delivery, Some(job), (why, 0)).await?;
                return Ok(false);
            }
            match self.hold(place, after).await {
                Waited::ItsTurn => waited = true,
                Waited::UntilTheEnd => {
                    // For another mailer, at once.
                    again(message, Duration::ZERO).await;
                    return Ok(false);
                }
                Waited::Not => {
                    self.put_off(message, job, delivery, after).await?;
                    tokio::time::sleep(APART).await;
                    return Ok(false);
                }
            }
        }
    }

    async fn claim_and_send(
        &self,
        message: &Message,
        delivery: &Delivery,
        job: &MailJob,
    ) -> Result<(), Away> {
        let turn = self.courier.smtp().turn().await;
        let theirs_ms = i64::try_from(self.longest.as_millis()).unwrap_or(i64::MAX);
        let at = (delivery.key, delivery.count);
        let claim = Memory::now(State::Sending, at, 0);
        let ours = match self.surely(|| self.queue.claim(&job.id, &claim, theirs_ms)).await? {
            Claim::Ours(ours) => ours,
            Claim::Sent => {
                self.metrics.repeats_avoided.inc();
                return self.acknowledge(message, AckKind::Ack).await;
            }
            Claim::Theirs => {
                again(message, self.ack_wait).await;
                return Ok(());
            }
        };
        let begun = Instant::now();
        let tried = self.courier.send(job, turn).await;
        let kind = job.mail.kind();
        let was_begun = !matches!(tried, Tried::Away(_) | Tried::Expired);
        if was_begun {
            self.metrics.smtp_seconds.observe(begun.elapsed().as_secs_f64());
        }
        if was_begun && ours.again {
            tracing::info!(job = job.id, kind, "a mail that may have been sent was sent again");
            self.metrics.uncertain.inc();
        }
        match tried {
            Tried::Sent => {
                self.say_smtp(None);
                self.metrics.sent(kind, i128::from(now_ms()) - i128::from(delivery.since));
                tracing::debug!(job = job.id, kind, "sent");
                self.end(job, &ours, &Memory::now(State::Sent, at, ours.failures)).await?;
                self.acknowledge(message, AckKind::Ack).await
            }
            Tried::Expired => self.drop_expired(message, job).await,
            Tried::Away(why) => {
                self.say_smtp(Some(why));
                // As before it was claimed.
                let state = if ours.again { State::Sending } else { State::Waiting };
                self.end(job, &ours, &Memory::now(state, at, ours.failures)).await?;
                again(message, SOON).await;
                Ok(())
            }
            Tried::Failed(why) => {
                let memory = Memory::now(State::Waiting, at, ours.failures.saturating_add(1));
                self.failed((message, delivery), job, (&ours, memory), &why).await
            }
            Tried::Unknown(why) => {
                // It stays a claim, and is taken for one that nobody ended, at once.
                let memory = Memory::now(State::Sending, at, ours.failures.saturating_add(1));
                self.failed((message, delivery), job, (&ours, Memory { at: 0, ..memory }), &why).await
            }
            Tried::Hopeless(why) => {
                self.bury(delivery, Some(job), (&why, ours.failures.saturating_add(1))).await?;
                self.end(job, &ours, &Memory::given_up(State::Waiting, delivery.key)).await?;
                self.acknowledge(message, AckKind::Term).await
            }
        }
    }

    /// After a try that failed: another, or none.
    async fn failed(
        &self,
        (message, delivery): (&Message, &Delivery),
        job: &MailJob,
        (ours, memory): (&Ours, Memory),
        why: &str,
    ) -> Result<(), Away> {
        let (kind, failures) = (job.mail.kind(), memory.failures);
        self.say_smtp(Some(why.to_owned()));
        tracing::warn!(job = job.id, kind, failures, why, "a mail could not be handed over");
        let after = self.retry.after(failures).filter(|after| !is_too_late(delivery.since, *after));
        let Some(after) = after else {
            self.bury(delivery, Some(job), (why, failures)).await?;
            self.end(job, ours, &Memory::given_up(memory.state, delivery.key)).await?;
            return self.acknowledge(message, AckKind::Term).await;
        };
        self.metrics.retried(kind);
        if self.end(job, ours, &memory).await? {
            return self.put_off(message, job, delivery, after).await;
        }
        // Whoever has claimed it since sees it through; this delivery comes again only to see that.
        again(message, self.longest).await;
        Ok(())
    }

    async fn end(&self, job: &MailJob, ours: &Ours, memory: &Memory) -> Result<bool, Away> {
        self.surely(|| self.queue.ended(&job.id, ours, memory)).await
    }

    /// First among those that wait for their time, then out of where it came from: at no time in neither.
    async fn put_off(
        &self,
        message: &Message,
        job: &MailJob,
        delivery: &Delivery,
        after: Duration,
    ) -> Result<(), Away> {
        self.surely(|| self.queue.later(&job.id, delivery, after)).await?;
        self.acknowledge(message, AckKind::Ack).await
    }

    /// Of no use to anybody, sent or looked at.
    pub(super) async fn drop_expired(&self, message: &Message, job: &MailJob) -> Result<(), Away> {
        let kind = job.mail.kind();
        tracing::info!(job = job.id, kind, "a mail is dropped: what it says is not valid any more");
        self.metrics.expired(kind);
        self.acknowledge(message, AckKind::Term).await
    }

    /// First among the dead letters, then out of where it came from: at no time in neither.
    pub(super) async fn give_up(
        &self,
        message: &Message,
        delivery: &Delivery,
        job: Option<&MailJob>,
        why: (&str, u32),
    ) -> Result<(), Away> {
        self.bury(delivery, job, why).await?;
        self.acknowledge(message, AckKind::Term).await
    }

    async fn bury(
        &self,
        delivery: &Delivery,
        job: Option<&MailJob>,
        (why, failures): (&str, u32),
    ) -> Result<(), Away> {
        let kind = job.map_or("unreadable", |job| job.mail.kind());
        let made_up = format!("unreadable-{}", delivery.key);
        let id = job.map_or(made_up.as_str(), |job| job.id.as_str());
        tracing::error!(job = id, kind, failures, why, "a mail is given up; see `rookery-mailer dead list`");
        let (payload, version) = (&delivery.payload, &delivery.version);
        let names = (id, delivery.key);
        self.surely(|| self.queue.bury(names, payload.clone(), version, (why, failures))).await?;
        self.metrics.dead(kind);
        Ok(())
    }

    /// Waits for the server's word. Without it the job comes again, and what is remembered says that nothing is to be done.
    async fn acknowledge(&self, message: &Message, kind: AckKind) -> Result<(), Away> {
        let confirmed = self.queue.turns.write(message.double_ack_with(kind)).await;
        confirmed.map_err(|error| Away(format!("an acknowledgement was not confirmed: {error}")))
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
}

/// Whether a job would be older by then than any is tried.
fn is_too_late(since: i64, after: Duration) -> bool {
    let at = now_ms().saturating_add(i64::try_from(after.as_millis()).unwrap_or(i64::MAX));
    at > since.saturating_add(i64::try_from(LIFE.as_millis()).unwrap_or(i64::MAX))
}

/// Has a message delivered again, to any mailer.
pub(super) async fn again(message: &Message, after: Duration) {
    // Lost, it comes again after `ack_wait`.
    let _ = message.ack_with(AckKind::Nak(Some(after))).await;
}
