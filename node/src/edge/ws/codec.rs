//! Frames from clients (RFC 6455), decoded in the buffer they were read into.
//!
//! An own decoder, because an idle connection must hold no buffer: it works on memory that all connections of
//! a thread share, and keeps only the parts of a message that came in fragments. What is written needs no
//! encoder: frames to clients are ready-made (`live/frame.rs`).

use std::borrow::Cow;

use crate::live::frame::{BINARY, CLOSE, PING, PONG, TEXT};

/// Opcode of a further part of a message.
const CONTINUATION: u8 = 0;
/// Longest payload of a control frame, in bytes (RFC 6455, section 5.5).
const MAX_CONTROL: usize = 125;

/// What a client sent.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Incoming<'a> {
    /// A whole text message, known to be UTF-8.
    Text(Cow<'a, [u8]>),
    /// A whole binary message.
    Binary(Cow<'a, [u8]>),
    /// A ping, to be answered with the same payload.
    Ping(&'a [u8]),
    /// A pong.
    Pong,
    /// The client closes, with this code if it gave one.
    Close(Option<u16>),
    /// A part of a message: wait for the others.
    Fragment,
}

/// The client broke the protocol; the connection must be closed with [`Self::close_code`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Violation {
    /// Against RFC 6455.
    #[error("{0}")]
    Protocol(&'static str),
    /// A message is longer than allowed.
    #[error("the message is longer than this server accepts")]
    TooLarge,
    /// Text that is none.
    #[error("the text is not UTF-8")]
    NotUtf8,
}

impl Violation {
    /// RFC 6455, section 7.4.1.
    pub(super) fn close_code(self) -> u16 {
        match self {
            Self::Protocol(_) => 1002,
            Self::NotUtf8 => 1007,
            Self::TooLarge => 1009,
        }
    }
}

/// Decodes one client's frames.
#[derive(Debug, Default)]
pub(super) struct Decoder {
    /// The message whose fragments are coming in. Boxed: hardly anybody fragments.
    partial: Option<Box<Partial>>,
}

#[derive(Debug)]
struct Partial {
    opcode: u8,
    bytes: Vec<u8>,
}

struct Header {
    last: bool,
    opcode: u8,
    mask: [u8; 4],
    len: usize,
    /// Bytes of the header itself.
    size: usize,
}

impl Decoder {
    /// Decodes the frame at the beginning of `buffer`, in place: how many bytes it took, and what it says.
    /// `None`: the frame is not whole yet. A message, all fragments together, may have `max` bytes.
    ///
    /// # Errors
    /// [`Violation`], as soon as it can be told; nothing may be decoded after it.
    pub(super) fn decode<'a>(
        &mut self,
        buffer: &'a mut [u8],
        max: usize,
    ) -> Result<Option<(usize, Incoming<'a>)>, Violation> {
        let Some(header) = header(buffer)? else { return Ok(None) };
        let control = header.opcode & 8 != 0;
        if control {
            if !header.last {
                return Err(Violation::Protocol("a control frame is fragmented"));
            }
            if header.len > MAX_CONTROL {
                return Err(Violation::Protocol("a control frame is longer than 125 bytes"));
            }
        } else {
            match (header.opcode, &self.partial) {
                (CONTINUATION, None) => {
                    return Err(Violation::Protocol("a continuation of no message"));
                }
                (TEXT | BINARY, Some(_)) => {
                    return Err(Violation::Protocol("a new message inside a fragmented one"));
                }
                _ => {}
            }
            let before = self.partial.as_ref().map_or(0, |partial| partial.bytes.len());
            if header.len > max.saturating_sub(before) {
                return Err(Violation::TooLarge);
            }
        }
        let total = header.size + header.len;
        let Some(payload) = buffer.get_mut(header.size..total) else { return Ok(None) };
        unmask(payload, header.mask);
        let payload = &*payload;
        let incoming = match header.opcode {
            PING => Incoming::Ping(payload),
            PONG => Incoming::Pong,
            CLOSE => Incoming::Close(close_code(payload)?),
            opcode => self.message(opcode, header.last, payload)?,
        };
        Ok(Some((total, incoming)))
    }

    fn message<'a>(&mut self, opcode: u8, last: bool, payload: &'a [u8]) -> Result<Incoming<'a>, Violation> {
        let whole = match (self.partial.take(), last) {
            (None, true) => return finish(opcode, Cow::Borrowed(payload)),
            (None, false) => {
                self.partial = Some(Box::new(Partial { opcode, bytes: payload.to_vec() }));
                return Ok(Incoming::Fragment);
            }
            (Some(mut partial), last) => {
                partial.bytes.extend_from_slice(payload);
                if !last {
                    self.partial = Some(partial);
                    return Ok(Incoming::Fragment);
                }
                partial
            }
        };
        finish(whole.opcode, Cow::Owned(whole.bytes))
    }
}

