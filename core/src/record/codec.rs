//! Records to bytes and back.

use bytes::Bytes;
use prost::Message as _;
use rookery_protocol::{
    id::{RecordId, RoomId, UserId},
    log,
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::{Body, Event, MemberChange, MemberChanged, Posted, Reaction, RoomChanged};
use crate::room::{Kind, Profile, Role, Update, Visibility};

/// The newest version of records that this program writes and understands.
pub const VERSION: u32 = 1;
/// A sealed record is at most this long, in bytes: what backends store as one value.
pub const MAX_RECORD_BYTES: usize = 1 << 20;
/// Bytes of a record besides its events, at most: ids, numbers, and an owner's name of 64 bytes.
pub const RECORD_OVERHEAD: usize = 256;

/// One record of a room's log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Whose log.
    pub room: RoomId,
    /// Of the owner that wrote it. Only grows along a log.
    pub epoch: u64,
    /// Tells this record from every other one.
    pub id: RecordId,
    /// Seq of the first event; without events: of the next event to come.
    pub first_seq: u64,
    /// How many messages the room had before.
    pub messages_before: u64,
    /// Checksum of the record before; 0: this is the first.
    pub previous_checksum: u64,
    /// What happened; none in an epoch record.
    pub events: Vec<Event>,
    /// Which node wrote it, for people.
    pub owner: String,
}

/// A record ready to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    /// An encoded `rookery.log.v1.SealedRecord`.
    pub bytes: Bytes,
    /// Its checksum, which the next record names.
    pub checksum: u64,
}

/// A record read from a log, found to be whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opened {
    /// The record.
    pub record: Record,
    /// Its checksum.
    pub checksum: u64,
}

/// Why bytes of a log are no record to go on with.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Written by a newer program.
    #[error("record of version {found}; this program reads up to {VERSION}: upgrade this node")]
    VersionTooNew {
        /// Its version.
        found: u32,
    },
    /// Of another room.
    #[error("record of room {found} in the log of room {expected}")]
    WrongRoom {
        /// Whose log was read.
        expected: RoomId,
        /// What the record says.
        found: RoomId,
    },
    /// The bytes are not those that were written.
    #[error("record with checksum {found:016x}; its bytes give {computed:016x}")]
    Checksum {
        /// What the record says.
        found: u64,
        /// What its bytes give.
        computed: u64,
    },
    /// Not a record.
    #[error("malformed record: {0}")]
    Malformed(&'static str),
    /// Longer than a record may be.
    #[error("record of {0} bytes; at most {MAX_RECORD_BYTES} are read")]
    TooLong(usize),
}

impl Record {
    /// Seq of the last event; for an epoch record `first_seq - 1`.
    pub fn last_seq(&self) -> u64 {
        (self.first_seq + self.events.len() as u64).saturating_sub(1)
    }

    /// Events with their seqs.
    pub fn numbered(&self) -> impl Iterator<Item = (u64, &Event)> {
        (self.first_seq..).zip(&self.events)
    }

    /// How many messages the room had up to and with the event `seq`, which must be in this record or the
    /// last before it: what unread counts are made of.
    pub fn messages_up_to(&self, seq: u64) -> u64 {
        let posted = self.numbered().take_while(|(at, _)| *at <= seq);
        self.messages_before + posted.filter(|(_, e)| matches!(e.body, Body::Posted(_))).count() as u64
    }

    /// Encodes, and guards with a checksum.
    pub fn seal(&self) -> Sealed {
        let previous = self.previous_checksum;
        let body = Bytes::from(log::Record::from(self.clone()).encode_to_vec());
        let checksum = xxh3_64_with_seed(&body, previous);
        let bytes = log::SealedRecord { body, checksum }.encode_to_vec().into();
        Sealed { bytes, checksum }
    }

