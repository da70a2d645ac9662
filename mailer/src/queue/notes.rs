//! Writes notes into the memory, a group of them as one.
//!
//! NATS stores a group as an atomic batch (ADR-50): its servers agree on it and sync it once. If one of its notes comes too late, somebody else has written
//! of that job, then none of them is stored, and each is written on its own, which says which.

use async_nats::{
    HeaderMap, Request, header,
    jetstream::{ErrorCode, publish::PublishAck, response::Response},
};
use bytes::Bytes;
use futures_util::future::join_all;
use tokio::sync::oneshot;

use super::{Away, Queue, streams::ANSWER};

/// Notes of a batch. Servers take 1,000.
const MOST: usize = 200;

/// What became of a note.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    /// Where it is.
    Done(u64),
    /// Somebody else has written, or the answer to the same was lost.
    Late,
}

/// A note that is to be written.
#[derive(Debug)]
pub(super) struct Note {
    subject: String,
    payload: Bytes,
    /// Sequence of the note of this subject that it follows; 0: of none.
    after: u64,
    answer: oneshot::Sender<Result<Written, Away>>,
}

/// What became of a batch.
enum Batch {
    /// Where its last one is. The others are before it, in their order.
    Stored(u64),
    /// None of it is stored.
    Refused,
}

impl Queue {
    /// Writes a note with others, if there is none of its subject after that with the sequence `after` (0: none at all), and returns once it is stored.
    pub(super) async fn write(&self, subject: String, payload: Bytes, after: u64) -> Result<Written, Away> {
        let (answer, written) = oneshot::channel();
        if let Some(group) = self.notes.join(Note { subject, payload, after, answer }) {
            let queue = self.clone();
            tokio::spawn(async move {
                let group = group.leave().await;
                for notes in in_parts(group) {
                    queue.write_all(notes).await;
                }
            });
        }
        written.await.unwrap_or_else(|_| Err(away("the mailer stops")))
    }

    async fn write_all(&self, notes: Vec<Note>) {
        // One alone is none.
        let batch = if notes.len() == 1 { Ok(Batch::Refused) } else { self.write_batch(&notes).await };
        match batch {
            Ok(Batch::Stored(last)) => {
                let first = (last + 1).saturating_sub(notes.len() as u64);
                for (note, at) in notes.into_iter().zip(first..) {
                    let _ = note.answer.send(Ok(Written::Done(at)));
                }
            }
            Ok(Batch::Refused) => {
                join_all(notes.into_iter().map(|note| async {
                    let written = self.write_one(&note).await;
                    let _ = note.answer.send(written);
                }))
                .await;
            }
            Err(why) => {
                for note in notes {
                    let _ = note.answer.send(Err(why.clone()));
                }
            }
        }
    }

    async fn write_batch(&self, notes: &[Note]) -> Result<Batch, Away> {
        let Some((last, others)) = notes.split_last() else { return Ok(Batch::Refused) };
        // Nobody else's.
        let id = self.client.new_inbox();
        for (n, note) in (1_u64..).zip(others) {
            let headers = headers_in_batch(note, &id, n);
            let sent = self.client.publish_with_headers(note.subject.clone(), headers, note.payload.clone());
            sent.await.map_err(away)?;
        }
        let mut headers = headers_in_batch(last, &id, notes.len() as u64);
        headers.insert(header::NATS_BATCH_COMMIT, header::NATS_BATCH_COMMIT_FINAL);
        Ok(match self.ask_to_store(last, headers).await? {
            Response::Ok(stored) => Batch::Stored(stored.sequence),
            Response::Err { error } => {
                tracing::debug!(%error, notes = notes.len(), "notes are written one by one");
                Batch::Refused
            }
        })
    }

    async fn write_one(&self, note: &Note) -> Result<Written, Away> {
        match self.ask_to_store(note, headers(note)).await? {
            Response::Ok(stored) => Ok(Written::Done(stored.sequence)),
            Response::Err { error } => match error.error_code() {
                ErrorCode::STREAM_WRONG_LAST_SEQUENCE | ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => {
                    Ok(Written::Late)
                }
                _ => Err(away(error)),
            },
        }
    }

    async fn ask_to_store(&self, note: &Note, headers: HeaderMap) -> Result<Response<PublishAck>, Away> {
        let request = Request::new().payload(note.payload.clone()).headers(headers).timeout(Some(ANSWER));
        let answer = self.client.send_request(note.subject.clone(), request).await.map_err(away)?;
        serde_json::from_slice(&answer.payload).map_err(away)
    }
}

fn away(why: impl std::fmt::Display) -> Away {
    Away(format!("what became of a job cannot be written down: {why}"))
}

fn headers(note: &Note) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, note.after.to_string());
    headers
}

fn headers_in_batch(note: &Note, id: &str, n: u64) -> HeaderMap {
    let mut headers = headers(note);
    headers.insert(header::NATS_BATCH_ID, id);
    headers.insert(header::NATS_BATCH_SEQUENCE, n.to_string());
    headers
}

/// Parts that a batch can be.
fn in_parts(mut notes: Vec<Note>) -> Vec<Vec<Note>> {
    let mut parts = Vec::new();
    while notes.len() > MOST {
        let rest = notes.split_off(MOST);
        parts.push(notes);
        notes = rest;
    }
    parts.push(notes);
    parts
}
