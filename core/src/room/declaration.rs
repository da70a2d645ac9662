//! What a room is declared to be, from outside the chat.

use std::collections::BTreeMap;

use rookery_protocol::id::UserId;
use xxhash_rust::xxh3::Xxh3;

use super::{Facts, Kind, Profile, Role, State, Update, Visibility};
use crate::record::{kind_to_wire, role_to_wire, visibility_to_wire};

/// Who does what a declaration asks for: no user, and never a member.
pub const DECLARER: UserId = UserId(0);
/// Members that a declaration names, at most.
pub const DECLARED_MEMBERS: usize = 500;

/// A room as somebody outside the chat declares it. Whom it names is a member in that role, until it does not name him any
/// more; who joins by himself may stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Declaration {
    /// 1-100 characters.
    pub name: String,
    /// Group or channel; never another one than at first.
    pub kind: Kind,
    /// Visibility.
    pub visibility: Visibility,
    /// At most 500 characters.
    pub topic: Option<String>,
    /// Seconds between two messages of one member; 0: off. At most 21,600.
    pub slow_mode_seconds: u32,
    /// Whether messages may be translated.
    pub translation: bool,
    /// Most members who join or are added by others; `None`: as many as the service allows.
    pub max_members: Option<u32>,
    /// Events are kept for so many days; `None`: as long as the service keeps them.
    pub retention_days: Option<u32>,
    /// At most [`DECLARED_MEMBERS`], each once. An owner among them is not needed.
    pub members: Vec<(Profile, Role)>,
}

impl Declaration {
    /// All of its settings, as a change.
    pub(super) fn settings(&self) -> Update {
        Update {
            name: Some(self.name.clone()),
            topic: Some(self.topic.clone().unwrap_or_default()),
            visibility: Some(self.visibility),
            slow_mode_seconds: Some(self.slow_mode_seconds),
            translation: Some(self.translation),
            max_members: Some(self.max_members.unwrap_or(0)),
            retention_days: Some(self.retention_days.unwrap_or(0)),
            declared: None,
        }
    }

    /// Tells it from other declarations: a room that is so already has the same ([`State::fingerprint`]).
    pub fn fingerprint(&self) -> u64 {
        let members = self.members.iter().map(|(user, role)| (user.id, *role)).collect();
        fingerprint(self.kind, &self.settings(), &members)
    }
}

impl State {
    /// What the room is declared to be, and so is: nobody else changes it. `None`: it is not declared.
    pub fn fingerprint(&self) -> Option<u64> {
        let facts = self.facts().filter(|facts| facts.declared)?;
        let members = self.declared.iter().filter_map(|user| Some((*user, self.role(*user)?))).collect();
        Some(fingerprint(facts.kind, &facts.settings(), &members))
    }
}

impl Facts {
    /// All settings, as a change.
    fn settings(&self) -> Update {
        Update {
            name: Some(self.name.clone()),
            topic: Some(self.topic.clone().unwrap_or_default()),
            visibility: Some(self.visibility),
            slow_mode_seconds: Some(self.slow_mode_seconds),
            translation: Some(self.translation),
            max_members: Some(self.max_members.unwrap_or(0)),
            retention_days: Some(self.retention_days.unwrap_or(0)),
            declared: None,
        }
    }
}

/// Another one between versions of this program costs one look at the room.
fn fingerprint(kind: Kind, settings: &Update, members: &BTreeMap<UserId, Role>) -> u64 {
    let mut hash = Xxh3::new();
    let mut number = |number: i64| hash.update(&number.to_be_bytes());
    number(i32::from(kind_to_wire(kind)).into());
    number(settings.visibility.map_or(0, |visibility| i32::from(visibility_to_wire(visibility))).into());
    number(settings.translation.map_or(2, i64::from));
    for setting in [settings.slow_mode_seconds, settings.max_members, settings.retention_days] {
        number(setting.map_or(-1, i64::from));
    }
    for text in [&settings.name, &settings.topic] {
        let text = text.as_deref().unwrap_or_default();
        hash.update(&(text.len() as u64).to_be_bytes());
        hash.update(text.as_bytes());
    }
    for (user, role) in members {
        hash.update(&user.to_bytes());
        hash.update(&i32::from(role_to_wire(*role)).to_be_bytes());
    }
    hash.digest()
}