    /// Decodes a record of `room`'s log and checks that it is whole. That it continues the log is for the
    /// reader to check: see [`Link`].
    ///
    /// # Errors
    /// [`RecordError`] says what is wrong with it.
    pub fn open(bytes: &[u8], room: RoomId) -> Result<Opened, RecordError> {
        if bytes.len() > MAX_RECORD_BYTES {
            return Err(RecordError::TooLong(bytes.len()));
        }
        let sealed =
            log::SealedRecord::decode(bytes).map_err(|_| RecordError::Malformed("not a SealedRecord"))?;
        // The body is decoded only if it is what was written, but its seed is in the body: so the previous
        // checksum is taken from it first, and believed only if the checksum then holds.
        let body = log::Record::decode(&*sealed.body).map_err(|_| RecordError::Malformed("not a Record"))?;
        let computed = xxh3_64_with_seed(&sealed.body, body.previous_checksum);
        if computed != sealed.checksum {
            return Err(RecordError::Checksum { found: sealed.checksum, computed });
        }
        if body.version > VERSION {
            return Err(RecordError::VersionTooNew { found: body.version });
        }
        let record = Record::try_from(body)?;
        if record.room != room {
            return Err(RecordError::WrongRoom { expected: room, found: record.room });
        }
        Ok(Opened { record, checksum: sealed.checksum })
    }
}

/// The last record known of a log: what the next one must continue.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Link {
    /// Its epoch; 0: there is none.
    pub epoch: u64,
    /// Its checksum.
    pub checksum: u64,
    /// Seq of the newest event.
    pub last_seq: u64,
    /// Messages up to that.
    pub messages: u64,
}

/// A record does not continue the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Its epoch is older than that of a record before it.
    #[error("epoch {found} after epoch {last}")]
    Epoch {
        /// Epoch of the record before.
        last: u64,
        /// Epoch found.
        found: u64,
    },
    /// Its first event is not the next one.
    #[error("event {found} where event {expected} was to come")]
    Seq {
        /// The next seq.
        expected: u64,
        /// The seq found.
        found: u64,
    },
    /// It does not name the record before it.
    #[error("record at event {seq} names checksum {found:016x}; the record before it has {last:016x}")]
    Chain {
        /// Seq of its first event.
        seq: u64,
        /// Checksum of the record before.
        last: u64,
        /// What it names.
        found: u64,
    },
    /// It counts the messages before it otherwise.
    #[error("{found} messages before event {seq}, where {expected} were read")]
    Messages {
        /// Seq of its first event.
        seq: u64,
        /// Messages read.
        expected: u64,
        /// What it says.
        found: u64,
    },
}

impl Link {
    /// Checks that `next` continues the log, and goes on to it.
    ///
    /// Readings by event numbers leave out epoch records, so the chain of checksums is required only
    /// within an epoch: a greater epoch may follow a record that was not read.
    ///
    /// # Errors
    /// [`Broken`] says what does not fit; `self` is unchanged then.
    pub fn follow(&mut self, next: &Opened) -> Result<(), Broken> {
        let record = &next.record;
        if record.epoch < self.epoch || record.epoch == 0 {
            return Err(Broken::Epoch { last: self.epoch, found: record.epoch });
        }
        if record.first_seq != self.last_seq + 1 {
            return Err(Broken::Seq { expected: self.last_seq + 1, found: record.first_seq });
        }
        if record.epoch == self.epoch && record.previous_checksum != self.checksum {
            return Err(Broken::Chain {
                seq: record.first_seq,
                last: self.checksum,
                found: record.previous_checksum,
            });
        }
        if record.messages_before != self.messages {
            return Err(Broken::Messages {
                seq: record.first_seq,
                expected: self.messages,
                found: record.messages_before,
            });
        }
        *self = Self {
            epoch: record.epoch,
            checksum: next.checksum,
            last_seq: record.last_seq(),
            messages: record.messages_up_to(u64::MAX),
        };
        Ok(())
    }
}

fn id<T: From<log::Id>>(id: Option<log::Id>, what: &'static str) -> Result<T, RecordError> {
    id.map(T::from).ok_or(RecordError::Malformed(what))
}

