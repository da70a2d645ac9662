//! The rules. Each is one function: from the index of a history and the final state to faults.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    time::Duration,
};

use super::{Body, Entry, Fault, History, Truth, What};

/// The code of refusals that say nothing about the request.
const AWAY: &str = "unavailable";

/// A node refuses what it could not do for so long, and not earlier unless it says so about other requests too (the default
/// deadline is 5 s).
const DEADLINE: Duration = Duration::from_millis(4_500);

/// Compares what clients did and saw with what is stored in the end. No faults: every promise was kept.
pub fn check(history: &History, truth: &Truth) -> Vec<Fault> {
    let facts = Facts::of(history, truth);
    let mut faults = Vec::new();
    holes(truth, &mut faults);
    stored_twice(truth, &mut faults);
    operations(&facts, &mut faults);
    invented(&facts, truth, &mut faults);
    deliveries(history, &facts, &mut faults);
    faults.extend(sender_order(history, &facts, false));
    real_time(history, &facts, &mut faults);
    faults
}

/// What only looks like a broken promise 6: messages that changed places when the first may have been refused, unheard. Few, and each
/// with a reason, in a history that is worth something.
pub fn excused(history: &History, truth: &Truth) -> Vec<Fault> {
    sender_order(history, &Facts::of(history, truth), true)
}

/// One request, over all its tries.
struct Operation<'a> {
    room: &'a str,
    wanted: &'a Body,
    /// `(connection, when)` of each try, the first one first.
    tries: Vec<(u64, Duration)>,
    answers: Vec<Option<u64>>,
    /// Codes of refusals.
    refused: Vec<&'a str>,
    /// A try that may have been refused on the way to somebody who did not listen any more.
    away: bool,
    /// A try that was not answered over its connection.
    unheard: bool,
    /// Seqs of the events that are what it wanted.
    stored: Vec<u64>,
}

struct Facts<'a> {
    by_seq: HashMap<(&'a str, u64), &'a Body>,
    operations: BTreeMap<u64, Operation<'a>>,
}

impl<'a> Facts<'a> {
    fn of(history: &'a History, truth: &'a Truth) -> Self {
        let mut by_seq = HashMap::new();
        let mut by_name: HashMap<(&str, Name<'_>), Vec<(u64, &Body)>> = HashMap::new();
        for (room, events) in truth {
            for (seq, body) in events {
                by_seq.insert((room.as_str(), *seq), body);
                by_name.entry((room, name(body))).or_default().push((*seq, body));
            }
        }
        let mut operations: BTreeMap<u64, Operation<'_>> = BTreeMap::new();
        for Entry { at, what } in &history.entries {
            if let What::Asked { op, connection, room, wanted } = what {
                let operation = operations.entry(*op).or_insert_with(|| Operation {
                    room,
                    wanted,
                    tries: Vec::new(),
                    answers: Vec::new(),
                    refused: Vec::new(),
                    away: false,
                    unheard: false,
                    stored: by_name
                        .get(&(room.as_str(), name(wanted)))
                        .into_iter()
                        .flatten()
                        .filter(|(_, body)| body.agrees(wanted))
                        .map(|(seq, _)| *seq)
                        .collect(),
                });
                operation.tries.push((*connection, *at));
            }
        }
        for Entry { what, .. } in &history.entries {
            match what {
                What::Acked { op, seq } => {
                    if let Some(operation) = operations.get_mut(op) {
                        operation.answers.push(*seq);
                    }
                }
                What::Unheard { op, away } => {
                    if let Some(operation) = operations.get_mut(op) {
                        operation.unheard = true;
                        operation.away |= away;
                    }
                }
                What::Refused { op, code } => {
                    if let Some(operation) = operations.get_mut(op) {
                        operation.refused.push(code);
                    }
                }
                _ => {}
            }
        }
        for operation in operations.values_mut() {
            operation.tries.sort_by_key(|(_, at)| *at);
        }
        Self { by_seq, operations }
    }
}

/// What an event is found by: everything of it that later states of the room do not change.
type Name<'a> = (&'a str, &'a str, u64, &'a str);

fn name(body: &Body) -> Name<'_> {
    match body {
        Body::Message { user, client_msg_id, .. } => ("message", user, 0, client_msg_id),
        Body::Edited { user, message_seq, text } => ("edited", user, *message_seq, text),
        Body::Deleted { user, message_seq } => ("deleted", user, *message_seq, ""),
        Body::Reaction { user, message_seq, emoji, .. } => ("reaction", user, *message_seq, emoji),
        Body::Other(t, user, change) => (t, user, 0, change),
    }
}

