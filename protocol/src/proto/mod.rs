//! The subprotocol `rookery.v1.proto`: one Protobuf message per binary frame.
//!
//! Here belongs what prost does not do: refusing more than is allowed before it allocates, and saying what was wrong.

mod header;

use std::borrow::Cow;

use header::{Header, Walked};
use prost::Message;

use crate::{
    client::{ClientFrame, ServerFrame},
    error::{FrameError, Reason},
    limits,
};

pub(crate) fn encode<F: Message>(frame: &F, out: &mut Vec<u8>) {
    // A Vec grows as far as it has to: this cannot fail.
    let _ = frame.encode(out);
}

pub(crate) fn decode_client(bytes: &[u8]) -> Result<ClientFrame, FrameError> {
    decode(bytes, Header::of_client, |frame: &ClientFrame| frame.frame.is_some())
}

pub(crate) fn decode_server(bytes: &[u8]) -> Result<ServerFrame, FrameError> {
    decode(bytes, Header::of_server, |frame: &ServerFrame| frame.frame.is_some())
}

fn decode<F: Message + Default>(
    bytes: &[u8],
    header: fn(&[u8]) -> Walked,
    has_body: fn(&F) -> bool,
) -> Result<F, FrameError> {
    let (header, read) = header(bytes);
    let id = header.number.filter(|id| *id <= limits::MAX_ID);
    let refuse = |reason| FrameError { id, reason };
    read.map_err(refuse)?;
    let frame = F::decode(bytes).map_err(|error| refuse(reason(&error)))?;
    if has_body(&frame) {
        return Ok(frame);
    }
    Err(refuse(header.other.map_or_else(
        || Reason::Invalid { field: Cow::Borrowed("frame"), why: Cow::Borrowed("is required") },
        |field| Reason::UnknownType(field.to_string()),
    )))
}

/// prost says where it stopped only in its text: `failed to decode Protobuf message: Send.room: ...`.
fn reason(error: &prost::DecodeError) -> Reason {
    let said = error.to_string();
    said.strip_prefix("failed to decode Protobuf message: ")
        .and_then(|said| said.split_once(": "))
        .and_then(|(place, _)| place.split_once('.'))
        .map_or(Reason::Malformed("A binary frame must be one Protobuf message."), |(_, field)| {
            Reason::Invalid { field: Cow::Owned(field.to_owned()), why: Cow::Borrowed("cannot be read") }
        })
}
