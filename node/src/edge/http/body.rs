//! JSON bodies of requests.

use std::{borrow::Cow, sync::Arc, time::Duration};

use axum::{
    body::BodyDataStream,
    extract::{FromRequest, Request},
    http::{HeaderMap, header},
};
use futures_util::StreamExt as _;
use serde::de::DeserializeOwned;

use crate::{edge::App, problem::Problem};

/// Of a body that is too large so much is read and thrown away, in so much time. Who still writes when the connection is closed may
/// never read why: his writing fails first (RFC 9112, section 9.6).
const THROWN_AWAY: u64 = 4 << 20;
const PATIENCE: Duration = Duration::from_secs(2);

/// A JSON object as body.
///
/// An empty body counts as `{}`; a missing `Content-Type` as JSON. Unknown fields are ignored.
///
/// Problems: 413 `body_too_large`, 415 `unsupported_media_type`, 400 `malformed` (no JSON), 422 `invalid` with the field
/// where it is known (JSON of other types than expected).
#[derive(Debug, Clone, Copy)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned> FromRequest<Arc<App>> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, app: &Arc<App>) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(Problem::new(
                415,
                "unsupported_media_type",
                "The body must be JSON, and its Content-Type application/json.",
            ));
        }
        let limit = app.http.max_body_bytes;
        let too_large =
            || Problem::new(413, "body_too_large", format!("The body is longer than {limit} bytes."));
        let announced = announced(request.headers());
        // Who waits to be asked for it has not begun to send.
        let waits = request.headers().contains_key(header::EXPECT);
        let mut chunks = request.into_body().into_data_stream();
        if let Some(length) = announced.filter(|length| *length > limit as u64) {
            // Who says that he will send much more is not waited for.
            if length <= THROWN_AWAY && !waits {
                throw_away(chunks).await;
            }
            return Err(too_large());
        }
        let mut body = Vec::with_capacity(usize::try_from(announced.unwrap_or(0)).unwrap_or(0));
        while let Some(chunk) = chunks.next().await {
            let chunk = chunk
                .map_err(|_| Problem::new(400, "malformed", "The body ended before it was complete."))?;
            if body.len() + chunk.len() > limit {
                throw_away(chunks).await;
                return Err(too_large());
            }
            body.extend_from_slice(&chunk);
        }
        parse(&body).map(Self)
    }
}

async fn throw_away(mut chunks: BodyDataStream) {
    let read = async {
        let mut left = THROWN_AWAY;
        while let Some(Ok(chunk)) = chunks.next().await {
            left = left.saturating_sub(chunk.len() as u64);
            if left == 0 {
                break;
            }
        }
    };
    // Whoever sends it slowly is not waited for either.
    let _ = tokio::time::timeout(PATIENCE, read).await;
}

/// Bytes of the body, where the head says so.
fn announced(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(header::CONTENT_TYPE) else { return true };
    let value = value.to_str().unwrap_or("?");
    let media_type = value.split(';').next().unwrap_or_default().trim();
    media_type.eq_ignore_ascii_case("application/json")
        || media_type.to_ascii_lowercase().strip_prefix("application/").is_some_and(|t| t.ends_with("+json"))
}

/// Reads a JSON object.
fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    let body = if body.is_empty() { b"{}" } else { body };
    let mut json = serde_json::Deserializer::from_slice(body);
    // serde would take a list as a struct's fields in order.
    let is_object = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
    if !is_object {
        return Err(match serde_json::from_slice::<serde::de::IgnoredAny>(body) {
            Ok(_) => Problem::new(422, "invalid", "The body must be a JSON object."),
            Err(error) => malformed(&error),
        });
    }
    let value: T = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let inner = error.into_inner();
        // Where serde_json expects a variant's name, it calls a number bad syntax.
        let is_json = || serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
        if inner.is_data() || is_json() { wrong_field(path, &inner.to_string()) } else { malformed(&inner) }
    })?;
    json.end().map_err(|error| malformed(&error))?;
    Ok(value)
}

fn malformed(error: &serde_json::Error) -> Problem {
    Problem::new(
        400,
        "malformed",
        format!("The body is not JSON (line {}, column {}).", error.line(), error.column()),
    )
}

/// Names the field that serde complains about. Of its message the value is not repeated: it may be a password.
pub(super) fn wrong_field(path: String, message: &str) -> Problem {
    let invalid = Problem::new(422, "invalid", "The request has fields that cannot be accepted.");
    if let Some(name) = quoted(message, "missing field `") {
        let field = if path == "." { name.to_owned() } else { format!("{path}.{name}") };
        return invalid.and_field(field, "This field is required.");
    }
    let message = message.split(" at line ").next().unwrap_or(message);
    let why: Cow<'static, str> = match message.split_once("expected ") {
        Some((_, expected)) => format!("Expected {expected}.").into(),
        None => "This value cannot be accepted.".into(),
    };
    if path == "." { Problem { detail: why, ..invalid } } else { invalid.and_field(path, why) }
}

fn quoted<'a>(message: &'a str, before: &str) -> Option<&'a str> {
    let (_, rest) = message.split_once(before)?;
    rest.split_once('`').map(|(name, _)| name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, serde::Deserialize)]
    struct Sample {
        name: String,
        inner: Option<Inner>,
    }
    #[derive(Debug, serde::Deserialize)]
    struct Inner {
        on: bool,
    }

    fn refuse(body: &str) -> (u16, &'static str, Vec<(String, String)>) {
        let problem = parse::<Sample>(body.as_bytes()).unwrap_err();
        let fields = problem.fields.iter().map(|(f, w)| (f.to_string(), w.to_string())).collect();
        (problem.status, problem.code, fields)
    }

    #[test]
    fn names_the_field() {
        assert_eq!(
            refuse(r#"{"name": 5}"#),
            (422, "invalid", vec![("name".to_owned(), "Expected a string.".to_owned())])
        );
        assert_eq!(
            refuse(r#"{"name": "a", "inner": {"on": "secret"}}"#),
            (422, "invalid", vec![("inner.on".to_owned(), "Expected a boolean.".to_owned())])
        );
        for empty in ["{}", ""] {
            assert_eq!(
                refuse(empty),
                (422, "invalid", vec![("name".to_owned(), "This field is required.".to_owned())])
            );
        }
    }

    #[test]
    fn tells_malformed_from_wrong() {
        for text in ["{", "{\"name\": }", "x", "{\"name\":\"a\"} x", "\"", "[1,", " "] {
            assert_eq!(refuse(text).1, "malformed", "{text}");
        }
        for text in ["[]", "[\"a\"]", "5", "null", "\"a\""] {
            assert_eq!((refuse(text).0, refuse(text).1), (422, "invalid"), "{text}");
        }
        let deep = format!("{{\"name\": {}", "[".repeat(10_000));
        assert!(parse::<Sample>(deep.as_bytes()).is_err());
    }

    #[test]
    fn ignores_unknown_fields() {
        let sample: Sample = parse(br#"{"name": "a", "other": [1, {}], "inner": null}"#).unwrap();
        assert!(sample.name == "a" && sample.inner.is_none_or(|inner| inner.on));
    }
}