fn holes(truth: &Truth, faults: &mut Vec<Fault>) {
    for (room, events) in truth {
        for (at, (seq, _)) in events.iter().enumerate() {
            let expected = at as u64 + 1;
            if *seq != expected {
                faults.push(Fault::HoleInRoom { room: room.clone(), expected, found: *seq });
                break;
            }
        }
    }
}

fn stored_twice(truth: &Truth, faults: &mut Vec<Fault>) {
    for (room, events) in truth {
        let mut first: HashMap<(&str, &str), u64> = HashMap::new();
        for (seq, body) in events {
            if let Body::Message { user, client_msg_id, .. } = body
                && let Some(seen) = first.insert((user, client_msg_id), *seq)
            {
                faults.push(Fault::StoredTwice {
                    room: room.clone(),
                    client_msg_id: client_msg_id.clone(),
                    seqs: (seen, *seq),
                });
            }
        }
    }
}

fn operations(facts: &Facts<'_>, faults: &mut Vec<Fault>) {
    for (&op, operation) in &facts.operations {
        let room = || operation.room.to_owned();
        let mut told = None;
        for &answer in &operation.answers {
            if answer.map_or(operation.stored.is_empty(), |seq| !operation.stored.contains(&seq)) {
                let wanted = operation.wanted.clone();
                faults.push(Fault::LostAck { op, room: room(), seq: answer, wanted });
            }
            if let (Some(before), Some(now)) = (told, answer)
                && before != now
            {
                faults.push(Fault::AnswersDiffer { op, seqs: (before, now) });
            }
            told = answer.or(told);
        }
        if let Some(code) = operation.refused.iter().find(|code| **code != AWAY) {
            let (code, wanted) = ((*code).to_owned(), operation.wanted.clone());
            faults.push(Fault::WronglyRefused { op, room: room(), code, wanted });
        }
        // Messages have a rule of their own.
        if let ([first, second, ..], [_]) = (&operation.stored[..], &operation.tries[..])
            && !matches!(operation.wanted, Body::Message { .. })
        {
            faults.push(Fault::DoneTwice { op, room: room(), seqs: (*first, *second) });
        }
    }
}

fn invented(facts: &Facts<'_>, truth: &Truth, faults: &mut Vec<Fault>) {
    let asked: BTreeSet<(&str, u64)> =
        facts.operations.values().flat_map(|o| o.stored.iter().map(|seq| (o.room, *seq))).collect();
    for (room, events) in truth {
        for (seq, body) in events {
            // Joining and making the room happen before the history begins.
            if !matches!(body, Body::Other(..)) && !asked.contains(&(room.as_str(), *seq)) {
                faults.push(Fault::Invented { room: room.clone(), seq: *seq, body: body.clone() });
            }
        }
    }
}

fn deliveries(history: &History, facts: &Facts<'_>, faults: &mut Vec<Fault>) {
    struct Follower {
        last: u64,
        seen: BTreeSet<u64>,
    }
    let mut followers: HashMap<(u64, &str), Follower> = HashMap::new();
    for Entry { what, .. } in &history.entries {
        match what {
            What::Attached { connection, room, after } => {
                followers.insert((*connection, room), Follower { last: *after, seen: BTreeSet::new() });
            }
            What::Delivered { connection, room, seq, body } => {
                let (connection, seq) = (*connection, *seq);
                let is = facts.by_seq.get(&(room.as_str(), seq));
                if !is.is_some_and(|is| is.agrees(body)) {
                    faults.push(Fault::Phantom {
                        connection,
                        room: room.clone(),
                        seq,
                        saw: body.clone(),
                        is: is.map(|&is| is.clone()),
                    });
                }
                let Some(follower) = followers.get_mut(&(connection, room.as_str())) else {
                    faults.push(Fault::Unasked { connection, room: room.clone(), seq });
                    continue;
                };
                let room = room.clone();
                if !follower.seen.insert(seq) {
                    faults.push(Fault::Duplicate { connection, room, seq });
                } else if seq <= follower.last {
                    faults.push(Fault::Reordered { connection, room, seq, after: follower.last });
                } else if seq > follower.last + 1 {
                    faults.push(Fault::Gap { connection, room, expected: follower.last + 1, got: seq });
                }
                follower.last = follower.last.max(seq);
            }
            What::CaughtUp { connection, room, last_seq } | What::Stayed { connection, room, last_seq } => {
                let had = followers.get(&(*connection, room.as_str())).map_or(0, |follower| follower.last);
                if had < *last_seq {
                    let (connection, room, last_seq) = (*connection, room.clone(), *last_seq);
                    faults.push(match what {
                        What::Stayed { .. } => Fault::Behind { connection, room, last_seq, had },
                        _ => Fault::CaughtUpEarly { connection, room, last_seq, had },
                    });
                }
            }
            What::Resync { connection, room } => {
                faults.push(Fault::LostPlace { connection: *connection, room: room.clone() });
            }
            _ => {}
        }
    }
}

