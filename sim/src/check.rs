//! The promises, as checks of a finished run: the last section of the client API, by number.

use std::collections::{BTreeMap, HashMap, HashSet};

use rookery_core::record::{Body, Event, Record};
use rookery_protocol::id::{RoomId, UserId};
use xxhash_rust::xxh3::xxh3_64;

use crate::{
    history::{Connection, Digest, Entry, History, Operation, Subscription},
    log::Log,
};

/// A promise that was not kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// Which promise, by number and name.
    pub promise: &'static str,
    /// How, with the numbers to find it in the trace.
    pub how: String,
}

/// One order, without gaps, the same for all.
pub const ORDER: &str = "1 one order";
/// Acknowledged is stored.
pub const DURABLE: &str = "2 acknowledged is never lost";
/// Stored at most once.
pub const ONCE: &str = "3 a client_msg_id is stored at most once";
/// Delivered exactly once, in order.
pub const EXACT: &str = "4 every later event exactly once and in order";
/// Delivered only if stored.
pub const STORED: &str = "5 delivered only if stored";
/// Refused is not stored.
pub const REFUSED: &str = "refused is not stored";
/// What is done to a message follows from what was done to it before.
pub const FOLLOWS: &str = "each event follows from those before it";
/// What was acknowledged is found.
pub const FOUND: &str = "what was acknowledged is found by whoever asks for it";
/// One sender's order.
pub const SENDER: &str = "6 a sender's order is kept";
/// Epochs only grow.
pub const EPOCHS: &str = "epochs only grow";
/// What was acknowledged before another was invoked comes before it.
pub const REAL_TIME: &str = "real-time order";
/// After the last fault everything is answered and delivered.
pub const PROGRESS: &str = "progress after healing";

/// An event of the log, as the checks need it.
#[derive(Debug)]
struct Truth {
    digest: Digest,
    when: u64,
    post: Option<(UserId, String)>,
}

/// What an event is compared by: its place and its encoded content.
pub fn digest(seq: u64, event: &Event) -> Digest {
    xxh3_64(format!("{seq} {event:?}").as_bytes())
}

/// Checks everything but progress, which only the world can tell.
pub fn check(log: &Log, history: &History) -> Vec<Broken> {
    let mut broken = Vec::new();
    let mut truth = BTreeMap::new();
    for room in log.rooms() {
        truth.insert(room, check_log(log, room, &mut broken));
    }
    check_answers(&truth, history, &mut broken);
    check_deliveries(&truth, history, &mut broken);
    broken
}

/// The log itself: numbering, epochs, ids. Returns its events; index 0 is seq 1.
fn check_log(log: &Log, room: RoomId, broken: &mut Vec<Broken>) -> Vec<Truth> {
    let mut events = Vec::new();
    let mut messages = Messages::default();
    let mut epoch = 0;
    let mut owner = String::new();
    let mut seen: HashMap<(UserId, String), u64> = HashMap::new();
    for stored in log.records(room) {
        let record = match Record::open(&stored.record, room) {
            Ok(opened) => opened.record,
            Err(error) => {
                broken.push(Broken { promise: ORDER, how: format!("record at {}: {error}", stored.at) });
                continue;
            }
        };
        let takes_over = record.events.is_empty() || epoch == 0;
        if record.epoch < epoch || (takes_over && record.epoch == epoch) {
            let how = format!("record at {} has epoch {} after {epoch}", stored.at, record.epoch);
            broken.push(Broken { promise: EPOCHS, how });
        }
        // An epoch is one owner's, whatever the record is that begins it.
        if record.epoch > epoch {
            owner = record.owner.clone();
        } else if record.epoch == epoch && record.owner != owner {
            let how = format!(
                "record at {} of epoch {} is of {} and not of {owner}, who began it",
                stored.at, record.epoch, record.owner
            );
            broken.push(Broken { promise: EPOCHS, how });
        }
        epoch = epoch.max(record.epoch);
        let next = events.len() as u64 + 1;
        if record.first_seq != next {
            let how = format!(
                "record at {} begins with seq {} where {next} comes next",
                stored.at, record.first_seq
            );
            broken.push(Broken { promise: ORDER, how });
        }
        for (seq, event) in record.numbered() {
            let post = match &event.body {
                Body::Posted(posted) => Some((event.actor, posted.client_msg_id.clone())),
                _ => None,
            };
            if let Some(key) = &post
                && let Some(first) = seen.insert(key.clone(), seq)
            {
                let how = format!("{} of {} is stored at seq {first} and {seq}", key.1, key.0);
                broken.push(Broken { promise: ONCE, how });
            }
            if let Err(how) = messages.take(seq, event) {
                broken.push(Broken { promise: FOLLOWS, how: format!("seq {seq}: {how}") });
            }
            events.push(Truth { digest: digest(seq, event), when: stored.when, post });
        }
    }
    events
}

