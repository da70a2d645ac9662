//! The owner against a log that answers as told: above all, the outcomes that are not known.

use std::sync::Arc;

use bytes::Bytes;
use rookery_protocol::id::{RoomId, UserId};

use super::*;
use crate::{
    record::{Broken, Record},
    room::{Amendment, Change, Head, Kind, Profile, Role, Visibility, What},
};

const ROOM: RoomId = RoomId(9);

fn user(id: u128) -> Profile {
    Profile { id: UserId(id), username: format!("u{id}"), display_name: format!("User {id}") }
}

fn create() -> What {
    What::Create {
        name: "Room".into(),
        kind: Kind::Group,
        visibility: Visibility::Public,
        topic: None,
        members: vec![(user(2), Role::Member)],
    }
}

fn post(id: &str) -> What {
    What::Post { text: format!("text of {id}"), client_msg_id: id.into(), reply_to: None }
}

/// Those of an owner that fences as soon as it has nothing else to do.
fn settings() -> Settings {
    Settings { fence_after_ms: 0, ..Settings::default() }
}

/// A log in memory, and one owner on it. Appends are answered only when a test says how.
struct Bench {
    log: Vec<Stored>,
    next_at: u64,
    snapshot: Option<Bytes>,
    owner: Owner,
    now: u64,
    append: Option<Append>,
    /// Who is asked for the tail knows of no record, and says so unless it must be certain.
    blind: bool,
    answers: Vec<(u64, Result<Reply, Refusal>)>,
    /// Ids of the members shown, by ticket of the look.
    shown: Vec<(u64, Result<Vec<u128>, Refusal>)>,
    /// Tickets of commands given back.
    given_back: Vec<u64>,
    stopped: Option<Stopped>,
    heads_asked: Vec<(u64, Place)>,
    legacy: Option<Legacy>,
    /// First seqs of the records that it said are stored, in order.
    committed: Vec<u64>,
}

impl Bench {
    fn new() -> Self {
        Self::on(Vec::new(), 1)
    }

    fn on(log: Vec<Stored>, seed: u128) -> Self {
        Self::with(log, seed, settings())
    }

    fn with(log: Vec<Stored>, seed: u128, settings: Settings) -> Self {
        let next_at = log.last().map_or(1, |s| s.at.0 + 1);
        Self {
            log,
            next_at,
            snapshot: None,
            owner: Owner::new(Identity { room: ROOM, seed }, settings),
            now: 1_000,
            append: None,
            blind: false,
            answers: Vec::new(),
            shown: Vec::new(),
            given_back: Vec::new(),
            stopped: None,
            heads_asked: Vec::new(),
            legacy: None,
            committed: Vec::new(),
        }
    }

    fn input(&mut self, input: Input) {
        let mut inputs = VecDeque::from([input]);
        while let Some(input) = inputs.pop_front() {
            let mut out = Vec::new();
            self.owner.handle(input, self.now, &mut out);
            for action in out {
                match action {
                    Action::LoadTail { sure } => {
                        let tail = self.log.last().filter(|_| sure || !self.blind);
                        inputs.push_back(Input::Tail(Ok(tail.cloned())));
                    }
                    Action::LoadSnapshot => inputs.push_back(Input::Snapshot(Ok(self.snapshot.clone()))),
                    Action::ReadFrom { from, to } => {
                        let holds = |s: &&Stored| {
                            let record = Record::open(&s.bytes, ROOM).unwrap().record;
                            !record.events.is_empty() && record.last_seq() >= from && record.first_seq <= to
                        };
                        let found = self.log.iter().filter(holds).take(3).cloned().collect();
                        inputs.push_back(Input::Records(Ok(found)));
                    }
                    Action::Append(append) => assert!(self.append.replace(append).is_none()),
                    Action::LoadHead { seq, seen } => self.heads_asked.push((seq, seen)),
                    Action::Committed { at, record } => {
                        let stored =
                            self.log.iter().find(|s| s.at == at).expect("what is committed is stored");
                        assert_eq!(Record::open(&stored.bytes, ROOM).unwrap().record, *record);
                        self.committed.push(record.first_seq);
                    }
                    Action::Answer { ticket, outcome } => self.answers.push((ticket, outcome)),
                    Action::Show { ticket, members } => {
                        let ids = members.map(|all| all.iter().map(|(user, _)| user.id.0).collect());
                        self.shown.push((ticket, ids));
                    }
                    Action::GiveBack { ticket, .. } => self.given_back.push(ticket),
                    Action::SaveSnapshot { bytes, .. } => self.snapshot = Some(bytes),
                    Action::HandOver(legacy) => assert!(self.legacy.replace(legacy).is_none()),
                    Action::Stopped { why } => assert!(self.stopped.replace(why).is_none()),
                }
            }
        }
    }

    fn command(&mut self, ticket: u64, actor: u128, what: What) {
        let command = Command {
            actor: user(actor),
            what,
            now: 1_000_000 + self.now.cast_signed(),
            random: u128::from(ticket),
        };
        self.input(Input::Command { ticket, command: Box::new(command) });
    }

