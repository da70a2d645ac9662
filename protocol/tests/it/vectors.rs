//! The golden vectors of `vectors/`: what they hold, and that both subprotocols read and write it.
//!
//! `ROOKERY_VECTORS=write cargo test -p rookery-protocol --test it` writes them anew.

use std::{collections::BTreeSet, path::PathBuf};

use crate::frames;
use rookery_protocol::{FrameError, Reason, Subprotocol};
use serde_json::{Value, json};

const MAX_LEN: usize = 65_536;

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn unhex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

pub(crate) fn file(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("vectors").join(name)
}

/// The file as it is, after writing it when asked to.
pub(crate) fn pinned(name: &str, now: &Value) -> Value {
    if std::env::var("ROOKERY_VECTORS").as_deref() == Ok("write") {
        std::fs::write(file(name), serde_json::to_string_pretty(now).unwrap() + "\n").unwrap();
    }
    serde_json::from_str(&std::fs::read_to_string(file(name)).unwrap()).unwrap()
}

fn vector(name: &str, json: &[u8], proto: &[u8]) -> Value {
    json!({ "name": name, "json": serde_json::from_slice::<Value>(json).unwrap(), "proto_hex": hex(proto) })
}

#[test]
fn frames_are_as_pinned() {
    let write = |encode: &dyn Fn(Subprotocol, &mut Vec<u8>)| {
        Subprotocol::ALL.map(|subprotocol| {
            let mut out = b"before".to_vec();
            encode(subprotocol, &mut out);
            assert!(out.starts_with(b"before"), "encoding appends");
            out.split_off(6)
        })
    };
    let client: Vec<_> = frames::from_clients()
        .iter()
        .map(|(name, frame)| {
            let [json, proto] = write(&|subprotocol, out| subprotocol.encode_client(frame, out));
            vector(name, &json, &proto)
        })
        .collect();
    let server: Vec<_> = frames::from_nodes()
        .iter()
        .map(|(name, frame)| {
            let [json, proto] = write(&|subprotocol, out| subprotocol.encode(frame, out));
            vector(name, &json, &proto)
        })
        .collect();
    let now = json!({ "client": client, "server": server });
    let pinned = pinned("frames.json", &now);
    for side in ["client", "server"] {
        let (pinned, now) = (pinned[side].as_array().unwrap(), now[side].as_array().unwrap());
        for (pinned, now) in pinned.iter().zip(now) {
            assert_eq!(pinned, now);
        }
        assert_eq!(pinned.len(), now.len(), "{side}: vectors missing in the file");
    }
}

#[test]
fn pinned_frames_are_read() {
    let pinned: Value = serde_json::from_str(&std::fs::read_to_string(file("frames.json")).unwrap()).unwrap();
    let read = |vector: &Value| (vector["json"].to_string(), unhex(vector["proto_hex"].as_str().unwrap()));
    for ((name, frame), vector) in frames::from_clients().iter().zip(pinned["client"].as_array().unwrap()) {
        let (json, proto) = read(vector);
        assert_eq!(Subprotocol::Json.decode(json.as_bytes(), MAX_LEN).as_ref(), Ok(frame), "{name}");
        assert_eq!(Subprotocol::Proto.decode(&proto, MAX_LEN).as_ref(), Ok(frame), "{name}");
    }
    for ((name, frame), vector) in frames::from_nodes().iter().zip(pinned["server"].as_array().unwrap()) {
        let (json, proto) = read(vector);
        assert_eq!(Subprotocol::Json.decode_server(json.as_bytes(), MAX_LEN).as_ref(), Ok(frame), "{name}");
        assert_eq!(Subprotocol::Proto.decode_server(&proto, MAX_LEN).as_ref(), Ok(frame), "{name}");
    }
}

#[test]
fn every_type_and_field_has_a_vector() {
    let pinned: Value = serde_json::from_str(&std::fs::read_to_string(file("frames.json")).unwrap()).unwrap();
    let proto = include_str!("../../proto/rookery/v1/client.proto");
    for (side, message) in [("client", "ClientFrame"), ("server", "ServerFrame")] {
        let vectors = pinned[side].as_array().unwrap();
        let bodies = fields(proto, message);
        let types: BTreeSet<_> = vectors.iter().map(|vector| vector["json"]["t"].as_str().unwrap()).collect();
        for (name, body) in bodies.iter().filter(|(name, _)| !["id", "re"].contains(&name.as_str())) {
            assert!(types.contains(name.as_str()), "{side}: no vector of type {name}");
            for (field, _) in fields(proto, body) {
                let of_type = vectors.iter().filter(|vector| vector["json"]["t"] == name.as_str());
                let has = of_type.into_iter().any(|vector| vector["json"].get(&field).is_some());
                assert!(has, "{side}: no vector of type {name} has the field {field}");
            }
        }
    }
}

/// `(name, type)` of the fields of a message in a `.proto` text.
fn fields(proto: &str, message: &str) -> Vec<(String, String)> {
    let start = proto.find(&format!("message {message} {{")).unwrap();
    let text = &proto[start..];
    let text = text.split("\nmessage ").next().unwrap();
    let lines = text.split(['\n', ';', '{']).map(str::trim).filter(|line| !line.starts_with("//"));
    lines
        .filter_map(|line| {
            let (field, number) = line.split_once(" = ")?;
            number.parse::<u32>().ok()?;
            let (kind, name) = field.rsplit_once(' ')?;
            Some((name.to_owned(), kind.to_owned()))
        })
        .collect()
}

