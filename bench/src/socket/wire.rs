//! Rookery's frames as the generator writes and reads them: written once, then only patched; read by their
//! first bytes, and decoded only where it does not matter how long that takes.

use anyhow::Context;
use rookery_protocol::{
    Subprotocol,
    client::{ClientFrame, Hello, RoomSelection, Send, client_frame, server_frame},
};

use super::frame;
use crate::load::stamp;

/// Frames from the node that are decoded may not be longer.
const MAX_FRAME: usize = 1024 * 1024;

/// The WebSocket subprotocol to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wire {
    /// `rookery.v1.json`
    Json,
    /// `rookery.v1.proto`
    Proto,
}

/// What a frame that is no delivery says.
#[derive(Debug, PartialEq, Eq)]
pub enum Control {
    /// The request with this id succeeded.
    Ok(u64),
    /// `hello` succeeded.
    Welcome,
    /// A request failed: code and message.
    Error(String),
    /// Anything else.
    Other,
}

/// Ids of `send` frames: this plus nanoseconds. They keep 16 digits, or 8 bytes as a varint, for 92 days.
pub(super) const FIRST_ID: u64 = 1_000_000_000_000_000;
/// In the place of the `client_msg_id`'s changing part.
const PLACE: &str = "aaaaaaaaaaaaaaaa";

impl Wire {
    /// The protocol's own name for it.
    pub fn subprotocol(self) -> Subprotocol {
        match self {
            Self::Json => Subprotocol::Json,
            Self::Proto => Subprotocol::Proto,
        }
    }

    fn frame(self, id: u64, request: client_frame::Frame) -> Vec<u8> {
        let mut payload = Vec::new();
        self.subprotocol().encode_client(&ClientFrame { id: Some(id), frame: Some(request) }, &mut payload);
        let opcode = if self.subprotocol().is_binary() { frame::BINARY } else { frame::TEXT };
        frame::from_client(opcode, &payload)
    }

    /// A `hello` with an access token, for these rooms live; `None`: all of the user's.
    pub fn hello(self, token: &str, rooms: Option<&[String]>) -> Vec<u8> {
        let selection = RoomSelection { all: rooms.is_none(), rooms: rooms.unwrap_or_default().to_vec() };
        let hello = Hello { token: Some(token.to_owned()), rooms: Some(selection), ..Hello::default() };
        self.frame(1, client_frame::Frame::Hello(hello))
    }

    /// A `send` to `room` whose text has `text_bytes` bytes (at least a stamp's length). `run` tells the
    /// `client_msg_id`s of this process from others'.
    ///
    /// # Errors
    /// None in practice: what is patched is found where it was put.
    pub fn send(self, room: &str, text_bytes: usize, run: &str) -> anyhow::Result<SendTemplate> {
        self.send_words(room, &".".repeat(text_bytes.saturating_sub(stamp::LEN)), run)
    }

    /// The same with these words after the stamp.
    ///
    /// # Errors
    /// As [`Self::send`].
    pub fn send_words(self, room: &str, words: &str, run: &str) -> anyhow::Result<SendTemplate> {
        let mut text = vec![0; stamp::LEN];
        stamp::write(&mut text, 0);
        text.extend_from_slice(words.as_bytes());
        let text = String::from_utf8(text)?;
        let client_msg_id = format!("{run}{PLACE}");
        let send = Send { room: room.to_owned(), text, client_msg_id: client_msg_id.clone(), reply_to: None };
        let bytes = self.frame(FIRST_ID, client_frame::Frame::Send(send));
        let id = match self {
            Self::Json => FIRST_ID.to_string().into_bytes(),
            Self::Proto => varint(FIRST_ID).to_vec(),
        };
        let place = |what: &[u8]| memchr::memmem::find(&bytes, what).context("a template lacks its place");
        Ok(SendTemplate {
            wire: self,
            id_at: place(&id)?,
            stamp_at: stamp::find(&bytes).context("a template lacks its stamp")?,
            msg_id_at: place(client_msg_id.as_bytes())? + run.len(),
            bytes,
        })
    }

    /// What `payload` says.
    #[inline]
    pub fn control(self, payload: &[u8]) -> Control {
        let quick = match self {
            Self::Json => json_ok(payload),
            Self::Proto => proto_ok(payload),
        };
        if let Some(re) = quick {
            return Control::Ok(re);
        }
        let Ok(frame) = self.subprotocol().decode_server(payload, MAX_FRAME) else { return Control::Other };
        match frame.frame {
            Some(server_frame::Frame::Ok(_)) => frame.re.map_or(Control::Other, Control::Ok),
            Some(server_frame::Frame::Welcome(_)) => Control::Welcome,
            Some(server_frame::Frame::Error(error)) => {
                Control::Error(format!("{}: {}", error.code, error.message))
            }
            _ => Control::Other,
        }
    }
}

/// An `ok` that starts as ours do (`{"t":"ok","re":N`), read without parsing all of it.
fn json_ok(payload: &[u8]) -> Option<u64> {
    let digits = payload.strip_prefix(b"{\"t\":\"ok\",\"re\":")?;
    let end = digits.iter().position(|byte| !byte.is_ascii_digit())?;
    std::str::from_utf8(digits.get(..end)?).ok()?.parse().ok()
}

