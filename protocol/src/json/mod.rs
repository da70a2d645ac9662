//! The subprotocol `rookery.v1.json`: one JSON object per text frame, `{"t": type, "id" or "re": n, fields}`.
//!
//! Here belong the envelope and what serde's derives on the generated types (see `build.rs`) cannot say.
//! Field names are those of client.proto. Times are RFC 3339 with milliseconds; what is optional is left out when
//! absent; `deleted` is there only when true; `reactions` and `mentions` of a message always are.

pub(crate) mod bounded;
mod frames;
mod header;
mod refused;
mod selection;

use std::io::Write;

use header::{Header, Type};
use serde::de::DeserializeOwned;

use crate::{
    client::{ClientFrame, ServerFrame},
    error::{FrameError, Reason},
    limits,
};

pub(crate) fn encode_server(frame: &ServerFrame, out: &mut Vec<u8>) {
    frames::server::encode("re", frame.re, frame.frame.as_ref(), out);
}

pub(crate) fn encode_client(frame: &ClientFrame, out: &mut Vec<u8>) {
    frames::client::encode("id", frame.id, frame.frame.as_ref(), out);
}

pub(crate) fn decode_client(bytes: &[u8]) -> Result<ClientFrame, FrameError> {
    decode("id", bytes, frames::client::Kind::decode)
        .map(|(id, frame)| ClientFrame { id, frame: Some(frame) })
}

pub(crate) fn decode_server(bytes: &[u8]) -> Result<ServerFrame, FrameError> {
    decode("re", bytes, frames::server::Kind::decode)
        .map(|(re, frame)| ServerFrame { re, frame: Some(frame) })
}

/// Writes the envelope around a body: serde writes the body's object, whose opening brace becomes the comma.
fn write<B: serde::Serialize>(name: &str, number: (&str, Option<u64>), body: &B, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"t\":\"");
    out.extend_from_slice(name.as_bytes());
    out.push(b'"');
    if let (key, Some(number)) = number {
        // Writing to a Vec cannot fail.
        let _ = write!(out, ",\"{key}\":{number}");
    }
    let at = out.len();
    // Nor can writing a plain struct to one: its keys are text.
    let _ = serde_json::to_writer(&mut *out, body);
    match out.get(at + 1) {
        Some(b'}') => _ = out.remove(at),
        Some(_) => out[at] = b',',
        None => out.push(b'}'),
    }
}

/// Two passes: the first finds type and number and skips the rest, the second reads the body straight into its struct.
fn decode<T: Type, F>(
    number: &'static str,
    bytes: &[u8],
    body: fn(T, &str) -> Result<F, Reason>,
) -> Result<(Option<u64>, F), FrameError> {
    let text = std::str::from_utf8(bytes)
        .map_err(|_| FrameError { id: None, reason: Reason::Malformed("A text frame must be UTF-8.") })?;
    let mut header = Header::<T>::default();
    let read = header.read(number, text);
    let id = header.number.filter(|id| *id <= limits::MAX_ID);
    read.and_then(|()| header.kind(number))
        .and_then(|kind| body(kind, text))
        .map_or_else(|reason| Err(FrameError { id, reason }), |frame| Ok((id, frame)))
}

fn body<B: DeserializeOwned>(text: &str) -> Result<B, Reason> {
    // Which field is wrong is worth a third pass, but only when one is.
    serde_json::from_str(text).map_err(|_| refused::reason::<B>(text))
}