    fn store(&mut self, append: &Append) -> Option<LogSeq> {
        if append.expected != self.log.last().map_or(LogSeq(0), |s| s.at) {
            return None;
        }
        let at = LogSeq(self.next_at);
        self.next_at += 3;
        self.log.push(Stored { at, bytes: append.sealed.clone() });
        Some(at)
    }

    /// Lets the append that is out take place, and answers it truthfully.
    fn commit(&mut self) {
        let append = self.append.take().expect("an append is out");
        let outcome = self.store(&append).map_or(Appended::ConditionFailed, Appended::Committed);
        self.input(Input::AppendDone { attempt: append.attempt, outcome });
    }

    /// Answers the append that is out with `Unknown`, after it took place or not.
    fn lose(&mut self, stored: bool) -> Append {
        let append = self.append.take().expect("an append is out");
        if stored {
            self.store(&append).expect("the condition holds");
        }
        self.input(Input::AppendDone { attempt: append.attempt, outcome: Appended::Unknown });
        append
    }

    /// Lets time pass until the owner wants to be woken.
    fn sleep(&mut self) {
        self.now = self.owner.wake_at().expect("it waits for something").max(self.now);
        self.input(Input::Tick);
    }

    /// A room with one event, served.
    fn room() -> Self {
        let mut bench = Self::new();
        bench.command(1, 1, create());
        bench.commit();
        assert_eq!(bench.take_answers(), [(1, Ok(Reply::Done { seq: Some(1) }))]);
        bench
    }

    fn take_answers(&mut self) -> Vec<(u64, Result<Reply, Refusal>)> {
        mem::take(&mut self.answers)
    }

    fn posted(&mut self) -> Vec<(u64, u64, bool)> {
        let posted = |(ticket, outcome)| match outcome {
            Ok(Reply::Posted { seq, repeated, .. }) => (ticket, seq, repeated),
            other => panic!("ticket {ticket}: {other:?}"),
        };
        self.take_answers().into_iter().map(posted).collect()
    }

    fn posted_and_refused(&mut self) -> Vec<(u64, Result<u64, Refusal>)> {
        let seq = |outcome| match outcome {
            Ok(Reply::Posted { seq, .. }) => Ok(seq),
            Err(refusal) => Err(refusal),
            other => panic!("{other:?}"),
        };
        self.take_answers().into_iter().map(|(ticket, outcome)| (ticket, seq(outcome))).collect()
    }

    fn records(&self) -> Vec<Record> {
        self.log.iter().map(|s| Record::open(&s.bytes, ROOM).unwrap().record).collect()
    }
}

#[test]
fn first_record_makes_the_room() {
    let bench = Bench::room();
    let records = bench.records();
    assert_eq!((records[0].epoch, records[0].first_seq, records[0].events.len()), (1, 1, 1));
    assert_eq!(records[0].previous_checksum, 0);
    assert!(bench.owner.serves());
}

#[test]
fn nobody_is_told_that_there_is_no_room_by_whoever_may_not_know_of_it() {
    let mut bench = Bench::on(Bench::room().log, 2);
    bench.blind = true;
    bench.command(1, 3, What::Join);
    assert_eq!(bench.take_answers(), []);
    bench.commit();
    assert_eq!(bench.take_answers(), [(1, Ok(Reply::Done { seq: Some(2) }))]);

    // It is asked again for each that came after it was asked.
    let mut none = Bench::new();
    none.blind = true;
    none.command(1, 3, What::Join);
    assert_eq!(none.take_answers(), [(1, Err(Refusal::RoomNotFound))]);
    none.log = Bench::room().log;
    none.next_at = 10;
    none.command(2, 3, What::Join);
    none.commit();
    assert_eq!(none.take_answers(), [(2, Ok(Reply::Done { seq: Some(2) }))]);

    // Who makes a room need not ask: his record is conditional.
    let mut made = Bench::on(Bench::room().log, 2);
    made.blind = true;
    made.command(1, 1, create());
    assert_eq!(made.append.as_ref().map(|append| append.expected), Some(LogSeq(0)));
    made.blind = false;
    made.commit();
    assert_eq!((made.stopped, made.given_back), (Some(Stopped::Fenced { epoch: 1 }), vec![1]));
}

#[test]
fn who_was_replaced_refuses_nothing_by_what_he_knows() {
    // One takes the room over, and another after it, which it does not hear of.
    let mut replaced = Bench::on(Bench::room().log, 2);
    replaced.input(Input::Tick);
    replaced.commit();
    let mut next = Bench::on(replaced.log.clone(), 3);
    next.command(1, 1, post("a"));
    next.commit();
    assert_eq!(next.posted(), [(1, 2, false)]);
    next.command(2, 2, What::Leave);
    next.commit();
    replaced.log.clone_from(&next.log);
    replaced.command(3, 1, What::React { seq: 2, emoji: "👍".into() });
    assert_eq!(replaced.take_answers(), []);
    assert_eq!((replaced.stopped, replaced.given_back), (Some(Stopped::Fenced { epoch: 3 }), vec![3]));

    // Nor does it say that there is nothing to do.
    let mut replaced = Bench::on(next.log.clone(), 4);
    replaced.input(Input::Tick);
    replaced.commit();
    let mut next = Bench::on(replaced.log.clone(), 5);
    next.command(1, 2, What::Join);
    next.commit();
    replaced.log.clone_from(&next.log);
    replaced.command(2, 2, What::Leave);
    replaced.command(3, 1, post("late"));
    assert_eq!(replaced.take_answers(), [(3, Err(Refusal::Unavailable))], "it has stopped by then");
    assert_eq!((replaced.stopped, replaced.given_back), (Some(Stopped::Fenced { epoch: 5 }), vec![2]));
}

