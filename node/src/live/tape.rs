//! A room's tape: the frames that its connections have yet to write, once for all of them.
//!
//! Frames stand one after another at absolute positions (bytes since the tape began). A connection holds a
//! position, not a queue: to publish is to append once, whoever reads and however slowly. Frames lie in pieces as
//! they came; a reader that is far behind finds many small ones and joins them for everybody, so that it can
//! write much with few slices.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;

/// Pieces up to this size are joined with their neighbours, in bytes.
const SMALL: usize = 16 * 1024;
/// Joined pieces do not grow beyond this, in bytes.
const BLOCK: usize = 64 * 1024;
/// A read that would return more pieces than this joins them first.
const FEW: usize = 4;

/// Whole frames to append at once.
#[derive(Debug, Default)]
pub struct Batch {
    /// The frames.
    pub bytes: Vec<u8>,
    marks: Vec<(usize, Option<u64>)>,
}

impl Batch {
    /// Says that `bytes` now ends with a whole frame; `seq` if it is a durable event.
    pub fn end_frame(&mut self, seq: Option<u64>) {
        self.marks.push((self.bytes.len(), seq));
    }

    /// No frame is in here.
    pub fn is_empty(&self) -> bool {
        self.marks.is_empty()
    }

    /// Number of frames.
    pub fn len(&self) -> usize {
        self.marks.len()
    }

    /// Forgets all frames, keeping a little memory for the next.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.bytes.shrink_to(BLOCK);
        self.marks.clear();
    }
}

/// The tape no longer has, or never had, what was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotHeld;

/// Bytes of a tape: those of `piece` from `from` on.
#[derive(Debug, Clone)]
pub struct Chunk {
    piece: Arc<[u8]>,
    from: usize,
    to: usize,
}

impl Chunk {
    /// The bytes; never empty.
    pub fn bytes(&self) -> &[u8] {
        &self.piece[self.from..self.to]
    }
}

#[derive(Debug)]
struct Piece {
    start: u64,
    bytes: Arc<[u8]>,
}

impl Piece {
    fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }
}

/// End of a frame, and the newest durable event up to there.
#[derive(Debug, Clone, Copy)]
struct Mark {
    end: u64,
    seq: u64,
}

#[derive(Debug)]
struct Inner {
    pieces: VecDeque<Piece>,
    marks: VecDeque<Mark>,
    /// The newest durable event before the first frame held.
    base: u64,
    end: u64,
}

/// See the module's text. One per room and subprotocol, while somebody follows the room in it.
#[derive(Debug)]
pub struct Tape {
    inner: Mutex<Inner>,
}

impl Tape {
    /// An empty tape, to carry the events after `seq`.
    pub fn new(seq: u64) -> Self {
        Self {
            inner: Mutex::new(Inner { pieces: VecDeque::new(), marks: VecDeque::new(), base: seq, end: 0 }),
        }
    }

    /// Appends frames and returns the position after them.
    pub fn append(&self, batch: &Batch) -> u64 {
        let bytes: Arc<[u8]> = Arc::from(batch.bytes.as_slice());
        let mut inner = self.inner.lock();
        let start = inner.end;
        let mut seq = inner.last_seq();
        for &(end, event) in &batch.marks {
            seq = event.unwrap_or(seq);
            inner.marks.push_back(Mark { end: start + end as u64, seq });
        }
        inner.end = start + bytes.len() as u64;
        if !bytes.is_empty() {
            inner.pieces.push_back(Piece { start, bytes });
        }
        inner.end
    }

