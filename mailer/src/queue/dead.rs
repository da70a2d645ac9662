//! Dead letters: jobs that were given up, with the reason. They can be looked at and put back into the outbox.

use std::time::Duration;

use async_nats::{
    HeaderMap,
    jetstream::{
        consumer::{AckPolicy, DeliverPolicy, pull},
        message::PublishMessage,
        message::StreamMessage,
        stream::LastRawMessageErrorKind,
    },
};
use bytes::Bytes;
use futures_util::StreamExt as _;
use rookery_protocol::outbox::{self, MailJob, VERSION_HEADER};

use super::{Away, Queue};

const WHY: &str = "Rookery-Why";
const TRIES: &str = "Rookery-Tries";
const JOB: &str = "Rookery-Job";
/// Dead letters read at once.
const PAGE: usize = 500;
const PATIENCE: Duration = Duration::from_secs(3);

/// A job that was given up.
pub struct DeadLetter {
    /// Its place among the dead letters.
    pub sequence: u64,
    /// When it was given up, RFC 3339.
    pub since: String,
    /// Why.
    pub why: String,
    /// Tries that failed.
    pub tries: String,
    /// The job; `None`: it cannot be read.
    pub job: Option<MailJob>,
    id: String,
    version: String,
    payload: Bytes,
}

impl DeadLetter {
    /// The job's id.
    pub fn id(&self) -> &str {
        &self.id
    }

    fn of(message: StreamMessage) -> Self {
        let text =
            |name: &str| message.headers.get(name).map(|value| value.as_str().to_owned()).unwrap_or_default();
        Self {
            sequence: message.sequence,
            since: message.time.to_string(),
            why: text(WHY),
            tries: text(TRIES),
            job: MailJob::read(&text(VERSION_HEADER), &message.payload).ok(),
            id: text(JOB),
            version: text(VERSION_HEADER),
            payload: message.payload,
        }
    }
}

/// A header's value must be one line of ASCII.
fn header_text(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii() && !c.is_ascii_control() { c } else { '?' }).take(500).collect()
}

impl Queue {
    /// Puts a job among the dead letters; returns once that is stored.
    pub(super) async fn bury(
        &self,
        (id, job): (&str, u64),
        payload: Bytes,
        version: &str,
        (why, tries): (&str, u32),
    ) -> Result<(), Away> {
        let mut headers = HeaderMap::new();
        headers.insert(WHY, header_text(why));
        headers.insert(TRIES, tries.to_string());
        headers.insert(JOB, header_text(id));
        headers.insert(VERSION_HEADER, header_text(version));
        // The same death written twice is one letter.
        let publish =
            PublishMessage::build().payload(payload).headers(headers).message_id(format!("{job}-{id}"));
        let away = |error: &dyn std::fmt::Display| Away(format!("a dead letter cannot be stored: {error}"));
        self.store(self.dead_subject(id), publish).await.map_err(|error| away(&error))
    }

    /// The dead letters, for whoever looks after them.
    pub fn dead_letters(&self) -> DeadLetters {
        DeadLetters { queue: self.clone() }
    }
}

/// What can be done with dead letters.
pub struct DeadLetters {
    queue: Queue,
}

impl DeadLetters {
    /// The oldest of them, at most `limit`.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn list(&self, limit: usize) -> Result<Vec<DeadLetter>, Away> {
        let away = |error: &dyn std::fmt::Display| Away(format!("dead letters cannot be read: {error}"));
        let stream = self.queue.dead_stream();
        let stream = self.queue.context.get_stream(&stream).await.map_err(|error| away(&error))?;
        let (mut found, mut next, last) = (Vec::new(), 1, stream.cached_info().state.last_sequence);
        while next <= last && found.len() < limit {
            let config = pull::Config {
                deliver_policy: DeliverPolicy::ByStartSequence { start_sequence: next },
                ack_policy: AckPolicy::None,
                inactive_threshold: PATIENCE * 2,
                ..pull::Config::default()
            };
            let consumer = stream.create_consumer(config).await.map_err(|error| away(&error))?;
            let wanted = PAGE.min(limit - found.len());
            let messages = consumer.fetch().max_messages(wanted).expires(PATIENCE).messages().await;
            let mut messages = messages.map_err(|error| away(&error))?;
            let before = found.len();
            while let Some(message) = messages.next().await {
                let message = message.map_err(|error| away(&error))?;
                let (sequence, time) = {
                    let info = message.info().map_err(|error| away(&error))?;
                    (info.stream_sequence, info.published)
                };
                next = sequence + 1;
                let (message, _) = message.split();
                found.push(DeadLetter::of(StreamMessage {
                    subject: message.subject,
                    sequence,
                    headers: message.headers.unwrap_or_default(),
                    payload: message.payload,
                    time,
                }));
            }
            if found.len() == before {
                break;
            }
        }
        Ok(found)
    }

    /// The dead letter of a job.
    ///
    /// # Errors
    /// [`Away`].
    pub async fn find(&self, id: &str) -> Result<Option<DeadLetter>, Away> {
        let away = |error: &dyn std::fmt::Display| Away(format!("dead letters cannot be read: {error}"));
        let stream = self.queue.dead_stream();
        let stream = self.queue.context.get_stream(&stream).await.map_err(|error| away(&error))?;
        match stream.get_last_raw_message_by_subject(&self.queue.dead_subject(id)).await {
            Ok(message) => Ok(Some(DeadLetter::of(message))),
            Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => Ok(None),
            Err(error) => Err(away(&error)),
        }
    }

    /// Puts a dead letter back into the outbox, and takes it from here once it is stored there. A mail that was sent meanwhile is not
    /// sent again.
    ///
    /// # Errors
    /// [`Away`]: nothing is lost; it may be in both places, and doing it again is safe.
    pub async fn requeue(&self, letter: &DeadLetter) -> Result<(), Away> {
        let away = |error: &dyn std::fmt::Display| Away(format!("it cannot be put back: {error}"));
        let mut headers = HeaderMap::new();
        headers.insert(VERSION_HEADER, letter.version.as_str());
        // The id under which it was enqueued first may still be in the stream's window of duplicates.
        let again = format!("again-{}-{}", letter.sequence, letter.id);
        let publish =
            PublishMessage::build().payload(letter.payload.clone()).headers(headers).message_id(again);
        let subject = outbox::subject(&self.queue.cluster);
        let sent = self.queue.context.send_publish(subject, publish).await.map_err(|error| away(&error))?;
        sent.await.map_err(|error| away(&error))?;
        let stream = self.queue.dead_stream();
        let stream = self.queue.context.get_stream(&stream).await.map_err(|error| away(&error))?;
        let Err(error) = stream.delete_message(letter.sequence).await else { return Ok(()) };
        match stream.get_raw_message(letter.sequence).await {
            // It was given up again at once: there is one letter of each job, and the new one took its place.
            Err(gone) if matches!(gone.kind(), LastRawMessageErrorKind::NoMessageFound) => Ok(()),
            _ => Err(away(&error)),
        }
    }
}
