//! What crosses the wire comes back as it was, and what earlier releases said still means what it meant.

use prost::Message as _;
use rookery_core::room::Edit;
use rookery_protocol::peer::not_taken::Reason;

use super::*;

fn user(number: u128) -> Profile {
    Profile { id: UserId(number), username: format!("u{number}"), display_name: "É".into() }
}

/// Every kind of command, by name: what the vectors of each release mean.
fn commands() -> Vec<(&'static str, What)> {
    let until = Some(-5);
    let (who, text, emoji) = (UserId(7), String::from("text"), String::from("👍"));
    vec![
        (
            "create",
            What::Create {
                name: "n".into(),
                kind: Kind::Channel,
                visibility: Visibility::Private,
                topic: Some("t".into()),
                members: vec![(user(1), Role::Owner), (user(2), Role::Member)],
            },
        ),
        (
            "update",
            What::Update(Update {
                topic: Some(String::new()),
                visibility: Some(Visibility::Public),
                slow_mode_seconds: Some(0),
                ..Update::default()
            }),
        ),
        (
            "update what owners may",
            What::Update(Update {
                translation: Some(false),
                max_members: Some(50),
                retention_days: Some(0),
                ..Update::default()
            }),
        ),
        (
            "declare",
            What::Declare(Box::new(Declaration {
                name: "n".into(),
                kind: Kind::Group,
                visibility: Visibility::Public,
                topic: None,
                slow_mode_seconds: 5,
                translation: true,
                max_members: Some(50),
                retention_days: None,
                members: vec![(user(1), Role::Owner), (user(2), Role::Member)],
            })),
        ),
        ("remove", What::Remove),
        ("join", What::Join),
        ("leave", What::Leave),
        ("add", What::Add { user: user(3), role: Role::Moderator }),
        ("set_role", What::SetRole { user: who, role: Role::Owner }),
        ("kick", What::Kick { user: who }),
        ("ban", What::Ban { user: user(4), until }),
        ("unban", What::Unban { user: who }),
        ("mute", What::Mute { user: who, until: None }),
        ("unmute", What::Unmute { user: who }),
        ("post", What::Post { text: text.clone(), client_msg_id: "c".into(), reply_to: Some(0) }),
        ("edit", What::Edit { seq: 3, text }),
        ("delete", What::Delete { seq: 0 }),
        ("react", What::React { seq: 1, emoji: emoji.clone() }),
        ("unreact", What::Unreact { seq: 1, emoji }),
    ]
}

/// Every kind of answer, by name.
fn answers() -> Vec<(&'static str, Result<Reply, Problem>)> {
    let problem = Problem::invalid("text", "too long").retry_after(Duration::from_millis(1500));
    let slow = Problem::new(429, "slow_mode", "Wait.").retry_after(Duration::from_millis(3));
    let posted = |mentions| Reply::Posted { seq: 4, id: MessageId(5), ts: -1, repeated: true, mentions };
    let edit = Edit { text: "new".into(), at: 9, mentions: vec![UserId(6)] };
    let amendment = Box::new(Amendment { as_of: 8, edited: Some(edit), ..Amendment::default() });
    let done = |seq| Ok(Reply::Done { seq });
    vec![
        ("posted", Ok(posted(None))),
        ("posted, nobody mentioned", Ok(posted(Some(Box::default())))),
        ("posted, with mentions", Ok(posted(Some([UserId(6), UserId(7)].into())))),
        ("edited", Ok(Reply::Edited { seq: Some(8), amendment: amendment.clone() })),
        ("edited as it was", Ok(Reply::Edited { seq: None, amendment })),
        ("done", done(Some(7))),
        ("nothing to do", done(None)),
        ("problem", Err(problem)),
        ("slow", Err(slow)),
    ]
}

#[test]
fn commands_come_back_as_they_were() {
    for (name, what) in commands() {
        let wire = of_command(&user(9), &what);
        assert_eq!(command(wire), Ok((Arc::new(user(9)), what)), "{name}");
    }
    let unknown = peer::Command { actor: Some(of_profile(&user(1))), what: None };
    assert!(command(unknown).is_err(), "what a newer node asks");
}

