//! Rules of rooms, by example and by property.

use std::sync::Arc;

use proptest::prelude::*;
use rookery_protocol::id::{MessageId, RoomId, UserId};

use super::*;
use crate::record::{Body, Event, Link, Record};

fn user(id: u128) -> Profile {
    Profile { id: UserId(id), username: format!("u{id}"), display_name: format!("User {id}") }
}

fn command(actor: u128, now: i64, what: What) -> Command {
    Command { actor: user(actor), what, now, random: now.unsigned_abs().into() }
}

/// A state that is asked and fed like an owner does it, with every event kept.
struct Room {
    state: State,
    events: Vec<Event>,
    now: i64,
}

impl Room {
    fn new(limits: Limits) -> Self {
        Self { state: State::new(Arc::new(limits)), events: Vec::new(), now: 1_000_000 }
    }

    /// Owner 1, moderator 2, members 3 and 4.
    fn group(kind: Kind, visibility: Visibility) -> Self {
        let mut room = Self::new(Limits::default());
        let members = vec![(user(2), Role::Moderator), (user(3), Role::Member), (user(4), Role::Member)];
        let made = room.ask(1, What::Create { name: "Room".into(), kind, visibility, topic: None, members });
        assert_eq!(made, Ok(Reply::Done { seq: Some(1) }));
        room
    }

    fn ask(&mut self, actor: u128, what: What) -> Result<Reply, Refusal> {
        let actor = if matches!(what, What::Declare(_)) { 0 } else { actor };
        let command = command(actor, self.now, what);
        loop {
            match self.state.decide(&command)? {
                Decision::Already(reply) => return Ok(reply),
                Decision::NeedHead(seq) => {
                    let head = self.head(seq);
                    self.state.provide_head(seq, head);
                }
                Decision::Append { events, reply } => {
                    let first = self.state.last_seq() + 1;
                    for event in &events {
                        assert!(event.ts >= self.state.last_ts());
                        self.state.apply(event);
                    }
                    self.state.committed(self.state.last_seq());
                    assert_eq!(self.state.last_seq(), first + events.len() as u64 - 1);
                    self.events.extend(events);
                    return Ok(reply);
                }
            }
        }
    }

    /// What the log says of a message, read from its beginning.
    fn head(&self, seq: u64) -> Option<Head> {
        let at = |seq: u64| self.events.get(usize::try_from(seq - 1).ok()?);
        let Body::Posted(posted) = &at(seq)?.body else { return None };
        let mut amendment = Amendment::default();
        for (as_of, event) in (1..).zip(&self.events) {
            match &event.body {
                Body::Edited { message_seq, text, mentions } if *message_seq == seq => {
                    let (text, mentions) = (text.clone(), mentions.clone());
                    amendment.edit(as_of, Edit { text, at: event.ts, mentions });
                }
                Body::Deleted { message_seq } if *message_seq == seq => amendment.delete(as_of),
                Body::Reacted(r) if r.message_seq == seq => amendment.react(as_of, &r.emoji, event.actor),
                Body::Unreacted(r) if r.message_seq == seq => amendment.unreact(as_of, &r.emoji, event.actor),
                _ => {}
            }
        }
        Some(Head { sender: posted.sender.id, amendment })
    }

    fn post(&mut self, actor: u128, id: &str, text: &str) -> Result<u64, Refusal> {
        let what = What::Post { text: text.into(), client_msg_id: id.into(), reply_to: None };
        match self.ask(actor, what)? {
            Reply::Posted { seq, .. } => Ok(seq),
            Reply::Edited { .. } | Reply::Done { .. } => panic!("posting answers `Posted`"),
        }
    }
}

const DONE: Result<Reply, Refusal> = Ok(Reply::Done { seq: None });

