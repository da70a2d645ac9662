//! Making a room.

use super::{Asked, Decided, Decision};
use crate::{
    record::{Body, RoomChanged},
    room::{Kind, Profile, Refusal, Reply, Role, Visibility, text},
};

impl Asked<'_> {
    pub(super) fn create(
        &self,
        name: &str,
        kind: Kind,
        visibility: Visibility,
        topic: Option<&str>,
        members: &[(Profile, Role)],
    ) -> Decided {
        if self.state.last_seq > 0 {
            return self.exists(kind);
        }
        let topic = topic.filter(|t| !t.is_empty());
        text::check_topic(topic.unwrap_or_default())?;
        let members = self.founders(kind, members)?;
        if kind == Kind::Direct {
            if !name.is_empty() || visibility != Visibility::Private {
                return Err(Refusal::Invalid {
                    field: "kind",
                    why: "direct rooms are private and have no name",
                });
            }
        } else {
            text::check_name(name)?;
        }
        self.append(Body::Room(Box::new(RoomChanged::Created {
            name: name.to_owned(),
            topic: topic.map(ToOwned::to_owned),
            visibility,
            kind,
            members,
        })))
    }

    /// Both users of a direct room may make it, at the same time too.
    fn exists(&self, kind: Kind) -> Decided {
        let direct = self.state.facts().is_some_and(|f| f.kind == Kind::Direct);
        if kind == Kind::Direct && direct && self.state.role(self.command.actor.id).is_some() {
            return Ok(Decision::Already(Reply::Done { seq: Some(1) }));
        }
        Err(Refusal::Conflict("A room with this id exists."))
    }

    fn founders(&self, kind: Kind, named: &[(Profile, Role)]) -> Result<Vec<(Profile, Role)>, Refusal> {
        let actor = &self.command.actor;
        let own = if kind == Kind::Direct { Role::Member } else { Role::Owner };
        let mut members = vec![(actor.clone(), own)];
        for (user, role) in named {
            if members.iter().all(|(known, _)| known.id != user.id) {
                let role = if kind == Kind::Direct { Role::Member } else { *role };
                members.push((user.clone(), role));
            }
        }
        for (user, _) in &members {
            text::check_profile(user)?;
        }
        if kind == Kind::Direct && members.len() != 2 {
            return Err(Refusal::Invalid {
                field: "members",
                why: "a direct room has two different members",
            });
        }
        if members.len() > self.state.limits.founding_members.min(self.state.limits.members) {
            return Err(Refusal::Limit("A room cannot start with so many members; add them later."));
        }
        Ok(members)
    }
}