#[test]
fn refusals_wait_for_the_tail_and_what_is_true_for_ever_does_not() {
    let mut bench = Bench::room();
    bench.command(2, 1, post("a"));
    bench.commit();
    bench.take_answers();
    bench.blind = true;
    // No tail, or an old one, is none.
    bench.command(3, 1, What::Delete { seq: 9 });
    bench.sleep();
    assert_eq!(bench.take_answers(), []);
    // What comes meanwhile waits, and is decided after it.
    bench.command(4, 1, post("b"));
    bench.command(5, 2, What::Kick { user: UserId(1) });
    assert!(bench.append.is_none());
    bench.blind = false;
    bench.sleep();
    assert_eq!(bench.take_answers(), [(3, Err(Refusal::MessageNotFound))]);
    bench.commit();
    assert_eq!(bench.posted_and_refused(), [(4, Ok(3)), (5, Err(Refusal::Forbidden))]);

    bench.blind = true;
    bench.command(6, 1, post("a"));
    let other = What::Post { text: "other".into(), client_msg_id: "a".into(), reply_to: None };
    bench.command(7, 1, other);
    let answers = bench.take_answers();
    assert!(matches!(answers[0], (6, Ok(Reply::Posted { seq: 2, repeated: true, .. }))));
    assert_eq!(answers[1..], [(7, Err(Refusal::ClientMsgIdConflict))]);
}

#[test]
fn a_tail_that_nobody_gives_holds_up_no_room_for_ever() {
    let mut bench = Bench::room();
    bench.blind = true;
    bench.command(2, 1, What::Delete { seq: 9 });
    let end = bench.now + Settings::default().deadline_ms;
    while bench.now < end {
        assert_eq!(bench.take_answers(), []);
        bench.sleep();
    }
    assert_eq!(bench.take_answers(), [(2, Err(Refusal::Unavailable))]);
    bench.command(3, 1, post("a"));
    while bench.append.is_none() {
        bench.sleep();
    }
    bench.commit();
    assert_eq!(bench.posted(), [(3, 2, false)]);
    assert_eq!(bench.stopped, None);

    // Asked to stop meanwhile, it gives back what is not proposed.
    bench.command(4, 1, What::Delete { seq: 9 });
    bench.input(Input::StepDown);
    bench.blind = false;
    bench.sleep();
    assert_eq!(bench.take_answers(), [(4, Err(Refusal::MessageNotFound))]);
    assert_eq!(bench.stopped, Some(Stopped::SteppedDown));
}

#[test]
fn heads_are_asked_for_as_of_the_last_record() {
    let mut bench = Bench::on(Bench::room().log, 2);
    bench.input(Input::Tick);
    let before = bench.owner.place();
    bench.commit();
    bench.command(1, 1, What::Delete { seq: 1 });
    let fence = Place { at: bench.log.last().unwrap().at, first_seq: 2 };
    assert!(fence.at > before.at);
    assert_eq!((bench.owner.place(), &*bench.heads_asked), (fence, &[(1, fence)][..]));
}

#[test]
fn a_room_without_a_log_is_not_found_and_looked_for_again() {
    let mut bench = Bench::new();
    bench.command(1, 1, What::Join);
    assert_eq!(bench.take_answers(), [(1, Err(Refusal::RoomNotFound))]);
    assert!(bench.append.is_none());
    // Another node makes it: the next command finds it.
    bench.log = Bench::room().log;
    bench.next_at = 10;
    bench.command(2, 3, What::Join);
    bench.commit();
    assert_eq!(bench.take_answers(), [(2, Ok(Reply::Done { seq: Some(2) }))]);
}

#[test]
fn nothing_is_answered_before_its_commit() {
    let mut bench = Bench::room();
    bench.command(2, 1, post("a"));
    assert!(bench.answers.is_empty());
    // These wait for the first append, and travel together.
    bench.command(3, 1, post("b"));
    bench.command(4, 2, What::Leave);
    bench.command(5, 2, post("c"));
    bench.command(6, 1, post("b"));
    assert!(bench.answers.is_empty());
    bench.commit();
    assert_eq!(bench.posted(), [(2, 2, false)]);
    assert!(bench.append.is_some());
    bench.commit();
    let answers = bench.take_answers();
    assert!(matches!(answers[0], (3, Ok(Reply::Posted { seq: 3, repeated: false, .. }))));
    assert_eq!(answers[1], (4, Ok(Reply::Done { seq: Some(4) })));
    assert_eq!(answers[2], (5, Err(Refusal::NotAMember)));
    assert!(matches!(answers[3], (6, Ok(Reply::Posted { seq: 3, repeated: true, .. }))));
    assert_eq!(bench.records().iter().map(|r| r.events.len()).collect::<Vec<_>>(), [1, 1, 2]);
}

