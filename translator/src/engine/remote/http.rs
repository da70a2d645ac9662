//! Asking a service, and what its refusals mean.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response, StatusCode, header::RETRY_AFTER, redirect::Policy};
use serde_json::Value;

use crate::engine::EngineError;

/// To connect.
const CONNECT: Duration = Duration::from_secs(5);
/// An answer has at most so many bytes.
const LONGEST: usize = 2 << 20;
/// A spent quota does not come back sooner.
const QUOTA: Duration = Duration::from_secs(3600);
/// Azure's code for it.
const AZURE_FREE_QUOTA: u64 = 403_001;

/// A client that goes where it is told and nowhere else. A call may take `timeout`, up to the end of its answer.
///
/// # Errors
/// A sentence.
pub(super) fn client(timeout: Duration) -> Result<Client, String> {
    Client::builder()
        .connect_timeout(CONNECT)
        .timeout(timeout)
        .redirect(Policy::none())
        .user_agent(concat!("rookery-translator/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| error.without_url().to_string())
}

/// Sends a request and reads its answer as JSON.
pub(super) async fn ask(request: RequestBuilder) -> Result<Value, EngineError> {
    let mut response = request.send().await.map_err(|error| away(&error))?;
    let status = response.status();
    if !status.is_success() {
        let after =
            response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.trim().parse().ok());
        let after = after.map(Duration::from_secs);
        let told = match status {
            StatusCode::FORBIDDEN | StatusCode::BAD_REQUEST => json(&mut response).await.ok(),
            _ => None,
        };
        return Err(refused(status, after, told.as_ref().and_then(|answer| answer.get("error"))));
    }
    json(&mut response).await
}

/// A response's body.
async fn json(response: &mut Response) -> Result<Value, EngineError> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| away(&error))? {
        if body.len() + chunk.len() > LONGEST {
            return Err(EngineError::Garbage("its answer is too long"));
        }
        body.extend_from_slice(&chunk);
    }
    serde_json::from_slice(&body).map_err(|_| EngineError::Garbage("its answer is no JSON"))
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// Google says with 403, as for a wrong key, that it was asked too much (<https://cloud.google.com/translate/quotas>), and so does Azure
/// where the free tier is used up
/// (<https://learn.microsoft.com/azure/ai-services/translator/text-translation/reference/status-response-codes>): what it means is in
/// the body. `None`: it does not mean that; else how long it is to be left alone, if that is known.
fn limit(error: &Value) -> Option<Option<Duration>> {
    let first = error.get("errors").and_then(|all| all.get(0));
    let reason = first.map(|first| text(first, "reason")).unwrap_or_default();
    let (message, status) = (text(error, "message"), text(error, "status"));
    let is_spent = reason == "dailyLimitExceeded"
        || message.starts_with("Daily Limit Exceeded")
        || error.get("code").and_then(Value::as_u64) == Some(AZURE_FREE_QUOTA);
    if is_spent {
        return Some(Some(QUOTA));
    }
    let is_limit = matches!(reason, "rateLimitExceeded" | "userRateLimitExceeded")
        || message.starts_with("User Rate Limit Exceeded")
        || status == "RESOURCE_EXHAUSTED";
    is_limit.then_some(None)
}

fn away(error: &reqwest::Error) -> EngineError {
    // Not the error's own text, which may hold an address.
    let why = if error.is_timeout() {
        return EngineError::Late;
    } else if error.is_connect() {
        "cannot connect"
    } else {
        "the connection broke"
    };
    EngineError::Away(why.into())
}

/// Google says with 400, as for a text that it will not have, that it does not know the key.
fn is_about_the_key(error: &Value) -> bool {
    let details = error.get("details").and_then(Value::as_array);
    details.is_some_and(|all| all.iter().any(|detail| text(detail, "reason") == "API_KEY_INVALID"))
        || text(error, "message").starts_with("API key not valid")
}

/// What a status means; `error` is what the service said of it.
fn refused(status: StatusCode, after: Option<Duration>, error: Option<&Value>) -> EngineError {
    let status = status.as_u16();
    let refused = |why: &str| EngineError::Refused(format!("status {status}{why}").into());
    match status {
        403 if let Some(asked) = error.and_then(limit) => EngineError::Limited(after.or(asked)),
        // DeepL says 529, too.
        429 | 529 => EngineError::Limited(after),
        // DeepL: the quota is spent.
        456 => EngineError::Limited(Some(after.unwrap_or(QUOTA))),
        408 | 504 => EngineError::Late,
        503 if after.is_some() => EngineError::Limited(after),
        401 | 403 => refused(": check its key"),
        400 if error.is_some_and(is_about_the_key) => refused(": check its key"),
        // The texts or the pair: everything else is the same in all requests, and right if one of them was answered.
        400 | 413 | 414 | 422 => EngineError::Unfit(format!("status {status}").into()),
        401..=499 => refused(""),
        other => EngineError::Away(format!("status {other}").into()),
    }
}

/// Texts at a path of each item of a list: as many as lines were sent.
pub(super) fn texts<'a>(
    items: Option<&'a Value>,
    text: impl Fn(&'a Value) -> Option<&'a str>,
) -> Result<Vec<String>, EngineError> {
    const GARBAGE: EngineError = EngineError::Garbage("its answer is not as documented");
    let items = items.and_then(Value::as_array).ok_or(GARBAGE)?;
    items.iter().map(|item| text(item).map(str::to_owned).ok_or(GARBAGE)).collect()
}
