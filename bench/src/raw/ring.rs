//! The newest frames of one room, back to back: a stretch of them is one slice to write.

use std::io::IoSlice;

use crate::{load::stamp, socket::frame};

/// Frames of equal length. A position counts bytes from the room's first frame on.
#[derive(Debug)]
pub(super) struct Ring {
    frame: Vec<u8>,
    stamp_at: usize,
    bytes: Vec<u8>,
    /// Position after the newest frame.
    end: u64,
}

impl Ring {
    /// Room for `frames` frames of `frame_bytes` bytes (as near as a WebSocket header allows).
    pub(super) fn new(frame_bytes: usize, frames: usize) -> Self {
        // A header of 2 bytes carries up to 125, one of 4 up to 65,535, which is enough here.
        let payload = if frame_bytes <= 127 { frame_bytes.max(stamp::LEN + 2) - 2 } else { frame_bytes - 4 };
        let mut text = vec![b'.'; payload];
        // About where a real frame has it: after what comes before the text.
        let at = (payload - stamp::LEN) / 2;
        stamp::write(&mut text[at..], 0);
        let frame = frame::from_server(frame::TEXT, &text);
        let stamp_at = frame.len() - payload + at;
        Self { bytes: vec![0; frame.len() * frames], frame, stamp_at, end: 0 }
    }

    fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Adds the message due at `due`.
    pub(super) fn push(&mut self, due: u64) {
        let at = self.offset(self.end);
        stamp::write(&mut self.frame[self.stamp_at..], due);
        self.bytes[at..at + self.frame.len()].copy_from_slice(&self.frame);
        self.end += self.frame.len() as u64;
    }

    /// Position after the newest frame.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// How many whole frames a reader at `position` has lost, and where he goes on.
    pub(super) fn skip_lost(&self, position: u64) -> (u64, u64) {
        let oldest = self.end.saturating_sub(self.len());
        if position >= oldest {
            return (0, position);
        }
        // The ring holds whole frames: the rest of a frame begun is there, if of a later message.
        let lost = (oldest - position).div_ceil(self.frame.len() as u64);
        (lost, position + lost * self.frame.len() as u64)
    }

    /// What is to write from `position` to the end of its frame.
    pub(super) fn one(&self, position: u64) -> &[u8] {
        let len = self.frame.len() as u64;
        let rest = usize::try_from(len - position % len).unwrap_or(0);
        let at = self.offset(position);
        &self.bytes[at..at + rest]
    }

    /// All there is to write from `position` on.
    pub(super) fn all(&self, position: u64) -> [IoSlice<'_>; 2] {
        let waiting = usize::try_from(self.end - position).unwrap_or(0);
        let at = self.offset(position);
        let first = waiting.min(self.bytes.len() - at);
        [IoSlice::new(&self.bytes[at..at + first]), IoSlice::new(&self.bytes[..waiting - first])]
    }

    fn offset(&self, position: u64) -> usize {
        usize::try_from(position % self.len()).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_come_out_as_they_went_in() {
        for frame_bytes in [100, 127, 480] {
            let mut ring = Ring::new(frame_bytes, 8);
            assert_eq!(ring.frame.len(), frame_bytes);
            let (mut position, mut hint) = (0, 0);
            for round in 0..20_u64 {
                (0..3).for_each(|k| ring.push(round * 3 + k));
                let whole: Vec<u8> = ring.all(position).iter().flat_map(|part| part.to_vec()).collect();
                assert_eq!(ring.one(position), &whole[..frame_bytes]);
                assert_eq!(ring.one(position + 7), &whole[7..frame_bytes]);
                let mut rest = &whole[..];
                for k in 0..3 {
                    let frame = frame::first(rest).unwrap().unwrap();
                    assert_eq!(stamp::read(frame.payload, &mut hint), Some(round * 3 + k));
                    rest = &rest[frame.len..];
                }
                assert!(rest.is_empty());
                position = ring.end();
            }
        }
    }

    #[test]
    fn a_reader_too_far_behind_loses_whole_frames() {
        let mut ring = Ring::new(200, 4);
        (0..6).for_each(|due| ring.push(due));
        assert_eq!(ring.skip_lost(0), (2, 400));
        assert_eq!(ring.skip_lost(150), (2, 550), "the frame begun is finished with later bytes");
        assert_eq!(ring.skip_lost(400), (0, 400));
    }
}
