//! Histories made by hand, each with one broken promise: the rule for it must say so, and no other.

use std::time::Duration;

use super::{Body, Fault, History, Truth, What, check};

const ROOM: &str = "room";

fn message(id: &str) -> Body {
    Body::Message { user: "ada".into(), client_msg_id: id.into(), text: Some(format!("text of {id}")) }
}

fn edit(of: u64, text: &str) -> Body {
    Body::Edited { user: "ada".into(), message_seq: of, text: text.into() }
}

fn truth(events: &[(u64, Body)]) -> Truth {
    Truth::from([(ROOM.to_owned(), events.to_vec())])
}

/// Entries one millisecond apart.
fn history(whats: Vec<What>) -> History {
    let mut history = History::default();
    for (at, what) in (1..).zip(whats) {
        history.add(Duration::from_millis(at), what);
    }
    history
}

fn asked(op: u64, connection: u64, wanted: Body) -> What {
    What::Asked { op, connection, room: ROOM.into(), wanted }
}
fn acked(op: u64, seq: u64) -> What {
    What::Acked { op, seq: Some(seq) }
}
fn attached(connection: u64, after: u64) -> What {
    What::Attached { connection, room: ROOM.into(), after }
}
fn delivered(connection: u64, seq: u64, body: Body) -> What {
    What::Delivered { connection, room: ROOM.into(), seq, body }
}
fn caught_up(connection: u64, last_seq: u64) -> What {
    What::CaughtUp { connection, room: ROOM.into(), last_seq }
}

/// Three messages by one client over connection 1, all acknowledged, seen by another over connection 2.
fn good() -> (Vec<What>, Truth) {
    let whats = vec![
        attached(2, 0),
        caught_up(2, 0),
        asked(1, 1, message("a")),
        asked(2, 1, message("b")),
        acked(1, 1),
        delivered(2, 1, message("a")),
        acked(2, 2),
        delivered(2, 2, message("b")),
        asked(3, 1, message("c")),
        acked(3, 3),
        delivered(2, 3, message("c")),
    ];
    (whats, truth(&[(1, message("a")), (2, message("b")), (3, message("c"))]))
}

#[test]
fn nothing_is_wrong_with_a_good_history() {
    let (whats, truth) = good();
    assert_eq!(check(&history(whats), &truth), []);
}

#[test]
fn a_send_with_unknown_outcome_may_be_stored_or_not() {
    let (mut whats, truth) = good();
    whats.push(asked(4, 1, message("d")));
    assert_eq!(check(&history(whats.clone()), &truth), []);
    let mut stored = truth;
    stored.get_mut(ROOM).unwrap().push((4, message("d")));
    assert_eq!(check(&history(whats), &stored), []);
}

#[test]
fn finds_a_lost_acknowledged_message() {
    let (whats, _) = good();
    let whats = whats.into_iter().filter(|w| !matches!(w, What::Delivered { seq: 3, .. })).collect();
    let truth = truth(&[(1, message("a")), (2, message("b"))]);
    let faults = check(&history(whats), &truth);
    assert!(matches!(&faults[..], [Fault::LostAck { op: 3, seq: Some(3), .. }]), "{faults:?}");
}

#[test]
fn finds_a_connection_that_never_got_the_last_event() {
    let (mut whats, truth) = good();
    let stayed = |last_seq| What::Stayed { connection: 2, room: ROOM.into(), last_seq };
    whats.push(stayed(3));
    assert_eq!(check(&history(whats.clone()), &truth), []);
    whats.retain(|what| !matches!(what, What::Delivered { seq: 3, .. }));
    let faults = check(&history(whats), &truth);
    assert!(matches!(&faults[..], [Fault::Behind { connection: 2, last_seq: 3, had: 2, .. }]), "{faults:?}");
}

