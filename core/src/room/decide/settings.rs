//! Changing and removing a room.

use super::{Asked, Decided, declare::DECLARED, nothing};
use crate::{
    record::{Body, RoomChanged},
    room::{DECLARER, Facts, Limits, Refusal, Role, SLOW_MODE_SECONDS, Update, text},
};

impl Update {
    /// What of it is not so already.
    pub(super) fn news(&self, facts: &Facts) -> Self {
        /// 0 takes a setting back.
        fn other(asked: Option<u32>, known: Option<u32>) -> Option<u32> {
            asked.filter(|asked| *asked != known.unwrap_or(0))
        }
        let topic = facts.topic.as_deref().unwrap_or_default();
        Self {
            name: self.name.clone().filter(|n| *n != facts.name),
            topic: self.topic.clone().filter(|t| t != topic),
            visibility: self.visibility.filter(|v| *v != facts.visibility),
            slow_mode_seconds: self.slow_mode_seconds.filter(|s| *s != facts.slow_mode_seconds),
            translation: self.translation.filter(|t| *t != facts.translation),
            max_members: other(self.max_members, facts.max_members),
            retention_days: other(self.retention_days, facts.retention_days),
            declared: None,
        }
    }

    /// Whether a room takes it.
    pub(super) fn check(&self, limits: &Limits) -> Result<(), Refusal> {
        self.name.as_deref().map_or(Ok(()), text::check_name)?;
        text::check_topic(self.topic.as_deref().unwrap_or_default())?;
        let invalid = |field, why| Err(Refusal::Invalid { field, why });
        if self.slow_mode_seconds.is_some_and(|s| s > SLOW_MODE_SECONDS) {
            return invalid("slow_mode_seconds", "must be at most 21600");
        }
        if self.max_members.is_some_and(|most| most as usize > limits.members) {
            return invalid("max_members", "must not be more than the service allows");
        }
        if self.retention_days.is_some_and(|days| days > limits.retention_days) {
            return invalid("retention_days", "must not be longer than the service keeps events");
        }
        Ok(())
    }
}

impl Asked<'_> {
    pub(super) fn update(&self, update: &Update) -> Decided {
        let (facts, role) = self.at_least(Role::Moderator)?;
        let news = update.news(facts);
        if news.is_owners() && role < Role::Owner {
            return Err(Refusal::Forbidden);
        }
        news.check(&self.state.limits)?;
        if news.is_empty() {
            return nothing();
        }
        if facts.declared {
            return Err(DECLARED);
        }
        self.append(Body::Room(Box::new(RoomChanged::Updated(news))))
    }

    pub(super) fn remove(&self) -> Decided {
        let declared = self.facts()?.declared;
        if self.command.actor.id != DECLARER || !declared {
            self.at_least(Role::Owner)?;
            if declared {
                return Err(DECLARED);
            }
        }
        self.append(Body::Room(Box::new(RoomChanged::Removed)))
    }
}
