//! Gives up jobs that their stream would soon remove, while none can be sent: what nobody takes out in time is gone without a word.

use std::{future::pending, time::Duration};

use async_nats::jetstream::Message;
use futures_util::TryStreamExt as _;
use rookery_protocol::outbox::MailJob;

use super::{Worker, delivery::Delivery, job::Done, pull::Puller, streams::Source};
use crate::courier::{is_expired, now_ms};

/// So long before it would be removed, at most.
const BEFORE: Duration = Duration::from_secs(3600);
/// One that was taken out with them comes again after this time.
const YOUNG: Duration = Duration::from_secs(5);
/// Taken out at once.
const AT_ONCE: usize = 100;

impl Worker {
    /// Looks now and then, until it is dropped or the queue fails.
    pub(super) async fn give_up_what_is_old(
        &self,
        source: Source,
        puller: &mut Puller,
    ) -> Result<(), String> {
        let kept = self.queue.source(source).await?.cached_info().config.max_age;
        if kept.is_zero() {
            return pending().await;
        }
        let before = (kept / 8).min(BEFORE);
        let mut tick = tokio::time::interval(before / 6);
        loop {
            tick.tick().await;
            // None is taken out only to be looked at.
            while self.queue.connected() && self.has_old(source, kept - before).await? {
                self.give_up_some(source, puller, kept - before).await?;
            }
        }
    }

    async fn has_old(&self, source: Source, age: Duration) -> Result<bool, String> {
        let stream = self.queue.source(source).await?;
        let state = &stream.cached_info().state;
        Ok(state.messages > 0 && is_older(state.first_timestamp.unix_timestamp_nanos(), age))
    }

    async fn give_up_some(&self, source: Source, puller: &mut Puller, age: Duration) -> Result<(), String> {
        let messages = puller.pull(AT_ONCE).await?.into_stream();
        // The oldest come first, but for those that come again.
        messages
            .try_for_each_concurrent(AT_ONCE, async |message| self.give_up_if_old(source, message, age).await)
            .await
    }

    async fn give_up_if_old(&self, source: Source, message: Message, age: Duration) -> Result<(), String> {
        let why = "the SMTP server could not be used for as long as mails wait";
        let published = message.info().map_err(|error| error.to_string())?.published;
        let done = if is_older(published.unix_timestamp_nanos(), age) {
            let delivery = Delivery::of(&message, source == Source::Due).map_err(|away| away.0)?;
            match MailJob::read(&delivery.version, &delivery.payload) {
                Ok(job) if is_expired(&job) => Ok(self.drop_expired(&job)),
                Ok(job) => self.give_up(&delivery, Some(&job), (why, 0)).await,
                Err(_) => self.give_up(&delivery, None, (why, 0)).await,
            }
        } else {
            Ok(Done::Again(YOUNG))
        };
        let done = done.map_err(|away| away.0)?;
        self.end_delivery(&message, done).await.map_err(|away| away.0)
    }
}

/// `at`: nanoseconds since 1970.
fn is_older(at: i128, age: Duration) -> bool {
    i128::from(now_ms()) - at / 1_000_000 >= i128::try_from(age.as_millis()).unwrap_or(i128::MAX)
}