#[test]
fn finds_an_acknowledged_message_at_another_seq() {
    let truth = truth(&[(1, message("a")), (2, message("b"))]);
    let whats = vec![
        asked(1, 1, message("a")),
        acked(1, 2),
        asked(2, 2, message("b")),
        What::Acked { op: 2, seq: None },
    ];
    let faults = check(&history(whats), &truth);
    assert!(faults.iter().any(|f| matches!(f, Fault::LostAck { op: 1, seq: Some(2), .. })), "{faults:?}");
}

#[test]
fn finds_a_message_with_another_text() {
    let changed = Body::Message { user: "ada".into(), client_msg_id: "a".into(), text: Some("other".into()) };
    let whats = vec![asked(1, 1, message("a")), acked(1, 1)];
    let faults = check(&history(whats), &truth(&[(1, changed)]));
    assert!(faults.iter().any(|f| matches!(f, Fault::LostAck { op: 1, .. })), "{faults:?}");
}

#[test]
fn finds_a_lost_acknowledged_edit() {
    let whats = vec![
        asked(1, 1, message("a")),
        acked(1, 1),
        asked(2, 1, edit(1, "new")),
        What::Acked { op: 2, seq: None },
    ];
    let faults = check(&history(whats), &truth(&[(1, message("a"))]));
    assert!(matches!(&faults[..], [Fault::LostAck { op: 2, seq: None, .. }]), "{faults:?}");
}

#[test]
fn finds_an_edit_that_was_done_twice() {
    let whats = vec![asked(1, 1, message("a")), acked(1, 1), asked(2, 1, edit(1, "new")), acked(2, 2)];
    let truth = truth(&[(1, message("a")), (2, edit(1, "new")), (3, edit(1, "new"))]);
    let faults = check(&history(whats), &truth);
    assert!(matches!(&faults[..], [Fault::DoneTwice { op: 2, seqs: (2, 3), .. }]), "{faults:?}");
}

#[test]
fn finds_a_message_that_is_stored_twice() {
    let whats = vec![asked(1, 1, message("a")), asked(1, 2, message("a")), acked(1, 1)];
    let faults = check(&history(whats), &truth(&[(1, message("a")), (2, message("a"))]));
    assert!(matches!(&faults[..], [Fault::StoredTwice { seqs: (1, 2), .. }]), "{faults:?}");
}

#[test]
fn finds_a_repeat_that_is_answered_otherwise() {
    let whats = vec![asked(1, 1, message("a")), acked(1, 1), asked(1, 2, message("a")), acked(1, 2)];
    let faults = check(&history(whats), &truth(&[(1, message("a"))]));
    assert!(faults.contains(&Fault::AnswersDiffer { op: 1, seqs: (1, 2) }), "{faults:?}");
}

#[test]
fn finds_a_hole_in_the_room() {
    let whats = vec![asked(1, 1, message("a")), acked(1, 2)];
    let faults = check(&history(whats), &truth(&[(2, message("a"))]));
    assert_eq!(faults, [Fault::HoleInRoom { room: ROOM.into(), expected: 1, found: 2 }]);
}

#[test]
fn finds_a_gap_in_what_was_delivered() {
    let (whats, truth) = good();
    let whats = whats.into_iter().filter(|w| !matches!(w, What::Delivered { seq: 2, .. })).collect();
    let faults = check(&history(whats), &truth);
    assert_eq!(faults, [Fault::Gap { connection: 2, room: ROOM.into(), expected: 2, got: 3 }]);
}

#[test]
fn finds_a_gap_between_two_connections() {
    let (mut whats, truth) = good();
    whats.extend([attached(3, 1), delivered(3, 3, message("c"))]);
    let faults = check(&history(whats), &truth);
    assert_eq!(faults, [Fault::Gap { connection: 3, room: ROOM.into(), expected: 2, got: 3 }]);
}

