//! The connection to NATS: requests with deadlines, and what happens to them when it is lost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use async_nats::{Client, Event, HeaderMap, Message, StatusCode, connection::State};
use bytes::Bytes;
use futures_util::StreamExt as _;
use parking_lot::Mutex;
use tokio::sync::{Semaphore, watch};

use super::{NatsMetrics, isolated::Isolation, replies::Replies};
use crate::backend::Unavailable;

/// One try of a read, at most.
const TRY: Duration = Duration::from_secs(1);
/// Pause between two tries of a read.
const PAUSE: Duration = Duration::from_millis(25);
/// Reads at the same time.
const READS: usize = 256;

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Failure {
    #[error("there is no connection to NATS")]
    NotConnected,
    #[error("the connection to NATS was lost")]
    Lost,
    #[error("NATS did not answer in time")]
    TimedOut,
    #[error("no stream answers")]
    NoResponders,
    #[error("NATS answered {0} {1}")]
    Status(u16, String),
    #[error("NATS does not take the message: {0}")]
    NotSent(String),
}

/// What the client tells of its connection.
pub(super) struct Signals {
    pub(super) replies: Arc<Replies>,
    metrics: NatsMetrics,
    /// Counts connections, the first one too.
    pub(super) connects: watch::Sender<u64>,
    /// Counts what may have lost messages that we subscribed to.
    pub(super) losses: watch::Sender<u64>,
    /// Whether the server takes part, and where to go if not.
    pub(super) isolation: Mutex<Isolation>,
}

impl Signals {
    pub(super) fn new(metrics: NatsMetrics) -> Arc<Self> {
        Arc::new(Self {
            replies: Arc::default(),
            metrics,
            connects: watch::Sender::new(0),
            losses: watch::Sender::new(0),
            isolation: Mutex::default(),
        })
    }

    pub(super) fn event(&self, event: &Event) {
        match event {
            Event::Connected => {
                self.metrics.connected.set(1);
                let mut before = 0;
                self.connects.send_modify(|count| {
                    before = *count;
                    *count += 1;
                });
                if before > 0 {
                    self.metrics.reconnects.inc();
                    self.losses.send_modify(|count| *count += 1);
                }
            }
            Event::Disconnected | Event::Closed => {
                self.metrics.connected.set(0);
                self.replies.fail_all();
            }
            Event::SlowConsumer(_) => self.losses.send_modify(|count| *count += 1),
            _ => {}
        }
    }
}

/// What came back from a request with several answers.
#[derive(Debug)]
pub(super) struct Collected {
    pub(super) messages: Vec<Message>,
    /// The last one, with a status: 204 (end), 404 (none), 413 (too many).
    pub(super) last: Message,
}