/// An `ok`: field 1 (`re`) as a varint, then field 2.
fn proto_ok(payload: &[u8]) -> Option<u64> {
    let [0x08, rest @ ..] = payload else { return None };
    let mut re = 0;
    for (i, byte) in rest.iter().take(10).enumerate() {
        re |= u64::from(byte & 0x7f).checked_shl(u32::try_from(7 * i).ok()?)?;
        if byte & 0x80 == 0 {
            return (rest.get(i + 1) == Some(&0x12)).then_some(re);
        }
    }
    None
}

/// A number of 50 to 56 bits as a Protobuf varint: eight bytes.
fn varint(value: u64) -> [u8; 8] {
    std::array::from_fn(|i| {
        let seven = u8::try_from((value >> (7 * i)) & 0x7f).unwrap_or(0);
        if i < 7 { seven | 0x80 } else { seven }
    })
}

/// A `send` frame that only needs its numbers.
#[derive(Debug, Clone)]
pub struct SendTemplate {
    wire: Wire,
    bytes: Vec<u8>,
    id_at: usize,
    stamp_at: usize,
    msg_id_at: usize,
}

impl SendTemplate {
    /// Adds the frame of the message due at `due` to `out`. `since` is when this process began: the request's
    /// id is [`FIRST_ID`] plus the nanoseconds between them, so that the answer tells when its message was due.
    pub fn write(&self, due: u64, since: u64, out: &mut Vec<u8>) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let frame = &mut out[start..];
        let id = FIRST_ID + due.saturating_sub(since);
        match self.wire {
            Wire::Json => decimal(&mut frame[self.id_at..self.id_at + 16], id),
            Wire::Proto => frame[self.id_at..self.id_at + 8].copy_from_slice(&varint(id)),
        }
        stamp::write(&mut frame[self.stamp_at..], due);
        stamp::letters(&mut frame[self.msg_id_at..], due);
    }
}

fn decimal(to: &mut [u8], mut value: u64) {
    for digit in to.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use rookery_protocol::client::{CaughtUp, Error, Ok, ServerFrame, Welcome};

    use super::*;

    fn payload(bytes: &[u8]) -> &[u8] {
        // Masked with 0: a short header of 2, 4 or 10 bytes, and the key.
        match bytes[1] & 0x7f {
            126 => &bytes[8..],
            127 => &bytes[14..],
            _ => &bytes[6..],
        }
    }

    #[test]
    fn a_patched_send_is_the_frame_that_was_meant() {
        for wire in [Wire::Json, Wire::Proto] {
            let template = wire.send("01ARZ3NDEKTSV4RRFFQ69G5FAV", 128, "run-1234").unwrap();
            let mut out = Vec::new();
            template.write(5_000_000_123, 4_000_000_000, &mut out);
            let frame = wire.subprotocol().decode(payload(&out), 4_096).unwrap();
            let Some(client_frame::Frame::Send(send)) = frame.frame else { panic!("{frame:?}") };
            assert_eq!(frame.id, Some(FIRST_ID + 1_000_000_123));
            assert_eq!(send.room, "01ARZ3NDEKTSV4RRFFQ69G5FAV");
            assert_eq!(send.text.len(), 128);
            assert_eq!(stamp::read(send.text.as_bytes(), &mut 0), Some(5_000_000_123));
            assert!(send.client_msg_id.starts_with("run-1234") && send.client_msg_id.len() == 24);
        }
    }

    #[test]
    fn answers_are_told_apart() {
        for wire in [Wire::Json, Wire::Proto] {
            let control = |re, frame| {
                let mut bytes = Vec::new();
                wire.subprotocol().encode(&ServerFrame { re, frame: Some(frame) }, &mut bytes);
                wire.control(&bytes)
            };
            let ok = || server_frame::Frame::Ok(Ok { seq: Some(3), ..Ok::default() });
            assert_eq!(control(Some(FIRST_ID + 12_345), ok()), Control::Ok(FIRST_ID + 12_345));
            assert_eq!(control(Some(7), ok()), Control::Ok(7));
            assert_eq!(control(Some(1), server_frame::Frame::Welcome(Welcome::default())), Control::Welcome);
            assert_eq!(control(None, server_frame::Frame::CaughtUp(CaughtUp::default())), Control::Other);
            let error = Error { code: "a".into(), message: "b".into(), ..Error::default() };
            assert_eq!(control(Some(9), server_frame::Frame::Error(error)), Control::Error("a: b".into()));
        }
    }

    #[test]
    fn an_answer_of_success_is_read_without_parsing_it() {
        for wire in [Wire::Json, Wire::Proto] {
            let ok = server_frame::Frame::Ok(Ok { seq: Some(3), ..Ok::default() });
            let mut bytes = Vec::new();
            wire.subprotocol().encode(&ServerFrame { re: Some(FIRST_ID), frame: Some(ok) }, &mut bytes);
            let quick = if wire == Wire::Json { json_ok(&bytes) } else { proto_ok(&bytes) };
            assert_eq!(quick, Some(FIRST_ID));
        }
    }
}
