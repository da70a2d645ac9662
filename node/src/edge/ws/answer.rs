//! Answers to requests.

use rookery_core::room::Reply;
use rookery_protocol::client::{self, ServerFrame, server_frame::Frame};

use crate::problem::Problem;

/// `ok`, or whatever else `frame` is, as the answer to request `re`.
pub(super) fn answer(re: Option<u64>, frame: Frame) -> ServerFrame {
    ServerFrame { re, frame: Some(frame) }
}

/// `ok` without fields.
pub(super) fn ok(re: Option<u64>) -> ServerFrame {
    answer(re, Frame::Ok(client::Ok::default()))
}

/// What a room's owner said.
pub(super) fn outcome(re: Option<u64>, outcome: Result<Reply, Problem>) -> ServerFrame {
    match outcome {
        Ok(Reply::Posted { seq, id, ts, .. }) => answer(
            re,
            Frame::Ok(client::Ok {
                seq: Some(seq),
                msg_id: Some(id.to_string()),
                ts: Some(ts),
                last_seq: None,
            }),
        ),
        Ok(Reply::Edited { seq, .. } | Reply::Done { seq }) => {
            answer(re, Frame::Ok(client::Ok { seq, ..Default::default() }))
        }
        Err(problem) => refusal(re, &problem),
    }
}

/// A problem as an `error` frame.
pub(super) fn refusal(re: Option<u64>, problem: &Problem) -> ServerFrame {
    let mut message = problem.detail.to_string();
    for (field, why) in &problem.fields {
        message.push_str(&format!(" {field}: {why}."));
    }
    let retry_after_ms =
        problem.retry_after.map(|after| u64::try_from(after.as_millis()).unwrap_or(u64::MAX));
    answer(re, Frame::Error(client::Error { code: problem.code.to_owned(), message, retry_after_ms }))
}

/// An `error` frame.
pub(super) fn error(re: Option<u64>, code: &str, message: &str) -> ServerFrame {
    answer(
        re,
        Frame::Error(client::Error {
            code: code.to_owned(),
            message: message.to_owned(),
            retry_after_ms: None,
        }),
    )
}

/// 429 of the WebSocket.
pub(super) fn rate_limited(re: Option<u64>, retry_after_ms: u64) -> ServerFrame {
    answer(
        re,
        Frame::Error(client::Error {
            code: "rate_limited".to_owned(),
            message: "Too many frames; slow down.".to_owned(),
            retry_after_ms: Some(retry_after_ms),
        }),
    )
}

/// A frame that answers nothing.
pub(super) fn event(frame: Frame) -> ServerFrame {
    ServerFrame { re: None, frame: Some(frame) }
}