impl From<Record> for log::Record {
    fn from(record: Record) -> Self {
        Self {
            version: VERSION,
            room: Some(record.room.into()),
            epoch: record.epoch,
            id: Some(record.id.into()),
            first_seq: record.first_seq,
            messages_before: record.messages_before,
            previous_checksum: record.previous_checksum,
            events: record.events.into_iter().map(Into::into).collect(),
            owner: record.owner,
        }
    }
}

impl TryFrom<log::Record> for Record {
    type Error = RecordError;
    fn try_from(record: log::Record) -> Result<Self, RecordError> {
        if record.first_seq == 0 {
            return Err(RecordError::Malformed("first_seq is 0"));
        }
        if record.first_seq.checked_add(record.events.len() as u64).is_none() {
            return Err(RecordError::Malformed("first_seq is too great"));
        }
        Ok(Self {
            room: id(record.room, "no room")?,
            epoch: record.epoch,
            id: id(record.id, "no id")?,
            first_seq: record.first_seq,
            messages_before: record.messages_before,
            previous_checksum: record.previous_checksum,
            events: record.events.into_iter().map(Event::try_from).collect::<Result<_, _>>()?,
            owner: record.owner,
        })
    }
}

impl From<Event> for log::Event {
    fn from(event: Event) -> Self {
        use log::event::Event as Wire;
        let wire = match event.body {
            Body::Posted(posted) => Wire::Posted((*posted).into()),
            Body::Edited { message_seq, text, mentions } => {
                Wire::Edited(log::MessageEdited { message_seq, text, mentions: to_ids(mentions) })
            }
            Body::Deleted { message_seq } => Wire::Deleted(log::MessageDeleted { message_seq }),
            Body::Reacted(Reaction { message_seq, emoji, count }) => {
                Wire::Reacted(log::ReactionAdded { message_seq, emoji, count })
            }
            Body::Unreacted(Reaction { message_seq, emoji, count }) => {
                Wire::Unreacted(log::ReactionRemoved { message_seq, emoji, count })
            }
            Body::Member(member) => Wire::Member((*member).into()),
            Body::Room(room) => Wire::Room((*room).into()),
        };
        Self { ts: event.ts, actor: Some(event.actor.into()), event: Some(wire) }
    }
}

impl TryFrom<log::Event> for Event {
    type Error = RecordError;
    fn try_from(event: log::Event) -> Result<Self, RecordError> {
        use log::event::Event as Wire;
        let body = match event.event.ok_or(RecordError::Malformed("event of no known kind"))? {
            Wire::Posted(posted) => Body::Posted(Box::new(posted.try_into()?)),
            Wire::Edited(log::MessageEdited { message_seq, text, mentions }) => {
                Body::Edited { message_seq, text, mentions: from_ids(mentions) }
            }
            Wire::Deleted(log::MessageDeleted { message_seq }) => Body::Deleted { message_seq },
            Wire::Reacted(log::ReactionAdded { message_seq, emoji, count }) => {
                Body::Reacted(Reaction { message_seq, emoji, count })
            }
            Wire::Unreacted(log::ReactionRemoved { message_seq, emoji, count }) => {
                Body::Unreacted(Reaction { message_seq, emoji, count })
            }
            Wire::Member(member) => Body::Member(Box::new(member.try_into()?)),
            Wire::Room(room) => Body::Room(Box::new(room.try_into()?)),
        };
        Ok(Self { ts: event.ts, actor: id(event.actor, "event without actor")?, body })
    }
}

fn to_ids(ids: Vec<UserId>) -> Vec<log::Id> {
    ids.into_iter().map(Into::into).collect()
}

fn from_ids(ids: Vec<log::Id>) -> Vec<UserId> {
    ids.into_iter().map(Into::into).collect()
}

impl From<Profile> for log::Profile {
    fn from(user: Profile) -> Self {
        Self { id: Some(user.id.into()), username: user.username, display_name: user.display_name }
    }
}

fn profile(user: Option<log::Profile>) -> Result<Profile, RecordError> {
    let user = user.ok_or(RecordError::Malformed("no user"))?;
    Ok(Profile {
        id: id(user.id, "user without id")?,
        username: user.username,
        display_name: user.display_name,
    })
}

