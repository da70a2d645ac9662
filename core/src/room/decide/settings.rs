//! Changing and removing a room.

use super::{Asked, Decided, nothing};
use crate::{
    record::{Body, RoomChanged},
    room::{Refusal, Role, SLOW_MODE_SECONDS, Visibility, text},
};

impl Asked<'_> {
    pub(super) fn update(
        &self,
        name: Option<&str>,
        topic: Option<&str>,
        visibility: Option<Visibility>,
        slow_mode_seconds: Option<u32>,
    ) -> Decided {
        let (facts, role) = self.at_least(Role::Moderator)?;
        let name = name.filter(|n| *n != facts.name);
        let topic = topic.filter(|t| *t != facts.topic.as_deref().unwrap_or_default());
        let visibility = visibility.filter(|v| *v != facts.visibility);
        let slow_mode_seconds = slow_mode_seconds.filter(|s| *s != facts.slow_mode_seconds);
        if visibility.is_some() && role < Role::Owner {
            return Err(Refusal::Forbidden);
        }
        name.map_or(Ok(()), text::check_name)?;
        text::check_topic(topic.unwrap_or_default())?;
        if slow_mode_seconds.is_some_and(|s| s > SLOW_MODE_SECONDS) {
            return Err(Refusal::Invalid { field: "slow_mode_seconds", why: "must be at most 21600" });
        }
        if name.is_none() && topic.is_none() && visibility.is_none() && slow_mode_seconds.is_none() {
            return nothing();
        }
        self.append(Body::Room(Box::new(RoomChanged::Updated {
            name: name.map(ToOwned::to_owned),
            topic: topic.map(ToOwned::to_owned),
            visibility,
            slow_mode_seconds,
        })))
    }

    pub(super) fn remove(&self) -> Decided {
        self.at_least(Role::Owner)?;
        self.append(Body::Room(Box::new(RoomChanged::Removed)))
    }
}