    /// Puts up to `room` pieces of what stands at `from` and after, but before `until`, into `into`.
    ///
    /// # Errors
    /// [`NotHeld`]: `from` was cut off already.
    pub fn read(&self, from: u64, until: u64, room: usize, into: &mut Vec<Chunk>) -> Result<(), NotHeld> {
        let mut inner = self.inner.lock();
        if from < inner.start() {
            return Err(NotHeld);
        }
        let mut first = inner.pieces.partition_point(|piece| piece.end() <= from);
        if inner.pieces.len() - first > FEW {
            inner.join(first);
            first = inner.pieces.partition_point(|piece| piece.end() <= from);
        }
        for piece in inner.pieces.range(first..).take(room) {
            if piece.start >= until {
                break;
            }
            let within = |position: u64| {
                usize::try_from(position).map_or(piece.bytes.len(), |at| at.min(piece.bytes.len()))
            };
            let from = within(from.saturating_sub(piece.start));
            let to = within(until - piece.start);
            into.push(Chunk { piece: piece.bytes.clone(), from, to });
        }
        Ok(())
    }

    /// Position after the last frame.
    pub fn end(&self) -> u64 {
        self.inner.lock().end
    }

    /// The newest durable event on the tape, or the one before its beginning.
    pub fn last_seq(&self) -> u64 {
        self.inner.lock().last_seq()
    }

    /// Bytes held.
    pub fn held(&self) -> u64 {
        let inner = self.inner.lock();
        inner.end - inner.start()
    }

    /// Position from which a reader gets exactly the events after `seq`, if the tape has them all and has reached `seq`.
    pub fn position_after(&self, seq: u64) -> Option<u64> {
        let inner = self.inner.lock();
        if seq < inner.base || seq > inner.last_seq() {
            return None;
        }
        if seq == inner.base {
            return Some(inner.start());
        }
        let at = inner.marks.partition_point(|mark| mark.seq < seq);
        inner.marks.get(at).map(|mark| mark.end)
    }

    /// End of the frame in which `position` lies, or `position` itself if it is between two.
    pub fn frame_end(&self, position: u64) -> Option<u64> {
        let inner = self.inner.lock();
        if position == inner.start() || position == inner.end {
            return Some(position);
        }
        let at = inner.marks.partition_point(|mark| mark.end < position);
        inner.marks.get(at).map(|mark| mark.end)
    }

    /// Cuts off whole pieces before `position`.
    pub fn cut(&self, position: u64) {
        let mut inner = self.inner.lock();
        while inner.pieces.front().is_some_and(|piece| piece.end() <= position) {
            inner.pieces.pop_front();
        }
        let start = inner.start();
        while let Some(mark) = inner.marks.front().filter(|mark| mark.end <= start) {
            inner.base = mark.seq;
            inner.marks.pop_front();
        }
        // What a burst took is given back.
        if inner.marks.capacity() > 64 && inner.marks.len() * 4 < inner.marks.capacity() {
            inner.marks.shrink_to_fit();
            inner.pieces.shrink_to_fit();
        }
    }
}

impl Inner {
    fn start(&self) -> u64 {
        self.pieces.front().map_or(self.end, |piece| piece.start)
    }

    fn last_seq(&self) -> u64 {
        self.marks.back().map_or(self.base, |mark| mark.seq)
    }

    /// Joins neighbouring small pieces from index `first` on into blocks.
    fn join(&mut self, first: usize) {
        let old = self.pieces.split_off(first);
        let mut run: Vec<Piece> = Vec::new();
        let mut size = 0;
        for piece in old {
            let len = piece.bytes.len();
            if len >= SMALL || size + len > BLOCK {
                self.push_joined(&mut run, size);
                size = 0;
            }
            if len >= SMALL {
                self.pieces.push_back(piece);
            } else {
                size += len;
                run.push(piece);
            }
        }
        self.push_joined(&mut run, size);
    }

    fn push_joined(&mut self, run: &mut Vec<Piece>, size: usize) {
        if run.len() < 2 {
            self.pieces.extend(run.drain(..));
            return;
        }
        let mut block = Vec::with_capacity(size);
        let start = run[0].start;
        for piece in run.drain(..) {
            block.extend_from_slice(&piece.bytes);
        }
        self.pieces.push_back(Piece { start, bytes: block.into() });
    }
}

