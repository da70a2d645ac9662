//! Coming and going, roles, bans and mutes.

use rookery_protocol::id::UserId;

use super::{Asked, Decided, Decision, access::profile, declare::DECLARED_MEMBER, nothing};
use crate::{
    record::{Body, MemberChange, MemberChanged, RoomChanged},
    room::{Kind, Profile, Refusal, Reply, Role, Visibility, text},
};

const LAST_OWNER: Refusal = Refusal::Conflict("A room needs an owner: make somebody else owner first.");

impl Asked<'_> {
    fn member_event(
        &self,
        user: Profile,
        change: MemberChange,
        role: Option<Role>,
        until: Option<i64>,
    ) -> Body {
        Body::Member(Box::new(MemberChanged { user, change, role, until }))
    }

    pub(super) fn join(&self) -> Decided {
        let facts = self.facts()?;
        let actor = &self.command.actor;
        if self.state.role(actor.id).is_some() {
            return nothing();
        }
        if facts.visibility == Visibility::Private {
            return Err(Refusal::RoomNotFound);
        }
        if self.state.banned(actor.id, self.ts) {
            return Err(Refusal::Banned);
        }
        text::check_profile(actor)?;
        self.has_place()?;
        self.append(self.member_event(actor.clone(), MemberChange::Joined, Some(Role::Member), None))
    }

    /// The last member takes the room with him, unless it is declared: it would have no owner any more.
    pub(super) fn leave(&self) -> Decided {
        let (facts, role) = self.member()?;
        if facts.kind == Kind::Direct {
            return Err(Refusal::Forbidden);
        }
        self.undeclared(self.command.actor.id)?;
        let alone = self.state.member_count() == 1;
        if self.needs_owner(role) && !alone {
            return Err(LAST_OWNER);
        }
        let user = self.command.actor.clone();
        let mut events = vec![self.event(self.member_event(user, MemberChange::Left, None, None))];
        if alone && !facts.declared {
            events.push(self.event(Body::Room(Box::new(RoomChanged::Removed))));
        }
        Ok(Decision::Append { events, reply: Reply::Done { seq: Some(self.state.last_seq + 1) } })
    }

    pub(super) fn add(&self, user: &Profile, role: Role) -> Decided {
        let (_, own) = self.at_least(Role::Moderator)?;
        if role > Role::Member && own < Role::Owner {
            return Err(Refusal::Forbidden);
        }
        match self.state.role(user.id) {
            Some(known) if known == role => return nothing(),
            Some(_) => return Err(Refusal::Conflict("That user is a member already, with another role.")),
            None => {}
        }
        if self.state.banned(user.id, self.ts) {
            return Err(Refusal::Conflict("That user is banned from this room: lift the ban first."));
        }
        text::check_profile(user)?;
        self.has_place()?;
        self.append(self.member_event(user.clone(), MemberChange::Added, Some(role), None))
    }

    pub(super) fn set_role(&self, user: UserId, role: Role) -> Decided {
        self.at_least(Role::Owner)?;
        let member = self.state.member(user).ok_or(Refusal::MemberNotFound)?;
        if member.role == role {
            return nothing();
        }
        self.undeclared(user)?;
        if self.needs_owner(member.role) {
            return Err(LAST_OWNER);
        }
        self.append(self.member_event(profile(member), MemberChange::RoleChanged, Some(role), None))
    }

    pub(super) fn kick(&self, user: UserId) -> Decided {
        let (_, own) = self.at_least(Role::Moderator)?;
        let member = self.subordinate(user, own)?;
        self.undeclared(user)?;
        self.append(self.member_event(profile(member), MemberChange::Kicked, None, None))
    }

    pub(super) fn ban(&self, user: &Profile, until: Option<i64>) -> Decided {
        let (_, own) = self.at_least(Role::Moderator)?;
        if user.id == self.command.actor.id {
            return Err(Refusal::Forbidden);
        }
        if self.state.role(user.id).is_some() {
            self.subordinate(user.id, own)?;
            self.undeclared(user.id)?;
        }
        self.check_until(until)?;
        text::check_profile(user)?;
        match self.state.bans.get(&user.id) {
            Some(ban) if ban.until == until => return nothing(),
            Some(_) => {}
            None => self.room_for_sanction(self.state.bans.len())?,
        }
        self.append(self.member_event(user.clone(), MemberChange::Banned, None, until))
    }

    pub(super) fn unban(&self, user: UserId) -> Decided {
        self.at_least(Role::Moderator)?;
        let Some(ban) = self.state.bans.get(&user) else { return nothing() };
        let user = Profile {
            id: user,
            username: ban.username.to_string(),
            display_name: ban.display_name.to_string(),
        };
        self.append(self.member_event(user, MemberChange::Unbanned, None, None))
    }

    pub(super) fn mute(&self, user: UserId, until: Option<i64>) -> Decided {
        let (_, own) = self.at_least(Role::Moderator)?;
        let member = self.subordinate(user, own)?;
        self.check_until(until)?;
        match self.state.mutes.get(&user) {
            Some(known) if *known == until => return nothing(),
            Some(_) => {}
            None => self.room_for_sanction(self.state.mutes.len())?,
        }
        self.append(self.member_event(profile(member), MemberChange::Muted, Some(member.role), until))
    }

    /// Lifts a mute, also of one who left; his name is not known any more then.
    pub(super) fn unmute(&self, user: UserId) -> Decided {
        self.at_least(Role::Moderator)?;
        if !self.state.mutes.contains_key(&user) {
            return nothing();
        }
        let (known, role) = match self.state.member(user) {
            Some(member) => (profile(member), Some(member.role)),
            None => (Profile { id: user, username: String::new(), display_name: String::new() }, None),
        };
        self.append(self.member_event(known, MemberChange::Unmuted, role, None))
    }

    /// Whether the room would have no owner without one of this role, and needs one.
    fn needs_owner(&self, role: Role) -> bool {
        let declared = self.state.facts().is_some_and(|facts| facts.declared);
        role == Role::Owner && self.state.members.owners() == 1 && !declared
    }

    /// Who is declared is changed by the declaration alone.
    fn undeclared(&self, user: UserId) -> Result<(), Refusal> {
        if self.state.declared.contains(&user) { Err(DECLARED_MEMBER) } else { Ok(()) }
    }

    fn check_until(&self, until: Option<i64>) -> Result<(), Refusal> {
        if until.is_some_and(|until| until <= self.ts) {
            return Err(Refusal::Invalid { field: "until", why: "must be in the future" });
        }
        Ok(())
    }

    fn room_for_sanction(&self, now: usize) -> Result<(), Refusal> {
        if now >= self.state.limits.sanctions {
            return Err(Refusal::Limit("This room has too many bans or mutes: lift some first."));
        }
        Ok(())
    }
}
