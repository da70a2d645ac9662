//! The mailer's own streams, made at the first start, and its consumers: on the outbox, which the nodes make, and on what was put off.

use std::time::Duration;

use async_nats::jetstream::{
    ErrorCode,
    consumer::{AckPolicy, PullConsumer, pull},
    context::{ConsumerInfoErrorKind, CreateStreamErrorKind, GetStreamErrorKind},
    stream::{Config, DiscardPolicy, RetentionPolicy, StorageType, Stream},
};
use rookery_protocol::outbox;

use super::{ConnectError, Queue};

/// An answer comes within milliseconds or, around a change of leaders, sometimes never.
pub(super) const ANSWER: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(300);
/// A job waits in the outbox for a day at most, then for a day at most for its time, and then so long for a mailer.
const LATER_AGE: Duration = Duration::from_secs(2 * 24 * 3600);
/// What became of it is remembered for longer than all of that.
const MEMORY_AGE: Duration = Duration::from_secs(4 * 24 * 3600);
/// What nobody looked at for so long is of no use.
const DEAD_AGE: Duration = Duration::from_secs(14 * 24 * 3600);
/// Dead letters kept; then the oldest go.
const DEAD_LETTERS: i64 = 100_000;
/// Jobs that wait for an acknowledgement, in all mailers. More wait in the stream.
const PENDING: i64 = 20_000;
/// The consumers' name, the same for all mailers.
const CONSUMER: &str = "mailer";

/// Where jobs come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Source {
    /// The outbox.
    Outbox,
    /// Those that were put off and whose time has come.
    Due,
}

impl Queue {
    fn own(&self, name: String, subjects: Vec<String>) -> Config {
        Config {
            name,
            subjects,
            storage: StorageType::File,
            discard: DiscardPolicy::Old,
            num_replicas: self.replicas,
            ..Config::default()
        }
    }

    fn streams(&self) -> [Config; 3] {
        let newest = |name, kind| Config {
            retention: RetentionPolicy::Limits,
            max_messages_per_subject: 1,
            ..self.own(name, vec![format!("{}.mailer.{kind}.*", self.cluster)])
        };
        let memory = Config {
            max_age: MEMORY_AGE,
            allow_atomic_publish: true,
            ..newest(self.memory_stream(), "memory")
        };
        let dead = newest(self.dead_stream(), "dead");
        let dead = Config { max_age: DEAD_AGE, max_messages: DEAD_LETTERS, ..dead };
        let later = Config {
            retention: RetentionPolicy::WorkQueue,
            max_messages_per_subject: -1,
            max_age: LATER_AGE,
            allow_message_schedules: true,
            allow_rollup: true,
            ..self.own(self.later_stream(), vec![self.later_subjects(), self.due_subjects()])
        };
        [memory, dead, later]
    }