/// What no node takes, in one or both subprotocols.
fn refused() -> Vec<(&'static str, Subprotocol, Vec<u8>)> {
    let json = |name, text: &str| (name, Subprotocol::Json, text.as_bytes().to_vec());
    let proto = |name, bytes: &[u8]| (name, Subprotocol::Proto, bytes.to_vec());
    vec![
        json("nothing", ""),
        json("no JSON", "hello"),
        json("cut off after its id", r#"{"t":"ping","id":12,"#),
        json("more than one value", r#"{"t":"ping","id":1} {}"#),
        json("a list", r#"[{"t":"ping"}]"#),
        json("null", "null"),
        json("no type", r#"{"id":3}"#),
        json("a type that is no string", r#"{"id":3,"t":[[1]]}"#),
        json("an unknown type", r#"{"id":4,"t":"shout","room":"x"}"#),
        json("a long unknown type", &format!(r#"{{"id":4,"t":"{}"}}"#, "é".repeat(100))),
        json("two types", r#"{"id":4,"t":"ping","t":"hello"}"#),
        json("two ids", r#"{"id":4,"t":"ping","id":5}"#),
        json("a negative id", r#"{"id":-1,"t":"ping"}"#),
        json("an id with a fraction", r#"{"id":1.5,"t":"ping"}"#),
        json("an id that is text", r#"{"id":"1","t":"ping"}"#),
        json("an id beyond 2^53-1", r#"{"id":9007199254740992,"t":"ping"}"#),
        json("a missing field", r#"{"id":5,"t":"send","room":"r","client_msg_id":"m"}"#),
        json("a field twice", r#"{"id":5,"t":"delete","room":"r","seq":1,"seq":2}"#),
        json("a text that is a number", r#"{"id":5,"t":"send","room":"r","client_msg_id":"m","text":5}"#),
        json("a negative seq", r#"{"id":5,"t":"delete","room":"r","seq":-1}"#),
        json("a seq that is text", r#"{"id":5,"t":"delete","room":"r","seq":"top secret"}"#),
        json("rooms that are neither all nor a list", r#"{"id":1,"t":"hello","rooms":"some"}"#),
        json("rooms with something else in them", r#"{"id":1,"t":"hello","rooms":[1]}"#),
        json("resume with a wrong seq", r#"{"id":1,"t":"hello","resume":{"r":-1}}"#),
        json("resume with no room", r#"{"id":1,"t":"hello","resume":{"":1}}"#),
        json("token and ticket", r#"{"id":1,"t":"hello","token":"a","ticket":"b"}"#),
        json("an unknown status", r#"{"id":6,"t":"presence","status":"asleep"}"#),
        json("an empty room", r#"{"id":7,"t":"typing","room":""}"#),
        json(
            "a room's id that is too long",
            &format!(r#"{{"id":7,"t":"typing","room":"{}"}}"#, "r".repeat(65)),
        ),
        proto("nothing", &[]),
        proto("an id alone", &[0x08, 0x05]),
        proto("cut off after its id", &[0x08, 0x05, 0x72, 0x01]),
        proto("an unknown type", &[0x08, 0x05, 0x82, 0x06, 0x00]),
        proto("an id beyond 2^53-1", &[0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x10, 0x72, 0x00]),
        proto(
            "a varint that does not end",
            &[0x08, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
        ),
        proto("a group", &[0x08, 0x05, 0x73, 0x74]),
        proto("a room that is no UTF-8", &[0x08, 0x05, 0x5A, 0x03, 0x0A, 0x01, 0xFF]),
        proto("a missing room", &[0x08, 0x05, 0x5A, 0x00]),
        proto("a body that is a number", &[0x08, 0x05, 0x58, 0x01]),
    ]
}

#[test]
fn refusals_are_as_pinned() {
    let now: Vec<_> = refused()
        .into_iter()
        .map(|(name, subprotocol, bytes)| {
            let FrameError { id, reason } = subprotocol.decode(&bytes, MAX_LEN).unwrap_err();
            let field = match &reason {
                Reason::Invalid { field, .. } => Some(field.as_ref()),
                _ => None,
            };
            let input = match subprotocol {
                Subprotocol::Json => ("json_text", String::from_utf8(bytes).unwrap()),
                Subprotocol::Proto => ("proto_hex", hex(&bytes)),
            };
            assert!(!reason.to_string().contains("top secret"), "{reason}");
            json!({
                "name": name, input.0: input.1, "re": id, "code": reason.code(), "field": field,
                "message": reason.to_string(),
            })
        })
        .collect();
    let now = Value::Array(now);
    let pinned = pinned("refused.json", &now);
    for (pinned, now) in pinned.as_array().unwrap().iter().zip(now.as_array().unwrap()) {
        assert_eq!(pinned, now);
    }
    assert_eq!(pinned, now, "vectors missing in the file");
}
