//! Publishing into streams, and what the answers mean.

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use async_nats::{HeaderMap, Message};
use bytes::Bytes;
use serde::Deserialize;
use tokio::sync::Semaphore;

use super::{
    item::ApiError,
    link::{Failure, Link},
};

/// Messages in one atomic batch, at most: nats-server's bound.
pub(super) const BATCH: usize = 1_000;
/// Batches of one node under way on one stream. The server takes 50 per stream, from all nodes: of more than four nodes, some
/// have to wait now and then.
pub(super) const BATCHES: usize = 12;
/// The server has as many batches of the stream under way as it takes: it says so of a batch's first message, if that asks for an
/// answer, and of the last one that the batch is incomplete. (As it is when it was begun under another leader.)
const TOO_MANY: u64 = 10210;
const INCOMPLETE: u64 = 10176;
/// First pause before a batch is sent again that was one too many; doubles up to the second.
const CROWDED: [Duration; 2] = [Duration::from_millis(2), Duration::from_millis(50)];

const EXPECTED: &str = "Nats-Expected-Last-Subject-Sequence";
const EXPECTED_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// A message to publish.
#[derive(Debug, Clone)]
pub(super) struct Post {
    pub(super) subject: String,
    pub(super) headers: HeaderMap,
    pub(super) payload: Bytes,
}

impl Post {
    pub(super) fn new(subject: String, payload: Bytes) -> Self {
        Self { subject, headers: HeaderMap::new(), payload }
    }

    pub(super) fn header(mut self, name: &'static str, value: &str) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Only if the last message of the subject has this stream sequence (0: there is none).
    pub(super) fn expecting(self, sequence: u64) -> Self {
        self.header(EXPECTED, &sequence.to_string())
    }

    /// Only if the last message that matches `filter` has this stream sequence.
    pub(super) fn expecting_of(self, sequence: u64, filter: &str) -> Self {
        self.expecting(sequence).header(EXPECTED_SUBJECT, filter)
    }
}

/// How it ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Posted {
    /// Stored by a quorum. The sequence of the last message.
    Stored(u64),
    /// Nothing was stored by this call: a condition did not hold, or the stream cannot take it now.
    Refused(u64),
    /// It may or may not be stored, or may be later.
    Unknown(String),
}

#[derive(Deserialize)]
struct Ack {
    #[serde(default)]
    seq: u64,
    #[serde(default)]
    duplicate: bool,
    #[serde(default)]
    count: u64,
    error: Option<ApiError>,
}

/// Errors after which nothing of the call is stored.
fn definite(code: u64) -> bool {
    matches!(
        code,
        // Wrong last sequence: with the one that was found, or while another append is under way.
        10071 | 10164
        // Atomic batches: incomplete, too large, too many under way.
        | INCOMPLETE | 10199 | TOO_MANY
    )
}

/// What an answer says. `count`: messages of the batch, 0 for a single one.
fn outcome(answer: Result<Message, Failure>, count: u64) -> Posted {
    let answer = match answer {
        Ok(answer) => answer,
        Err(failure) => return Posted::Unknown(failure.to_string()),
    };
    let Ok(ack) = serde_json::from_slice::<Ack>(&answer.payload) else {
        return Posted::Unknown("the answer is no acknowledgement".into());
    };
    if let Some(error) = ack.error {
        if definite(error.err_code) {
            return Posted::Refused(error.err_code);
        }
        return Posted::Unknown(error.to_string());
    }
    // A duplicate with sequence 0 is not stored anywhere; we send no ids with records, so none is expected.
    if ack.seq == 0 || ack.duplicate || ack.count != count {
        return Posted::Unknown("the acknowledgement is not definite".into());
    }
    Posted::Stored(ack.seq)
}

/// Names batches.
pub(super) struct Batches {
    prefix: String,
    next: AtomicU64,
}

impl Default for Batches {
    fn default() -> Self {
        Self { prefix: format!("{:032x}", rand::random::<u128>()), next: AtomicU64::new(0) }
    }
}

impl Link {
    /// With a `Nats-Msg-Id`: that it is stored already is as good.
    pub(super) async fn post_once(&self, post: Post, within: Duration) -> Posted {
        let began = Instant::now();
        let Post { subject, headers, payload } = post;
        let answer = self.ask(subject, headers, payload, within).await;
        let ack = answer.as_ref().ok().and_then(|answer| serde_json::from_slice::<Ack>(&answer.payload).ok());
        let posted = match ack {
            Some(Ack { seq: 1.., duplicate: true, error: None, .. }) => Posted::Stored(0),
            _ => outcome(answer, 0),
        };
        self.judged(began, posted).await
    }