    /// Makes the mailer's own streams if they are not there.
    ///
    /// # Errors
    /// [`ConnectError::Stream`]: what is wrong, and what to do.
    pub async fn prepare(&self, within: Duration) -> Result<(), ConnectError> {
        let end = tokio::time::Instant::now() + within;
        for config in self.streams() {
            loop {
                let why = match self.prepare_one(&config).await {
                    Ok(()) => break,
                    Err(Trouble::Lasts(why)) => {
                        return Err(ConnectError::Stream { name: config.name, why });
                    }
                    Err(Trouble::Passes(why)) => why,
                };
                if tokio::time::Instant::now() >= end {
                    let why = format!("it cannot be used: {why}. Is JetStream enabled and has it a quorum?");
                    return Err(ConnectError::Stream { name: config.name, why });
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
        Ok(())
    }

    async fn prepare_one(&self, wanted: &Config) -> Result<(), Trouble> {
        let passes = |why: &dyn std::fmt::Display| Trouble::Passes(why.to_string());
        match self.context.get_stream(&wanted.name).await {
            Ok(stream) => {
                let found = &stream.cached_info().config;
                let same = found.subjects == wanted.subjects
                    && found.max_messages_per_subject == wanted.max_messages_per_subject
                    && found.retention == wanted.retention
                    && found.allow_message_schedules == wanted.allow_message_schedules;
                if same {
                    if wanted.allow_atomic_publish && !found.allow_atomic_publish {
                        self.allow_batches(found).await;
                    }
                    return Ok(());
                }
                let why = "it differs from what the mailer needs: restore it, or delete it";
                Err(Trouble::Lasts(why.to_owned()))
            }
            Err(error) => match error.kind() {
                GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                    match self.context.create_stream(wanted.clone()).await {
                        Ok(_) => {
                            tracing::info!(stream = wanted.name, "made a stream");
                            Ok(())
                        }
                        Err(error) => match error.kind() {
                            CreateStreamErrorKind::JetStream(error)
                                if error.error_code() == ErrorCode::STREAM_REPLICAS_NOT_SUPPORTED =>
                            {
                                Err(Trouble::Lasts(format!(
                                    "a single server cannot keep {} replicas: set nats.replicas = 1",
                                    self.replicas
                                )))
                            }
                            _ => Err(passes(&error)),
                        },
                    }
                }
                _ => Err(passes(&error)),
            },
        }
    }

    /// Of a stream that was made by a version before batches. Without them the same is written, one by one.
    async fn allow_batches(&self, found: &Config) {
        let config = Config { allow_atomic_publish: true, ..found.clone() };
        match self.context.update_stream(config).await {
            Ok(_) => tracing::info!(stream = found.name, "a stream takes batches now"),
            Err(why) => tracing::warn!(stream = found.name, %why, "a stream does not take batches"),
        }
    }

    /// The stream of the jobs; it is there once the first node of the cluster has started.
    pub(super) async fn outbox(&self) -> Result<Stream, String> {
        let name = outbox::stream(&self.cluster);
        self.context.get_stream(&name).await.map_err(|error| match error.kind() {
            GetStreamErrorKind::JetStream(error) if error.error_code() == ErrorCode::STREAM_NOT_FOUND => {
                format!(
                    "there is no stream {name} yet: the cluster's first node makes it; check cluster.name"
                )
            }
            _ => format!("stream {name} does not answer: {error}"),
        })
    }

    /// The last message of the outbox that was given to a mailer.
    pub(super) async fn given_until(&self, outbox: &Stream) -> Result<u64, String> {
        let info = outbox.consumer_info(CONSUMER).await.map_err(|error| error.to_string())?;
        Ok(info.delivered.stream_sequence)
    }

    /// The stream of a source.
    pub(super) async fn source(&self, source: Source) -> Result<Stream, String> {
        match source {
            Source::Outbox => self.outbox().await,
            Source::Due => {
                let stream = self.context.get_stream(self.later_stream()).await;
                stream.map_err(|error| error.to_string())
            }
        }
    }

    /// The consumer that all mailers share. What it knows, which deliveries wait for an acknowledgement, is in the memory of as many servers
    /// as the stream has: on their disks each delivery and each acknowledgement would be synced there as a message is. If all of them lose it, the jobs
    /// that mailers have come once more, and who claims them learns that. One that is there already stays as it is: its storage cannot be changed.
    pub(super) async fn consumer(&self, source: Source, ack_wait: Duration) -> Result<PullConsumer, String> {
        let filter_subject = match source {
            Source::Outbox => String::new(),
            Source::Due => self.due_subjects(),
        };
        let stream = self.source(source).await?;
        let in_memory = match stream.consumer_info(CONSUMER).await {
            Ok(found) => found.config.memory_storage,
            Err(error) if error.kind() == ConsumerInfoErrorKind::NotFound => true,
            Err(error) => return Err(error.to_string()),
        };
        let config = pull::Config {
            durable_name: Some(CONSUMER.to_owned()),
            description: Some("mails to send".to_owned()),
            filter_subject,
            ack_policy: AckPolicy::Explicit,
            ack_wait,
            // Tries are counted by the mailer, which puts what is tried too often among the dead letters.
            max_deliver: -1,
            max_ack_pending: PENDING,
            memory_storage: in_memory,
            ..pull::Config::default()
        };
        stream.create_consumer(config).await.map_err(|error| error.to_string())
    }
}

enum Trouble {
    Passes(String),
    Lasts(String),
}
