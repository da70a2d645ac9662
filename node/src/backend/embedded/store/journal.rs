//! Checks the engine's journals before it opens them.
//!
//! fjall 3.1 cuts a journal off at the first thing it cannot read, wherever that is, and refuses one whose last batch has
//! a wrong checksum. We want it the other way round: what a crash left of the batch that was being written was never
//! acknowledged and is cut off, whether it is short or garbled; damage with whole batches after it is refused, for
//! those were acknowledged. Since a batch is synced before the next is written, nothing else can be torn.
//! (Not told apart from a torn write: damage to the very last batch.)
//!
//! The format is that of `fjall-3.1.13/src/journal/entry.rs`, integers little endian; its version is in the trailer:
//! a batch is `1 count:u32 seqno:u64`, its items, `3 xxh3(items):u64 "FJL\x03"`; an item is
//! `2 type:u8 compression:u8 keyspace:u64 key_len:u16 len:u32 stored_len:u32 key value` or `4 keyspace:u64`.

use std::{
    fs::{self, File, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_64;

use super::open::OpenError;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8] = b"FJL\x03";
const ZEROS: [u8; 4096] = [0; 4096];

/// Checks all journals in `dir`, and cuts the torn end off the newest.
pub(super) fn check(dir: &Path) -> Result<(), OpenError> {
    let mut journals = list(dir).map_err(|source| io_error("list", dir, source))?;
    journals.sort_unstable();
    let newest = journals.len().saturating_sub(1);
    for (index, (_, path)) in journals.iter().enumerate() {
        let bytes = fs::read(path).map_err(|source| io_error("read", path, source))?;
        match verdict(&bytes) {
            Verdict::Whole => {}
            // Journals before the newest were synced as a whole before it was made.
            Verdict::Torn(at) if index == newest => {
                tracing::warn!(path = %path.display(), at, "cut off a write that a crash left unfinished");
                truncate(path, at).map_err(|source| io_error("truncate", path, source))?;
            }
            Verdict::Torn(at) | Verdict::Damaged(at) => {
                return Err(OpenError::Damaged { path: path.clone(), offset: at as u64 });
            }
        }
    }
    Ok(())
}

fn io_error(what: &'static str, path: &Path, source: io::Error) -> OpenError {
    OpenError::Io { what, path: path.into(), source }
}

fn list(dir: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut journals = Vec::new();
    for file in fs::read_dir(dir)? {
        let path = file?.path();
        if path.extension().is_some_and(|ext| ext == "jnl")
            && let Some(Ok(number)) = path.file_stem().and_then(|stem| stem.to_str()).map(str::parse)
        {
            journals.push((number, path));
        }
    }
    Ok(journals)
}

fn truncate(path: &Path, len: usize) -> io::Result<()> {
    let file: File = OpenOptions::new().write(true).open(path)?;
    file.set_len(len as u64)?;
    file.sync_all()
}

/// What is to be said of a journal; with the offset at which whole batches end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    /// Batches, then nothing or the zeros of space set aside.
    Whole,
    /// Something that is no batch, and no batch after it.
    Torn(usize),
    /// The same with a batch after it.
    Damaged(usize),
}

fn verdict(bytes: &[u8]) -> Verdict {
    let mut at = 0;
    while let Some(next) = batch(bytes, at) {
        at = next;
    }
    let rest = &bytes[at..];
    if rest.chunks(ZEROS.len()).all(|chunk| chunk == &ZEROS[..chunk.len()]) {
        return Verdict::Whole;
    }
    let another = (at + 1..bytes.len()).any(|later| bytes[later] == START && batch(bytes, later).is_some());
    if another { Verdict::Damaged(at) } else { Verdict::Torn(at) }
}

/// If a whole batch starts at `at`: where it ends.
pub(super) fn batch(bytes: &[u8], at: usize) -> Option<usize> {
    let mut cursor = Cursor { bytes, at };
    if cursor.u8()? != START {
        return None;
    }
    let count = cursor.number(4)?;
    cursor.number(8)?;
    let items = cursor.at;
    for _ in 0..count {
        match cursor.u8()? {
            ITEM => {
                cursor.take(2)?;
                cursor.number(8)?;
                let key = cursor.number(2)?;
                cursor.number(4)?;
                let value = cursor.number(4)?;
                cursor.take(usize::try_from(key).ok()?)?;
                cursor.take(usize::try_from(value).ok()?)?;
            }
            CLEAR => {
                cursor.number(8)?;
            }
            _ => return None,
        }
    }
    let end = cursor.at;
    if cursor.u8()? != END {
        return None;
    }
    let checksum = cursor.number(8)?;
    let whole = cursor.take(TRAILER.len())? == TRAILER && xxh3_64(&bytes[items..end]) == checksum;
    whole.then_some(cursor.at)
}

struct Cursor<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Cursor<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(len)?)?;
        self.at += len;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1).map(|byte| byte[0])
    }

    fn number(&mut self, len: usize) -> Option<u64> {
        let bytes = self.take(len)?;
        Some(bytes.iter().rev().fold(0, |value, &byte| value << 8 | u64::from(byte)))
    }
}
