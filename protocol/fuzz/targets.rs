//! What is fuzzed. Each function takes any bytes and panics when a promise does not hold; the fuzz targets call them
//! with what a fuzzer thinks of, `tests/it/fuzz.rs` with the corpus and mutations of it.

use prost::Message;
use rookery_protocol::{Subprotocol, log};

/// Longer ones are refused before they are looked at.
const MAX_LEN: usize = 65_536;

/// Text frames: what is read can be written and read again, and every refusal can be told.
pub(crate) fn decode_json(bytes: &[u8]) {
    decode(Subprotocol::Json, bytes);
}

/// Binary frames: as text frames.
pub(crate) fn decode_proto(bytes: &[u8]) {
    decode(Subprotocol::Proto, bytes);
}

fn decode(subprotocol: Subprotocol, bytes: &[u8]) {
    let mut out = Vec::new();
    match subprotocol.decode(bytes, MAX_LEN) {
        Ok(frame) => {
            subprotocol.encode_client(&frame, &mut out);
            assert_eq!(subprotocol.decode(&out, usize::MAX).as_ref(), Ok(&frame));
        }
        Err(error) => {
            for subprotocol in Subprotocol::ALL {
                out.clear();
                subprotocol.encode(&error.answer(), &mut out);
                assert_eq!(subprotocol.decode_server(&out, usize::MAX), Ok(error.answer()));
            }
        }
    }
    if let Ok(frame) = subprotocol.decode_server(bytes, MAX_LEN) {
        out.clear();
        subprotocol.encode(&frame, &mut out);
        assert_eq!(subprotocol.decode_server(&out, usize::MAX), Ok(frame));
    }
}

/// What one subprotocol reads, the other carries too.
pub(crate) fn roundtrip(bytes: &[u8]) {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for (from, to) in [(Subprotocol::Proto, Subprotocol::Json), (Subprotocol::Json, Subprotocol::Proto)] {
        // Compared from the first crossing on: JSON says "all" without the rooms beside it, and no times beyond year 9999.
        if let Ok(frame) = from.decode(bytes, MAX_LEN) {
            first.clear();
            to.encode_client(&frame, &mut first);
            let crossed = to.decode(&first, usize::MAX).expect("what one reads, the other does");
            second.clear();
            from.encode_client(&crossed, &mut second);
            assert_eq!(from.decode(&second, usize::MAX), Ok(crossed));
        }
        if let Ok(frame) = from.decode_server(bytes, MAX_LEN) {
            first.clear();
            to.encode(&frame, &mut first);
            let crossed = to.decode_server(&first, usize::MAX).expect("what one reads, the other does");
            second.clear();
            from.encode(&crossed, &mut second);
            assert_eq!(from.decode_server(&second, usize::MAX), Ok(crossed));
        }
    }
}

/// Records of a log: whatever the disk says, reading it ends, and what is read can be written and read again.
pub(crate) fn decode_record(bytes: &[u8]) {
    let Ok(sealed) = log::SealedRecord::decode(bytes) else { return };
    assert_eq!(log::SealedRecord::decode(sealed.encode_to_vec().as_slice()).as_ref(), Ok(&sealed));
    if let Ok(record) = log::Record::decode(sealed.body.as_ref()) {
        assert_eq!(log::Record::decode(record.encode_to_vec().as_slice()), Ok(record));
    }
}