#[test]
fn finds_a_gap_at_the_end_of_a_replay() {
    let (mut whats, truth) = good();
    whats.extend([attached(3, 1), delivered(3, 2, message("b")), caught_up(3, 3)]);
    let faults = check(&history(whats), &truth);
    assert_eq!(faults, [Fault::CaughtUpEarly { connection: 3, room: ROOM.into(), last_seq: 3, had: 2 }]);
}

#[test]
fn finds_a_duplicate_delivery() {
    let (mut whats, truth) = good();
    whats.push(delivered(2, 3, message("c")));
    let faults = check(&history(whats), &truth);
    assert_eq!(faults, [Fault::Duplicate { connection: 2, room: ROOM.into(), seq: 3 }]);
}

#[test]
fn finds_a_delivery_of_what_the_client_had() {
    let (mut whats, truth) = good();
    whats.extend([attached(3, 2), delivered(3, 2, message("b"))]);
    let faults = check(&history(whats), &truth);
    assert_eq!(faults, [Fault::Reordered { connection: 3, room: ROOM.into(), seq: 2, after: 2 }]);
}

#[test]
fn finds_reordered_deliveries() {
    let (mut whats, truth) = good();
    whats.extend([
        attached(3, 0),
        delivered(3, 1, message("a")),
        delivered(3, 3, message("c")),
        delivered(3, 2, message("b")),
    ]);
    let faults = check(&history(whats), &truth);
    assert!(
        faults.contains(&Fault::Reordered { connection: 3, room: ROOM.into(), seq: 2, after: 3 }),
        "{faults:?}"
    );
}

#[test]
fn finds_a_phantom() {
    let (mut whats, truth) = good();
    whats.push(delivered(2, 4, message("ghost")));
    let faults = check(&history(whats), &truth);
    assert!(matches!(&faults[..], [Fault::Phantom { seq: 4, is: None, .. }]), "{faults:?}");
}

#[test]
fn finds_two_events_with_one_seq() {
    let (mut whats, truth) = good();
    whats.extend([attached(3, 2), delivered(3, 3, message("b"))]);
    let faults = check(&history(whats), &truth);
    assert!(matches!(&faults[..], [Fault::Phantom { connection: 3, seq: 3, .. }]), "{faults:?}");
}

#[test]
fn a_message_seen_after_its_deletion_is_no_phantom() {
    let (mut whats, truth) = good();
    let tombstone = Body::Message { user: "ada".into(), client_msg_id: "c".into(), text: None };
    whats.extend([attached(3, 2), delivered(3, 3, tombstone)]);
    assert_eq!(check(&history(whats), &truth), []);
}

#[test]
fn finds_events_of_a_room_that_is_not_followed() {
    let (mut whats, truth) = good();
    whats.push(delivered(9, 1, message("a")));
    let faults = check(&history(whats), &truth);
    assert_eq!(faults, [Fault::Unasked { connection: 9, room: ROOM.into(), seq: 1 }]);
}

#[test]
fn finds_a_client_that_was_told_to_page() {
    let (mut whats, truth) = good();
    whats.push(What::Resync { connection: 2, room: ROOM.into() });
    assert_eq!(check(&history(whats), &truth), [Fault::LostPlace { connection: 2, room: ROOM.into() }]);
}

#[test]
fn finds_a_senders_messages_out_of_order() {
    let whats = vec![asked(1, 1, message("a")), asked(2, 1, message("b")), acked(2, 1), acked(1, 2)];
    let faults = check(&history(whats), &truth(&[(1, message("b")), (2, message("a"))]));
    assert!(matches!(&faults[..], [Fault::SenderOrder { first: (1, 2), second: (2, 1), .. }]), "{faults:?}");
}

#[test]
fn finds_a_later_message_that_was_stored_without_the_earlier() {
    // Both were on their way when the connection broke; the second was stored, the first only when repeated.
    let whats =
        vec![asked(1, 1, message("a")), asked(2, 1, message("b")), asked(1, 2, message("a")), acked(1, 2)];
    let faults = check(&history(whats), &truth(&[(1, message("b")), (2, message("a"))]));
    assert!(matches!(&faults[..], [Fault::SenderOrder { connection: 1, .. }]), "{faults:?}");
}