#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "small numbers of tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Clone)]
    enum Step {
        Append(Vec<(u16, bool)>),
        Read(usize, usize, usize),
        Cut(u16),
    }

    fn step() -> impl Strategy<Value = Step> {
        let frame = (prop_oneof![4 => 1u16..50, 1 => 1u16..20_000], any::<bool>());
        prop_oneof![
            4 => prop::collection::vec(frame, 1..8).prop_map(Step::Append),
            4 => (0usize..4, 1usize..10, 1usize..30_000).prop_map(|(r, p, n)| Step::Read(r, p, n)),
            1 => any::<u16>().prop_map(Step::Cut),
        ]
    }

    fn collect(chunks: &[Chunk]) -> Vec<u8> {
        chunks.iter().flat_map(|chunk| chunk.bytes().to_vec()).collect()
    }

    proptest! {
        /// Against the model of one long string: whatever is appended, read, joined and cut in between, a reader
        /// gets exactly the bytes from its position on, and positions after events are where they were put.
        #[test]
        fn readers_get_exactly_what_was_appended(steps in prop::collection::vec(step(), 1..60)) {
            let tape = Tape::new(7);
            let mut model: Vec<u8> = Vec::new();
            let mut seq = 7;
            let mut after = std::collections::BTreeMap::from([(7u64, 0u64)]);
            let mut ends = vec![0u64];
            let mut readers = [0u64; 4];
            let mut cut = 0u64;
            for step in steps {
                match step {
                    Step::Append(frames) => {
                        let mut batch = Batch::default();
                        for (len, durable) in frames {
                            let byte = (model.len() + batch.bytes.len()) as u8;
                            batch.bytes.extend((0..len).map(|i| byte.wrapping_add(i as u8)));
                            seq += u64::from(durable);
                            batch.end_frame(durable.then_some(seq));
                            let end = (model.len() + batch.bytes.len()) as u64;
                            ends.push(end);
                            if durable {
                                after.insert(seq, end);
                            }
                        }
                        model.extend_from_slice(&batch.bytes);
                        prop_assert_eq!(tape.append(&batch), model.len() as u64);
                        prop_assert_eq!(tape.last_seq(), seq);
                    }
                    Step::Read(reader, pieces, most) => {
                        let from = readers[reader];
                        let until = (from + most as u64).min(model.len() as u64);
                        let mut chunks = Vec::new();
                        let start = tape.end() - tape.held();
                        prop_assert!(start <= cut.max(start));
                        if tape.read(from, until, pieces, &mut chunks).is_ok() {
                            let got = collect(&chunks);
                            prop_assert!(chunks.len() <= pieces);
                            prop_assert_eq!(&got[..], &model[from as usize..from as usize + got.len()]);
                            prop_assert!(from == until || !got.is_empty());
                            readers[reader] = from + got.len() as u64;
                            let whole = ends.iter().copied().find(|&end| end >= readers[reader]);
                            prop_assert_eq!(tape.frame_end(readers[reader]), whole);
                        } else {
                            prop_assert!(from < start);
                            readers[reader] = start;
                        }
                    }
                    Step::Cut(share) => {
                        cut = cut.max(model.len() as u64 * u64::from(share) / 65_535);
                        tape.cut(cut);
                    }
                }
                let start = tape.end() - tape.held();
                prop_assert!(start <= cut);
                for (&seq, &position) in &after {
                    let found = tape.position_after(seq);
                    if let Some(found) = found {
                        // Frames that are no events may stand before the first event held.
                        prop_assert!(found == position || (found == start && position < start), "{} {}", found, position);
                    } else {
                        prop_assert!(position < start);
                    }
                }
                prop_assert_eq!(tape.position_after(seq + 1), None);
            }
        }
    }

    #[test]
    fn a_reader_far_behind_gets_few_pieces() {
        let tape = Tape::new(0);
        for seq in 1..=2000 {
            let mut batch = Batch::default();
            batch.bytes.resize(100, 1);
            batch.end_frame(Some(seq));
            tape.append(&batch);
        }
        let mut chunks = Vec::new();
        assert_eq!(tape.read(0, tape.end(), 64, &mut chunks), Ok(()));
        assert_eq!(collect(&chunks).len(), 200_000);
        assert!(chunks.len() <= 4, "{}", chunks.len());
    }
}