#[test]
fn answers_come_back_as_they_were() {
    for (name, outcome) in answers() {
        assert_eq!(reply(of_reply(outcome.clone())), Some(outcome), "{name}");
    }
    let problem = Problem::invalid("text", "too long");
    let page = Page { items: vec![Member { user: user(1), role: Role::Owner }], next: Some(1) };
    let again = members(of_members(Ok(page.clone()))).unwrap().unwrap();
    assert_eq!((again.items, again.next), (page.items, page.next));
    assert_eq!(members(of_members(Err(problem.clone()))).unwrap().unwrap_err(), problem);
    assert!(members(of_reply(Ok(Reply::Done { seq: None }))).is_none());
    assert_eq!(known("Not a code".into()), "internal");
}

fn unhex(text: &str) -> Bytes {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn what_nodes_of_every_release_say_is_read_and_means_the_same() {
    let all = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/vectors/released");
    for release in std::fs::read_dir(all).unwrap() {
        let text = std::fs::read_to_string(release.unwrap().path().join("peer.json")).unwrap();
        let vectors: serde_json::Value = serde_json::from_str(&text).unwrap();
        let each = |list: &str| vectors[list].as_object().unwrap().clone().into_iter();
        let bytes = |hex: &serde_json::Value| unhex(hex.as_str().unwrap());
        for (name, hex) in each("commands") {
            let (_, wanted) = commands().into_iter().find(|(known, _)| *known == name).unwrap();
            let said = peer::Command::decode(bytes(&hex)).unwrap();
            assert_eq!(command(said), Ok((Arc::new(user(9)), wanted)), "{name}");
        }
        for (name, hex) in each("answers") {
            let (_, wanted) = answers().into_iter().find(|(known, _)| *known == name).unwrap();
            let said = peer::Answer::decode(bytes(&hex)).unwrap();
            assert_eq!((said.id, reply(said.outcome.unwrap())), (300, Some(wanted)), "{name}");
        }
        assert_eq!(peer::ToOwner::decode(bytes(&vectors["to_owner"])).unwrap(), to_owner());
        assert_eq!(peer::FromOwner::decode(bytes(&vectors["from_owner"])).unwrap(), from_owner());
    }
}

#[test]
fn what_is_left_comes_back_as_it_was() {
    let place = Place { at: LogSeq(13), first_seq: 14 };
    let left = Legacy { snapshot: Bytes::from_static(b"snapshot"), place, saved_seq: 12 };
    assert_eq!(legacy(of_legacy(RoomId(11), left.clone())), Ok((RoomId(11), left.clone())));
    let nowhere = peer::Legacy { room: Bytes::new(), ..of_legacy(RoomId(11), left) };
    assert!(legacy(nowhere).is_err());
}

/// A first message, with all that is in messages beside commands.
fn to_owner() -> peer::ToOwner {
    let (cluster, from, to) = ("tea".into(), "node-0".into(), "node-1".into());
    let ask = |id, what| peer::Ask {
        id,
        room: of_room(RoomId(6)),
        lane: 7,
        not_after: 8,
        instead: true,
        what: Some(what),
    };
    peer::ToOwner {
        revision: 300,
        hello: Some(peer::Hello { version: 1, cluster, from, to, process: 4, number: 5 }),
        asks: vec![
            ask(1, peer::ask::What::Probe(peer::Probe {})),
            ask(2, peer::ask::What::Members(of_page(Some(UserId(3)), 50))),
        ],
        ping: Some(peer::Ping { sent: 10 }),
        handed_over: vec![of_room(RoomId(11))],
        // Not in the first release.
        left: Vec::new(),
    }
}

/// The same for what is answered.
fn from_owner() -> peer::FromOwner {
    let page = Page { items: vec![Member { user: user(1), role: Role::Moderator }], next: Some(2) };
    let not_taken = |reason: Reason, owner: &str| {
        Outcome::NotTaken(peer::NotTaken { reason: reason.into(), owner: owner.into() })
    };
    let outcomes = [
        of_members(Ok(page)),
        Outcome::Probed(peer::Probed { takes: true }),
        not_taken(Reason::Unknown, ""),
        not_taken(Reason::Moved, "node-2"),
        not_taken(Reason::Late, ""),
        not_taken(Reason::Lane, ""),
        not_taken(Reason::Ending, ""),
    ];
    peer::FromOwner {
        revision: 301,
        welcome: Some(peer::Welcome { version: 1, node: "node-1".into(), process: 12 }),
        answers: (1..)
            .zip(outcomes)
            .map(|(id, outcome)| peer::Answer { id, outcome: Some(outcome) })
            .collect(),
        pong: Some(peer::Pong { sent: 10, clock: 13 }),
    }
}