/// What became of the messages of a room.
#[derive(Default)]
struct Messages(HashMap<u64, Message>);

#[derive(Default)]
struct Message {
    deleted: bool,
    /// Who reacted, by emoji.
    reactions: HashMap<String, HashSet<UserId>>,
}

impl Messages {
    /// `Err`: the event says something that no owner would say who knows the ones before.
    fn take(&mut self, seq: u64, event: &Event) -> Result<(), String> {
        let (about, reaction) = match &event.body {
            Body::Posted(_) => {
                self.0.insert(seq, Message::default());
                return Ok(());
            }
            Body::Edited { message_seq, .. } | Body::Deleted { message_seq } => (*message_seq, None),
            Body::Reacted(reaction) => (reaction.message_seq, Some((reaction, true))),
            Body::Unreacted(reaction) => (reaction.message_seq, Some((reaction, false))),
            _ => return Ok(()),
        };
        let Some(message) = self.0.get_mut(&about) else {
            return Err(format!("{about} is no message"));
        };
        if message.deleted {
            return Err(format!("message {about} was deleted before"));
        }
        message.deleted = matches!(event.body, Body::Deleted { .. });
        let Some((reaction, added)) = reaction else { return Ok(()) };
        let users = message.reactions.entry(reaction.emoji.clone()).or_default();
        let changed = if added { users.insert(event.actor) } else { users.remove(&event.actor) };
        if !changed || users.len() != reaction.count as usize {
            return Err(format!(
                "{} of {} on message {about} makes {}, and was changed: {changed}",
                reaction.emoji,
                event.actor,
                users.len()
            ));
        }
        Ok(())
    }
}

/// Answers against the log: nothing acknowledged is missing, orders hold.
fn check_answers(truth: &BTreeMap<RoomId, Vec<Truth>>, history: &History, broken: &mut Vec<Broken>) {
    struct Invocation {
        user: UserId,
        room: RoomId,
        connection: Connection,
        client_msg_id: Option<String>,
        retried: bool,
        refused: bool,
    }
    let mut invocations: HashMap<Operation, Invocation> = HashMap::new();
    // The highest seq acknowledged so far, in all and by what was sent over one connection.
    let mut acknowledged: HashMap<RoomId, u64> = HashMap::new();
    let mut floor: HashMap<Operation, u64> = HashMap::new();
    for (now, entry) in &history.entries {
        match entry {
            Entry::Invoked { operation, user, connection, room, client_msg_id } => {
                floor.insert(*operation, acknowledged.get(room).copied().unwrap_or(0));
                invocations.insert(
                    *operation,
                    Invocation {
                        user: *user,
                        room: *room,
                        connection: *connection,
                        client_msg_id: client_msg_id.clone(),
                        retried: false,
                        refused: false,
                    },
                );
            }
            Entry::Retried { operation, .. } => {
                if let Some(invocation) = invocations.get_mut(operation) {
                    invocation.retried = true;
                }
            }
            Entry::Refused { operation, .. } => {
                if let Some(invocation) = invocations.get_mut(operation) {
                    invocation.refused = true;
                }
            }
            Entry::Acknowledged { operation, seq: Some(seq) } => {
                let Some(invocation) = invocations.get(operation) else { continue };
                let index = usize::try_from(*seq).unwrap_or(usize::MAX).wrapping_sub(1);
                let stored = truth.get(&invocation.room).and_then(|events| events.get(index));
                match (stored, &invocation.client_msg_id) {
                    (None, _) => broken.push(Broken {
                        promise: DURABLE,
                        how: format!("operation {operation} was acknowledged with seq {seq}, which the log does not have"),
                    }),
                    (Some(event), Some(id))
                        if event.post.as_ref().is_none_or(|post| *post != (invocation.user, id.clone())) =>
                    {
                        broken.push(Broken {
                            promise: DURABLE,
                            how: format!("operation {operation} ({id}) was acknowledged with seq {seq}, where {:?} is stored", event.post),
                        });
                    }
                    (Some(event), _) if event.when > *now => broken.push(Broken {
                        promise: DURABLE,
                        how: format!(
                            "operation {operation} was acknowledged with seq {seq} at {now} ms, which was stored at {} ms",
                            event.when
                        ),
                    }),
                    _ => {}
                }
                if floor.get(operation).is_some_and(|floor| seq <= floor) {
                    let how = format!(
                        "operation {operation} was invoked after seq {} was acknowledged, and got seq {seq}",
                        floor[operation]
                    );
                    broken.push(Broken { promise: REAL_TIME, how });
                }
                let highest = acknowledged.entry(invocation.room).or_default();
                *highest = (*highest).max(*seq);
            }
            _ => {}
        }
    }
    // What is stored counts, answered or not. What was sent again has no place of its own.
    let mut places: HashMap<(RoomId, UserId, &str), u64> = HashMap::new();
    for (room, events) in truth {
        for (seq, event) in (1..).zip(events) {
            if let Some((user, id)) = &event.post {
                places.entry((*room, *user, id)).or_insert(seq);
            }
        }
    }
    let mut in_order: BTreeMap<(Connection, RoomId), Vec<(Operation, u64)>> = BTreeMap::new();
    for (operation, sent) in invocations.iter().filter(|(_, sent)| !sent.retried) {
        let place = sent.client_msg_id.as_deref().and_then(|id| places.get(&(sent.room, sent.user, id)));
        if let Some(seq) = place {
            if sent.refused {
                let how = format!("operation {operation} was refused, and is stored at seq {seq}");
                broken.push(Broken { promise: REFUSED, how });
            }
            in_order.entry((sent.connection, sent.room)).or_default().push((*operation, *seq));
        }
    }
    // Operations are numbered in the order of their invocation.
    for ((connection, _), mut answers) in in_order {
        answers.sort_unstable();
        for pair in answers.windows(2) {
            if pair[0].1 >= pair[1].1 {
                let how = format!(
                    "connection {connection} sent operation {} before {}, which have seq {} and {}",
                    pair[0].0, pair[1].0, pair[0].1, pair[1].1
                );
                broken.push(Broken { promise: SENDER, how });
            }
        }
    }
}