    pub(super) async fn post(&self, post: Post, within: Duration) -> Posted {
        let began = Instant::now();
        let Post { subject, headers, payload } = post;
        let posted = outcome(self.ask(subject, headers, payload, within).await, 0);
        self.judged(began, posted).await
    }

    /// Publishes all or none, in this order. All subjects are of one stream. A batch that the server does not take as a
    /// whole, for want of place, is sent again while there is time: nothing of it is stored.
    pub(super) async fn post_all(
        &self,
        mut posts: Vec<Post>,
        batches: &Batches,
        slots: &Semaphore,
        within: Duration,
    ) -> Posted {
        if posts.len() < 2 {
            return match posts.pop() {
                Some(one) => self.post(one, within).await,
                None => Posted::Unknown("nothing to publish".into()),
            };
        }
        let end = Instant::now() + within;
        let [mut longest, most] = CROWDED;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let posted = self.post_batch(posts.clone(), batches, slots, left).await;
            // Others wait, too: not all come back at the same moment.
            let pause = longest.mul_f64(rand::random_range(0.5..1.0));
            let again = matches!(posted, Posted::Refused(TOO_MANY | INCOMPLETE));
            if !again || Instant::now() + pause >= end {
                return posted;
            }
            self.metrics.crowded.inc();
            tokio::time::sleep(pause).await;
            longest = (longest * 2).min(most);
        }
    }

    async fn post_batch(
        &self,
        mut posts: Vec<Post>,
        batches: &Batches,
        slots: &Semaphore,
        within: Duration,
    ) -> Posted {
        let began = Instant::now();
        let (Some(last), count) = (posts.pop(), posts.len() as u64 + 1) else {
            return Posted::Unknown("nothing to publish".into());
        };
        let id = format!("{}-{:x}", batches.prefix, batches.next.fetch_add(1, Ordering::Relaxed));
        let sent = async {
            // Given back when the answer is there: the server counts batches until then.
            let _slot = slots.acquire().await;
            for (number, post) in (1_u64..).zip(posts) {
                let Post { subject, mut headers, payload } = post;
                headers.insert("Nats-Batch-Id", id.as_str());
                headers.insert("Nats-Batch-Sequence", number.to_string());
                self.send(subject, headers, payload).await?;
            }
            let Post { subject, mut headers, payload } = last;
            headers.insert("Nats-Batch-Id", id.as_str());
            headers.insert("Nats-Batch-Sequence", count.to_string());
            headers.insert("Nats-Batch-Commit", "1");
            self.ask(subject, headers, payload, within).await
        };
        let posted = match tokio::time::timeout(within, sent).await {
            Ok(answer) => outcome(answer, count),
            Err(_) => Posted::Unknown(Failure::TimedOut.to_string()),
        };
        self.judged(began, posted).await
    }

    /// Tells what became of a write.
    async fn judged(&self, began: Instant, posted: Posted) -> Posted {
        match &posted {
            Posted::Stored(_) => self.signals.isolation.lock().stored(Instant::now()),
            // A leader that is cut off refuses, too: that says nothing of the others.
            Posted::Refused(_) => {}
            Posted::Unknown(_) => self.failed(began).await,
        }
        posted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(payload: &'static str, count: u64) -> Posted {
        let message = Message {
            subject: "x".into(),
            reply: None,
            payload: Bytes::from_static(payload.as_bytes()),
            headers: None,
            status: None,
            description: None,
            length: 0,
        };
        outcome(Ok(message), count)
    }

    #[test]
    fn only_a_definite_acknowledgement_counts() {
        assert_eq!(said(r#"{"stream":"s","seq":7}"#, 0), Posted::Stored(7));
        assert_eq!(said(r#"{"stream":"s","seq":9,"batch":"b","count":3}"#, 3), Posted::Stored(9));
        for (answer, count) in [
            (r#"{"stream":"s","seq":0,"duplicate":true}"#, 0),
            (r#"{"stream":"s","seq":5,"duplicate":true}"#, 0),
            (r#"{"stream":"s","seq":0}"#, 0),
            (r#"{"stream":"s","seq":9,"batch":"b","count":2}"#, 3),
            (r#"{"stream":"s","seq":9}"#, 3),
            (r#"{"error":{"code":503,"err_code":10008,"description":"x"},"stream":"s","seq":0}"#, 0),
            (r#"{"error":{"code":429,"err_code":10167,"description":"x"},"stream":"s","seq":0}"#, 0),
            ("", 0),
            ("[]", 0),
        ] {
            assert!(matches!(said(answer, count), Posted::Unknown(_)), "{answer}");
        }
        for code in [10071, 10164, 10176, 10210] {
            let answer = format!(r#"{{"error":{{"code":400,"err_code":{code}}},"stream":"s","seq":0}}"#);
            assert_eq!(said(answer.leak(), 0), Posted::Refused(code));
        }
    }
}
