//! Requests and replies as they cross the process's boundary.

use rookery_protocol::translator::{
    Missing, TranslateReply, TranslateRequest, TranslatedText, missing::Reason,
};

use crate::{
    router::{MOST_TARGETS, Outcome, Reply, Request, Translator},
    text::Lang,
};

/// A request that cannot be understood, in words for whoever sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadRequest {
    /// Too many languages.
    #[error("more than {MOST_TARGETS} targets")]
    TooMany,
    /// Not a language.
    #[error("a target is no language tag")]
    NoLanguage,
}

/// Reads a request.
///
/// # Errors
/// [`BadRequest`].
pub fn read(request: &TranslateRequest) -> Result<Request, BadRequest> {
    if request.targets.len() > MOST_TARGETS {
        return Err(BadRequest::TooMany);
    }
    let targets: Option<Vec<_>> = request.targets.iter().map(|tag| Lang::parse(tag)).collect();
    Ok(Request {
        text: request.text.clone(),
        source: Lang::parse(&request.source),
        source_is_sure: request.source_is_sure,
        targets: targets.ok_or(BadRequest::NoLanguage)?,
    })
}

/// Writes a reply; languages are named as they were asked for.
pub fn write(request: &TranslateRequest, reply: Reply) -> TranslateReply {
    let mut told = TranslateReply {
        source: reply.source.map_or_else(String::new, |lang| lang.to_string()),
        ..Default::default()
    };
    for (language, outcome) in request.targets.iter().cloned().zip(reply.outcomes) {
        let missing = |reason: Reason, retry_after_ms| Missing {
            language: language.clone(),
            reason: reason.into(),
            retry_after_ms,
        };
        match outcome {
            Outcome::Text { text, engine } => {
                told.texts.push(TranslatedText {
                    language,
                    text: text.to_string(),
                    engine: engine.to_string(),
                });
            }
            Outcome::NotNeeded => told.missing.push(missing(Reason::NotNeeded, 0)),
            Outcome::NoEngine => told.missing.push(missing(Reason::NoEngine, 0)),
            Outcome::Away { retry_after } => {
                let ms = u64::try_from(retry_after.as_millis()).unwrap_or(u64::MAX);
                told.missing.push(missing(Reason::Away, ms));
            }
        }
    }
    told
}

/// Answers a request.
///
/// # Errors
/// [`BadRequest`].
pub async fn answer(
    translator: &std::sync::Arc<Translator>,
    request: &TranslateRequest,
) -> Result<TranslateReply, BadRequest> {
    let reply = translator.translate(read(request)?).await;
    Ok(write(request, reply))
}