#[test]
fn a_refused_message_has_no_place_to_keep() {
    let whats = vec![
        asked(1, 1, message("a")),
        asked(2, 1, message("b")),
        What::Refused { op: 1, code: "unavailable".into() },
        acked(2, 1),
        asked(1, 1, message("a")),
        acked(1, 2),
    ];
    assert_eq!(check(&history(whats), &truth(&[(1, message("b")), (2, message("a"))])), []);
}

/// `a` and `b` are sent over one connection, only `b` is answered, at the end; then `a` is sent again over another one.
fn sent_again(b_after: Duration, unheard: Option<bool>) -> (History, Truth) {
    let ms = Duration::from_millis;
    let mut history = History::default();
    history.add(ms(1), asked(1, 1, message("a")));
    history.add(ms(2), asked(2, 1, message("b")));
    history.add(ms(1) + b_after, acked(2, 1));
    if let Some(away) = unheard {
        history.add(ms(2) + b_after, What::Unheard { op: 1, away });
    }
    history.add(ms(3) + b_after, asked(1, 2, message("a")));
    history.add(ms(4) + b_after, acked(1, 2));
    (history, truth(&[(1, message("b")), (2, message("a"))]))
}

#[test]
fn a_message_whose_refusal_may_be_unheard_has_no_place_to_keep() {
    let (early, late) = (Duration::from_secs(1), Duration::from_secs(5));
    let is_found = |(history, truth): (History, Truth)| match &check(&history, &truth)[..] {
        [] => false,
        [Fault::SenderOrder { first: (1, 2), second: (2, 1), .. }] => true,
        other => panic!("{other:?}"),
    };
    // Its deadline was over before the later one was stored, or other refusals had come.
    assert!(!is_found(sent_again(late, Some(false))));
    assert!(!is_found(sent_again(early, Some(true))));
    // No node had a reason to refuse it by then.
    assert!(is_found(sent_again(early, Some(false))));
    // It was heard.
    assert!(is_found(sent_again(late, None)));
}

#[test]
fn finds_a_refusal_without_reason() {
    let whats = vec![
        asked(1, 1, message("a")),
        acked(1, 1),
        asked(2, 1, edit(1, "new")),
        What::Refused { op: 2, code: "message_not_found".into() },
    ];
    let faults = check(&history(whats), &truth(&[(1, message("a"))]));
    assert!(matches!(&faults[..], [Fault::WronglyRefused { op: 2, .. }]), "{faults:?}");
}

#[test]
fn finds_an_order_against_real_time() {
    // The second was sent by somebody else after the first was acknowledged, and is before it.
    let other = Body::Message { user: "bob".into(), client_msg_id: "z".into(), text: None };
    let whats = vec![asked(1, 1, message("a")), acked(1, 2), asked(2, 2, other.clone()), acked(2, 1)];
    let faults = check(&history(whats), &truth(&[(1, other), (2, message("a"))]));
    assert!(matches!(&faults[..], [Fault::BackInTime { op: 2, seq: 1, known: 2, .. }]), "{faults:?}");
}

#[test]
fn finds_an_order_against_what_somebody_had_seen() {
    let other = Body::Message { user: "bob".into(), client_msg_id: "z".into(), text: None };
    let whats = vec![
        attached(3, 1),
        asked(1, 1, message("a")),
        delivered(3, 2, message("a")),
        asked(2, 2, other.clone()),
    ];
    let faults = check(&history(whats), &truth(&[(1, other), (2, message("a"))]));
    assert!(matches!(&faults[..], [Fault::BackInTime { op: 2, seq: 1, known: 2, .. }]), "{faults:?}");
}

