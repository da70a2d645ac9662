//! How far each job has come: what keeps a mail from being sent twice.
//!
//! A mailer *claims* a job before it sends, under the condition that nobody else has since it looked, and writes down how that ended
//! before it acknowledges, under the condition that nobody else has claimed the job since. A claim that nobody ended tells that a mailer
//! died between the two, or NATS was away, or the server never said whether it has the mail: then it may have been sent, and is sent again.

use async_nats::jetstream::stream::LastRawMessageErrorKind;
use serde::{Deserialize, Serialize};

use super::{Away, Queue, notes::Written};
use crate::courier::now_ms;

/// Where a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum State {
    /// A mailer is at it, or was: it may have been sent.
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

impl Memory {
    /// What a delivery of a job's message says of it now.
    pub(super) fn now(state: State, (job, delivery): (u64, i64), failures: u32) -> Self {
        Self { state, job, delivery, failures, at: now_ms() }
    }

    /// What is known of a job that was given up: put back, it is tried as often as a new one, at once, and as one that may have been
    /// sent if that is so.
    pub(super) fn given_up(state: State, job: u64) -> Self {
        Self { state, job, delivery: i64::MAX, failures: 0, at: 0 }
    }
}

/// What a mailer may do with a job that it was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Claim {
    /// Send it.
    Ours(Ours),
    /// It was sent.
    Sent,
    /// Another mailer is at it.
    Theirs,
}

/// A claim that is written down.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ours {
    /// Tries that failed.
    pub(super) failures: u32,
    /// Perhaps somebody has sent it, and died before he could say so.
    pub(super) again: bool,
    /// Where it is written down.
    pub(super) at: u64,
}

/// Tries when others write the same.
const TRIES: usize = 4;

impl Queue {
    /// Claims a job for a delivery of its message: `claim` says which. `theirs_ms`: a claim of another message with the same job's id is
    /// respected for so long. Asked again with the same `claim`, it finds what it has written.
    pub(super) async fn claim(&self, id: &str, claim: &Memory, theirs_ms: i64) -> Result<Claim, Away> {
        // The first time nothing is known, most likely; the condition says if that is wrong.
        let mut known = if claim.delivery > 1 { self.remembered(id).await? } else { None };
        for _ in 0..TRIES {
            let (mut failures, mut again, mut expected) = (0, false, 0);
            if let Some((memory, at)) = &known {
                (failures, expected) = (memory.failures, *at);
                let age = now_ms().saturating_sub(memory.at);
                match memory.state {
                    State::Sent => return Ok(Claim::Sent),
                    State::Waiting => {}
                    State::Sending
                        if (memory.job, memory.delivery, memory.at)
                            == (claim.job, claim.delivery, claim.at) =>
                    {
                        return Ok(Claim::Ours(Ours { failures, again, at: *at }));
                    }
                    State::Sending if memory.job == claim.job && memory.delivery < claim.delivery => {
                        again = true;
                    }
                    State::Sending if age < theirs_ms => return Ok(Claim::Theirs),
                    State::Sending => again = true,
                }
            }
            match self.remember(id, &Memory { failures, ..claim.clone() }, expected).await? {
                Written::Done(at) => return Ok(Claim::Ours(Ours { failures, again, at })),
                Written::Late => known = self.remembered(id).await?,
            }
        }
        Ok(Claim::Theirs)
    }

    /// Writes down how a claimed job ended, and says whether it was ours still. That it was sent is written down whoever has claimed it
    /// since: he learns it when he writes down how his try ended. Asked again with the same `memory`, it finds what it has written.
    pub(super) async fn ended(&self, id: &str, ours: &Ours, memory: &Memory) -> Result<bool, Away> {
        let mut expected = ours.at;
        for _ in 0..TRIES {
            if let Written::Done(_) = self.remember(id, memory, expected).await? {
                return Ok(true);
            }
            let known = self.remembered(id).await?;
            expected = match known {
                Some((known, _)) if known == *memory => return Ok(true),
                _ if memory.state != State::Sent => return Ok(false),
                Some((known, _)) if known.state == State::Sent => return Ok(true),
                Some((_, at)) => at,
                None => 0,
            };
        }
        Err(Away("what became of a job cannot be written down: others write, too".to_owned()))
    }

    async fn remember(&self, id: &str, memory: &Memory, expected: u64) -> Result<Written, Away> {
        let payload = serde_json::to_vec(memory).map_err(|error| Away(error.to_string()))?;
        self.write(self.memory_subject(id), payload.into(), expected).await
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
