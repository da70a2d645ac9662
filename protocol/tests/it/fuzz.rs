//! The fuzz targets over their corpus and some thousand mutations of it: the same ones each time.

use std::path::PathBuf;

#[path = "../../fuzz/targets.rs"]
mod targets;

const MUTATIONS: u64 = 20_000;

/// xorshift64*: <https://www.jstatsoft.org/article/view/v008i14>. Good enough to pick bytes.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let random = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32;
        usize::try_from(random).unwrap() % end.max(1)
    }
}

fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    assert!(!paths.is_empty(), "{target}: no corpus");
    paths.iter().map(|path| std::fs::read(path).unwrap()).collect()
}

/// Bytes that mean something to JSON or Protobuf.
const TELLING: &[u8] = b"{}[]\",:\\u0-e.tn\x00\x01\x0a\x12\x7f\x80\xff";

fn mutate(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = corpus[random.below(corpus.len())].clone();
    for _ in 0..=random.below(4) {
        let (at, until) = (random.below(bytes.len() + 1), random.below(bytes.len() + 1));
        let (at, until) = (at.min(until), at.max(until));
        match random.below(6) {
            0 if at < bytes.len() => bytes[at] = TELLING[random.below(TELLING.len())],
            1 if at < bytes.len() => bytes[at] ^= 1 << random.below(8),
            2 => bytes.insert(at, TELLING[random.below(TELLING.len())]),
            3 => _ = bytes.drain(at..until),
            4 => bytes.extend_from_within(at..until),
            _ => {
                let other = &corpus[random.below(corpus.len())];
                let from = random.below(other.len() + 1);
                bytes.truncate(at);
                bytes.extend_from_slice(&other[from..]);
            }
        }
    }
    bytes
}

fn run(name: &str, target: fn(&[u8])) {
    let corpus = corpus(name);
    corpus.iter().for_each(|bytes| target(bytes));
    for seed in 1..=MUTATIONS {
        let bytes = mutate(&corpus, &mut Random(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15)));
        if std::panic::catch_unwind(|| target(&bytes)).is_err() {
            panic!("{name}: mutation {seed} fails: {:?}", String::from_utf8_lossy(&bytes));
        }
    }
}

#[test]
fn decode_json() {
    run("decode_json", targets::decode_json);
}

#[test]
fn decode_proto() {
    run("decode_proto", targets::decode_proto);
}

#[test]
fn decode_record() {
    run("decode_record", targets::decode_record);
}

#[test]
fn roundtrip() {
    run("roundtrip", targets::roundtrip);
}
