//! What follows from a record: rows that are stored with it, and what the node remembers once it is stored.

use std::collections::HashMap;

use rookery_core::{
    owner::Append,
    record::{Body, MemberChange, RoomChanged},
    room::{Change, Kind, Profile, State},
};
use rookery_protocol::id::{RoomId, UserId};

use super::super::{
    log::End,
    rows::{self, Info, Mark},
};
use crate::backend::{Row, Table};

/// What an append makes known when it is stored.
pub(super) struct Consequences {
    /// Where the log ends then.
    pub(super) end: End,
    /// Marks of those who posted, or came.
    pub(super) marks: HashMap<UserId, Mark>,
    /// Those who were mentioned.
    pub(super) mentioned: Vec<UserId>,
    /// Those who came, with the seq of the event.
    pub(super) newcomers: Vec<(UserId, u64)>,
    /// Whom its messages are for: who is mentioned, and the other one of a direct room.
    pub(super) addressed: Vec<UserId>,
    /// Messages in it.
    pub(super) messages: u64,
    /// Events in it.
    pub(super) events: usize,
}

/// The rows to store with a record, and what follows from it.
///
/// `state` has seen all of its events.
pub(super) fn consequences(room: RoomId, append: &Append, state: Option<&State>) -> (Vec<Row>, Consequences) {
    let record = &*append.record;
    let mut all = Gathered {
        room,
        rows: Vec::new(),
        marks: HashMap::new(),
        mentioned: Vec::new(),
        newcomers: Vec::new(),
        addressed: Vec::new(),
        info: false,
    };
    let direct = state.filter(|state| state.facts().is_some_and(|facts| facts.kind == Kind::Direct));
    let mut messages = record.messages_before;
    for (seq, event) in record.numbered() {
        messages += u64::from(matches!(event.body, Body::Posted(_)));
        let mark = Mark { seq, messages };
        match &event.body {
            Body::Posted(posted) => {
                all.marks.insert(event.actor, mark);
                all.mention(event.actor, seq, &posted.mentions);
                let others = direct.into_iter().flat_map(State::members).map(|member| member.id);
                all.addressed.extend(others.filter(|user| *user != event.actor));
            }
            Body::Edited { message_seq, mentions, .. } => {
                all.unmention(state, *message_seq, mentions);
                all.mention(event.actor, *message_seq, mentions);
            }
            Body::Deleted { message_seq } => all.unmention(state, *message_seq, &[]),
            Body::Member(member) => {
                all.info = true;
                if matches!(member.change, MemberChange::Joined | MemberChange::Added) {
                    all.came(member.user.id, mark);
                }
            }
            Body::Room(changed) => {
                all.info = true;
                if let RoomChanged::Created { members, .. } = &**changed {
                    members.iter().for_each(|(user, _)| all.came(user.id, mark));
                }
            }
            Body::Reacted(_) | Body::Unreacted(_) => {}
        }
    }
    all.rows.extend(append.changes.iter().map(|change| changed(room, change)));
    if all.info {
        let value = state.and_then(info).map(|info| info.encode());
        all.rows.push(Row { table: Table::Snapshots, key: rows::of_info(room), value });
    }
    let end = End::of(record);
    let known = Consequences {
        end,
        marks: all.marks,
        mentioned: all.mentioned,
        newcomers: all.newcomers,
        addressed: all.addressed,
        messages: end.messages - record.messages_before,
        events: record.events.len(),
    };
    (all.rows, known)
}

struct Gathered {
    room: RoomId,
    rows: Vec<Row>,
    marks: HashMap<UserId, Mark>,
    mentioned: Vec<UserId>,
    newcomers: Vec<(UserId, u64)>,
    addressed: Vec<UserId>,
    info: bool,
}

impl Gathered {
    fn mention(&mut self, by: UserId, seq: u64, users: &[UserId]) {
        for &user in users.iter().filter(|user| **user != by) {
            let key = rows::of_mention(user, self.room, seq);
            self.rows.push(Row { table: Table::ReadMarks, key, value: Some(bytes::Bytes::new()) });
            self.mentioned.push(user);
            self.addressed.push(user);
        }
    }

    /// A message mentions nobody any more but these.
    fn unmention(&mut self, state: Option<&State>, seq: u64, but: &[UserId]) {
        let mentioned = state.into_iter().flat_map(|state| state.mentioned_by(seq));
        for user in mentioned.filter(|user| !but.contains(user)) {
            self.rows.push(Row {
                table: Table::ReadMarks,
                key: rows::of_mention(user, self.room, seq),
                value: None,
            });
        }
    }

    /// What was said before somebody came is not unread to him.
    fn came(&mut self, user: UserId, mark: Mark) {
        let key = rows::of_user(user, self.room);
        self.rows.push(Row { table: Table::ReadMarks, key, value: Some(mark.encode()) });
        self.marks.insert(user, mark);
        self.newcomers.push((user, mark.seq));
    }
}

fn changed(room: RoomId, change: &Change) -> Row {
    match change {
        Change::Membership { user, role } => Row {
            table: Table::Memberships,
            key: rows::of_user(*user, room),
            value: role.map(rows::role_value),
        },
        Change::Listed(listing) => Row {
            table: Table::PublicRooms,
            key: rows::of_room(room),
            value: listing.as_ref().map(rookery_core::room::Listing::encode),
        },
        Change::Amended { seq, amendment } => Row {
            table: Table::Amendments,
            key: rows::of_message(room, *seq),
            value: Some(amendment.encode()),
        },
    }
}

/// What lists show of a room; `None`: it is gone.
pub(super) fn info(state: &State) -> Option<Info> {
    let facts = state.facts()?;
    let pair = match facts.kind {
        Kind::Direct => state
            .members()
            .take(2)
            .map(|member| Profile {
                id: member.id,
                username: member.username.to_owned(),
                display_name: member.display_name.to_owned(),
            })
            .collect(),
        Kind::Group | Kind::Channel => Vec::new(),
    };
    Some(Info {
        name: facts.name.clone(),
        kind: facts.kind,
        visibility: facts.visibility,
        topic: facts.topic.clone(),
        slow_mode_seconds: facts.slow_mode_seconds,
        translation: facts.translation,
        max_members: facts.max_members,
        retention_days: facts.retention_days,
        declared: state.fingerprint(),
        member_count: state.member_count() as u64,
        created_at: facts.created_at,
        pair,
    })
}