#[test]
fn ack_lost_after_commit() {
    let mut bench = Bench::room();
    bench.command(2, 1, post("a"));
    let first = bench.lose(true);
    assert!(bench.answers.is_empty() && bench.append.is_none());
    bench.sleep();
    let again = bench.append.clone().expect("sent again");
    assert_eq!((&again.record, again.expected, again.id), (&first.record, first.expected, first.id));
    assert_ne!(again.attempt, first.attempt);
    bench.commit(); // The condition fails; the tail is ours.
    assert_eq!(bench.posted(), [(2, 2, false)]);
    assert_eq!(bench.log.len(), 2);
    // And the next append stands on it.
    bench.command(3, 1, post("b"));
    bench.commit();
    assert_eq!(bench.posted(), [(3, 3, false)]);
    assert_eq!(bench.committed, [1, 2, 3], "its events are delivered all the same");
}

#[test]
fn a_lost_append_is_sent_again() {
    let mut bench = Bench::room();
    bench.command(2, 1, post("a"));
    for _ in 0..3 {
        bench.lose(false);
        bench.sleep();
    }
    bench.commit();
    assert_eq!(bench.posted(), [(2, 2, false)]);
}

#[test]
fn an_ack_of_position_zero_is_no_ack() {
    let mut bench = Bench::room();
    bench.command(2, 1, post("a"));
    let append = bench.append.take().unwrap();
    bench.input(Input::AppendDone { attempt: append.attempt, outcome: Appended::Committed(LogSeq(0)) });
    assert!(bench.answers.is_empty());
    bench.sleep();
    bench.commit();
    assert_eq!(bench.posted(), [(2, 2, false)]);
}

#[test]
fn late_delivery_of_a_timed_out_append() {
    let mut bench = Bench::room();
    bench.command(2, 1, post("a"));
    let late = bench.lose(false);
    bench.sleep();
    // The second try fails although nothing is stored (10164): the tail is as before.
    let append = bench.append.take().unwrap();
    bench.input(Input::AppendDone { attempt: append.attempt, outcome: Appended::ConditionFailed });
    assert!(bench.answers.is_empty() && bench.append.is_none());
    // Now the first one arrives.
    bench.store(&late).unwrap();
    bench.sleep();
    bench.commit();
    assert_eq!(bench.posted(), [(2, 2, false)]);
    assert_eq!(bench.log.len(), 2);
}

#[test]
fn an_answer_of_an_earlier_attempt_is_ignored() {
    let mut bench = Bench::room();
    bench.command(2, 1, post("a"));
    let first = bench.lose(false);
    bench.sleep();
    bench.input(Input::AppendDone { attempt: first.attempt, outcome: Appended::Committed(LogSeq(99)) });
    assert!(bench.answers.is_empty());
    bench.commit();
    assert_eq!(bench.posted(), [(2, 2, false)]);
}

#[test]
fn a_new_owner_fences_and_the_old_one_stops() {
    let mut old = Bench::room();
    old.command(2, 1, post("a"));
    // Behind the append.
    old.command(3, 1, post("b"));
    // While its append is on its way, another owner takes over.
    let mut new = Bench::on(old.log.clone(), 2);
    new.input(Input::Tick);
    new.commit();
    assert!(new.owner.serves());
    assert_eq!(new.owner.epoch(), 2);
    old.log = new.log.clone();
    old.commit();
    assert_eq!((old.take_answers(), &old.given_back[..]), (Vec::new(), &[2, 3][..]));
    assert_eq!(old.stopped, Some(Stopped::Fenced { epoch: 2 }));
    // The sender tries again at the new owner.
    new.command(2, 1, post("a"));
    new.commit();
    assert_eq!(new.posted(), [(2, 2, false)]);
}

#[test]
fn stored_beneath_the_record_of_another_owner() {
    let mut old = Bench::room();
    old.command(2, 1, post("a"));
    old.lose(true);
    let mut new = Bench::on(old.log.clone(), 2);
    new.command(7, 1, post("b"));
    new.commit();
    assert_eq!(new.posted(), [(7, 3, false)]);
    old.log = new.log.clone();
    old.sleep();
    old.commit();
    // It was stored: its sender is told so, though this owner is done for.
    assert_eq!(old.posted(), [(2, 2, false)]);
    assert_eq!(old.stopped, Some(Stopped::Fenced { epoch: 2 }));
    assert_eq!(new.records().iter().map(|r| r.epoch).collect::<Vec<_>>(), [1, 1, 2]);
    // A repeat at the new owner is known.
    new.command(8, 1, post("a"));
    assert_eq!(new.posted(), [(8, 2, true)]);
}

#[test]
fn not_stored_beneath_the_record_of_another_owner() {
    let mut old = Bench::room();
    old.command(2, 1, post("a"));
    old.lose(false);
    let mut new = Bench::on(old.log.clone(), 2);
    new.command(7, 1, post("b"));
    new.commit();
    old.log = new.log.clone();
    old.sleep();
    old.commit();
    assert_eq!((old.take_answers(), &old.given_back[..]), (Vec::new(), &[2][..]));
    assert_eq!(old.stopped, Some(Stopped::Fenced { epoch: 2 }));
}

