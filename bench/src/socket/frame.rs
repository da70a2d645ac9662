//! WebSocket frames (RFC 6455, section 5.2), as far as a load generator needs them.

/// Text.
pub const TEXT: u8 = 1;
/// Binary.
pub const BINARY: u8 = 2;
/// Close.
pub const CLOSE: u8 = 8;
/// Ping.
pub const PING: u8 = 9;
/// Pong.
pub const PONG: u8 = 10;

const FIN: u8 = 0x80;
const MASKED: u8 = 0x80;

/// One frame from a server.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// What kind.
    pub opcode: u8,
    /// What it carries.
    pub payload: &'a [u8],
    /// Bytes with its header.
    pub len: usize,
}

/// The bytes are not what a server may send.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Servers must not mask.
    #[error("a masked frame from the server")]
    Masked,
    /// We never ask for fragments or extensions.
    #[error("a frame with bits that were not agreed on (first byte {0:#04x})")]
    Bits(u8),
}

/// The first frame in `bytes`; `None`: it is not complete yet.
///
/// # Errors
/// [`Broken`].
#[inline]
pub fn first(bytes: &[u8]) -> Result<Option<Frame<'_>>, Broken> {
    let [first, second, rest @ ..] = bytes else { return Ok(None) };
    if first & 0xf0 != FIN {
        return Err(Broken::Bits(*first));
    }
    let (len, rest) = match *second {
        short @ 0..=125 => (usize::from(short), rest),
        126 => match rest {
            [a, b, rest @ ..] => (usize::from(u16::from_be_bytes([*a, *b])), rest),
            _ => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((len, rest)) => (usize::try_from(u64::from_be_bytes(*len)).unwrap_or(usize::MAX), rest),
            None => return Ok(None),
        },
        _ => return Err(Broken::Masked),
    };
    Ok(rest.get(..len).map(|payload| Frame {
        opcode: first & 0x0f,
        payload,
        len: bytes.len() - rest.len() + len,
    }))
}

/// A frame as a server sends it.
pub fn from_server(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(opcode, payload.len(), 0);
    frame.extend_from_slice(payload);
    frame
}

/// A frame as a client sends it, masked with the key 0: the server unmasks it at the usual cost, and we
/// can change the payload in place.
pub fn from_client(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = header(opcode, payload.len(), MASKED);
    frame.extend_from_slice(&[0; 4]);
    frame.extend_from_slice(payload);
    frame
}

fn header(opcode: u8, len: usize, mask: u8) -> Vec<u8> {
    let mut frame = Vec::with_capacity(len + 14);
    frame.push(FIN | opcode);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(short @ 0..=125), _) => frame.push(mask | short),
        (_, Ok(medium)) => {
            frame.push(mask | 126);
            frame.extend_from_slice(&medium.to_be_bytes());
        }
        _ => {
            frame.push(mask | 127);
            frame.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_every_length_are_walked() {
        let mut stream = Vec::new();
        let lengths = [0, 1, 125, 126, 127, 480, 65_535, 65_536, 100_000];
        for len in lengths {
            stream.extend(from_server(TEXT, &vec![b'x'; len]));
        }
        let mut rest = &stream[..];
        for len in lengths {
            let frame = first(rest).unwrap().unwrap();
            assert_eq!((frame.opcode, frame.payload.len()), (TEXT, len));
            for cut in [0, 1, 3, frame.len - 1] {
                assert_eq!(first(&rest[..cut.min(frame.len - 1)]), Ok(None));
            }
            rest = &rest[frame.len..];
        }
        assert!(rest.is_empty());
    }

    #[test]
    fn what_no_server_may_send_is_refused() {
        assert_eq!(first(&from_client(TEXT, b"hello")), Err(Broken::Masked));
        assert_eq!(first(&[0x01, 0]), Err(Broken::Bits(0x01)));
        assert_eq!(first(&[0xc1, 0]), Err(Broken::Bits(0xc1)));
    }
}