#[test]
fn outsiders_learn_nothing_of_private_rooms() {
    let mut private = Room::group(Kind::Group, Visibility::Private);
    let mut public = Room::group(Kind::Group, Visibility::Public);
    for what in [What::Leave, What::Delete { seq: 1 }, What::Remove, What::Kick { user: UserId(1) }] {
        assert_eq!(private.ask(9, what.clone()), Err(Refusal::RoomNotFound));
        assert_eq!(public.ask(9, what), Err(Refusal::NotAMember));
    }
    assert_eq!(private.ask(9, What::Join), Err(Refusal::RoomNotFound));
    assert!(public.ask(9, What::Join).is_ok());
    assert_eq!(public.ask(9, What::Join), DONE);
    public.ask(2, What::Ban { user: user(9), until: Some(2_000_000) }).unwrap();
    assert_eq!(public.post(9, "a", "a"), Err(Refusal::Banned));
    assert_eq!(public.ask(9, What::Join), Err(Refusal::Banned));
    public.now = 2_000_000;
    assert!(public.ask(9, What::Join).is_ok());
    public.ask(1, What::Remove).unwrap();
    assert_eq!(public.post(1, "a", "a"), Err(Refusal::RoomNotFound));
    assert_eq!(public.state.listing(), None);
}

#[test]
fn roles_stand_over_lower_ones_only() {
    let mut room = Room::group(Kind::Group, Visibility::Public);
    let forbidden = Err(Refusal::Forbidden);
    assert_eq!(room.ask(3, What::Kick { user: UserId(4) }), forbidden);
    assert_eq!(room.ask(2, What::Kick { user: UserId(1) }), forbidden);
    assert_eq!(room.ask(2, What::Mute { user: UserId(2), until: None }), forbidden);
    assert_eq!(room.ask(2, What::Ban { user: user(1), until: None }), forbidden);
    assert_eq!(room.ask(1, What::Ban { user: user(1), until: None }), forbidden);
    assert_eq!(room.ask(2, What::Add { user: user(5), role: Role::Moderator }), forbidden);
    assert_eq!(room.ask(2, What::SetRole { user: UserId(3), role: Role::Moderator }), forbidden);
    assert!(room.ask(2, What::Add { user: user(5), role: Role::Member }).is_ok());
    assert_eq!(room.ask(2, What::Add { user: user(5), role: Role::Member }), DONE);
    assert!(matches!(room.ask(1, What::Add { user: user(5), role: Role::Owner }), Err(Refusal::Conflict(_))));
    let owner_leaves = room.ask(1, What::Leave);
    assert!(matches!(owner_leaves, Err(Refusal::Conflict(_))));
    let demoted = room.ask(1, What::SetRole { user: UserId(1), role: Role::Member });
    assert!(matches!(demoted, Err(Refusal::Conflict(_))));
    room.ask(1, What::SetRole { user: UserId(2), role: Role::Owner }).unwrap();
    assert!(room.ask(1, What::Leave).is_ok());
    let public = Some(Visibility::Private);
    let update = What::Update(Update { visibility: public, ..Update::default() });
    assert!(room.ask(2, update.clone()).is_ok());
    assert_eq!(room.ask(2, update), DONE);
}

#[test]
fn owners_say_how_many_may_come_how_long_it_is_kept_and_whether_it_is_translated() {
    let limits = Limits { members: 6, retention_days: 90, ..Limits::default() };
    let mut room = Room::new(limits);
    let (kind, visibility) = (Kind::Group, Visibility::Public);
    let members = vec![(user(2), Role::Moderator), (user(3), Role::Member)];
    room.ask(1, What::Create { name: "R".into(), kind, visibility, topic: None, members }).unwrap();
    let set = |translation, max_members, retention_days| {
        What::Update(Update { translation, max_members, retention_days, ..Update::default() })
    };
    for owners in [set(Some(false), None, None), set(None, Some(4), None), set(None, None, Some(1))] {
        assert_eq!(room.ask(2, owners), Err(Refusal::Forbidden));
    }
    assert_eq!(room.ask(2, set(Some(true), Some(0), Some(0))), DONE, "it is so already");
    let wrong = |field, outcome| matches!(outcome, Err(Refusal::Invalid { field: of, .. }) if of == field);
    assert!(wrong("max_members", room.ask(1, set(None, Some(7), None))));
    assert!(wrong("retention_days", room.ask(1, set(None, None, Some(91)))));

    room.ask(1, set(Some(false), Some(4), Some(90))).unwrap();
    assert_eq!(room.ask(1, set(Some(false), Some(4), Some(90))), DONE);
    let facts = room.state.facts().unwrap();
    assert_eq!((facts.translation, facts.max_members, facts.retention_days), (false, Some(4), Some(90)));
    room.ask(4, What::Join).unwrap();
    let full = Err(Refusal::Limit("This room is full."));
    assert_eq!(room.ask(5, What::Join), full);
    assert_eq!(room.ask(2, What::Add { user: user(5), role: Role::Member }), full);
    room.ask(1, set(None, Some(2), None)).unwrap();
    assert_eq!(room.state.member_count(), 4, "nobody has to go");
    room.ask(1, set(None, Some(0), None)).unwrap();
    for comes in [5, 6] {
        room.ask(comes, What::Join).unwrap();
    }
    assert_eq!(room.ask(7, What::Join), full, "the service's limit holds");
}