#[test]
fn the_old_owner_goes_on_during_a_takeover() {
    let mut old = Bench::room();
    let mut new = Bench::on(old.log.clone(), 2);
    new.input(Input::Tick);
    old.command(2, 1, post("a"));
    old.commit();
    new.log = old.log.clone();
    new.next_at = 50;
    new.commit(); // Fails: the tail moved.
    assert_eq!(new.stopped, None);
    new.commit();
    assert!(new.owner.serves());
    assert_eq!(new.owner.committed_seq(), 2);
    assert_eq!(new.owner.epoch(), 2);
}

#[test]
fn two_owners_make_the_same_room() {
    let mut one = Bench::new();
    let mut two = Bench::on(Vec::new(), 2);
    one.command(1, 1, create());
    two.command(1, 1, create());
    one.commit();
    two.log = one.log.clone();
    two.commit();
    assert_eq!((two.take_answers(), &two.given_back[..]), (Vec::new(), &[1][..]));
    assert_eq!(two.stopped, Some(Stopped::Fenced { epoch: 1 }));
}

#[test]
fn deadlines_answer_unavailable_and_the_outcome_still_counts() {
    let mut bench = Bench::room();
    bench.command(2, 1, post("a"));
    bench.command(3, 1, post("b"));
    let deadline = bench.now + 5_000;
    bench.lose(true);
    while bench.now < deadline {
        bench.sleep();
        if bench.append.is_some() {
            bench.lose(false);
        }
    }
    assert_eq!(bench.take_answers(), [(2, Err(Refusal::Unavailable)), (3, Err(Refusal::Unavailable))]);
    bench.sleep();
    bench.commit();
    assert!(bench.answers.is_empty());
    // It was stored; the one behind it never was.
    bench.command(4, 1, post("a"));
    assert_eq!(bench.posted(), [(4, 2, true)]);
    bench.command(5, 1, post("b"));
    bench.commit();
    assert_eq!(bench.posted(), [(5, 3, false)]);
}

#[test]
fn too_much_waiting_is_refused_at_once() {
    let settings = Settings { max_waiting: 3, ..settings() };
    let mut bench = Bench::with(Bench::room().log, 2, settings);
    for ticket in 1..=5 {
        bench.command(ticket, 1, post(&ticket.to_string()));
    }
    let refused = [(4, Err(Refusal::Unavailable)), (5, Err(Refusal::Unavailable))];
    assert_eq!(bench.take_answers(), refused);
    bench.commit();
    bench.commit();
    assert_eq!(bench.posted(), [(1, 2, false), (2, 3, false), (3, 4, false)]);
}

#[test]
fn records_are_bounded_by_count_and_bytes() {
    let settings = Settings { batch_events: 4, batch_bytes: 1_500, ..settings() };
    let mut bench = Bench::with(Bench::room().log, 2, settings);
    bench.input(Input::Tick);
    for ticket in 1..=6 {
        bench.command(ticket, 1, post(&ticket.to_string()));
    }
    let big = What::Post { text: "x".repeat(1_200), client_msg_id: "big".into(), reply_to: None };
    bench.command(7, 1, big);
    bench.command(8, 1, post("8"));
    bench.commit();
    while bench.append.is_some() {
        bench.commit();
    }
    let sizes = bench.records().iter().map(|r| r.events.len()).collect::<Vec<_>>();
    assert_eq!(sizes, [1, 0, 4, 2, 1, 1]);
    assert!(bench.log.iter().all(|s| s.bytes.len() < 2_000));
    assert_eq!(bench.posted().len(), 8);
}

#[test]
fn snapshots_shorten_takeovers() {
    let settings = Settings { snapshot_every: 5, ..settings() };
    let mut bench = Bench::with(Bench::room().log, 2, settings);
    bench.input(Input::Tick);
    bench.commit();
    for ticket in 1..=7 {
        bench.command(ticket, 1, post(&ticket.to_string()));
        bench.commit();
    }
    assert!(bench.snapshot.is_some());
    let mut next = Bench::on(bench.log.clone(), 3);
    next.snapshot = bench.snapshot.clone();
    // What the snapshot covers is not read: there is nothing left to read.
    next.log.drain(..6);
    next.input(Input::Tick);
    next.commit();
    assert!(next.owner.serves());
    assert_eq!(next.owner.state(), bench.owner.state());
    // One that is damaged is passed over.
    let mut third = Bench::on(bench.log.clone(), 4);
    third.snapshot = Some(Bytes::from_static(b"\x0a\x03abc"));
    third.input(Input::Tick);
    third.commit();
    assert_eq!(third.owner.state(), bench.owner.state());
}

