//! How far each job has come: what keeps a mail from being sent twice.
//!
//! A mailer *claims* a job before it sends, under the condition that nobody else has since it looked, and writes down that it was
//! sent before it acknowledges. A claim that nobody ended tells that a mailer died between the two, or NATS was away: then the mail
//! may have been sent, and is sent again.

use async_nats::jetstream::{
    context::PublishErrorKind, message::PublishMessage, stream::LastRawMessageErrorKind,
};
use serde::{Deserialize, Serialize};

use super::{Away, Queue};
use crate::courier::now_ms;

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// A mailer is at it, or was.
    Sending,
    /// It was not sent, for sure.
    Waiting,
    /// The SMTP server has it.
    Sent,
}

/// What is remembered of a job.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Memory {
    pub(super) state: State,
    /// Sequence of its message in the outbox.
    pub(super) job: u64,
    /// Which delivery of that message.
    pub(super) delivery: i64,
    /// Tries that failed.
    pub(super) failures: u32,
    /// Unix milliseconds.
    pub(super) at: i64,
}

/// What a mailer may do with a job that it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claim {
    /// Send it. `again`: perhaps somebody has, and died before he could say so.
    Ours { failures: u32, again: bool },
    /// It was sent.
    Sent,
    /// Another mailer is at it.
    Theirs,
}

enum Written {
    Done,
    /// Somebody else has written.
    Late,
}

/// Tries of a claim when others write the same.
const TRIES: usize = 4;

impl Queue {
    /// Claims a job. `theirs_ms`: a claim of another message with the same job's id is respected for so long.
    pub(super) async fn claim(
        &self,
        id: &str,
        job: u64,
        delivery: i64,
        theirs_ms: i64,
    ) -> Result<Claim, Away> {
        // The first time nothing is known, most likely; the condition says if that is wrong.
        let mut known = if delivery > 1 { self.remembered(id).await? } else { None };
        for _ in 0..TRIES {
            let (mut failures, mut again) = (0, false);
            if let Some((memory, _)) = &known {
                failures = memory.failures;
                match memory.state {
                    State::Sent => return Ok(Claim::Sent),
                    State::Waiting => {}
                    State::Sending if memory.job == job && memory.delivery < delivery => again = true,
                    State::Sending if now_ms() - memory.at < theirs_ms => return Ok(Claim::Theirs),
                    State::Sending => again = true,
                }
            }
            let memory = Memory { state: State::Sending, job, delivery, failures, at: now_ms() };
            let expected = known.as_ref().map_or(0, |(_, at)| *at);
            match self.remember(id, &memory, Some(expected)).await? {
                Written::Done => return Ok(Claim::Ours { failures, again }),
                Written::Late => known = self.remembered(id).await?,
            }
        }
        Ok(Claim::Theirs)
    }

    /// Writes down how a claimed job ended.
    pub(super) async fn ended(
        &self,
        id: &str,
        job: u64,
        delivery: i64,
        (state, failures): (State, u32),
    ) -> Result<(), Away> {
        let memory = Memory { state, job, delivery, failures, at: now_ms() };
        self.remember(id, &memory, None).await.map(drop)
    }

    async fn remember(&self, id: &str, memory: &Memory, expected: Option<u64>) -> Result<Written, Away> {
        let payload = serde_json::to_vec(memory).map_err(|error| Away(error.to_string()))?;
        let mut publish = PublishMessage::build().payload(payload.into());
        if let Some(expected) = expected {
            publish = publish.expected_last_subject_sequence(expected);
        }
        let sent = self.context.send_publish(self.memory_subject(id), publish).await;
        let acknowledged = match sent {
            Ok(acknowledgement) => acknowledgement.await,
            Err(error) => Err(error),
        };
        match acknowledged {
            Ok(_) => Ok(Written::Done),
            Err(error) if expected.is_some() && error.kind() == PublishErrorKind::WrongLastSequence => {
                Ok(Written::Late)
            }
            Err(error) => Err(Away(format!("what became of a job cannot be written down: {error}"))),
        }
    }

    /// The newest memory of a job, as the stream's leader knows it.
    async fn remembered(&self, id: &str) -> Result<Option<(Memory, u64)>, Away> {
        let stream = self.memory_stream();
        let away = |why: &dyn std::fmt::Display| Away(format!("what became of a job cannot be read: {why}"));
        let stream = self.context.get_stream_no_info(&stream).await.map_err(|error| away(&error))?;
        match stream.get_last_raw_message_by_subject(&self.memory_subject(id)).await {
            Ok(message) => {
                let memory = serde_json::from_slice(&message.payload).map_err(|error| away(&error))?;
                Ok(Some((memory, message.sequence)))
            }
            Err(error) if matches!(error.kind(), LastRawMessageErrorKind::NoMessageFound) => Ok(None),
            Err(error) => Err(away(&error)),
        }
    }
}