#[test]
fn the_last_member_takes_the_room_with_him() {
    let mut room = Room::group(Kind::Group, Visibility::Public);
    for other in [2, 3, 4] {
        room.ask(other, What::Leave).unwrap();
    }
    assert_eq!(room.ask(1, What::Leave), Ok(Reply::Done { seq: Some(5) }));
    assert_eq!((room.state.last_seq(), room.state.removed()), (6, true));
}

#[test]
fn mutes_slow_mode_and_channels_keep_members_quiet() {
    let mut room = Room::group(Kind::Group, Visibility::Public);
    room.ask(2, What::Mute { user: UserId(3), until: Some(1_000_500) }).unwrap();
    assert_eq!(room.post(3, "a", "a"), Err(Refusal::Muted(Some(1_000_500))));
    room.ask(3, What::Leave).unwrap();
    room.ask(3, What::Join).unwrap();
    assert_eq!(room.post(3, "a", "a"), Err(Refusal::Muted(Some(1_000_500))));
    room.now = 1_000_500;
    assert!(room.post(3, "a", "a").is_ok());
    let slow = What::Update(Update { slow_mode_seconds: Some(10), ..Update::default() });
    room.ask(2, slow).unwrap();
    room.post(3, "b", "b").unwrap();
    room.now += 4_000;
    assert_eq!(room.post(3, "c", "c"), Err(Refusal::SlowMode { retry_after_ms: 6_000 }));
    assert!(room.post(3, "b", "b").is_ok(), "a repeat is answered");
    assert!(room.post(2, "x", "x").is_ok() && room.post(2, "y", "y").is_ok());
    room.now += 6_000;
    assert!(room.post(3, "c", "c").is_ok());

    let mut channel = Room::group(Kind::Channel, Visibility::Public);
    assert_eq!(channel.post(3, "a", "a"), Err(Refusal::Forbidden));
    let seq = channel.post(2, "a", "a").unwrap();
    assert!(channel.ask(3, What::React { seq, emoji: "👍".into() }).is_ok());
}

#[test]
fn direct_rooms_are_two_people_for_good() {
    let mut room = Room::new(Limits::default());
    let direct = |members| What::Create {
        name: String::new(),
        kind: Kind::Direct,
        visibility: Visibility::Private,
        topic: None,
        members,
    };
    assert!(room.ask(1, direct(vec![(user(1), Role::Member)])).is_err());
    let make = direct(vec![(user(2), Role::Owner)]);
    assert_eq!(room.ask(1, make.clone()), Ok(Reply::Done { seq: Some(1) }));
    let again = direct(vec![(user(1), Role::Member)]);
    assert_eq!(room.ask(2, again), Ok(Reply::Done { seq: Some(1) }));
    assert!(matches!(room.ask(3, make), Err(Refusal::Conflict(_))));
    let forbidden = Err(Refusal::Forbidden);
    assert_eq!(room.ask(1, What::Leave), forbidden);
    assert_eq!(room.ask(1, What::Remove), forbidden);
    assert_eq!(room.ask(1, What::Add { user: user(3), role: Role::Member }), forbidden);
    assert_eq!(room.ask(1, What::Ban { user: user(2), until: None }), forbidden);
    assert_eq!(room.post(3, "a", "a"), Err(Refusal::RoomNotFound));
    let seq = room.post(1, "a", "a").unwrap();
    assert_eq!(room.ask(2, What::Delete { seq }), forbidden);
}