#[test]
fn the_old_owner_hands_over_between_the_reading_of_tail_and_snapshot() {
    let mut old = Bench::room();
    let before = old.log.last().cloned();
    old.command(2, 1, post("a"));
    old.commit();
    old.input(Input::StepDown);
    let (after, snapshot) = (old.log.last().cloned(), old.snapshot.clone());
    assert!(snapshot.is_some());
    // The tail is read again; what answers then may be old for a while, or know of nothing at all.
    let takeover = |old: Option<Stored>, times: usize| {
        let mut new = Owner::new(Identity { room: ROOM, seed: 2 }, settings());
        let mut now = 1_000;
        let mut step = |input| {
            let mut out = Vec::new();
            new.handle(input, now, &mut out);
            if out.is_empty() {
                now = new.wake_at().expect("it waits for a while");
                new.handle(Input::Tick, now, &mut out);
            }
            assert_eq!(out.len(), 1, "{out:?}");
            out.remove(0)
        };
        let tail = Action::LoadTail { sure: false };
        assert_eq!(step(Input::Tick), tail);
        assert_eq!(step(Input::Tail(Ok(before.clone()))), Action::LoadSnapshot);
        assert_eq!(step(Input::Snapshot(Ok(snapshot.clone()))), tail);
        for _ in 0..times {
            let next = step(Input::Tail(Ok(old.clone())));
            if next != tail {
                return next;
            }
        }
        step(Input::Tail(Ok(after.clone())))
    };
    for old in [before.clone(), None] {
        for times in [0, 1, 16] {
            let Action::Append(fence) = takeover(old.clone(), times) else { panic!("it must fence") };
            assert_eq!(Some(fence.expected), after.as_ref().map(|after| after.at));
            assert_eq!(fence.first_seq, 3);
        }
        // A tail that stays behind the snapshot is no tail.
        let why = Stopped::Contradiction("it ends before what was known of it");
        assert_eq!(takeover(old.clone(), 100), Action::Stopped { why });
    }
}

#[test]
fn a_tail_that_is_too_old_to_be_true_is_asked_for_again() {
    let mut bench = Bench::room();
    bench.command(2, 1, post("a"));
    let append = bench.lose(true);
    bench.sleep();
    // It is stored; the condition of the second try fails, and who answers then was paused for a while.
    let again = bench.append.take().expect("sent again");
    let newest = mem::take(&mut bench.log);
    bench.input(Input::AppendDone { attempt: again.attempt, outcome: Appended::ConditionFailed });
    for _ in 0..5 {
        assert!(bench.answers.is_empty() && bench.append.is_none() && bench.stopped.is_none());
        bench.sleep();
    }
    bench.log = newest;
    bench.sleep();
    assert_eq!(bench.posted(), [(2, append.first_seq, false)]);
    // But not for ever: that log has lost a record.
    bench.command(3, 1, post("b"));
    let lost = bench.append.take().expect("the next one");
    bench.log.clear();
    bench.input(Input::AppendDone { attempt: lost.attempt, outcome: Appended::ConditionFailed });
    for _ in 0..100 {
        if bench.stopped.is_some() {
            break;
        }
        bench.sleep();
    }
    assert!(matches!(bench.stopped, Some(Stopped::Contradiction(_))), "{:?}", bench.stopped);
}

#[test]
fn a_graceful_stop_flushes_and_saves() {
    let mut bench = Bench::room();
    bench.command(2, 1, post("a"));
    bench.command(3, 1, post("b"));
    bench.input(Input::StepDown);
    bench.command(4, 1, post("c"));
    assert_eq!(bench.take_answers(), [(4, Err(Refusal::Unavailable))]);
    bench.commit();
    bench.commit();
    assert_eq!(bench.posted(), [(2, 2, false), (3, 3, false)]);
    assert_eq!(bench.stopped, Some(Stopped::SteppedDown));
    let anchor = State::restore(bench.snapshot.unwrap(), ROOM, Arc::default()).unwrap();
    assert_eq!(anchor.link.last_seq, 3);
}

#[test]
fn a_log_that_is_not_in_order_stops_the_owner() {
    let mut bench = Bench::room();
    for ticket in 2..=4 {
        bench.command(ticket, 1, post(&ticket.to_string()));
        bench.commit();
    }
    let log = bench.log;
    let stops = |change: &dyn Fn(&mut Vec<Stored>)| {
        let mut log = log.clone();
        change(&mut log);
        let mut bench = Bench::on(log, 2);
        bench.input(Input::Tick);
        assert!(bench.append.is_none());
        bench.stopped.expect("it stopped")
    };
    assert!(matches!(stops(&|log| drop(log.remove(1))), Stopped::Broken(Broken::Seq { expected: 2, .. })));
    let flip = |at: usize| {
        move |log: &mut Vec<Stored>| {
            let mut bytes = log[at].bytes.to_vec();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            log[at].bytes = bytes.into();
        }
    };
    assert!(matches!(stops(&flip(3)), Stopped::Unreadable { seq: 1, .. }));
    let replace = |log: &mut Vec<Stored>| {
        let mut other = Record::open(&log[2].bytes, ROOM).unwrap().record;
        other.owner = "another".into();
        log[2].bytes = other.seal().bytes;
    };
    assert!(matches!(stops(&replace), Stopped::Broken(Broken::Chain { seq: 4, .. })));
    let older = |log: &mut Vec<Stored>| {
        let mut other = Record::open(&log[1].bytes, ROOM).unwrap().record;
        other.epoch = 7;
        log[1].bytes = other.seal().bytes;
    };
    assert!(matches!(stops(&older), Stopped::Broken(Broken::Epoch { last: 7, found: 1 })));
}

