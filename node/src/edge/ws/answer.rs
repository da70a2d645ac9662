//! Answers to requests.

use rookery_core::room::Reply;
use rookery_protocol::{
    client::{self, ServerFrame, server_frame::Frame},
    id::RoomId,
};

use crate::{live::link::Signal, problem::Problem};

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
    let code = problem.code.to_owned();
    answer(re, Frame::Error(client::Error { code, message, retry_after_ms, room: None }))
}

/// A problem with a room, as an `error` frame that answers nothing.
pub(super) fn trouble(room: RoomId, problem: &Problem) -> ServerFrame {
    let mut frame = refusal(None, problem);
    if let Some(Frame::Error(error)) = &mut frame.frame {
        error.room = Some(room.to_string());
    }
    frame
}

/// What ends a connection that cannot be served because of a problem: 503 passes, so its client may come again.
pub(super) fn end(problem: &Problem) -> Signal {
    if problem.status == 503 { Signal::Overloaded } else { Signal::Failed }
}

/// A connection follows as many rooms as it may: so many more are not followed.
pub(super) fn too_many_rooms(left_out: usize) -> Problem {
    let detail = format!(
        "This connection follows as many rooms as it may; {left_out} more are not followed. Follow them over another one."
    );
    Problem::new(429, "too_many_subscriptions", detail)
}

/// An `error` frame.
pub(super) fn error(re: Option<u64>, code: &str, message: &str) -> ServerFrame {
    answer(
        re,
        Frame::Error(client::Error {
            code: code.to_owned(),
            message: message.to_owned(),
            ..client::Error::default()
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
            room: None,
        }),
    )
}

/// A frame that answers nothing.
pub(super) fn event(frame: Frame) -> ServerFrame {
    ServerFrame { re: None, frame: Some(frame) }
}
