//! Generates the Rust types of `proto/` with a Protobuf compiler written in Rust, so that
//! building needs no `protoc`, and gives those of the client protocol their JSON form.

/// What of client.proto serde writes and reads as it stands. `RoomSelection` has a form of its own
/// and the two frames are put together by hand: see `src/json/`.
const JSON: &[&str] = &[
    "Hello",
    "Subscribe",
    "Unsubscribe",
    "Send",
    "Edit",
    "Delete",
    "React",
    "Unreact",
    "MarkRead",
    "StartTyping",
    "SetPresence",
    "Refresh",
    "Ping",
    "Ok",
    "Error",
    "Welcome",
    "Limits",
    "RoomState",
    "Pong",
    "User",
    "Sender",
    "Message",
    "ReactionCount",
    "Translated",
    "Edited",
    "Deleted",
    "Reaction",
    "MemberChanged",
    "RoomChanged",
    "Typing",
    "Presence",
    "ReadMark",
    "Translation",
    "CaughtUp",
    "Resync",
    "Drain",
];

/// Fields that are left out when absent.
const OPTIONAL: &[&str] = &[
    "Hello.token",
    "Hello.ticket",
    "Hello.client",
    "Hello.rooms",
    "Subscribe.after",
    "Send.reply_to",
    "Ok.seq",
    "Ok.msg_id",
    "Ok.last_seq",
    "Error.retry_after_ms",
    "Error.room",
    "Welcome.user",
    "Welcome.limits",
    "Message.sender",
    "Message.reply_to",
    "Message.translation",
    "MemberChanged.role",
    "RoomChanged.name",
    "RoomChanged.topic",
    "RoomChanged.visibility",
    "RoomChanged.slow_mode_seconds",
    "RoomChanged.kind",
    "RoomChanged.translation",
    "RoomChanged.max_members",
    "RoomChanged.retention_days",
    "RoomChanged.declared",
    "Presence.online",
];

/// Times that are always there, and times that may be absent.
const TIMES: &[&str] = &[
    "User.created_at",
    "Message.ts",
    "Edited.ts",
    "Deleted.ts",
    "Reaction.ts",
    "MemberChanged.ts",
    "RoomChanged.ts",
];
const OPTIONAL_TIMES: &[&str] = &["Ok.ts", "Message.edited_at", "MemberChanged.until"];

/// Left out when empty, 0 or false.
const SPARSE: &[(&str, &str)] = &[
    ("Message.deleted", "std::ops::Not::not"),
    ("Presence.user", "String::is_empty"),
    ("Presence.status", "String::is_empty"),
];

/// Always written, but a reader does without.
const DEFAULTED: &[&str] = &["Message.reactions", "Message.mentions", "Edited.mentions", "Welcome.rooms"];

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(
        [
            "proto/rookery/v1/client.proto",
            "proto/rookery/v1/log.proto",
            "proto/rookery/v1/outbox.proto",
            "proto/rookery/v1/rows.proto",
        ],
        ["proto"],
    )?;
    let mut config = prost_build::Config::new();
    config.btree_map(["."]).bytes(["."]);
    // They hold codes, which must not reach a log.
    config.skip_debug([".rookery.outbox.v1"]);
    for name in JSON {
        config.message_attribute(client(name), "#[derive(serde::Serialize, serde::Deserialize)]");
    }
    for field in OPTIONAL {
        config.field_attribute(client(field), "#[serde(default, skip_serializing_if = \"Option::is_none\")]");
    }
    for field in TIMES {
        config.field_attribute(client(field), "#[serde(with = \"crate::time::rfc3339\")]");
    }
    for field in OPTIONAL_TIMES {
        config.field_attribute(
            client(field),
            "#[serde(default, skip_serializing_if = \"Option::is_none\", with = \"crate::time::rfc3339_option\")]",
        );
    }
    for (field, empty) in SPARSE {
        config
            .field_attribute(client(field), format!("#[serde(default, skip_serializing_if = \"{empty}\")]"));
    }
    for field in DEFAULTED {
        config.field_attribute(client(field), "#[serde(default)]");
    }
    config.field_attribute(
        client("Hello.resume"),
        "#[serde(default, skip_serializing_if = \"std::collections::BTreeMap::is_empty\", \
         deserialize_with = \"crate::json::bounded::resume\")]",
    );
    config.compile_fds(files)?;
    if std::env::var_os("CARGO_FEATURE_GRPC").is_some() {
        let mut compiler = protox::Compiler::new(["proto"])?;
        compiler.include_imports(true).include_source_info(true);
        compiler.open_files(["rookery/v1/peer.proto", "rookery/v1/translator.proto"])?;
        let files = compiler.file_descriptor_set();
        let out = std::env::var("OUT_DIR")?;
        std::fs::write(format!("{out}/services.bin"), compiler.encode_file_descriptor_set())?;
        tonic_prost_build::configure().bytes(".").compile_fds(files)?;
    }
    Ok(())
}

fn client(name: &str) -> String {
    format!(".rookery.v1.{name}")
}
