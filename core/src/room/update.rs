//! What of a room can be changed once it is made.

use super::Visibility;

/// A change of a room: as asked for, and, with nothing in it that is so already, as it happened. What is absent stays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Update {
    /// New name.
    pub name: Option<String>,
    /// New topic; empty: none.
    pub topic: Option<String>,
    /// New visibility (owners).
    pub visibility: Option<Visibility>,
    /// Seconds between two messages of one member; 0: off. At most 21,600.
    pub slow_mode_seconds: Option<u32>,
    /// Whether messages may be translated (owners).
    pub translation: Option<bool>,
    /// Most members, no more than the service allows; 0: as many as that (owners).
    pub max_members: Option<u32>,
    /// Events are kept for so many days, no longer than the service keeps them; 0: as long as that (owners).
    pub retention_days: Option<u32>,
    /// Whether the room is declared from outside the chat; only its declaration says so.
    pub declared: Option<bool>,
}

impl Update {
    /// Whether it changes nothing.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The [`LEVEL`](crate::ring::LEVEL) that nodes must have to understand it.
    pub fn level(&self) -> u32 {
        let later =
            Self { name: None, topic: None, visibility: None, slow_mode_seconds: None, ..self.clone() };
        u32::from(!later.is_empty())
    }

    /// Whether only owners may ask for it.
    pub(super) fn is_owners(&self) -> bool {
        self.visibility.is_some()
            || self.translation.is_some()
            || self.max_members.is_some()
            || self.retention_days.is_some()
    }
}
