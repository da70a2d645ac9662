//! Reminders: messages that the server schedules (ADR-51), one subject per user. What is due lies on another subject, from which
//! all nodes take by one consumer.
//!
//! A schedule is stored under the condition that there is none for this user: the first counts. The server moves it to what is due and
//! removes it in one step, so from then on he can be reminded of anew. Nothing waits in a consumer: times of redelivery are the memory
//! of its leader, and a message of a work queue is there for a moment after its acknowledgement is confirmed.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use async_nats::{
    HeaderMap,
    jetstream::{
        self, AckKind,
        consumer::{AckPolicy, PullConsumer, pull},
    },
};
use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt as _;
use rookery_protocol::{id::UserId, time};
use tokio::sync::Mutex;

use super::{
    JetStream,
    publish::{Post, Posted},
};
use crate::backend::{Due, Reminders, Unavailable};

const SCHEDULE: &str = "Nats-Schedule";
const TARGET: &str = "Nats-Schedule-Target";
/// The consumer that all nodes share.
const CONSUMER: &str = "nodes";
/// A look takes less. Who was being looked at when a node died comes again after that.
const ACK_WAIT: Duration = Duration::from_secs(30);
/// A request for a user waits so long at the server.
const PULL: Duration = Duration::from_secs(5);
/// Between two tries to store a reminder.
const PAUSE: Duration = Duration::from_millis(50);

/// [`Reminders`] on JetStream.
pub struct NatsReminders {
    nats: Arc<JetStream>,
    consumer: Mutex<Option<PullConsumer>>,
}

fn unavailable(why: impl std::fmt::Display) -> Unavailable {
    Unavailable(format!("Reminders are not to be had: {why}.").into())
}

impl NatsReminders {
    /// Of a connection whose streams are there.
    pub fn new(nats: Arc<JetStream>) -> Arc<Self> {
        Arc::new(Self { nats, consumer: Mutex::default() })
    }

    async fn consumer(&self) -> Result<PullConsumer, Unavailable> {
        let mut known = self.consumer.lock().await;
        if let Some(consumer) = &*known {
            return Ok(consumer.clone());
        }
        let context = jetstream::new(self.nats.client());
        let stream = self.nats.layout.reminders_stream();
        let stream = context.get_stream_no_info(stream).await.map_err(unavailable)?;
        let config = pull::Config {
            durable_name: Some(CONSUMER.to_owned()),
            filter_subject: self.nats.layout.due_reminders(),
            ack_policy: AckPolicy::Explicit,
            ack_wait: ACK_WAIT,
            max_deliver: -1,
            ..pull::Config::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(unavailable)?;
        Ok(known.insert(consumer).clone())
    }

    async fn next(&self, consumer: &PullConsumer) -> Result<Option<Due>, Unavailable> {
        if !self.nats.connected() {
            return Err(unavailable("there is no connection to NATS"));
        }
        let asked = consumer.batch().max_messages(1).expires(PULL).messages().await;
        let mut messages = asked.map_err(unavailable)?;
        let next = tokio::time::timeout(PULL * 2, messages.next()).await.map_err(unavailable)?;
        let Some(message) = next else { return Ok(None) };
        let message = message.map_err(unavailable)?;
        let Some(user) = message.subject.rsplit('.').next().and_then(|user| user.parse::<UserId>().ok())
        else {
            tracing::error!(subject = message.subject.as_str(), "a reminder cannot be read and is dropped");
            let _ = message.ack_with(AckKind::Term).await;
            return Ok(None);
        };
        let ticket = message.reply.as_ref().map(ToString::to_string).unwrap_or_default();
        Ok(Some(Due { user, ticket }))
    }

    /// When a look that begins `after` from now is due, as the server wants it. One that has passed is due at once.
    fn schedule(&self, user: UserId, after: Duration) -> Post {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        // Rounded up: never early.
        let at = i64::try_from(now.saturating_add(after).as_millis()).unwrap_or(i64::MAX).saturating_add(1);
        let layout = &self.nats.layout;
        let at = String::from_utf8_lossy(&time::format(at)).into_owned();
        Post::new(layout.later_reminder(user), Bytes::new())
            .header(SCHEDULE, &format!("@at {at}"))
            .header(TARGET, &layout.due_reminder(user))
    }

    /// Stores a schedule, or finds that there is one.
    async fn store(&self, post: Post) -> Result<(), Unavailable> {
        let end = Instant::now() + self.nats.write_timeout;
        loop {
            let within = end.saturating_duration_since(Instant::now()).min(self.nats.append_timeout);
            match self.nats.link.post(post.clone(), within).await {
                Posted::Stored(_) | Posted::Refused(_) => return Ok(()),
                // Again: stored twice it is one schedule still.
                Posted::Unknown(_) if Instant::now() + PAUSE < end => tokio::time::sleep(PAUSE).await,
                Posted::Unknown(why) => return Err(unavailable(why)),
            }
        }
    }
}

#[async_trait]
impl Reminders for NatsReminders {
    async fn remind(&self, user: UserId, after: Duration) -> Result<(), Unavailable> {
        self.store(self.schedule(user, after).expecting(0)).await
    }

    async fn due(&self) -> Result<Due, Unavailable> {
        loop {
            let consumer = self.consumer().await?;
            match self.next(&consumer).await {
                Ok(Some(due)) => return Ok(due),
                Ok(None) => {}
                Err(why) => {
                    // It may have gone with its stream's leader.
                    *self.consumer.lock().await = None;
                    return Err(why);
                }
            }
        }
    }

    async fn put_off(&self, due: &Due, after: Duration) -> Result<(), Unavailable> {
        // Takes the place of one that came meanwhile.
        self.store(self.schedule(due.user, after)).await?;
        self.done(due).await
    }

    async fn done(&self, due: &Due) -> Result<(), Unavailable> {
        let payload: Bytes = AckKind::Ack.into();
        let within = self.nats.append_timeout;
        let asked = self.nats.link.ask(due.ticket.clone(), HeaderMap::new(), payload, within).await;
        asked.map(drop).map_err(unavailable)
    }
}
