//! Jobs of the outbox, as pinned: a mailer and nodes of other versions read and write them.

use rookery_protocol::outbox::{Mail, MailJob, UnreadRoom, VERSION};
use serde_json::{Value, json};

use crate::vectors::{file, hex, pinned, unhex};

/// Every kind of mail, with all that it can hold and with the least.
fn jobs() -> Vec<(&'static str, MailJob)> {
    let (code, username) = (String::from("123456"), String::from("ada"));
    let room = UnreadRoom { name: "T\u{e9}a \u{2615}".into(), direct: false, mentions: 2, messages: 300 };
    let direct = UnreadRoom { name: "bob".into(), direct: true, mentions: 0, messages: 1 };
    let mails = [
        ("sign-up", Mail::SignUpCode { code: code.clone(), username: username.clone(), minutes: 15 }),
        ("already registered", Mail::AlreadyRegistered { username: username.clone() }),
        ("login", Mail::LoginCode { code: code.clone(), username: username.clone(), minutes: 10 }),
        ("password", Mail::PasswordReset { code, username: username.clone(), minutes: 30 }),
        ("welcome", Mail::Welcome { username: username.clone() }),
        (
            "unread",
            Mail::Unread {
                username: username.clone(),
                rooms: vec![room, direct],
                more_rooms: 3,
                link: Some("https://chat.example.org".into()),
                unsubscribe: Some("https://chat.example.org/v1/mail/unsubscribe?token=t".into()),
            },
        ),
        (
            "unread, the least",
            Mail::Unread { username, rooms: Vec::new(), more_rooms: 0, link: None, unsubscribe: None },
        ),
    ];
    let job = |(number, (name, mail)): (usize, (&'static str, Mail))| {
        let (id, to) = ("01KAHNY3G00000000000000JOB".into(), "ada@example.org".into());
        let not_after = number.is_multiple_of(2).then_some(1_795_270_930_640);
        (name, MailJob { id, to, language: "pt-BR".into(), not_after, mail })
    };
    mails.into_iter().enumerate().map(job).collect()
}

#[test]
fn jobs_are_as_pinned() {
    let now: Value = jobs()
        .iter()
        .map(|(name, job)| json!({"name": name, "version": VERSION, "proto_hex": hex(&job.encode())}))
        .collect();
    assert_eq!(pinned("jobs.json", &now), now);
}

#[test]
fn pinned_jobs_are_read_also_with_more_in_them() {
    // A field that a later version may add: number 2000, a text.
    const MORE: [u8; 7] = [0x82, 0x7d, 0x04, b'm', b'o', b'r', b'e'];
    let pinned: Value = serde_json::from_str(&std::fs::read_to_string(file("jobs.json")).unwrap()).unwrap();
    for ((name, job), vector) in jobs().into_iter().zip(pinned.as_array().unwrap()) {
        let mut bytes = unhex(vector["proto_hex"].as_str().unwrap());
        assert_eq!(MailJob::read(vector["version"].as_str().unwrap(), &bytes), Ok(job.clone()), "{name}");
        bytes.extend(MORE);
        assert_eq!(MailJob::decode(&bytes), Ok(job), "{name}");
    }
}