fn finish(opcode: u8, payload: Cow<'_, [u8]>) -> Result<Incoming<'_>, Violation> {
    if opcode == BINARY {
        return Ok(Incoming::Binary(payload));
    }
    std::str::from_utf8(&payload).map_err(|_| Violation::NotUtf8)?;
    Ok(Incoming::Text(payload))
}

fn header(buffer: &[u8]) -> Result<Option<Header>, Violation> {
    let &[first, second, ref rest @ ..] = buffer else {
        return match buffer {
            [first] => check_first(*first).map(|()| None),
            _ => Ok(None),
        };
    };
    check_first(first)?;
    if second & 0x80 == 0 {
        return Err(Violation::Protocol("a client's frame must be masked"));
    }
    let (len, extra) = match second & 0x7F {
        126 => {
            let Some(bytes) = rest.first_chunk() else { return Ok(None) };
            (u64::from(u16::from_be_bytes(*bytes)), 2)
        }
        127 => {
            let Some(bytes) = rest.first_chunk() else { return Ok(None) };
            (u64::from_be_bytes(*bytes), 8)
        }
        short => (u64::from(short), 0),
    };
    let shortest = if extra == 8 { 65_536 } else { 126 };
    if extra > 0 && len < shortest || len >> 63 != 0 {
        return Err(Violation::Protocol("a length is not written in the shortest form"));
    }
    let Some(mask) = rest.get(extra..).and_then(<[u8]>::first_chunk) else { return Ok(None) };
    Ok(Some(Header {
        last: first & 0x80 != 0,
        opcode: first & 0x0F,
        mask: *mask,
        len: usize::try_from(len).unwrap_or(usize::MAX >> 1),
        size: 6 + extra,
    }))
}

fn check_first(first: u8) -> Result<(), Violation> {
    if first & 0x70 != 0 {
        return Err(Violation::Protocol("a reserved bit is set, but no extension was agreed on"));
    }
    match first & 0x0F {
        CONTINUATION | TEXT | BINARY | CLOSE | PING | PONG => Ok(()),
        _ => Err(Violation::Protocol("a reserved opcode")),
    }
}

fn unmask(payload: &mut [u8], mask: [u8; 4]) {
    let [a, b, c, d] = mask;
    let wide = u64::from_ne_bytes([a, b, c, d, a, b, c, d]);
    let mut words = payload.chunks_exact_mut(8);
    for word in &mut words {
        if let Some(bytes) = word.first_chunk_mut::<8>() {
            *bytes = (u64::from_ne_bytes(*bytes) ^ wide).to_ne_bytes();
        }
    }
    for (byte, key) in words.into_remainder().iter_mut().zip([a, b, c, d, a, b, c]) {
        *byte ^= key;
    }
}

/// Checks the payload of a close frame and returns its code.
fn close_code(payload: &[u8]) -> Result<Option<u16>, Violation> {
    let Some((code, reason)) = payload.split_first_chunk() else {
        return if payload.is_empty() {
            Ok(None)
        } else {
            Err(Violation::Protocol("a close frame with half a code"))
        };
    };
    let code = u16::from_be_bytes(*code);
    if !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999) {
        return Err(Violation::Protocol("a close code that may not be sent"));
    }
    std::str::from_utf8(reason).map_err(|_| Violation::NotUtf8)?;
    Ok(Some(code))
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers of tests")]
mod tests {
    use proptest::prelude::*;
    use tokio_tungstenite::tungstenite::{
        Message, WebSocket,
        protocol::{Role, WebSocketConfig},
    };

    use super::*;

    const MAX: usize = 70_000;

    #[derive(Debug, PartialEq, Eq)]
    enum Event {
        Text(Vec<u8>),
        Binary(Vec<u8>),
        Ping(Vec<u8>),
        Pong,
        Close(Option<u16>),
        Refused,
    }

    /// What our decoder makes of `bytes`, given to it in parts that end at `cuts`.
    fn ours(bytes: &[u8], cuts: &[usize]) -> Vec<Event> {
        let mut decoder = Decoder::default();
        let mut events = Vec::new();
        let mut held: Vec<u8> = Vec::new();
        let mut from = 0;
        let mut ends: Vec<usize> = cuts.iter().map(|cut| cut % (bytes.len() + 1)).collect();
        ends.push(bytes.len());
        ends.sort_unstable();
        for end in ends {
            held.extend_from_slice(&bytes[from..end]);
            from = end;
            let mut at = 0;
            loop {
                match decoder.decode(&mut held[at..], MAX) {
                    Ok(None) => break,
                    Ok(Some((taken, incoming))) => {
                        at += taken;
                        events.push(match incoming {
                            Incoming::Text(text) => Event::Text(text.into_owned()),
                            Incoming::Binary(bytes) => Event::Binary(bytes.into_owned()),
                            Incoming::Ping(bytes) => Event::Ping(bytes.to_vec()),
                            Incoming::Pong => Event::Pong,
                            Incoming::Close(code) => {
                                events.push(Event::Close(code));
                                return events;
                            }
                            Incoming::Fragment => continue,
                        });
                    }
                    Err(_) => {
                        events.push(Event::Refused);
                        return events;
                    }
                }
            }
            held.drain(..at);
        }
        events
    }

    /// What tungstenite makes of them.
    fn theirs(bytes: &[u8]) -> Vec<Event> {
        struct Pipe<'a>(&'a [u8]);
        impl std::io::Read for Pipe<'_> {
            fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
                if self.0.is_empty() {
                    return Err(std::io::ErrorKind::WouldBlock.into());
                }
                self.0.read(buffer)
            }
        }
        impl std::io::Write for Pipe<'_> {
            fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
                Ok(buffer.len())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let config = WebSocketConfig::default().max_message_size(Some(MAX)).max_frame_size(Some(MAX));
        let mut socket = WebSocket::from_raw_socket(Pipe(bytes), Role::Server, Some(config));
        let mut events = Vec::new();
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => events.push(Event::Text(text.as_bytes().to_vec())),
                Ok(Message::Binary(bytes)) => events.push(Event::Binary(bytes.to_vec())),
                Ok(Message::Ping(bytes)) => events.push(Event::Ping(bytes.to_vec())),
                Ok(Message::Pong(_)) => events.push(Event::Pong),
                Ok(Message::Close(frame)) => {
                    events.push(Event::Close(frame.map(|frame| frame.code.into())));
                    return events;
                }
                Ok(Message::Frame(_)) => unreachable!(),
                Err(tokio_tungstenite::tungstenite::Error::Io(_)) => return events,
                Err(_) => {
                    events.push(Event::Refused);
                    return events;
                }
            }
        }
    }

    #[derive(Debug, Clone)]
    struct Sent {
        first: u8,
        masked: bool,
        key: [u8; 4],
        payload: Vec<u8>,
    }

    fn put(out: &mut Vec<u8>, frame: &Sent) {
        let mask = u8::from(frame.masked) << 7;
        out.push(frame.first);
        match frame.payload.len() {
            len @ 0..126 => out.push(mask | len as u8),
            len @ 126..65_536 => {
                out.push(mask | 126);
                out.extend_from_slice(&(len as u16).to_be_bytes());
            }
            len => {
                out.push(mask | 127);
                out.extend_from_slice(&(len as u64).to_be_bytes());
            }
        }
        if frame.masked {
            out.extend_from_slice(&frame.key);
        }
        let key = if frame.masked { frame.key } else { [0; 4] };
        out.extend(frame.payload.iter().zip(key.iter().cycle()).map(|(byte, key)| byte ^ key));
    }

    fn payload() -> impl Strategy<Value = Vec<u8>> {
        prop_oneof![
            6 => ".{0,60}".prop_map(String::into_bytes),
            2 => prop::collection::vec(any::<u8>(), 0..140),
            1 => (65_500usize..70_010).prop_map(|len| vec![b'x'; len]),
        ]
    }

    /// Without 1014, which is registered, but refused by tungstenite.
    fn close_payload() -> impl Strategy<Value = Vec<u8>> {
        (prop_oneof![Just(1000u16), Just(4000), 999u16..1014, 1015u16..1020], ".{0,20}").prop_map(
            |(code, reason)| {
                let mut payload = code.to_be_bytes().to_vec();
                payload.extend_from_slice(reason.as_bytes());
                payload
            },
        )
    }

    fn frame() -> impl Strategy<Value = Sent> {
        let data = (
            prop_oneof![4 => Just(0x81u8), 2 => Just(0x82), 2 => Just(0x01), 2 => Just(0x80), 2 => Just(0x00)],
            payload(),
        );
        let control =
            (prop_oneof![4 => Just(0x89u8), 4 => Just(0x8A)], prop::collection::vec(any::<u8>(), 0..130));
        let close = close_payload().prop_map(|payload| (0x88u8, payload));
        let odd = (any::<u8>(), payload());
        let first = prop_oneof![12 => data, 4 => control, 1 => close, 1 => odd];
        (first, prop::bool::weighted(0.98), any::<[u8; 4]>())
            .prop_map(|((first, payload), masked, key)| Sent { first, masked, key, payload })
    }

    proptest! {
        /// The same bytes mean the same to an independent implementation, however they arrive. It may check the UTF-8
        /// of a fragmented text before its end, so after a refusal only what came before is compared.
        #[test]
        fn agrees_with_tungstenite(
            frames in prop::collection::vec(frame(), 1..12),
            cuts in prop::collection::vec(any::<usize>(), 0..6),
        ) {
            let mut bytes = Vec::new();
            for frame in &frames {
                put(&mut bytes, frame);
            }
            let (ours, mut theirs) = (ours(&bytes, &cuts), theirs(&bytes));
            // It reports a code outside the registered ranges as refused only when it answers.
            if let (Some(Event::Refused), Some(Event::Close(Some(code)))) = (ours.last(), theirs.last())
                && !matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
            {
                theirs.pop();
                theirs.push(Event::Refused);
            }
            // It does not know 1014, which IANA registered after the RFC.
            if ours.last() == Some(&Event::Close(Some(1014))) && theirs.last() == Some(&Event::Close(Some(1002))) {
                theirs.pop();
                theirs.push(Event::Close(Some(1014)));
            }
            if theirs.last() == Some(&Event::Refused) || ours.last() == Some(&Event::Refused) {
                let before = |events: &[Event]| events.iter().take_while(|event| **event != Event::Refused).count();
                let common = before(&ours).min(before(&theirs));
                prop_assert_eq!(&ours[..common], &theirs[..common]);
            } else {
                prop_assert_eq!(ours, theirs);
            }
        }

        /// Anything at all: no panic, and never a message longer than allowed.
        #[test]
        fn survives_anything(bytes in prop::collection::vec(any::<u8>(), 0..400), cuts in prop::collection::vec(any::<usize>(), 0..4)) {
            ours(&bytes, &cuts);
        }
    }

    fn refused(bytes: &[u8]) -> Violation {
        Decoder::default().decode(&mut bytes.to_vec(), MAX).unwrap_err()
    }

    #[test]
    fn violations_have_their_codes() {
        assert_eq!(refused(&[0x81, 0x01, b'a']).close_code(), 1002);
        assert_eq!(refused(&[0xC1]).close_code(), 1002);
        assert_eq!(refused(&[0x83]).close_code(), 1002);
        assert_eq!(refused(&[0x09, 0x80, 0, 0, 0, 0]).close_code(), 1002);
        assert_eq!(refused(&[0x81, 0xFE, 0, 5, 0, 0, 0, 0]).close_code(), 1002);
        assert_eq!(refused(&[0x80, 0x80, 0, 0, 0, 0]).close_code(), 1002);
        assert_eq!(refused(&[0x81, 0x81, 0, 0, 0, 0, 0xFF]).close_code(), 1007);
        // Refused by its header, before a byte of it is kept.
        assert_eq!(refused(&[0x82, 0xFF, 0, 0, 0, 0, 0, 1, 0x20, 0, 1, 2, 3, 4]).close_code(), 1009);
    }

    #[test]
    fn fragments_together_obey_the_limit() {
        let mut decoder = Decoder::default();
        let mut first = Vec::new();
        put(&mut first, &Sent { first: 0x01, masked: true, key: [1, 2, 3, 4], payload: vec![b'a'; 60] });
        assert_eq!(decoder.decode(&mut first.clone(), 100), Ok(Some((66, Incoming::Fragment))));
        first[0] = 0x80;
        assert_eq!(decoder.decode(&mut first, 100), Err(Violation::TooLarge));
    }
}