#[test]
fn messages_are_edited_deleted_and_reacted_to() {
    let mut room = Room::group(Kind::Group, Visibility::Public);
    let seq = room.post(3, "a", "hello @u4").unwrap();
    // Whom an event mentions, and whom the state remembers of its message: rows to count are made and removed by these.
    let named = |room: &Room| match &room.events.last().unwrap().body {
        Body::Posted(posted) => posted.mentions.clone(),
        Body::Edited { mentions, .. } => mentions.clone(),
        other => panic!("{other:?}"),
    };
    let remembered = |room: &Room| room.state.mentioned_by(seq).collect::<Vec<_>>();
    assert_eq!((named(&room), remembered(&room)), (vec![UserId(4)], vec![UserId(4)]));
    assert_eq!(room.state.mentioned_by(seq - 1).count(), 0);
    let edit = |text: &str| What::Edit { seq, text: text.into() };
    assert_eq!(room.ask(4, edit("x")), Err(Refusal::Forbidden));
    assert_eq!(room.ask(3, What::Edit { seq: 1, text: "x".into() }), Err(Refusal::MessageNotFound));
    assert_eq!(room.ask(3, What::Edit { seq: 99, text: "x".into() }), Err(Refusal::MessageNotFound));
    assert!(room.ask(3, edit("hi @u2")).is_ok());
    let known = Box::new(room.head(seq).unwrap().amendment);
    assert_eq!(room.ask(3, edit("hi @u2")), Ok(Reply::Edited { seq: None, amendment: known }));
    assert_eq!((named(&room), remembered(&room)), (vec![UserId(2)], vec![UserId(2), UserId(4)]));
    let react = |emoji: &str| What::React { seq, emoji: emoji.into() };
    for emoji in (0..20u32).map(|n| char::from_u32(0x1F600 + n).unwrap().to_string()) {
        assert!(room.ask(4, react(&emoji)).is_ok());
    }
    assert_eq!(room.ask(4, react("😀")), DONE);
    assert!(matches!(room.ask(4, react("👍")), Err(Refusal::Limit(_))));
    assert!(matches!(room.ask(4, react("nice")), Err(Refusal::Invalid { field: "emoji", .. })));
    assert!(room.ask(3, react("😀")).is_ok());
    assert_eq!(room.state.head(seq).unwrap().amendment.count("😀"), 2);
    assert!(room.ask(4, What::Unreact { seq, emoji: "😁".into() }).is_ok());
    assert!(room.ask(4, react("👍")).is_ok());
    assert_eq!(room.state.head(seq), room.head(seq).as_ref());
    assert!(room.ask(2, What::Delete { seq }).is_ok());
    assert_eq!(room.ask(3, What::Delete { seq }), DONE);
    assert_eq!(remembered(&room), [UserId(2), UserId(4)]);
    assert_eq!(room.ask(3, edit("late")), Err(Refusal::MessageDeleted));
    assert_eq!(room.ask(3, react("👍")), Err(Refusal::MessageDeleted));
    let bytes = room.state.head(seq).unwrap().amendment.encode();
    assert_eq!(Amendment::decode(&bytes), Ok(room.head(seq).unwrap().amendment));
}