impl From<Posted> for log::MessagePosted {
    fn from(posted: Posted) -> Self {
        Self {
            id: Some(posted.id.into()),
            sender: Some(posted.sender.into()),
            text: posted.text,
            client_msg_id: posted.client_msg_id,
            reply_to: posted.reply_to,
            mentions: to_ids(posted.mentions),
        }
    }
}

impl TryFrom<log::MessagePosted> for Posted {
    type Error = RecordError;
    fn try_from(posted: log::MessagePosted) -> Result<Self, RecordError> {
        Ok(Self {
            id: id(posted.id, "message without id")?,
            sender: profile(posted.sender)?,
            text: posted.text,
            client_msg_id: posted.client_msg_id,
            reply_to: posted.reply_to,
            mentions: from_ids(posted.mentions),
        })
    }
}

/// How a role is written in logs and rows.
pub fn role_to_wire(role: Role) -> log::Role {
    match role {
        Role::Member => log::Role::Member,
        Role::Moderator => log::Role::Moderator,
        Role::Owner => log::Role::Owner,
    }
}

/// The reverse of [`role_to_wire`]; `None`: no member, or no role of this program.
pub fn role_from_wire(role: i32) -> Option<Role> {
    match log::Role::try_from(role).ok()? {
        log::Role::Unspecified => None,
        log::Role::Member => Some(Role::Member),
        log::Role::Moderator => Some(Role::Moderator),
        log::Role::Owner => Some(Role::Owner),
    }
}

/// How a kind is written in logs and rows.
pub fn kind_to_wire(kind: Kind) -> log::RoomKind {
    match kind {
        Kind::Group => log::RoomKind::Group,
        Kind::Channel => log::RoomKind::Channel,
        Kind::Direct => log::RoomKind::Direct,
    }
}

/// The reverse of [`kind_to_wire`].
pub fn kind_from_wire(kind: i32) -> Option<Kind> {
    match log::RoomKind::try_from(kind).ok()? {
        log::RoomKind::Unspecified => None,
        log::RoomKind::Group => Some(Kind::Group),
        log::RoomKind::Channel => Some(Kind::Channel),
        log::RoomKind::Direct => Some(Kind::Direct),
    }
}

/// How a visibility is written in logs and rows.
pub fn visibility_to_wire(visibility: Visibility) -> log::Visibility {
    match visibility {
        Visibility::Public => log::Visibility::Public,
        Visibility::Private => log::Visibility::Private,
    }
}

/// The reverse of [`visibility_to_wire`].
pub fn visibility_from_wire(visibility: i32) -> Option<Visibility> {
    match log::Visibility::try_from(visibility).ok()? {
        log::Visibility::Unspecified => None,
        log::Visibility::Public => Some(Visibility::Public),
        log::Visibility::Private => Some(Visibility::Private),
    }
}

impl From<MemberChanged> for log::MemberChanged {
    fn from(member: MemberChanged) -> Self {
        let change = match member.change {
            MemberChange::Joined => log::MemberChange::Joined,
            MemberChange::Left => log::MemberChange::Left,
            MemberChange::Added => log::MemberChange::Added,
            MemberChange::Kicked => log::MemberChange::Kicked,
            MemberChange::RoleChanged => log::MemberChange::RoleChanged,
            MemberChange::Banned => log::MemberChange::Banned,
            MemberChange::Unbanned => log::MemberChange::Unbanned,
            MemberChange::Muted => log::MemberChange::Muted,
            MemberChange::Unmuted => log::MemberChange::Unmuted,
        };
        Self {
            user: Some(member.user.into()),
            change: change.into(),
            role: member.role.map_or(log::Role::Unspecified, role_to_wire).into(),
            until: member.until,
        }
    }
}

