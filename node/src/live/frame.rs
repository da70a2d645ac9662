//! Ready WebSocket frames of a server: header and payload, unmasked (RFC 6455, section 5.2).
//!
//! Everything that leaves the node is written here once and shared from then on.

/// Opcode of a text message.
pub const TEXT: u8 = 1;
/// Opcode of a binary message.
pub const BINARY: u8 = 2;
/// Opcode of a close frame.
pub const CLOSE: u8 = 8;
/// Opcode of a ping.
pub const PING: u8 = 9;
/// Opcode of a pong.
pub const PONG: u8 = 10;

/// The first byte of every frame here: the whole message is in it.
const FINAL: u8 = 0x80;

/// The longest header of a server's frame, in bytes.
const MAX_HEADER: usize = 10;

/// Appends the header of a frame of `len` bytes of payload.
pub fn put_header(out: &mut Vec<u8>, opcode: u8, len: usize) {
    out.push(FINAL | opcode);
    match (u8::try_from(len), u16::try_from(len)) {
        (Ok(small), _) if small < 126 => out.push(small),
        (_, Ok(middle)) => {
            out.push(126);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
}

/// Appends a whole frame.
pub fn put_frame(out: &mut Vec<u8>, opcode: u8, payload: &[u8]) {
    out.reserve(payload.len() + MAX_HEADER);
    put_header(out, opcode, payload.len());
    out.extend_from_slice(payload);
}

/// Appends a close frame. `reason` is cut to the 123 bytes that fit, at a character.
pub fn put_close(out: &mut Vec<u8>, code: u16, reason: &str) {
    let mut end = reason.len().min(123);
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    put_header(out, CLOSE, 2 + end);
    out.extend_from_slice(&code.to_be_bytes());
    out.extend_from_slice(&reason.as_bytes()[..end]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_as_short_as_can_be() {
        for (len, header) in [
            (0, vec![0x81, 0]),
            (125, vec![0x81, 125]),
            (126, vec![0x81, 126, 0, 126]),
            (65_535, vec![0x81, 126, 255, 255]),
            (65_536, vec![0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]),
        ] {
            let mut out = Vec::new();
            put_header(&mut out, TEXT, len);
            assert_eq!(out, header, "{len}");
        }
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let mut out = Vec::new();
        put_close(&mut out, 4409, &"é".repeat(100));
        assert_eq!(out[..4], [0x88, 124, 0x11, 0x39]);
        assert_eq!(std::str::from_utf8(&out[4..]), Ok("é".repeat(61).as_str()));
    }
}
