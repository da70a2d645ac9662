//! Jobs that wait for their time: those that failed, and those that a rate holds back.
//!
//! They lie in a stream of their own, as messages that the server moves when their time has come (ADR-51). They could wait in the outbox's
//! consumer, by a delayed NAK, but that keeps times in its leader's memory only, looks through all that wait again and again, and hands
//! out nothing more to anybody when too many do.

use std::time::Duration;

use async_nats::{HeaderMap, jetstream::message::PublishMessage};
use rookery_protocol::{outbox::VERSION_HEADER, time};

use super::{Away, Queue, delivery::Delivery, token};
use crate::courier::now_ms;

/// When the job was put into the outbox first, Unix milliseconds.
pub(super) const SINCE: &str = "Rookery-Since";
const SCHEDULE: &str = "Nats-Schedule";
const TARGET: &str = "Nats-Schedule-Target";

impl Queue {
    pub(super) fn later_stream(&self) -> String {
        format!("{}-mailer-later", self.cluster)
    }

    /// Subjects of jobs whose time is to come.
    pub(super) fn later_subjects(&self) -> String {
        format!("{}.mailer.later.*", self.cluster)
    }

    /// Subjects of jobs whose time has come.
    pub(super) fn due_subjects(&self) -> String {
        format!("{}.mailer.due.*", self.cluster)
    }

    /// Has a job delivered anew when `after` has passed; returns once that is stored. There is one such time for a job: the last.
    pub(super) async fn later(&self, id: &str, delivery: &Delivery, after: Duration) -> Result<(), Away> {
        let after = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
        // Rounded up: never early.
        let at = time::format(now_ms().saturating_add(after).saturating_add(1));
        let mut headers = HeaderMap::new();
        headers.insert(VERSION_HEADER, delivery.version.as_str());
        headers.insert(SINCE, delivery.since.to_string());
        headers.insert(SCHEDULE, format!("@at {}", String::from_utf8_lossy(&at)));
        headers.insert(TARGET, format!("{}.mailer.due.{}", self.cluster, token(id)));
        let publish = PublishMessage::build().payload(delivery.payload.clone()).headers(headers);
        let subject = format!("{}.mailer.later.{}", self.cluster, token(id));
        let away = |error: &dyn std::fmt::Display| Away(format!("a job cannot be put off: {error}"));
        self.store(subject, publish).await.map_err(|error| away(&error))
    }
}