#[test]
fn old_messages_are_loaded_when_touched() {
    let limits = Arc::new(crate::room::Limits { heads: 2, ..Default::default() });
    let settings = Settings { limits, ..settings() };
    let mut bench = Bench::with(Bench::room().log, 2, settings);
    bench.input(Input::Tick);
    bench.commit();
    for ticket in 2..=5 {
        bench.command(ticket, 1, post(&ticket.to_string()));
        bench.commit();
    }
    bench.take_answers();
    bench.command(6, 2, What::React { seq: 2, emoji: "👍".into() });
    bench.command(7, 1, post("behind it"));
    assert_eq!(bench.heads_asked.iter().map(|(seq, _)| *seq).collect::<Vec<_>>(), [2]);
    assert!(bench.append.is_none());
    let head = Head { sender: UserId(1), amendment: Amendment::default() };
    bench.input(Input::Head { seq: 2, head: Ok(Some(head)) });
    let amended = bench.append.clone().unwrap().changes;
    let [Change::Amended { seq: 2, amendment }] = &amended[..] else { panic!("{amended:?}") };
    assert!(amendment.has("👍", UserId(2)) && amendment.as_of == 6);
    bench.commit();
    assert_eq!(bench.answers.len(), 2);
    // What cannot be loaded is refused, and holds nobody up.
    bench.take_answers();
    bench.command(8, 1, What::Delete { seq: 3 });
    bench.input(Input::Head { seq: 3, head: Err(Failed) });
    assert_eq!(bench.take_answers(), [(8, Err(Refusal::Unavailable))]);
    bench.command(9, 1, What::Delete { seq: 1 });
    bench.input(Input::Head { seq: 1, head: Ok(None) });
    assert_eq!(bench.take_answers(), [(9, Err(Refusal::MessageNotFound))]);
}

#[test]
fn loads_that_fail_are_made_again() {
    let mut bench = Bench::on(Bench::room().log, 2);
    let mut out = Vec::new();
    bench.owner.handle(Input::Tick, 0, &mut out);
    assert_eq!(out, [Action::LoadTail { sure: false }]);
    out.clear();
    bench.owner.handle(Input::Tail(Err(Failed)), 0, &mut out);
    assert_eq!(out, []);
    assert_eq!(bench.owner.wake_at(), Some(20));
    bench.owner.handle(Input::Tick, 20, &mut out);
    assert_eq!(out, [Action::LoadTail { sure: false }]);
    bench.owner.handle(Input::Tail(Err(Failed)), 20, &mut out);
    assert_eq!(bench.owner.wake_at(), Some(60));
}

#[test]
fn members_are_shown_once_they_are_stored() {
    let mut bench = Bench::room();
    let look = |ticket| Input::Look { ticket, after: None, limit: 10 };
    bench.input(look(1));
    assert_eq!(bench.shown.pop(), Some((1, Ok(vec![1, 2]))), "nothing is under way");

    bench.command(2, 1, What::Add { user: user(3), role: Role::Member });
    bench.input(look(3));
    // More is written than one record takes, all the time.
    bench.command(4, 1, What::Add { user: user(4), role: Role::Member });
    assert_eq!(bench.shown, [], "nobody is shown who may never be a member");
    bench.commit();
    assert!(bench.append.is_some());
    assert_eq!(bench.shown.pop(), Some((3, Ok(vec![1, 2, 3]))), "between two records");

    bench.input(Input::Look { ticket: 5, after: Some(UserId(1)), limit: 2 });
    bench.commit();
    assert_eq!(bench.shown.pop(), Some((5, Ok(vec![2, 3]))));
}

#[test]
fn a_look_waits_no_longer_than_a_command() {
    let mut bench = Bench::room();
    bench.command(2, 1, post("a"));
    bench.input(Input::Look { ticket: 3, after: None, limit: 10 });
    while bench.shown.is_empty() {
        if bench.append.is_some() {
            bench.lose(false);
        }
        bench.sleep();
    }
    assert_eq!(bench.shown, [(3, Err(Refusal::Unavailable))]);
}

#[test]
fn the_first_record_fences_whatever_is_in_it() {
    let mut old = Bench::room();
    let mut new = Bench::with(old.log.clone(), 2, Settings::default());
    new.input(Input::Tick);
    assert!(new.append.is_none() && new.owner.serves(), "it waits for a command");
    new.command(2, 1, post("a"));
    new.command(3, 1, post("b"));
    new.commit();
    new.commit();
    assert_eq!(new.posted(), [(2, 2, false), (3, 3, false)]);
    let epochs =
        |bench: &Bench| bench.records().iter().map(|r| (r.epoch, r.events.len())).collect::<Vec<_>>();
    assert_eq!(epochs(&new), [(1, 1), (2, 1), (2, 1)]);
    old.command(4, 1, post("c"));
    old.log.clone_from(&new.log);
    old.commit();
    assert_eq!((old.stopped, old.given_back), (Some(Stopped::Fenced { epoch: 2 }), vec![4]));

    // Nothing comes: it fences by itself, once.
    let mut idle = Bench::with(new.log.clone(), 3, Settings::default());
    idle.input(Input::Tick);
    assert_eq!(idle.owner.wake_at(), Some(idle.now + Settings::default().fence_after_ms));
    idle.sleep();
    idle.commit();
    assert_eq!(epochs(&idle)[3..], [(3, 0)]);
    assert_eq!((idle.owner.wake_at(), &idle.append), (None, &None));

    // Who looks at members is shown nobody before.
    let mut looked = Bench::with(idle.log.clone(), 4, Settings::default());
    looked.input(Input::Tick);
    looked.input(Input::Look { ticket: 1, after: None, limit: 10 });
    assert_eq!(looked.shown, []);
    looked.commit();
    assert_eq!(looked.shown, [(1, Ok(vec![1, 2]))]);
    assert_eq!(epochs(&looked)[4..], [(4, 0)]);
}

