//! A hasher for ids that the service itself made: they are random already.

use std::hash::{BuildHasher, Hasher};

/// Hashes a 128-bit id by mixing its halves. Not for what clients choose.
#[derive(Debug, Clone, Copy, Default)]
pub struct IdHasher;

impl BuildHasher for IdHasher {
    type Hasher = Mix;
    fn build_hasher(&self) -> Mix {
        Mix(0)
    }
}

/// See [`IdHasher`].
#[derive(Debug)]
pub struct Mix(u64);

impl Hasher for Mix {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_ne_bytes(word));
        }
    }
    fn write_u64(&mut self, value: u64) {
        // An odd constant with well spread bits (2^64 divided by the golden ratio).
        self.0 = (self.0 ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(29);
    }
    fn write_u128(&mut self, value: u128) {
        self.write_u64((value >> 64) as u64);
        // The lower half.
        #[expect(clippy::cast_possible_truncation)]
        self.write_u64(value as u64);
    }
}
