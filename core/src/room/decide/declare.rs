//! Making a room what it is declared to be, step by step: each command does as much as fits, until nothing is left to do.

use std::collections::BTreeMap;

use rookery_protocol::id::UserId;

use super::{Asked, Decided, Decision, access::profile, nothing};
use crate::{
    record::{Body, MemberChange, MemberChanged, RoomChanged},
    room::{
        DECLARED_MEMBERS, DECLARER, Declaration, Kind, Limits, Profile, Refusal, Reply, Role, State, Update,
        text,
    },
};

/// Changes of members in one record, at most.
const CHANGES: usize = 100;

/// Who is asked to do it instead.
pub(super) const DECLARED: Refusal =
    Refusal::Conflict("This room is declared by a ChatRoom manifest: change it there.");
pub(super) const DECLARED_MEMBER: Refusal =
    Refusal::Conflict("That member is declared by the room's ChatRoom manifest: change it there.");

impl Declaration {
    /// Whether a room can be so.
    fn check(&self, limits: &Limits) -> Result<(), Refusal> {
        let invalid = |field, why| Err(Refusal::Invalid { field, why });
        if self.kind == Kind::Direct {
            return invalid("kind", "must be group or channel");
        }
        self.settings().check(limits)?;
        if self.members.len() > DECLARED_MEMBERS {
            return invalid("members", "must be at most 500");
        }
        let ids: BTreeMap<UserId, ()> = self.members.iter().map(|(user, _)| (user.id, ())).collect();
        if ids.len() < self.members.len() || ids.contains_key(&DECLARER) {
            return invalid("members", "must name each user once");
        }
        self.members.iter().try_for_each(|(user, _)| text::check_profile(user))
    }
}

impl Asked<'_> {
    pub(super) fn declare(&self, declared: &Declaration) -> Decided {
        if self.command.actor.id != DECLARER {
            return Err(Refusal::Forbidden);
        }
        declared.check(&self.state.limits)?;
        let made;
        let (state, mut events) = if self.state.last_seq == 0 {
            let event = self.event(Body::Room(Box::new(self.made(declared))));
            let mut state = self.state.clone();
            state.apply(&event);
            made = state;
            (&made, vec![event])
        } else {
            (self.state, Vec::new())
        };
        let facts = state.facts().ok_or(Refusal::RoomNotFound)?;
        if facts.kind != declared.kind {
            return Err(Refusal::Conflict("The room is of another kind, and its kind cannot be changed."));
        }
        let news = Update { declared: (!facts.declared).then_some(true), ..declared.settings().news(facts) };
        if !news.is_empty() {
            events.push(self.event(Body::Room(Box::new(RoomChanged::Updated(news)))));
        }
        let changes = memberships(state, declared, self.ts)?;
        events.extend(changes.into_iter().map(|change| self.event(Body::Member(Box::new(change)))));
        if events.is_empty() {
            return nothing();
        }
        let seq = self.state.last_seq + events.len() as u64;
        Ok(Decision::Append { events, reply: Reply::Done { seq: Some(seq) } })
    }

    /// The room as its first event makes it; what that does not say follows in the same record.
    fn made(&self, declared: &Declaration) -> RoomChanged {
        let founding = self.state.limits.founding_members.min(self.state.limits.members);
        RoomChanged::Created {
            name: declared.name.clone(),
            topic: declared.topic.clone().filter(|topic| !topic.is_empty()),
            visibility: declared.visibility,
            kind: declared.kind,
            members: declared.members.iter().take(founding).cloned().collect(),
        }
    }
}

/// What has to happen to members, as far as it fits into one record: first who goes, then who comes or changes.
fn memberships(state: &State, declared: &Declaration, ts: i64) -> Result<Vec<MemberChanged>, Refusal> {
    let wanted: BTreeMap<UserId, Role> =
        declared.members.iter().map(|(user, role)| (user.id, *role)).collect();
    let change = |user: Profile, change, role| MemberChanged { user, change, role, until: None };
    let mut changes: Vec<_> = state
        .declared
        .iter()
        .filter(|user| !wanted.contains_key(user))
        .filter_map(|user| Some(change(profile(state.member(*user)?), MemberChange::Kicked, None)))
        .collect();
    let mut count = state.member_count() - changes.len();
    for (user, role) in &declared.members {
        match state.member(user.id) {
            Some(known) if known.role == *role && state.declared.contains(&user.id) => {}
            // Also who came by himself, in that role: from now on he is declared.
            Some(known) => changes.push(change(profile(known), MemberChange::RoleChanged, Some(*role))),
            None => {
                if state.banned(user.id, ts) {
                    changes.push(change(user.clone(), MemberChange::Unbanned, None));
                }
                changes.push(change(user.clone(), MemberChange::Added, Some(*role)));
                count += 1;
            }
        }
    }
    if count > state.limits.members {
        return Err(Refusal::Limit("The room would have more members than the service allows."));
    }
    changes.truncate(CHANGES);
    Ok(changes)
}