#[test]
fn client_msg_ids_are_taken_once() {
    let mut room = Room::group(Kind::Group, Visibility::Public);
    let seq = room.post(3, "a", "one").unwrap();
    assert_eq!(room.post(3, "a", "one"), Ok(seq));
    assert_eq!(room.post(3, "a", "two"), Err(Refusal::ClientMsgIdConflict));
    assert_eq!(room.post(4, "a", "two"), Ok(seq + 1));
    room.now = 100_000_000;
    let old = MessageId::from_parts(90_000_000, 5).to_string();
    assert_eq!(room.post(3, &old, "old"), Err(Refusal::ClientMsgIdStale));
    let fresh = MessageId::from_parts(99_000_000, 5).to_string();
    assert!(room.post(3, &fresh, "new").is_ok());
    assert!(room.post(3, "", "x").is_err() && room.post(3, &"x".repeat(65), "x").is_err());
}

/// Declares until nothing is left to do; says in how many steps.
fn declared(room: &mut Room, declaration: &Declaration) -> Result<usize, Refusal> {
    for steps in 0..20 {
        if room.ask(0, What::Declare(Box::new(declaration.clone())))? == (Reply::Done { seq: None }) {
            return Ok(steps);
        }
    }
    panic!("it never ends");
}

fn declaration(members: &[(u128, Role)]) -> Declaration {
    Declaration {
        name: "Tea".into(),
        kind: Kind::Group,
        visibility: Visibility::Public,
        topic: None,
        slow_mode_seconds: 0,
        translation: true,
        max_members: None,
        retention_days: None,
        members: members.iter().map(|(id, role)| (user(*id), *role)).collect(),
    }
}

/// Whether the room is what is declared.
fn is_so(room: &Room, declared: &Declaration) -> bool {
    let Some(facts) = room.state.facts() else { return false };
    let settings = (facts.slow_mode_seconds, facts.translation, facts.max_members, facts.retention_days);
    facts.declared
        && room.state.fingerprint() == Some(declared.fingerprint())
        && (&facts.name, facts.kind, facts.visibility, &facts.topic)
            == (&declared.name, declared.kind, declared.visibility, &declared.topic)
        && settings
            == (
                declared.slow_mode_seconds,
                declared.translation,
                declared.max_members,
                declared.retention_days,
            )
        && room.state.declared.len() == declared.members.len()
        && declared
            .members
            .iter()
            .all(|(user, role)| room.state.is_declared(user.id) && room.state.role(user.id) == Some(*role))
}

#[test]
fn a_declared_room_is_made_and_kept_so() {
    let mut room = Room::new(Limits::default());
    let mut wanted = declaration(&[(1, Role::Owner), (2, Role::Member)]);
    (wanted.slow_mode_seconds, wanted.translation) = (30, false);
    assert_eq!(
        room.state.decide(&command(1, 1, What::Declare(wanted.clone().into()))),
        Err(Refusal::Forbidden)
    );
    assert_eq!(declared(&mut room, &wanted), Ok(1));
    assert!(is_so(&room, &wanted));
    assert_eq!(Room::group(Kind::Group, Visibility::Public).state.fingerprint(), None);
    let mut other = wanted.clone();
    other.members.swap(0, 1);
    assert_eq!(other.fingerprint(), wanted.fingerprint());
    other.members[0].1 = Role::Moderator;
    assert_ne!(other.fingerprint(), wanted.fingerprint());
    assert!(room.events.iter().all(|event| event.actor == DECLARER) && room.events.len() == 2);
    assert_eq!(room.state.role(DECLARER), None);

    // Who joins by himself stays, unless a declaration has named him since.
    room.ask(3, What::Join).unwrap();
    room.ask(4, What::Join).unwrap();
    assert_eq!(declared(&mut room, &wanted), Ok(0), "it is so still");
    wanted.members = vec![(user(3), Role::Member), (user(5), Role::Moderator)];
    assert_eq!(declared(&mut room, &wanted), Ok(1));
    assert!(is_so(&room, &wanted));
    let members: Vec<u128> = room.state.members().map(|member| member.id.0).collect();
    assert_eq!(members, [3, 4, 5], "and no owner is needed");
    wanted.members = vec![];
    (wanted.name, wanted.topic, wanted.visibility) =
        ("Coffee".into(), Some("now".into()), Visibility::Private);
    assert_eq!(declared(&mut room, &wanted), Ok(1));
    assert!(is_so(&room, &wanted));
    assert_eq!(room.state.members().map(|member| member.id.0).collect::<Vec<_>>(), [4]);
    assert!(room.ask(4, What::Leave).is_ok());
    assert!(is_so(&room, &wanted) && room.state.member_count() == 0, "the last one takes nothing with him");

    let other = Declaration { kind: Kind::Channel, ..wanted.clone() };
    assert!(matches!(declared(&mut room, &other), Err(Refusal::Conflict(_))));
    let remove = command(1, room.now, What::Remove);
    assert_eq!(room.state.decide(&remove), Err(Refusal::RoomNotFound));
    room.ask(0, What::Remove).unwrap();
    assert_eq!(declared(&mut room, &wanted), Err(Refusal::RoomNotFound), "removed for good");
}