impl TryFrom<log::MemberChanged> for MemberChanged {
    type Error = RecordError;
    fn try_from(member: log::MemberChanged) -> Result<Self, RecordError> {
        let unknown = RecordError::Malformed("change of membership of no known kind");
        let change = match log::MemberChange::try_from(member.change).map_err(|_| unknown.clone())? {
            log::MemberChange::Unspecified => return Err(unknown),
            log::MemberChange::Joined => MemberChange::Joined,
            log::MemberChange::Left => MemberChange::Left,
            log::MemberChange::Added => MemberChange::Added,
            log::MemberChange::Kicked => MemberChange::Kicked,
            log::MemberChange::RoleChanged => MemberChange::RoleChanged,
            log::MemberChange::Banned => MemberChange::Banned,
            log::MemberChange::Unbanned => MemberChange::Unbanned,
            log::MemberChange::Muted => MemberChange::Muted,
            log::MemberChange::Unmuted => MemberChange::Unmuted,
        };
        let role = if member.role == i32::from(log::Role::Unspecified) {
            None
        } else {
            // One of a newer program must not be taken for no member.
            Some(role_from_wire(member.role).ok_or(RecordError::Malformed("member of no known role"))?)
        };
        Ok(Self { user: profile(member.user)?, change, role, until: member.until })
    }
}

impl From<RoomChanged> for log::RoomChanged {
    fn from(room: RoomChanged) -> Self {
        let mut wire = Self::default();
        match room {
            RoomChanged::Created { name, topic, visibility, kind, members } => {
                wire.change = log::RoomChange::Created.into();
                wire.name = Some(name);
                wire.topic = topic;
                wire.visibility = visibility_to_wire(visibility).into();
                wire.kind = kind_to_wire(kind).into();
                wire.members = members
                    .into_iter()
                    .map(|(user, role)| log::FoundingMember {
                        user: Some(user.into()),
                        role: role_to_wire(role).into(),
                    })
                    .collect();
            }
            RoomChanged::Updated(update) => {
                let visibility = update.visibility;
                wire.change = log::RoomChange::Updated.into();
                wire.name = update.name;
                wire.topic = update.topic;
                wire.visibility = visibility.map_or(log::Visibility::Unspecified, visibility_to_wire).into();
                wire.slow_mode_seconds = update.slow_mode_seconds;
                wire.translation = update.translation;
                wire.max_members = update.max_members;
                wire.retention_days = update.retention_days;
                wire.declared = update.declared;
            }
            RoomChanged::Removed => wire.change = log::RoomChange::Removed.into(),
        }
        wire
    }
}

impl TryFrom<log::RoomChanged> for RoomChanged {
    type Error = RecordError;
    fn try_from(room: log::RoomChanged) -> Result<Self, RecordError> {
        let unknown = RecordError::Malformed("change of the room of no known kind");
        Ok(match log::RoomChange::try_from(room.change).map_err(|_| unknown.clone())? {
            log::RoomChange::Unspecified => return Err(unknown),
            log::RoomChange::Created => Self::Created {
                name: room.name.unwrap_or_default(),
                topic: room.topic,
                visibility: visibility_from_wire(room.visibility)
                    .ok_or(RecordError::Malformed("room of no known visibility"))?,
                kind: kind_from_wire(room.kind).ok_or(RecordError::Malformed("room of no known kind"))?,
                members: room
                    .members
                    .into_iter()
                    .map(|member| {
                        let role = role_from_wire(member.role)
                            .ok_or(RecordError::Malformed("founding member without role"))?;
                        Ok((profile(member.user)?, role))
                    })
                    .collect::<Result<_, RecordError>>()?,
            },
            log::RoomChange::Updated => Self::Updated(Update {
                name: room.name,
                topic: room.topic,
                visibility: if room.visibility == i32::from(log::Visibility::Unspecified) {
                    None
                } else {
                    let visibility = visibility_from_wire(room.visibility);
                    Some(visibility.ok_or(RecordError::Malformed("room of no known visibility"))?)
                },
                slow_mode_seconds: room.slow_mode_seconds,
                translation: room.translation,
                max_members: room.max_members,
                retention_days: room.retention_days,
                declared: room.declared,
            }),
            log::RoomChange::Removed => Self::Removed,
        })
    }
}
