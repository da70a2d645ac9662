//! What is asked of an engine.

/// A record of a room.
#[derive(Clone)]
pub struct Record {
    pub room: u64,
    pub seq: u64,
    pub body: Vec<u8>,
}

impl Record {
    /// Room and sequence, so that a room's records are neighbours.
    pub fn key(&self) -> [u8; 24] {
        key(self.room, self.seq)
    }
}

pub fn key(room: u64, seq: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[8..16].copy_from_slice(&room.to_be_bytes());
    key[16..].copy_from_slice(&seq.to_be_bytes());
    key
}

pub trait Engine {
    /// Stores all of it in one atomic, durable step.
    fn append(&mut self, records: &[Record]);
    /// Reads the last `count` records of a room; says how many there were.
    fn last(&self, room: u64, count: usize) -> usize;
}