#[test]
fn finds_what_nobody_asked_for() {
    let (whats, mut truth) = good();
    truth.get_mut(ROOM).unwrap().push((4, message("out of nothing")));
    let faults = check(&history(whats), &truth);
    assert!(matches!(&faults[..], [Fault::Invented { seq: 4, .. }]), "{faults:?}");
}

mod log {
    use rookery_core::{
        record::{Body as Stored, Event, Opened, Posted, Record},
        room::Profile,
    };
    use rookery_protocol::id::{RecordId, RoomId, UserId};

    use super::super::{Body, Fault, check_log};

    const USER: UserId = UserId(7);

    /// A log of one message a record, of so many epochs and owners; each chained to the one before.
    fn records(of: &[(u64, &str)]) -> Vec<Opened> {
        let (mut checksum, mut records) = (0, Vec::new());
        for (seq, (epoch, owner)) in (1..).zip(of) {
            let posted = Posted {
                id: Default::default(),
                sender: Profile { id: USER, username: "ada".into(), display_name: "Ada".into() },
                text: format!("text {seq}"),
                client_msg_id: format!("m{seq}"),
                reply_to: None,
                mentions: Vec::new(),
            };
            let record = Record {
                room: RoomId(1),
                epoch: *epoch,
                id: RecordId(seq.into()),
                first_seq: seq,
                messages_before: seq - 1,
                previous_checksum: checksum,
                events: vec![Event { ts: 1, actor: USER, body: Stored::Posted(posted.into()) }],
                owner: (*owner).to_owned(),
            };
            let sealed = record.seal();
            checksum = sealed.checksum;
            records.push(Record::open(&sealed.bytes, RoomId(1)).expect("it was just sealed"));
        }
        records
    }

    fn told(seqs: std::ops::RangeInclusive<u64>) -> Vec<(u64, Body)> {
        let message = |seq| Body::Message {
            user: USER.to_string(),
            client_msg_id: format!("m{seq}"),
            text: Some(format!("text {seq}")),
        };
        seqs.map(|seq| (seq, message(seq))).collect()
    }

    #[test]
    fn nothing_is_wrong_with_a_good_log() {
        assert_eq!(check_log("room", &records(&[(1, "a"), (1, "a"), (4, "b")]), &told(1..=3)), []);
    }

    #[test]
    fn finds_an_epoch_that_went_back() {
        let faults = check_log("room", &records(&[(1, "a"), (4, "b"), (1, "a")]), &told(1..=3));
        assert!(
            matches!(&faults[..], [Fault::BrokenLog { why, .. }] if why.contains("epoch 1 after epoch 4")),
            "{faults:?}"
        );
    }

    #[test]
    fn finds_an_epoch_of_two_owners() {
        let faults = check_log("room", &records(&[(1, "a"), (1, "b")]), &told(1..=2));
        assert!(matches!(&faults[..], [Fault::SharedEpoch { epoch: 1, .. }]), "{faults:?}");
    }

    #[test]
    fn finds_a_record_that_is_gone() {
        let mut log = records(&[(1, "a"), (1, "a"), (1, "a")]);
        log.remove(1);
        let faults = check_log("room", &log, &told(1..=3));
        assert!(matches!(&faults[..], [Fault::BrokenLog { .. }]), "{faults:?}");
    }

    #[test]
    fn finds_what_only_the_log_or_only_the_nodes_have() {
        let log = records(&[(1, "a"), (1, "a"), (1, "a")]);
        let faults = check_log("room", &log, &told(1..=2));
        assert!(matches!(&faults[..], [Fault::LogDiffers { seq: 3, told: None, .. }]), "{faults:?}");
        let faults = check_log("room", &log, &told(1..=4));
        assert!(matches!(&faults[..], [Fault::LogDiffers { seq: 4, stored: None, .. }]), "{faults:?}");
    }
}

/// What is asked of accounts and what is stored of them, made by hand.
mod accounts {
    use super::super::{Accounts, Deed, Fault, StoredAccount, check_accounts};