pub(super) struct Link {
    pub(super) client: Client,
    pub(super) signals: Arc<Signals>,
    pub(super) metrics: NatsMetrics,
    inbox: String,
    reads: Semaphore,
    pub(super) read_timeout: Duration,
    /// Answers go to whoever waits.
    reader: tokio::task::AbortHandle,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl Link {
    pub(super) async fn open(
        client: Client,
        signals: Arc<Signals>,
        metrics: NatsMetrics,
        read_timeout: Duration,
    ) -> Result<Self, async_nats::SubscribeError> {
        let inbox = client.new_inbox();
        let mut answers = client.subscribe(format!("{inbox}.*")).await?;
        let replies = signals.replies.clone();
        let reader = tokio::spawn(async move {
            while let Some(message) = answers.next().await {
                replies.deliver(message);
            }
        });
        let reads = Semaphore::new(READS);
        Ok(Self { client, signals, metrics, inbox, reads, read_timeout, reader: reader.abort_handle() })
    }

    pub(super) fn connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    /// Sends without an answer. Never while disconnected: the client would keep it and send it later.
    pub(super) async fn send(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<(), Failure> {
        if !self.connected() {
            return Err(Failure::NotConnected);
        }
        let sent = self.client.publish_with_headers(subject, headers, payload).await;
        sent.map_err(|error| Failure::NotSent(error.to_string()))
    }

    /// Sends, and waits for the answer.
    pub(super) async fn ask(
        &self,
        subject: String,
        headers: HeaderMap,
        payload: Bytes,
        within: Duration,
    ) -> Result<Message, Failure> {
        if !self.connected() {
            return Err(Failure::NotConnected);
        }
        let (ticket, told) = self.signals.replies.one();
        let asked = async {
            self.put(subject, ticket.number, headers, payload).await?;
            told.await.map_err(|_| Failure::Lost)
        };
        let message = tokio::time::timeout(within, asked).await.map_err(|_| Failure::TimedOut)??;
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(Failure::NoResponders);
        }
        Ok(message)
    }

    async fn put(
        &self,
        subject: String,
        ticket: u64,
        headers: HeaderMap,
        payload: Bytes,
    ) -> Result<(), Failure> {
        let reply = format!("{}.{ticket}", self.inbox);
        let sent = if headers.is_empty() {
            self.client.publish_with_reply(subject, reply, payload).await
        } else {
            self.client.publish_with_reply_and_headers(subject, reply, headers, payload).await
        };
        sent.map_err(|error| Failure::NotSent(error.to_string()))
    }

    async fn collect_once(
        &self,
        subject: &str,
        payload: &Bytes,
        within: Duration,
    ) -> Result<Collected, Failure> {
        if !self.connected() {
            return Err(Failure::NotConnected);
        }
        let (ticket, mut told) = self.signals.replies.many();
        self.put(subject.to_owned(), ticket.number, HeaderMap::new(), payload.clone()).await?;
        let mut messages = Vec::new();
        loop {
            let next = tokio::time::timeout(within, told.recv()).await.map_err(|_| Failure::TimedOut)?;
            let message = next.ok_or(Failure::Lost)?;
            match message.status.map(|status| status.as_u16()) {
                None => messages.push(message),
                Some(204 | 404 | 413) => return Ok(Collected { messages, last: message }),
                Some(503) => return Err(Failure::NoResponders),
                Some(status) => {
                    let why = message.description.unwrap_or_default();
                    return Err(Failure::Status(status, why));
                }
            }
        }
    }

    /// A read with one answer, tried again until it is there or too much time has passed.
    pub(super) async fn read(&self, subject: &str, payload: Bytes) -> Result<Message, Unavailable> {
        let _permit = self.reads.acquire().await;
        self.metrics.reads.inc();
        let end = Instant::now() + self.read_timeout;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.ask(subject.to_owned(), HeaderMap::new(), payload.clone(), left.min(TRY)).await {
                Ok(message) => return Ok(message),
                Err(failure) => self.pause(end, &failure).await?,
            }
        }
    }

    /// A read with several answers, tried again until it is there or too much time has passed.
    pub(super) async fn collect(&self, subject: &str, payload: Bytes) -> Result<Collected, Unavailable> {
        let _permit = self.reads.acquire().await;
        self.metrics.reads.inc();
        let end = Instant::now() + self.read_timeout;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.collect_once(subject, &payload, left.min(TRY)).await {
                Ok(collected) => return Ok(collected),
                Err(failure) => self.pause(end, &failure).await?,
            }
        }
    }

    /// Something failed that began then: leaves the server, if nothing is stored by way of it any more.
    pub(super) async fn failed(&self, began: Instant) {
        let leave = self.connected() && self.signals.isolation.lock().failed(began, Instant::now());
        if leave {
            let server = self.client.server_info().server_name;
            tracing::warn!(
                server,
                "nothing is stored by way of this NATS server, which may be cut off from the others: leaving it"
            );
            self.metrics.left_servers.inc();
            // It fails if the client has ended, and with it everything.
            let _ = self.client.force_reconnect().await;
        }
    }

    /// Waits a little before a read is tried again, unless too much time has passed.
    pub(super) async fn pause(
        &self,
        end: Instant,
        failure: &impl std::fmt::Display,
    ) -> Result<(), Unavailable> {
        self.failed(Instant::now()).await;
        if Instant::now() + PAUSE >= end {
            return Err(Unavailable(format!("The log does not answer: {failure}.").into()));
        }
        tokio::time::sleep(PAUSE).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use prometheus_client::registry::Registry;

    use super::*;

    #[test]
    fn whatever_may_have_lost_messages_is_told() {
        let metrics = NatsMetrics::register(&mut Registry::default());
        let signals = Signals::new(metrics.clone());
        let mut losses = signals.losses.subscribe();
        let mut lost = |event: Event| {
            signals.event(&event);
            let lost = losses.has_changed().unwrap();
            losses.mark_unchanged();
            lost
        };
        assert!(!lost(Event::Connected), "there was nothing to lose before");
        assert!(lost(Event::SlowConsumer(3)), "a subscription was too slow");
        assert!(!lost(Event::Disconnected), "it is looked up when it can be");
        assert_eq!(metrics.connected.get(), 0);
        assert!(lost(Event::Connected), "the connection was away");
        assert_eq!((metrics.connected.get(), metrics.reconnects.get()), (1, 1));
        assert_eq!(*signals.connects.borrow(), 2);
    }
}
