//! What a frame may have besides what is needed.

use proptest::prelude::*;

use crate::frames;
use rookery_protocol::{
    Subprotocol,
    client::{ClientFrame, Message, Send, User, client_frame::Frame},
};

const MAX_LEN: usize = 1 << 20;

fn json(text: &str) -> ClientFrame {
    Subprotocol::Json.decode(text.as_bytes(), MAX_LEN).unwrap()
}

#[test]
fn unknown_fields_are_ignored() {
    let plain = json(r#"{"t":"typing","room":"r"}"#);
    assert_eq!(json(r#"{"room":"r","x":{"t":"ping","id":[]},"y":[1e3,null],"t":"typing"}"#), plain);
    assert_eq!(json(" {\n\"t\" : \"typ\\u0069ng\", \"room\":\"r\", \"id\":null } "), plain);
    // Field 999 of the frame, and of its body.
    let bytes = [0xBA, 0x3E, 0x01, 0x00, 0x5A, 0x07, 0x0A, 0x01, b'r', 0xBA, 0x3E, 0x01, 0x00];
    assert_eq!(Subprotocol::Proto.decode(&bytes, MAX_LEN).unwrap(), plain);
}

#[test]
fn absent_and_null_are_the_same() {
    let sparse = json(r#"{"t":"hello"}"#);
    assert_eq!(json(r#"{"t":"hello","token":null,"ticket":null,"client":null,"rooms":null}"#), sparse);
}

#[test]
fn nesting_does_not_use_up_the_stack() {
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let deep = format!("{}1{}", open.repeat(100_000), close.repeat(100_000));
        json(&format!(r#"{{"t":"ping","x":{deep}}}"#));
        let wrong = format!(r#"{{"t":"ping","id":{deep}}}"#);
        assert!(Subprotocol::Json.decode(wrong.as_bytes(), MAX_LEN).is_err());
        let wrong = format!(r#"{{"t":"typing","room":{deep}}}"#);
        assert!(Subprotocol::Json.decode(wrong.as_bytes(), MAX_LEN).is_err());
    }
    let mut proto = vec![];
    for _ in 0..20_000 {
        let mut outer = vec![0x12];
        prost::encode_length_delimiter(proto.len(), &mut outer).unwrap();
        outer.extend(&proto);
        proto = outer;
        if proto.len() > 60_000 {
            break;
        }
    }
    let _ = Subprotocol::Proto.decode(&proto, MAX_LEN);
}

#[test]
fn length_is_limited() {
    for subprotocol in Subprotocol::ALL {
        let mut bytes = vec![];
        subprotocol.encode_client(&frames::from_clients()[0].1, &mut bytes);
        assert!(subprotocol.decode(&bytes, bytes.len()).is_ok());
        let refused = subprotocol.decode(&bytes, bytes.len() - 1).unwrap_err();
        assert_eq!(refused.reason.code(), "frame_too_large");
        assert_eq!(refused.answer().re, None);
    }
}

#[test]
fn http_objects_are_the_frames_objects() {
    let user = User { id: "u".into(), created_at: 1_000_000_000_123, ..User::default() };
    assert_eq!(
        serde_json::to_string(&user).unwrap(),
        r#"{"id":"u","username":"","display_name":"","language":"","created_at":"2001-09-09T01:46:40.123Z"}"#
    );
    let text = serde_json::to_string(&Message::default()).unwrap();
    assert!(text.contains(r#""reactions":{},"mentions":[]"#) && !text.contains("deleted"), "{text}");
    assert_eq!(serde_json::from_str::<Message>(&text).unwrap(), Message::default());
}

proptest! {
    #[test]
    fn any_text_survives(room in "[a-zA-Z0-9]{1,64}", text: String, client_msg_id: String, reply_to: Option<u64>,
                         id in proptest::option::of(0..=rookery_protocol::MAX_ID)) {
        let frame = ClientFrame { id, frame: Some(Frame::Send(Send { room, text, client_msg_id, reply_to })) };
        for subprotocol in Subprotocol::ALL {
            let mut bytes = vec![];
            subprotocol.encode_client(&frame, &mut bytes);
            let read = subprotocol.decode(&bytes, MAX_LEN);
            prop_assert_eq!(read.as_ref(), Ok(&frame));
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes: Vec<u8>) {
        for subprotocol in Subprotocol::ALL {
            let _ = subprotocol.decode(&bytes, MAX_LEN);
            let _ = subprotocol.decode_server(&bytes, MAX_LEN);
        }
    }
}
