//! The stamp in a message's text: a mark that is found without parsing the frame, and the time the message was due.
//!
//! It is plain lower-case ASCII, so JSON and Protobuf carry it as it is.

/// What a stamp starts with.
const MARK: [u8; 8] = *b"~bench~:";

/// Bytes of a stamp: the mark and 16 letters `a` to `p`, four bits each, most significant first.
pub const LEN: usize = 24;

/// Writes the stamp at the start of `to`, which has at least [`LEN`] bytes.
pub fn write(to: &mut [u8], due: u64) {
    to[..8].copy_from_slice(&MARK);
    letters(&mut to[8..LEN], due);
}

/// Writes `value` as 16 letters to `to[..16]`.
pub fn letters(to: &mut [u8], value: u64) {
    for (i, letter) in to[..16].iter_mut().enumerate() {
        *letter = b'a' + u8::try_from((value >> (60 - 4 * i)) & 15).unwrap_or(0);
    }
}

/// Reads the stamp in `payload`. `hint` remembers where it was last time: frames of one kind have it in
/// the same place, so that the search is the exception.
#[inline]
pub fn read(payload: &[u8], hint: &mut usize) -> Option<u64> {
    if let Some(found) = payload.get(*hint..*hint + LEN)
        && found.starts_with(&MARK)
    {
        return value(found);
    }
    let at = find(payload)?;
    *hint = at;
    value(payload.get(at..at + LEN)?)
}

/// Where a stamp starts in `bytes`.
pub fn find(bytes: &[u8]) -> Option<usize> {
    memchr::memmem::find(bytes, &MARK)
}

#[inline]
fn value(stamp: &[u8]) -> Option<u64> {
    let high = u64::from_be_bytes(stamp.get(8..16)?.try_into().ok()?);
    let low = u64::from_be_bytes(stamp.get(16..24)?.try_into().ok()?);
    Some((gather(high) << 32) | gather(low))
}

/// Eight letters to 32 bits, all at once.
#[inline]
fn gather(letters: u64) -> u64 {
    let nibbles = letters.wrapping_sub(0x6161_6161_6161_6161) & 0x0f0f_0f0f_0f0f_0f0f;
    let bytes = (nibbles | (nibbles >> 4)) & 0x00ff_00ff_00ff_00ff;
    let halves = (bytes | (bytes >> 8)) & 0x0000_ffff_0000_ffff;
    (halves | (halves >> 16)) & 0xffff_ffff
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_where_it_stands() {
        for value in [0, 1, 0xf, 0x0123_4567_89ab_cdef, u64::MAX, 86_400_000_000_000] {
            let mut frame = b"{\"text\":\"".to_vec();
            let at = frame.len();
            frame.resize(at + LEN, 0);
            write(&mut frame[at..], value);
            frame.extend_from_slice(b"....\"}");
            let mut hint = 0;
            assert_eq!(read(&frame, &mut hint), Some(value));
            assert_eq!(hint, at);
            assert_eq!(read(&frame, &mut hint), Some(value), "by the hint");
            frame.insert(0, b' ');
            assert_eq!(read(&frame, &mut hint), Some(value), "moved");
        }
    }

    #[test]
    fn what_is_no_stamp_is_not_read() {
        let mut hint = 3;
        for bytes in [&b""[..], b"{}", b"~bench~:", b"~bench~:abc", b"{\"t\":\"ok\",\"re\":1000000000000000}"]
        {
            assert_eq!(read(bytes, &mut hint), None);
        }
    }
}