#[test]
fn who_is_overtaken_gives_everything_back_and_nothing_is_stored() {
    let overtaken = || {
        let mut old = Bench::room();
        let mut new = Bench::with(old.log.clone(), 2, Settings::default());
        new.command(7, 1, post("b"));
        new.command(8, 1, post("c"));
        old.command(2, 1, post("a"));
        old.commit();
        new.log.clone_from(&old.log);
        new
    };
    let mut new = overtaken();
    new.commit();
    assert_eq!((new.take_answers(), &new.given_back[..]), (Vec::new(), &[7, 8][..]));
    assert_eq!(new.stopped, Some(Stopped::Overtaken));
    // The next one fences before it takes anything.
    let mut next = Bench::with(new.log.clone(), 3, Settings::default());
    next.owner = next.owner.fencing_first();
    next.command(7, 1, post("b"));
    next.commit();
    next.commit();
    assert_eq!(next.posted(), [(7, 3, false)]);

    // It is told, while its append is out: that one may be stored.
    let mut told = overtaken();
    let at = told.log[1].at;
    told.input(Input::Behind { at });
    assert_eq!(told.stopped, None);
    told.commit();
    assert_eq!((told.stopped, told.given_back), (Some(Stopped::Overtaken), vec![7, 8]));

    // What an unanswered attempt has stored is no other's.
    let mut unknown = Bench::with(Bench::room().log, 2, Settings::default());
    unknown.command(7, 1, post("b"));
    unknown.lose(true);
    let at = unknown.log[1].at;
    unknown.input(Input::Behind { at });
    unknown.sleep();
    unknown.commit();
    assert_eq!((unknown.posted(), unknown.stopped), (vec![(7, 2, false)], None));

    // Who has fenced knows better.
    let mut fenced = Bench::room();
    fenced.input(Input::Behind { at: LogSeq(99) });
    fenced.command(2, 1, post("a"));
    fenced.commit();
    assert_eq!(fenced.posted(), [(2, 2, false)]);
}

#[test]
fn an_owner_leaves_all_that_the_next_one_needs() {
    let mut old = Bench::room();
    old.command(2, 1, post("a"));
    old.command(3, 1, post("b"));
    old.input(Input::HandOver);
    assert_eq!((old.legacy.is_none(), &old.stopped), (true, &None), "what is in flight is finished");
    old.commit();
    assert_eq!(old.posted(), [(2, 2, false)]);
    assert_eq!((&old.given_back[..], &old.stopped), (&[3][..], &Some(Stopped::SteppedDown)));
    let legacy = old.legacy.take().expect("it leaves it");
    assert_eq!((legacy.place, legacy.saved_seq, old.snapshot), (old.owner.place(), 0, None));

    let heir = |seed, log: Vec<Stored>, legacy: Legacy| {
        let mut next = Bench::with(log, seed, Settings::default());
        let identity = Identity { room: ROOM, seed };
        next.owner = Owner::heir(identity, Settings::default(), legacy, next.now).unwrap();
        next
    };
    let mut next = heir(2, old.log.clone(), legacy.clone());
    next.blind = true;
    next.command(3, 1, post("b"));
    next.commit();
    assert_eq!(next.posted(), [(3, 3, false)]);
    assert_eq!(next.records().last().map(|r| (r.epoch, r.first_seq)), Some((2, 3)));
    // And again: nothing was read from the log.
    next.input(Input::HandOver);
    let again = next.legacy.take().expect("it leaves it");
    assert_eq!(again.saved_seq, 0);
    let mut third = heir(3, next.log.clone(), again);
    third.input(Input::Tick);
    third.sleep();
    third.commit();
    assert_eq!(third.records().last().map(|r| (r.epoch, r.events.len())), Some((3, 0)));

    // One that comes too late is of no use, and does no harm.
    let mut late = heir(4, third.log.clone(), legacy.clone());
    late.command(9, 1, post("late"));
    late.commit();
    assert_eq!((late.stopped, late.given_back), (Some(Stopped::Fenced { epoch: 3 }), vec![9]));
    // Nor is one of another room, or of none.
    let other = Identity { room: RoomId(10), seed: 2 };
    assert!(Owner::heir(other, Settings::default(), legacy.clone(), 0).is_none());
    let nowhere = Legacy { place: Place::default(), ..legacy };
    assert!(Owner::heir(Identity { room: ROOM, seed: 2 }, Settings::default(), nowhere, 0).is_none());
}

#[test]
fn what_is_too_big_to_leave_is_saved() {
    let mut old = Bench::with(Bench::room().log, 2, Settings { max_legacy_bytes: 100, ..settings() });
    old.command(2, 1, post("a"));
    old.commit();
    old.input(Input::HandOver);
    assert_eq!((old.legacy.is_none(), old.snapshot.is_some()), (true, true));
    assert_eq!(old.stopped, Some(Stopped::SteppedDown));
}