#[test]
fn members_do_not_change_what_is_declared() {
    let mut room = Room::new(Limits::default());
    let named = [(1, Role::Owner), (2, Role::Owner), (3, Role::Moderator), (4, Role::Member)];
    let wanted = declaration(&named);
    declared(&mut room, &wanted).unwrap();
    room.ask(5, What::Join).unwrap();
    room.ask(6, What::Join).unwrap();
    let update = |name: &str| What::Update(Update { name: Some(name.into()), ..Update::default() });
    let refused = |outcome: Result<Reply, Refusal>| match outcome {
        Err(Refusal::Conflict(why)) => assert!(why.contains("ChatRoom manifest"), "{why}"),
        other => panic!("{other:?}"),
    };
    assert_eq!(room.ask(1, update("Tea")), DONE, "nothing is asked for");
    refused(room.ask(1, update("Coffee")));
    refused(room.ask(1, What::Remove));
    refused(room.ask(1, What::SetRole { user: UserId(3), role: Role::Member }));
    refused(room.ask(1, What::Kick { user: UserId(4) }));
    refused(room.ask(1, What::Ban { user: user(4), until: None }));
    refused(room.ask(4, What::Leave));
    refused(room.ask(1, What::Leave));
    assert!(room.ask(3, update("Coffee")).is_err());
    assert_eq!(room.ask(4, What::Remove), Err(Refusal::Forbidden));
    // What is not declared is theirs.
    room.ask(1, What::SetRole { user: UserId(5), role: Role::Moderator }).unwrap();
    room.ask(5, What::Ban { user: user(6), until: None }).unwrap();
    room.ask(3, What::Mute { user: UserId(4), until: None }).unwrap();
    room.ask(5, What::Leave).unwrap();
    assert!(is_so(&room, &wanted));
    // Whom it names comes in, banned or not, also where no more may join.
    let mut wanted = declaration(&[(6, Role::Member), (7, Role::Owner)]);
    wanted.max_members = Some(1);
    declared(&mut room, &wanted).unwrap();
    assert!(is_so(&room, &wanted));
    assert_eq!(room.ask(8, What::Join), Err(Refusal::Limit("This room is full.")));
}

#[test]
fn what_cannot_be_is_not_declared() {
    let limits = Limits { members: 3, retention_days: 90, ..Limits::default() };
    let plain = declaration(&[(1, Role::Owner)]);
    let wrong = [
        ("name", Declaration { name: String::new(), ..plain.clone() }),
        ("kind", Declaration { kind: Kind::Direct, ..plain.clone() }),
        ("topic", Declaration { topic: Some("t".repeat(501)), ..plain.clone() }),
        ("slow_mode_seconds", Declaration { slow_mode_seconds: 21_601, ..plain.clone() }),
        ("max_members", Declaration { max_members: Some(4), ..plain.clone() }),
        ("retention_days", Declaration { retention_days: Some(91), ..plain.clone() }),
        ("members", declaration(&[(1, Role::Owner), (1, Role::Member)])),
        ("members", declaration(&(1..502).map(|id| (id, Role::Member)).collect::<Vec<_>>())),
        ("members", declaration(&[(0, Role::Member)])),
    ];
    for (field, wrong) in wrong {
        let mut room = Room::new(limits.clone());
        let refusal = declared(&mut room, &wrong).unwrap_err();
        assert!(matches!(refusal, Refusal::Invalid { field: of, .. } if of == field), "{field}: {refusal}");
    }
    let many = declaration(&[(1, Role::Owner), (2, Role::Member), (3, Role::Member), (4, Role::Member)]);
    assert!(matches!(declared(&mut Room::new(limits), &many), Err(Refusal::Limit(_))));
}