/// Messages that were first sent on one connection keep their order. One that was refused there and sent again
/// later has lost its place by rule, and so has one that may have been refused, unheard: when its deadline had passed before
/// the later one is known to be stored. `excused`: only those.
fn sender_order(history: &History, facts: &Facts<'_>, excused: bool) -> Vec<Fault> {
    struct Send {
        at: Duration,
        op: u64,
        seq: u64,
        unheard: bool,
    }
    let mut sends: BTreeMap<(u64, &str), Vec<Send>> = BTreeMap::new();
    for (&op, operation) in &facts.operations {
        if let (Body::Message { .. }, Some(&(connection, at)), Some(&seq), true) = (
            operation.wanted,
            operation.tries.first(),
            operation.stored.first(),
            operation.refused.is_empty() && !operation.away,
        ) {
            let unheard = operation.unheard && operation.tries.len() > 1;
            sends.entry((connection, operation.room)).or_default().push(Send { at, op, seq, unheard });
        }
    }
    let known = first_known(history, facts);
    let mut faults = Vec::new();
    for ((connection, room), mut sends) in sends {
        sends.sort_unstable_by_key(|send| (send.at, send.op));
        for pair in sends.windows(2) {
            let [first, second] = pair else { continue };
            let late = known.get(&(room, second.seq)).is_none_or(|at| *at >= first.at + DEADLINE);
            if first.seq > second.seq && (first.unheard && late) == excused {
                let (first, second) = ((first.op, first.seq), (second.op, second.seq));
                faults.push(Fault::SenderOrder { connection, room: room.to_owned(), first, second });
            }
        }
    }
    faults
}

/// When each event was first known to a client, by an answer or by its delivery.
fn first_known<'a>(history: &'a History, facts: &Facts<'a>) -> HashMap<(&'a str, u64), Duration> {
    let mut known = HashMap::new();
    for Entry { at, what } in &history.entries {
        let event = match what {
            What::Acked { op, seq: Some(seq) } => facts.operations.get(op).map(|known| (known.room, *seq)),
            What::Delivered { room, seq, .. } => Some((room.as_str(), *seq)),
            _ => None,
        };
        if let Some(event) = event {
            known.entry(event).or_insert(*at);
        }
    }
    known
}

/// What begins after an event is known to anybody comes after that event.
fn real_time(history: &History, facts: &Facts<'_>, faults: &mut Vec<Fault>) {
    let mut known: HashMap<&str, Vec<(Duration, u64)>> = HashMap::new();
    for Entry { at, what } in &history.entries {
        match what {
            What::Acked { op, seq: Some(seq) } => {
                if let Some(operation) = facts.operations.get(op) {
                    known.entry(operation.room).or_default().push((*at, *seq));
                }
            }
            What::Delivered { room, seq, .. } => known.entry(room).or_default().push((*at, *seq)),
            _ => {}
        }
    }
    for points in known.values_mut() {
        points.sort_unstable();
        let mut highest = 0;
        for (_, seq) in points {
            highest = highest.max(*seq);
            *seq = highest;
        }
    }
    for (&op, operation) in &facts.operations {
        let (Some(&(_, began)), Some(&seq)) = (operation.tries.first(), operation.stored.first()) else {
            continue;
        };
        let Some(points) = known.get(operation.room) else { continue };
        let before = points.partition_point(|(at, _)| *at < began);
        if let Some(&(_, known)) = before.checked_sub(1).and_then(|at| points.get(at))
            && seq <= known
        {
            faults.push(Fault::BackInTime { op, room: operation.room.to_owned(), seq, known });
        }
    }
}
