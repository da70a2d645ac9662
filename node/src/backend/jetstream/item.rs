//! A message as a stream gives it, from the leader (JSON) or by Direct Get (headers).

use async_nats::{HeaderMap, Message};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use serde::Deserialize;

/// `first-last`: the events of a record.
pub(super) const SPAN: &str = "Rookery-Span";
/// The row was deleted.
pub(super) const GONE: &str = "Rookery-Gone";
/// `count id`: the value lies in so many pieces, which have the same id.
pub(super) const PIECES: &str = "Rookery-Pieces";
/// Of what the payload is, where it has versions.
pub(super) const VERSION: &str = "Rookery-Version";
/// The stream sequence of a room's last record, or 0 if it is not certain.
pub(super) const END: &str = "Rookery-End";

/// A stored message.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) subject: String,
    pub(super) at: u64,
    pub(super) payload: Bytes,
    /// When it was stored, RFC 3339.
    pub(super) time: String,
    span: Option<String>,
    pub(super) gone: bool,
    pub(super) pieces: Option<String>,
    pub(super) version: Option<String>,
}

#[derive(Deserialize)]
struct Answer {
    message: Option<Stored>,
    error: Option<ApiError>,
}

#[derive(Deserialize)]
struct Stored {
    subject: String,
    seq: u64,
    #[serde(default)]
    hdrs: String,
    #[serde(default)]
    data: String,
    #[serde(default)]
    time: String,
}

/// What a JetStream API answers when it does not do it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ApiError {
    #[serde(default)]
    pub(super) code: u64,
    #[serde(default)]
    pub(super) err_code: u64,
    #[serde(default)]
    pub(super) description: String,
}

impl std::fmt::Display for ApiError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.description, self.err_code)
    }
}

/// Why the leader's answer holds no message.
#[derive(Debug)]
pub(super) enum NotRead {
    /// Another time it may.
    NotNow(ApiError),
    /// It cannot be understood.
    Odd(String),
}

impl From<serde_json::Error> for NotRead {
    fn from(error: serde_json::Error) -> Self {
        Self::Odd(error.to_string())
    }
}

impl Item {
    /// From the leader's answer; `Ok(None)`: there is no such message.
    pub(super) fn from_leader(answer: &Message) -> Result<Option<Self>, NotRead> {
        let answer: Answer = serde_json::from_slice(&answer.payload)?;
        if let Some(error) = answer.error {
            // 10037: no message found.
            return match (error.code, error.err_code) {
                (404, 10037) => Ok(None),
                // Without a leader just now, or starting.
                (500.., _) => Err(NotRead::NotNow(error)),
                _ => Err(NotRead::Odd(error.to_string())),
            };
        }
        let stored = answer.message.ok_or_else(|| NotRead::Odd("an answer without a message".to_owned()))?;
        let decode = |text: &str| STANDARD.decode(text).map_err(|error| NotRead::Odd(error.to_string()));
        let headers = String::from_utf8_lossy(&decode(&stored.hdrs)?).into_owned();
        let header = |name: &str| {
            headers
                .split("\r\n")
                .filter_map(|line| line.split_once(':'))
                .find(|(found, _)| *found == name)
                .map(|(_, value)| value.trim().to_owned())
        };
        Ok(Some(Self {
            subject: stored.subject,
            at: stored.seq,
            payload: decode(&stored.data)?.into(),
            time: stored.time,
            span: header(SPAN),
            gone: header(GONE).is_some(),
            pieces: header(PIECES),
            version: header(VERSION),
        }))
    }

    /// From an answer of Direct Get, or a republished message.
    pub(super) fn from_direct(message: Message) -> Option<Self> {
        let headers = message.headers.as_ref()?;
        let header = |name: &str| last(headers, name).map(str::to_owned);
        Some(Self {
            subject: header("Nats-Subject")?,
            at: number(headers, "Nats-Sequence")?,
            time: header("Nats-Time-Stamp").unwrap_or_default(),
            span: header(SPAN),
            gone: headers.get(GONE).is_some(),
            pieces: header(PIECES),
            version: header(VERSION),
            payload: message.payload,
        })
    }

    /// First and last seq of a record's events; an epoch record's last is before its first.
    pub(super) fn span(&self) -> Option<(u64, u64)> {
        let (first, last) = self.span.as_deref()?.split_once('-')?;
        Some((first.parse().ok()?, last.parse().ok()?))
    }
}

/// The last value of a header: the server adds its own after those that were published.
fn last<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get_last(name).map(async_nats::HeaderValue::as_str)
}

/// A number in a header.
pub(super) fn number(headers: &HeaderMap, name: &str) -> Option<u64> {
    last(headers, name)?.parse().ok()
}
