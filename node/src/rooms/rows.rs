//! Keys and values of the rows that rooms read and write.
//!
//! `ReadMarks` holds two kinds of rows: the mark itself under `user ‖ room`, and, stored together with the message,
//! an empty one under `user ‖ room ‖ seq` for each mention that he may not have read yet. `Snapshots` holds next to
//! a room's snapshot a short [`Info`], so that lists of rooms need no room in memory.

use bytes::{BufMut as _, Bytes, BytesMut};
use rookery_core::{
    record::{kind_from_wire, kind_to_wire, visibility_from_wire, visibility_to_wire},
    room::{Kind, Profile, Role, Visibility},
};
use rookery_protocol::id::{RoomId, UserId};

/// `user ‖ room`: memberships and read marks.
pub(super) fn of_user(user: UserId, room: RoomId) -> Bytes {
    let mut key = BytesMut::with_capacity(32);
    key.put_u128(user.0);
    key.put_u128(room.0);
    key.freeze()
}

/// `user ‖ room ‖ seq`: a mention.
pub(super) fn of_mention(user: UserId, room: RoomId, seq: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(40);
    key.put_u128(user.0);
    key.put_u128(room.0);
    key.put_u64(seq);
    key.freeze()
}

/// `room`: snapshots and listings.
pub(super) fn of_room(room: RoomId) -> Bytes {
    Bytes::copy_from_slice(&room.to_bytes())
}

/// `room ‖ "info"`, in the table of snapshots.
pub(super) fn of_info(room: RoomId) -> Bytes {
    let mut key = BytesMut::with_capacity(20);
    key.put_u128(room.0);
    key.put_slice(b"info");
    key.freeze()
}

/// `room ‖ seq`: what became of a message.
pub(super) fn of_message(room: RoomId, seq: u64) -> Bytes {
    let mut key = BytesMut::with_capacity(24);
    key.put_u128(room.0);
    key.put_u64(seq);
    key.freeze()
}

/// The room of a `user ‖ room …` key.
pub(super) fn room_in(key: &[u8]) -> Option<RoomId> {
    Some(RoomId::from_bytes(key.get(16..32)?.try_into().ok()?))
}

/// The seq at the end of a key.
pub(super) fn seq_in(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(*key.last_chunk()?))
}

/// A role as a value.
pub(super) fn role_value(role: Role) -> Bytes {
    Bytes::from_static(match role {
        Role::Member => b"1",
        Role::Moderator => b"2",
        Role::Owner => b"3",
    })
}

/// The reverse of [`role_value`].
pub(super) fn role_of(value: &[u8]) -> Option<Role> {
    match value {
        b"1" => Some(Role::Member),
        b"2" => Some(Role::Moderator),
        b"3" => Some(Role::Owner),
        _ => None,
    }
}

/// Up to where a user has read a room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(super) struct Mark {
    /// Seq of the last event read.
    pub(super) seq: u64,
    /// Messages the room had up to that.
    pub(super) messages: u64,
}

impl Mark {
    pub(super) fn encode(self) -> Bytes {
        let mut value = BytesMut::with_capacity(16);
        value.put_u64(self.seq);
        value.put_u64(self.messages);
        value.freeze()
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let value: &[u8; 16] = value.try_into().ok()?;
        Some(Self { seq: seq_in(&value[..8])?, messages: seq_in(value)? })
    }
}

/// What lists show of a room.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Info {
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) visibility: Visibility,
    pub(super) topic: Option<String>,
    pub(super) slow_mode_seconds: u32,
    pub(super) translation: bool,
    pub(super) max_members: Option<u32>,
    pub(super) retention_days: Option<u32>,
    /// What it is declared to be, as its [`State`](rookery_core::room::State) tells it; `None`: it is not declared.
    pub(super) declared: Option<u64>,
    pub(super) member_count: u64,
    pub(super) created_at: i64,
    /// The two of a direct room.
    pub(super) pair: Vec<Profile>,
}

/// [`Info`] as it is stored. Fields may be added, with defaults.
#[derive(serde::Serialize, serde::Deserialize)]
struct Stored {
    name: String,
    kind: i32,
    visibility: i32,
    topic: Option<String>,
    slow_mode_seconds: u32,
    member_count: u64,
    created_at: i64,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    untranslated: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    max_members: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    retention_days: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    declared: Option<u64>,
    /// Id, username, display name.
    pair: Vec<(UserId, String, String)>,
}

impl Info {
    pub(super) fn encode(&self) -> Bytes {
        let stored = Stored {
            name: self.name.clone(),
            kind: kind_to_wire(self.kind).into(),
            visibility: visibility_to_wire(self.visibility).into(),
            topic: self.topic.clone(),
            slow_mode_seconds: self.slow_mode_seconds,
            untranslated: !self.translation,
            max_members: self.max_members,
            retention_days: self.retention_days,
            declared: self.declared,
            member_count: self.member_count,
            created_at: self.created_at,
            pair: self
                .pair
                .iter()
                .map(|user| (user.id, user.username.clone(), user.display_name.clone()))
                .collect(),
        };
        // Text and numbers: this cannot fail.
        serde_json::to_vec(&stored).unwrap_or_default().into()
    }

    pub(super) fn decode(value: &[u8]) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(value).ok()?;
        let pair = stored.pair.into_iter();
        Some(Self {
            name: stored.name,
            kind: kind_from_wire(stored.kind)?,
            visibility: visibility_from_wire(stored.visibility)?,
            topic: stored.topic,
            slow_mode_seconds: stored.slow_mode_seconds,
            translation: !stored.untranslated,
            max_members: stored.max_members,
            retention_days: stored.retention_days,
            declared: stored.declared,
            member_count: stored.member_count,
            created_at: stored.created_at,
            pair: pair.map(|(id, username, display_name)| Profile { id, username, display_name }).collect(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_and_values_and_back() {
        let (user, room) = (UserId(7 << 90 | 1), RoomId(9 << 100 | 2));
        let key = of_mention(user, room, 0x0102);
        assert!(key.starts_with(&of_user(user, room)) && key.starts_with(&user.to_bytes()));
        assert_eq!((room_in(&key), seq_in(&key)), (Some(room), Some(0x0102)));
        assert_eq!(seq_in(&of_message(room, 5)), Some(5));
        let mark = Mark { seq: 12, messages: 7 };
        assert_eq!(Mark::decode(&mark.encode()), Some(mark));
        assert_eq!(Mark::decode(b"short"), None);
        for role in [Role::Member, Role::Moderator, Role::Owner] {
            assert_eq!(role_of(&role_value(role)), Some(role));
        }
        let info = Info {
            name: "Ä".into(),
            kind: Kind::Direct,
            visibility: Visibility::Private,
            topic: Some("t".into()),
            slow_mode_seconds: 5,
            translation: false,
            max_members: Some(7),
            retention_days: Some(8),
            declared: Some(u64::MAX),
            member_count: 2,
            created_at: -4,
            pair: vec![Profile { id: user, username: "a".into(), display_name: "A".into() }],
        };
        assert_eq!(Info::decode(&info.encode()).as_ref(), Some(&info));
        let older =
            br#"{"name":"\u00c4","kind":3,"visibility":2,"topic":"t","slow_mode_seconds":5,"member_count":2,
            "created_at":-4,"pair":[]}"#;
        let plain = Info {
            translation: true,
            max_members: None,
            retention_days: None,
            declared: None,
            pair: vec![],
            ..info
        };
        assert_eq!(Info::decode(older), Some(plain), "of a node that knew no more");
    }
}
