//! The log itself: it holds what was told, and only grows.

use rookery_core::record::{Body as Stored, Link, Opened, Reaction};

use super::{Body, Fault};

/// Checks all records of a room's log, oldest first, by themselves and against the events that nodes tell of the room: epochs never
/// become less, nobody shares his epoch, seqs have no gap, each record names the one before it, and its events are
/// the ones that are told.
pub fn check_log(room: &str, records: &[Opened], told: &[(u64, Body)]) -> Vec<Fault> {
    let mut faults = Vec::new();
    let mut link = Link::default();
    let mut owner: Option<(u64, &str)> = None;
    let mut told = told.iter().peekable();
    for opened in records {
        if let Err(why) = link.follow(opened) {
            faults.push(Fault::BrokenLog { room: room.to_owned(), why: why.to_string() });
            return faults;
        }
        let record = &opened.record;
        match owner {
            Some((epoch, name)) if epoch == record.epoch && name != record.owner => {
                let owners = (name.to_owned(), record.owner.clone());
                faults.push(Fault::SharedEpoch { room: room.to_owned(), epoch, owners });
            }
            _ => {}
        }
        owner = Some((record.epoch, &record.owner));
        for (seq, event) in record.numbered() {
            let stored = body(event.actor.to_string(), &event.body);
            let told = told.next_if(|(at, _)| *at == seq).map(|(_, body)| body);
            if !told.is_some_and(|told| agree(&stored, told)) {
                faults.push(Fault::LogDiffers {
                    room: room.to_owned(),
                    seq,
                    stored: Some(stored),
                    told: told.cloned(),
                });
            }
        }
    }
    for (seq, body) in told {
        let (room, told) = (room.to_owned(), Some(body.clone()));
        faults.push(Fault::LogDiffers { room, seq: *seq, stored: None, told });
    }
    faults
}

/// Of changes of membership and of the room only the kind is compared: nothing here asks for others than joins.
fn agree(stored: &Body, told: &Body) -> bool {
    match (stored, told) {
        (Body::Other(kind, ..), Body::Other(told, ..)) => kind == told,
        _ => stored.agrees(told),
    }
}

fn body(user: String, body: &Stored) -> Body {
    let reaction = |user: String, reaction: &Reaction, op: &str| Body::Reaction {
        user,
        message_seq: reaction.message_seq,
        emoji: reaction.emoji.clone(),
        op: op.to_owned(),
    };
    match body {
        Stored::Posted(posted) => Body::Message {
            user,
            client_msg_id: posted.client_msg_id.clone(),
            text: Some(posted.text.clone()),
        },
        Stored::Edited { message_seq, text, .. } => {
            Body::Edited { user, message_seq: *message_seq, text: text.clone() }
        }
        Stored::Deleted { message_seq } => Body::Deleted { user, message_seq: *message_seq },
        Stored::Reacted(given) => reaction(user, given, "add"),
        Stored::Unreacted(taken) => reaction(user, taken, "remove"),
        Stored::Member(_) => Body::Other("member".to_owned(), user, String::new()),
        Stored::Room(_) => Body::Other("room".to_owned(), user, String::new()),
    }
}
