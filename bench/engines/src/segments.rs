//! The least that a log of one's own can be: frames with a checksum in 64 MiB segments, and an index in memory that is
//! rebuilt at start. It has no rows, no index on disk and nothing to remove old rows: what it does is the limit for
//! what a complete one could do.

use std::{
    collections::HashMap,
    fs::{File, OpenOptions},
    hint::black_box,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
};

use xxhash_rust::xxh3::xxh3_64;

use crate::engine::{Engine, Record};

const SEGMENT: u64 = 64 << 20;
const FRAME_HEAD: usize = 16;
const RECORD_HEAD: usize = 20;

#[derive(Clone, Copy)]
struct Place {
    segment: u32,
    offset: u32,
    len: u32,
}

pub struct Segments {
    dir: PathBuf,
    files: Vec<File>,
    end: u64,
    index: HashMap<u64, Vec<Place>>,
    frame: Vec<u8>,
}

impl Segments {
    pub fn open(dir: &Path) -> Self {
        let mut this = Self { dir: dir.into(), files: vec![], end: 0, index: HashMap::new(), frame: vec![] };
        while let Ok(file) = OpenOptions::new().read(true).write(true).open(this.path(this.files.len())) {
            let bytes = std::fs::read(this.path(this.files.len())).expect("read");
            this.end = this.recover(&bytes);
            this.files.push(file);
        }
        if this.files.is_empty() {
            this.roll();
        }
        this
    }

    fn path(&self, segment: usize) -> PathBuf {
        self.dir.join(format!("{segment:08}.seg"))
    }

    fn roll(&mut self) {
        let path = self.path(self.files.len());
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path).expect("create");
        File::open(&self.dir).expect("dir").sync_all().expect("sync");
        self.files.push(file);
        self.end = 0;
    }

    /// Indexes the frames that are whole; says where they end.
    fn recover(&mut self, bytes: &[u8]) -> u64 {
        let mut at = 0;
        while let Some(head) = bytes.get(at..at + FRAME_HEAD) {
            let len = u64::from_le_bytes(head[..8].try_into().expect("8")) as usize;
            let sum = u64::from_le_bytes(head[8..].try_into().expect("8"));
            match bytes.get(at + FRAME_HEAD..at + FRAME_HEAD + len) {
                Some(frame) if len > 0 && xxh3_64(frame) == sum => {
                    self.note(at as u64 + FRAME_HEAD as u64, frame, self.files.len())
                }
                _ => break,
            }
            at += FRAME_HEAD + len;
        }
        at as u64
    }

    fn note(&mut self, base: u64, frame: &[u8], segment: usize) {
        let mut at = 0;
        while at < frame.len() {
            let room = u64::from_le_bytes(frame[at..at + 8].try_into().expect("8"));
            let len = u32::from_le_bytes(frame[at + 16..at + 20].try_into().expect("4"));
            let offset = (base + (at + RECORD_HEAD) as u64) as u32;
            self.index.entry(room).or_default().push(Place { segment: segment as u32, offset, len });
            at += RECORD_HEAD + len as usize;
        }
    }
}

impl Engine for Segments {
    fn append(&mut self, records: &[Record]) {
        let mut frame = std::mem::take(&mut self.frame);
        frame.clear();
        frame.resize(FRAME_HEAD, 0);
        for record in records {
            frame.extend_from_slice(&record.room.to_le_bytes());
            frame.extend_from_slice(&record.seq.to_le_bytes());
            frame.extend_from_slice(&(record.body.len() as u32).to_le_bytes());
            frame.extend_from_slice(&record.body);
        }
        let len = (frame.len() - FRAME_HEAD) as u64;
        let sum = xxh3_64(&frame[FRAME_HEAD..]);
        frame[..8].copy_from_slice(&len.to_le_bytes());
        frame[8..16].copy_from_slice(&sum.to_le_bytes());
        if self.end + frame.len() as u64 > SEGMENT {
            self.roll();
        }
        let file = self.files.last().expect("a segment");
        file.write_all_at(&frame, self.end).expect("write");
        file.sync_data().expect("sync");
        self.note(self.end + FRAME_HEAD as u64, &frame[FRAME_HEAD..], self.files.len() - 1);
        self.end += frame.len() as u64;
        self.frame = frame;
    }

    fn last(&self, room: u64, count: usize) -> usize {
        let places = self.index.get(&room).map_or(&[][..], Vec::as_slice);
        places
            .iter()
            .rev()
            .take(count)
            .map(|place| {
                let mut body = vec![0; place.len as usize];
                self.files[place.segment as usize]
                    .read_exact_at(&mut body, u64::from(place.offset))
                    .expect("read");
                black_box(body)
            })
            .count()
    }
}
