//! No frame makes its reader allocate more than `FACTOR` times its length and `SPARE`.

// Counting what is allocated needs an allocator, and that trait is unsafe: this one only counts and passes on.
#![allow(unsafe_code)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use crate::frames;
use rookery_protocol::{MAX_ROOMS, Subprotocol};

/// What `Subprotocol::decode` promises.
const FACTOR: usize = 32;
const SPARE: usize = 1024;

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

fn grown(by: usize) {
    // Memory freed here may come from another thread: what is live may wrap, differences hold.
    let live = LIVE.get().wrapping_add(by);
    LIVE.set(live);
    if live < usize::MAX / 2 {
        PEAK.set(PEAK.get().max(live));
    }
}

unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        grown(layout.size());
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().wrapping_sub(layout.size()));
        unsafe { System.dealloc(at, layout) }
    }
    // `realloc` stays the default one, which holds the old and the new block together: the worst case.
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Bytes held at the worst moment of `work`.
fn peak(work: impl FnOnce()) -> usize {
    LIVE.set(0);
    PEAK.set(0);
    work();
    PEAK.get()
}

fn check(what: &str, subprotocol: Subprotocol, bytes: &[u8]) {
    let used = peak(|| drop(subprotocol.decode(bytes, usize::MAX)));
    assert!(
        used <= FACTOR * bytes.len() + SPARE,
        "{what}: {used} bytes for a frame of {}, {} times as many",
        bytes.len(),
        used / bytes.len().max(1)
    );
}

fn field(number: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    prost::encode_length_delimiter(body.len(), &mut out).unwrap();
    out.extend_from_slice(body);
    out
}

#[test]
fn frames_allocate_about_their_length() {
    for (name, frame) in frames::from_clients() {
        for subprotocol in Subprotocol::ALL {
            let mut bytes = vec![];
            subprotocol.encode_client(&frame, &mut bytes);
            check(name, subprotocol, &bytes);
        }
    }
}

#[test]
fn hostile_json_allocates_no_more() {
    let rooms = |count: usize| (0..count).map(|at| format!("\"{at:x}\"")).collect::<Vec<_>>();
    let resume = |count: usize| rooms(count).iter().map(|room| format!("{room}:1")).collect::<Vec<_>>();
    for count in [1, 10, 5_000, MAX_ROOMS, MAX_ROOMS + 1, 50_000] {
        let list = rooms(count).join(",");
        check("rooms", Subprotocol::Json, format!(r#"{{"t":"hello","rooms":[{list}]}}"#).as_bytes());
        let map = resume(count).join(",");
        check("resume", Subprotocol::Json, format!(r#"{{"t":"hello","resume":{{{map}}}}}"#).as_bytes());
        let list = vec!["\"a\""; count].join(",");
        check("one room often", Subprotocol::Json, format!(r#"{{"t":"hello","rooms":[{list}]}}"#).as_bytes());
    }
    for (open, close) in [("[", "]"), ("{\"a\":", "}"), ("\"", "\""), ("\"\\n", "\""), ("1", "1")] {
        let nested = format!("{}{}", open.repeat(60_000), close.repeat(60_000));
        for key in ["x", "t", "id", "room", "text", "resume", "rooms"] {
            for t in ["ping", "send", "hello", "nothing"] {
                check("nested", Subprotocol::Json, format!(r#"{{"t":"{t}","{key}":{nested}}}"#).as_bytes());
                check("unfinished", Subprotocol::Json, format!(r#"{{"t":"{t}","{key}":{nested}"#).as_bytes());
            }
        }
    }
    let escaped = format!(r#"{{"t":"typing","room":"{}"}}"#, "\\u0000".repeat(10_000));
    check("escapes", Subprotocol::Json, escaped.as_bytes());
    let keys = format!(r#"{{{}"t":"ping"}}"#, r#""\u0061\u0061":1,"#.repeat(10_000));
    check("escaped keys", Subprotocol::Json, keys.as_bytes());
    let unknown = format!(r#"{{"t":"{}"}}"#, "\\u0001".repeat(10_000));
    check("an escaped type", Subprotocol::Json, unknown.as_bytes());
}

#[test]
fn hostile_protobuf_allocates_no_more() {
    for count in [1, 10, 5_000, MAX_ROOMS, MAX_ROOMS + 1, 50_000] {
        let rooms = field(2, &field(5, &field(2, b"").repeat(count)));
        check("empty rooms", Subprotocol::Proto, &rooms);
        let pieces = field(2, &field(5, &field(2, b""))).repeat(count);
        check("a hello in pieces", Subprotocol::Proto, &pieces);
        let resume: Vec<u8> =
            (0..count).flat_map(|at| field(4, &field(1, format!("{at:x}").as_bytes()))).collect();
        check("resume", Subprotocol::Proto, &field(2, &resume));
    }
    // Lengths that promise more than there is.
    for claimed in [0x7F, 0xFF, 0xFFFF_FFFF, u64::MAX] {
        let mut bytes = vec![0x2A];
        prost::encoding::encode_varint(claimed, &mut bytes);
        bytes.extend_from_slice(&[0x0A; 20]);
        check("a false length", Subprotocol::Proto, &bytes);
        let mut inner = vec![0x12];
        prost::encoding::encode_varint(claimed, &mut inner);
        check("a false inner length", Subprotocol::Proto, &field(5, &inner));
    }
}
