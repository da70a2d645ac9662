//! The outbox on JetStream: jobs come from it, and what became of them is kept beside it.
//!
//! Four streams: the outbox, which the nodes make; the *memory*, one message per job that says how far it has come; jobs that are to be
//! tried *later*; and the dead letters. What is remembered lies where the jobs lie, so that it is there whenever a job is, and outlives what the jobs outlive:
//! Redis may come back empty, and then every mail under way would be sent twice.

mod acknowledgements;
mod connect;
mod dead;
mod delivery;
mod groups;
mod job;
mod later;
mod memory;
mod notes;
mod old;
mod pull;
mod settings;
mod streams;
#[cfg(test)]
mod tests;
mod watch;
mod worker;

use std::{sync::Arc, time::Duration};

use async_nats::jetstream::{self, Context, context::PublishError, message::PublishMessage};
use sha2::{Digest as _, Sha256};

use acknowledgements::Acknowledgement;
pub use connect::ConnectError;
pub use dead::{DeadLetter, DeadLetters};
use groups::Groups;
use notes::Note;
pub use settings::NatsSettings;
pub use watch::watch;
pub use worker::Worker;

/// Between two groups of notes. What chat notices of few connections is how many groups there are; what leaves late keeps connections waiting, and is sent twice if the
/// mailer is killed until then.
const NOTES: Duration = Duration::from_millis(80);
/// Between two groups of acknowledgements. Nothing waits for those: what they say is written down before.
const ACKNOWLEDGEMENTS: Duration = Duration::from_millis(500);

/// The streams of one cluster's mails.
#[derive(Clone)]
pub struct Queue {
    client: async_nats::Client,
    context: Context,
    cluster: String,
    replicas: usize,
    notes: Arc<Groups<Note>>,
    acknowledgements: Arc<Groups<Acknowledgement>>,
}

/// NATS did not do it, or did not say so.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Away(pub String);

impl Queue {
    /// Connects.
    ///
    /// # Errors
    /// [`ConnectError`]: what is wrong and what to do about it.
    pub async fn connect(settings: &NatsSettings, cluster: &str) -> Result<Self, ConnectError> {
        let client = connect::connect(settings, cluster).await?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(streams::ANSWER);
        Ok(Self {
            client,
            context,
            cluster: cluster.to_owned(),
            replicas: settings.replicas,
            notes: Groups::new(NOTES),
            acknowledgements: Groups::new(ACKNOWLEDGEMENTS),
        })
    }

    /// Whether there is a connection now; for readiness.
    pub fn connected(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }

    /// Publishes, and returns once that is stored.
    async fn store(&self, subject: String, message: PublishMessage) -> Result<(), PublishError> {
        self.context.send_publish(subject, message).await?.await.map(drop)
    }

    fn memory_stream(&self) -> String {
        format!("{}-mailer-memory", self.cluster)
    }

    fn memory_subject(&self, id: &str) -> String {
        format!("{}.mailer.memory.{}", self.cluster, token(id))
    }

    fn dead_stream(&self) -> String {
        format!("{}-mailer-dead", self.cluster)
    }

    fn dead_subject(&self, id: &str) -> String {
        format!("{}.mailer.dead.{}", self.cluster, token(id))
    }
}

/// A job's id as a token of a subject.
fn token(id: &str) -> String {
    use std::fmt::Write as _;
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    if (1..=64).contains(&id.len()) && id.bytes().all(plain) {
        return id.to_owned();
    }
    // Not to be mistaken for a plain id: those have no equals sign.
    let mut text = String::from("=");
    for byte in &Sha256::digest(id.as_bytes())[..16] {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod token_tests {
    use super::token;

    #[test]
    fn ids_are_tokens() {
        assert_eq!(token("aZ_09-"), "aZ_09-");
        for id in ["", "a.b", "a b", ">", "*", "ä", &"x".repeat(65)] {
            let token = token(id);
            assert!(token.starts_with('=') && token.len() == 33, "{token}");
        }
        assert_ne!(token("a.b"), token("a.c"));
    }
}