#[test]
fn many_members_come_and_go_in_several_steps() {
    let mut room = Room::new(Limits::default());
    let all: Vec<_> = (1..501).map(|id| (id, Role::Member)).collect();
    assert_eq!(declared(&mut room, &declaration(&all)), Ok(4), "100 at first and 100 with each step");
    assert_eq!(room.state.member_count(), 500);
    let wanted = declaration(&all[490..]);
    assert_eq!(declared(&mut room, &wanted), Ok(5));
    assert!(is_so(&room, &wanted) && room.state.member_count() == 10);
}

fn any_what() -> impl Strategy<Value = What> {
    let who = || (1u128..7).prop_map(UserId);
    let profile = || (1u128..7).prop_map(user);
    let role = || prop::sample::select(vec![Role::Member, Role::Moderator, Role::Owner]);
    let until = || prop::option::of(1_000_000i64..1_100_000);
    let seq = || 1u64..60;
    let emoji = || prop::sample::select(vec!["👍", "❤️", "🎉"]).prop_map(String::from);
    let text = || prop::sample::select(vec!["a", "b @u3", "@u1 @u2", " "]).prop_map(String::from);
    prop_oneof![
        1 => Just(What::Join),
        1 => Just(What::Leave),
        1 => (prop::option::of(text()), prop::option::of(text()), prop::option::of(0u32..5)).prop_map(
            |(name, topic, slow_mode_seconds)| What::Update(Update {
                name,
                topic,
                slow_mode_seconds,
                ..Update::default()
            })
        ),
        1 => (prop::option::of(any::<bool>()), prop::option::of(0u32..5), prop::option::of(0u32..3)).prop_map(
            |(translation, max_members, retention_days)| What::Update(Update {
                translation,
                max_members,
                retention_days,
                ..Update::default()
            })
        ),
        1 => (profile(), role()).prop_map(|(user, role)| What::Add { user, role }),
        1 => any_declaration().prop_map(|declared| What::Declare(Box::new(declared))),
        1 => (who(), role()).prop_map(|(user, role)| What::SetRole { user, role }),
        1 => who().prop_map(|user| What::Kick { user }),
        1 => (profile(), until()).prop_map(|(user, until)| What::Ban { user, until }),
        1 => who().prop_map(|user| What::Unban { user }),
        1 => (who(), until()).prop_map(|(user, until)| What::Mute { user, until }),
        1 => who().prop_map(|user| What::Unmute { user }),
        6 => (text(), 0u32..30, prop::option::of(seq())).prop_map(|(text, id, reply_to)| What::Post {
            text,
            client_msg_id: id.to_string(),
            reply_to
        }),
        2 => (seq(), text()).prop_map(|(seq, text)| What::Edit { seq, text }),
        1 => seq().prop_map(|seq| What::Delete { seq }),
        3 => (seq(), emoji()).prop_map(|(seq, emoji)| What::React { seq, emoji }),
        1 => (seq(), emoji()).prop_map(|(seq, emoji)| What::Unreact { seq, emoji }),
    ]
}