/// Deliveries against the log: exact streams of stored events.
fn check_deliveries(truth: &BTreeMap<RoomId, Vec<Truth>>, history: &History, broken: &mut Vec<Broken>) {
    let mut next: HashMap<Subscription, (RoomId, u64)> = HashMap::new();
    let mut reported: HashSet<Subscription> = HashSet::new();
    for (now, entry) in &history.entries {
        match entry {
            Entry::Subscribed { subscription, room, after } => {
                next.insert(*subscription, (*room, after + 1));
            }
            Entry::Delivered { subscription, seq, digest } => {
                let Some((room, expected)) = next.get_mut(subscription) else { continue };
                let index = usize::try_from(*seq).unwrap_or(usize::MAX).wrapping_sub(1);
                let stored = truth.get(room).and_then(|events| events.get(index));
                if stored.is_none_or(|event| event.digest != *digest || event.when > *now) {
                    let how = format!(
                        "subscription {subscription} was given seq {seq} at {now} ms, which was not stored (so) by then"
                    );
                    broken.push(Broken { promise: STORED, how });
                }
                if seq != expected && reported.insert(*subscription) {
                    let how = format!(
                        "subscription {subscription} was given seq {seq} where {expected} comes next"
                    );
                    broken.push(Broken { promise: EXACT, how });
                }
                *expected = seq + 1;
            }
            Entry::CaughtUp { subscription, last_seq } => {
                let Some((_, expected)) = next.get(subscription) else { continue };
                if last_seq + 1 != *expected && reported.insert(*subscription) {
                    let how = format!(
                        "subscription {subscription} was told it has all up to {last_seq} when {expected} came next"
                    );
                    broken.push(Broken { promise: EXACT, how });
                }
            }
            Entry::Resync { subscription, from, last_seq } => {
                let Some((_, expected)) = next.get_mut(subscription) else { continue };
                if from != expected && reported.insert(*subscription) {
                    let how = format!(
                        "subscription {subscription} was told to resync from {from} when {expected} came next"
                    );
                    broken.push(Broken { promise: EXACT, how });
                }
                *expected = last_seq + 1;
            }
            _ => {}
        }
    }
}
