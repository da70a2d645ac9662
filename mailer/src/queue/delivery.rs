//! A job as it was delivered.

use async_nats::jetstream::Message;
use bytes::Bytes;
use rookery_protocol::outbox::VERSION_HEADER;

use super::{Away, later::SINCE};

/// Marks the messages that were put off among those of the outbox: each stream numbers its own.
const DUE: u64 = 1 << 63;

/// What is known of a message before it is read.
pub(super) struct Delivery {
    /// Names the message in what is remembered.
    pub(super) key: u64,
    /// Which delivery of it.
    pub(super) count: i64,
    /// Whether it was put off.
    pub(super) due: bool,
    /// When its job was put into the outbox first, Unix milliseconds.
    pub(super) since: i64,
    /// Of the job.
    pub(super) version: String,
    /// The job.
    pub(super) payload: Bytes,
}

impl Delivery {
    /// Of a message from the outbox, or of one that was put off.
    pub(super) fn of(message: &Message, due: bool) -> Result<Self, Away> {
        let info = message.info().map_err(|error| Away(error.to_string()))?;
        let text = |name: &str| {
            let value = message.headers.as_ref().and_then(|headers| headers.get(name));
            value.map(|value| value.as_str().to_owned())
        };
        let published = i64::try_from(info.published.unix_timestamp_nanos() / 1_000_000).unwrap_or(i64::MAX);
        let sequence = info.stream_sequence;
        Ok(Self {
            key: if due { sequence | DUE } else { sequence },
            count: info.delivered,
            due,
            since: text(SINCE).and_then(|text| text.parse().ok()).unwrap_or(published),
            version: text(VERSION_HEADER).unwrap_or_default(),
            payload: message.payload.clone(),
        })
    }

    /// Whether it comes in its turn, or not for the first time.
    pub(super) fn has_waited(&self) -> bool {
        self.due || self.count > 1
    }
}