fn any_declaration() -> impl Strategy<Value = Declaration> {
    let roles = prop::sample::select(vec![Role::Member, Role::Moderator, Role::Owner]);
    let members = prop::collection::btree_map(1u128..7, roles, 0..5);
    (members, 0u32..3, any::<bool>(), prop::option::of(1u32..9)).prop_map(
        |(members, slow_mode_seconds, translation, max_members)| {
            let members: Vec<_> = members.into_iter().collect();
            Declaration { slow_mode_seconds, translation, max_members, ..declaration(&members) }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Whatever is asked: seqs have no gap, an owner is left, ids are stored once within the window, heads in
    /// memory are what the log says, and a snapshot with the later records is as good as never having stopped.
    #[test]
    fn rooms_keep_their_promises(
        asks in prop::collection::vec((1u128..7, any_what(), 0i64..3_000), 1..120),
        cut in any::<prop::sample::Index>(),
    ) {
        let limits = Limits { heads: 3, dedupe_window_ms: 20_000, clock_skew_ms: 10, ..Limits::default() };
        let mut room = Room::new(limits.clone());
        let members = vec![(user(2), Role::Moderator), (user(3), Role::Member)];
        let visibility = Visibility::Public;
        let kind = Kind::Group;
        room.ask(1, What::Create { name: "R".into(), kind, visibility, topic: None, members }).unwrap();
        for (actor, what, passes) in asks {
            // Clocks of owners go back, too.
            room.now += passes - 500;
            let before = room.state.last_seq();
            let outcome = room.ask(actor, what.clone());
            if outcome.is_err() || outcome == DONE {
                prop_assert_eq!(room.state.last_seq(), before);
            }
            if let (What::Declare(wanted), Ok(_)) = (&what, &outcome) {
                prop_assert!(is_so(&room, wanted), "{:?}", wanted);
                prop_assert_eq!(room.ask(actor, what.clone()), DONE, "twice is once");
            }
            prop_assert_eq!(room.state.last_seq(), room.events.len() as u64);
            let owners = room.state.members().filter(|m| m.role == Role::Owner).count();
            let declared = room.state.facts().is_some_and(|facts| facts.declared);
            prop_assert!(owners > 0 || declared || room.state.removed());
            prop_assert!(room.state.declared.iter().all(|user| room.state.role(*user).is_some()));
            prop_assert_eq!(owners, room.state.members.owners());
        }
        let mut posts: Vec<_> = room
            .events
            .iter()
            .filter_map(|e| match &e.body {
                Body::Posted(p) => Some((p.sender.id, p.client_msg_id.clone(), e.ts)),
                _ => None,
            })
            .collect();
        prop_assert_eq!(room.state.messages(), posts.len() as u64);
        posts.sort();
        for pair in posts.windows(2) {
            let same = (pair[0].0, &pair[0].1) == (pair[1].0, &pair[1].1);
            prop_assert!(!same || pair[1].2 - pair[0].2 > 20_000);
        }
        for seq in 1..=room.state.last_seq() {
            if let Some(head) = room.state.head(seq) {
                prop_assert_eq!(Some(head.clone()), room.head(seq));
            }
        }
        let cut = cut.index(room.events.len() + 1);
        let limits = Arc::new(limits);
        let mut early = State::new(Arc::clone(&limits));
        room.events[..cut].iter().for_each(|event| early.apply(event));
        let link = Link { epoch: 1, checksum: 2, last_seq: cut as u64, messages: early.messages() };
        let restored = State::restore(early.snapshot(RoomId(1), link), RoomId(1), limits).unwrap();
        prop_assert_eq!(restored.link, link);
        prop_assert_eq!(&restored.state, &early);
        let mut state = restored.state;
        room.events[cut..].iter().for_each(|event| state.apply(event));
        prop_assert_eq!(&state, &room.state);
        // And records carry all of it, in no more bytes than was reckoned.
        let record = Record {
            room: RoomId(1),
            epoch: 1,
            id: rookery_protocol::id::RecordId(1),
            first_seq: 1,
            messages_before: 0,
            previous_checksum: 0,
            events: room.events.clone(),
            owner: "node".into(),
        };
        let reckoned = crate::record::RECORD_OVERHEAD + room.events.iter().map(Event::size).sum::<usize>();
        let sealed = record.seal();
        prop_assert!(sealed.bytes.len() <= reckoned);
        prop_assert_eq!(Record::open(&sealed.bytes, RoomId(1)).map(|o| o.record), Ok(record));
    }
}
