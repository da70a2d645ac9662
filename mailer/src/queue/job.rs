//! Sees one job through: sent, put off, dropped, or among the dead letters; and then acknowledged.

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

/// What is to become of the message of a job that was seen to.
#[derive(Debug, Clone, Copy)]
pub(super) enum Done {
    /// It is acknowledged so: what there is to be known of the job is written down.
    Out(AckKind),
    /// It is delivered again after this time, to any mailer.
    Again(Duration),
}

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
        // Another may come meanwhile.
        drop(place);
        let ended = match handled {
            Ok(done) => self.end_delivery(&message, done).await,
            Err(why) => Err(why),
        };
        if let Err(why) = ended {
            tracing::warn!(%why, "a job could not be seen through; it comes again");
            again(&message, SOON).await;
        }
    }

    async fn handle(&self, source: Source, message: &Message, place: &mut Place) -> Result<Done, Away> {
        let delivery = Delivery::of(message, source == Source::Due)?;
        let job = match MailJob::read(&delivery.version, &delivery.payload) {
            Ok(job) => job,
            Err(JobError::Malformed) => {
                return self.give_up(&delivery, None, ("the job cannot be read", 0)).await;
            }
            // A later version may be rolled out now, and its mailers will know.
            Err(JobError::UnknownMail) => {
                let failures = u32::try_from(delivery.count).unwrap_or(u32::MAX);
                let Some(after) = self.retry.after(failures) else {
                    let version = &delivery.version;
                    let why = format!("the job is of version {version:?}, which this mailer does not know");
                    return self.give_up(&delivery, None, (&why, failures)).await;
                };
                return Ok(Done::Again(after));
            }
        };
        if is_expired(&job) {
            return Ok(self.drop_expired(&job));
        }
        if delivery.count > DELIVERIES {
            let why = "it was taken too often and never seen through";
            return self.give_up(&delivery, Some(&job), (why, 0)).await;
        }
        match self.await_turn(&delivery, &job, place).await? {
            Some(done) => Ok(done),
            None => self.claim_and_send(&delivery, &job).await,
        }
    }

    /// Waits for a job's turn at the rates. `Some`: it is not to be sent now.
    async fn await_turn(
        &self,
        delivery: &Delivery,
        job: &MailJob,
        place: &mut Place,
    ) -> Result<Option<Done>, Away> {
        let mut waited = delivery.has_waited();
        loop {
            let after = match self.courier.admit(job, waited) {
                Admission::Go(wait) => {
                    tokio::time::sleep(wait).await;
                    return Ok(None);
                }
                Admission::Later(after) => after,
            };
            if is_too_late(delivery.since, after) {
                let why =
                    "the rates in smtp.per_second and per_domain_per_second do not allow it within a day";
                return self.give_up(delivery, Some(job), (why, 0)).await.map(Some);
            }
            match self.hold(place, after).await {
                Waited::ItsTurn => waited = true,
                Waited::UntilTheEnd => {
                    // For another mailer, at once.
                    return Ok(Some(Done::Again(Duration::ZERO)));
                }
                Waited::Not => {
                    let done = self.put_off(job, delivery, after).await?;
                    tokio::time::sleep(APART).await;
                    return Ok(Some(done));
                }
            }
        }
    }

    async fn claim_and_send(&self, delivery: &Delivery, job: &MailJob) -> Result<Done, Away> {
        // For another mailer, at once.
        let Some(turn) = self.connection().await else { return Ok(Done::Again(Duration::ZERO)) };
        if self.courier.is_away() {
            return Ok(Done::Again(SOON));
        }
        let theirs_ms = i64::try_from(self.longest.as_millis()).unwrap_or(i64::MAX);
        let at = (delivery.key, delivery.count);
        let claim = Memory::now(State::Sending, at, 0);
        let ours = match self.surely(|| self.queue.claim(&job.id, &claim, theirs_ms)).await? {
            Claim::Ours(ours) => ours,
            Claim::Sent => {
                self.metrics.repeats_avoided.inc();
                return Ok(Done::Out(AckKind::Ack));
            }
            Claim::Theirs => return Ok(Done::Again(self.ack_wait)),
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
                self.note(job, &ours, &Memory::now(State::Sent, at, ours.failures)).await?;
                Ok(Done::Out(AckKind::Ack))
            }
            Tried::Expired => Ok(self.drop_expired(job)),
            Tried::Away(why) => {
                self.say_smtp(Some(why));
                // As before it was claimed.
                let state = if ours.again { State::Sending } else { State::Waiting };
                self.note(job, &ours, &Memory::now(state, at, ours.failures)).await?;
                Ok(Done::Again(SOON))
            }
            Tried::Failed(why) => {
                let memory = Memory::now(State::Waiting, at, ours.failures.saturating_add(1));
                self.failed(delivery, job, (&ours, memory), &why).await
            }
            Tried::Unknown(why) => {
                // It stays a claim, and is taken for one that nobody ended, at once.
                let memory = Memory::now(State::Sending, at, ours.failures.saturating_add(1));
                self.failed(delivery, job, (&ours, Memory { at: 0, ..memory }), &why).await
            }
            Tried::Hopeless(why) => {
                self.bury(delivery, Some(job), (&why, ours.failures.saturating_add(1))).await?;
                self.note(job, &ours, &Memory::given_up(State::Waiting, delivery.key)).await?;
                Ok(Done::Out(AckKind::Term))
            }
        }
    }

    /// After a try that failed: another, or none.
    async fn failed(
        &self,
        delivery: &Delivery,
        job: &MailJob,
        (ours, memory): (&Ours, Memory),
        why: &str,
    ) -> Result<Done, Away> {
        let (kind, failures) = (job.mail.kind(), memory.failures);
        self.say_smtp(Some(why.to_owned()));
        tracing::warn!(job = job.id, kind, failures, why, "a mail could not be handed over");
        let after = self.retry.after(failures).filter(|after| !is_too_late(delivery.since, *after));
        let Some(after) = after else {
            self.bury(delivery, Some(job), (why, failures)).await?;
            self.note(job, ours, &Memory::given_up(memory.state, delivery.key)).await?;
            return Ok(Done::Out(AckKind::Term));
        };
        self.metrics.retried(kind);
        if self.note(job, ours, &memory).await? {
            return self.put_off(job, delivery, after).await;
        }
        // Whoever has claimed it since sees it through; this delivery comes again only to see that.
        Ok(Done::Again(self.longest))
    }

    /// Writes down how a try ended; `false`: somebody else has claimed the job since.
    async fn note(&self, job: &MailJob, ours: &Ours, memory: &Memory) -> Result<bool, Away> {
        self.surely(|| self.queue.ended(&job.id, ours, memory)).await
    }

    /// Waits for the server's word. Without it the job comes again, and what is remembered says that nothing is to be done.
    pub(super) async fn end_delivery(&self, message: &Message, done: Done) -> Result<(), Away> {
        match done {
            Done::Again(after) => {
                again(message, after).await;
                Ok(())
            }
            Done::Out(kind) => self.queue.acknowledge(message, kind).await,
        }
    }

    /// First among those that wait for their time, then out of where it came from: at no time in neither.
    async fn put_off(&self, job: &MailJob, delivery: &Delivery, after: Duration) -> Result<Done, Away> {
        self.surely(|| self.queue.later(&job.id, delivery, after)).await?;
        Ok(Done::Out(AckKind::Ack))
    }

    /// Of no use to anybody, sent or looked at.
    pub(super) fn drop_expired(&self, job: &MailJob) -> Done {
        let kind = job.mail.kind();
        tracing::info!(job = job.id, kind, "a mail is dropped: what it says is not valid any more");
        self.metrics.expired(kind);
        Done::Out(AckKind::Term)
    }

    /// First among the dead letters, then out of where it came from: at no time in neither.
    pub(super) async fn give_up(
        &self,
        delivery: &Delivery,
        job: Option<&MailJob>,
        why: (&str, u32),
    ) -> Result<Done, Away> {
        self.bury(delivery, job, why).await?;
        Ok(Done::Out(AckKind::Term))
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
async fn again(message: &Message, after: Duration) {
    // Lost, it comes again after `ack_wait`.
    let _ = message.ack_with(AckKind::Nak(Some(after))).await;
}
