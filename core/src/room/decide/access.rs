//! Who may do what.

use rookery_protocol::id::UserId;

use super::Asked;
use crate::room::{Facts, Kind, MemberView, Profile, Refusal, Role};

impl<'a> Asked<'a> {
    /// The room, if it is there at all.
    pub(super) fn facts(&self) -> Result<&'a Facts, Refusal> {
        self.state.facts().ok_or(Refusal::RoomNotFound)
    }

    /// The room and the actor's role, if he is a member.
    pub(super) fn member(&self) -> Result<(&'a Facts, Role), Refusal> {
        let facts = self.facts()?;
        Ok((facts, self.state.readable(self.command.actor.id, self.ts)?))
    }

    /// The same, if his role is at least `least`; direct rooms have no roles.
    pub(super) fn at_least(&self, least: Role) -> Result<(&'a Facts, Role), Refusal> {
        let (facts, role) = self.member()?;
        if facts.kind == Kind::Direct || role < least {
            return Err(Refusal::Forbidden);
        }
        Ok((facts, role))
    }

    /// The same for one who wants to write now.
    pub(super) fn writer(&self) -> Result<(&'a Facts, Role), Refusal> {
        let (facts, role) = self.member()?;
        if facts.kind == Kind::Channel && role < Role::Moderator {
            return Err(Refusal::Forbidden);
        }
        match self.state.muted(self.command.actor.id, self.ts) {
            Some(until) => Err(Refusal::Muted(until)),
            None => Ok((facts, role)),
        }
    }

    /// Another member, over whom the actor stands.
    pub(super) fn subordinate(&self, user: UserId, role: Role) -> Result<MemberView<'a>, Refusal> {
        let member = self.state.member(user).ok_or(Refusal::MemberNotFound)?;
        if member.role >= role { Err(Refusal::Forbidden) } else { Ok(member) }
    }

    /// Whether one more member fits.
    pub(super) fn has_place(&self) -> Result<(), Refusal> {
        let own = self.facts()?.max_members.map_or(usize::MAX, |most| most as usize);
        if self.state.member_count() >= self.state.limits.members.min(own) {
            return Err(Refusal::Limit("This room is full."));
        }
        Ok(())
    }
}

pub(super) fn profile(member: MemberView<'_>) -> Profile {
    Profile {
        id: member.id,
        username: member.username.to_owned(),
        display_name: member.display_name.to_owned(),
    }
}