    fn made(name: &str) -> Deed {
        Deed::Made {
            id: format!("id of {name}"),
            username: name.into(),
            email: format!("{name}@example.com"),
        }
    }
    fn deletion_asked(name: &str) -> Deed {
        Deed::DeletionAsked { id: format!("id of {name}") }
    }
    fn deleted(name: &str) -> Deed {
        Deed::Deleted { id: format!("id of {name}") }
    }

    fn stored(of: &[&str]) -> Accounts {
        let mut accounts = Accounts::default();
        for &name in of {
            let (id, email_key) = (format!("id of {name}"), format!("{name}@example.com"));
            accounts.emails.insert(email_key.clone(), id.clone());
            accounts.names.insert(name.to_owned(), id.clone());
            let user = StoredAccount { username: name.into(), email_key, name_key: name.into() };
            accounts.users.insert(id, user);
        }
        accounts
    }

    #[test]
    fn nothing_is_wrong_with_good_accounts() {
        let deeds = [made("ada"), made("bob"), deletion_asked("bob"), deleted("bob")];
        // Somebody else may be there, whose answer was not heard.
        assert_eq!(check_accounts(&deeds, &stored(&["ada", "eve"])), []);
    }

    #[test]
    fn a_deletion_with_unknown_outcome_may_have_been_done_or_not() {
        let deeds = [made("ada"), deletion_asked("ada")];
        assert_eq!(check_accounts(&deeds, &stored(&["ada"])), []);
        assert_eq!(check_accounts(&deeds, &stored(&[])), []);
    }

    #[test]
    fn finds_an_acknowledged_account_that_is_gone_or_another_one() {
        let faults = check_accounts(&[made("ada")], &stored(&["bob"]));
        assert!(matches!(&faults[..], [Fault::LostAccount { is: None, .. }]), "{faults:?}");
        let mut renamed = stored(&["ada"]);
        renamed.users.values_mut().for_each(|user| user.username = "eve".into());
        let faults = check_accounts(&[made("ada")], &renamed);
        assert!(matches!(&faults[..], [Fault::LostAccount { is: Some(_), .. }]), "{faults:?}");
    }

    #[test]
    fn finds_an_account_that_was_deleted() {
        let faults = check_accounts(&[made("ada"), deletion_asked("ada"), deleted("ada")], &stored(&["ada"]));
        assert!(matches!(&faults[..], [Fault::UndeadAccount { .. }]), "{faults:?}");
    }

    #[test]
    fn finds_an_account_without_its_address_or_name() {
        let (mut no_email, mut no_name) = (stored(&["ada"]), stored(&["ada"]));
        no_email.emails.clear();
        no_name.names.clear();
        for accounts in [no_email, no_name] {
            let faults = check_accounts(&[], &accounts);
            assert!(matches!(&faults[..], [Fault::HalfAccount { .. }]), "{faults:?}");
        }
    }

    #[test]
    fn finds_an_address_or_name_without_its_account() {
        for what in ["address", "name"] {
            let mut accounts = stored(&["ada"]);
            let index = if what == "name" { &mut accounts.names } else { &mut accounts.emails };
            index.insert("orphan".into(), "id of nobody".into());
            let faults = check_accounts(&[], &accounts);
            assert!(
                matches!(&faults[..], [Fault::HalfAccount { why, .. }] if why.contains(what)),
                "{faults:?}"
            );
        }
    }

    #[test]
    fn finds_two_accounts_of_one_name() {
        let mut accounts = stored(&["ada", "bob"]);
        accounts.names.remove("bob");
        accounts.users.values_mut().for_each(|user| user.name_key = "ada".into());
        let faults = check_accounts(&[], &accounts);
        assert!(matches!(&faults[..], [Fault::HalfAccount { id, .. }] if id == "id of bob"), "{faults:?}");
    }
}
