//! A room's state as one row, so that a new owner reads the newest records only.

use bytes::Bytes;
use prost::Message as _;
use rookery_protocol::{
    id::{RoomId, UserId},
    rows,
};
use std::sync::Arc;
use xxhash_rust::xxh3::xxh3_64;

use super::{Facts, Limits, Profile, RowError, State, dedupe::Dedupe, state::Ban};
use crate::record::{
    Link, kind_from_wire, kind_to_wire, role_from_wire, role_to_wire, visibility_from_wire,
    visibility_to_wire,
};

/// The newest version of snapshots that this program writes and understands. One that it does not
/// understand is passed over: all of it is in the log.
const VERSION: u32 = 1;

/// A state and the place in the log that it stands for.
#[derive(Debug, Clone, PartialEq)]
pub struct Anchor {
    /// What the events up to there add up to.
    pub state: State,
    /// The last record in it.
    pub link: Link,
}

fn id_bytes(user: UserId) -> Bytes {
    Bytes::copy_from_slice(&user.to_bytes())
}

fn id(bytes: &[u8]) -> Result<UserId, RowError> {
    bytes.try_into().map(UserId::from_bytes).map_err(|_| RowError("an id of other than 16 bytes"))
}

fn wire(value: i32) -> u32 {
    value.unsigned_abs()
}

fn known<T>(value: u32, from: impl FnOnce(i32) -> Option<T>) -> Result<T, RowError> {
    i32::try_from(value).ok().and_then(from).ok_or(RowError("a word of no known meaning"))
}

fn open(bytes: Bytes, room: RoomId) -> Result<rows::Snapshot, RowError> {
    let sealed = rows::SealedSnapshot::decode(bytes).map_err(|_| RowError("not a SealedSnapshot"))?;
    if xxh3_64(&sealed.body) != sealed.checksum {
        return Err(RowError("a snapshot with a wrong checksum"));
    }
    let row = rows::Snapshot::decode(sealed.body).map_err(|_| RowError("not a Snapshot"))?;
    if row.version > VERSION {
        return Err(RowError("a snapshot of a newer program"));
    }
    if *row.room != room.to_bytes() {
        return Err(RowError("a snapshot of another room"));
    }
    Ok(row)
}

fn link(row: &rows::Snapshot) -> Link {
    Link { epoch: row.epoch, checksum: row.checksum, last_seq: row.last_seq, messages: row.messages }
}

impl State {
    /// Encodes a snapshot, as `rookery.rows.v1.SealedSnapshot`. `link` is the last record applied.
    pub fn snapshot(&self, room: RoomId, link: Link) -> Bytes {
        let facts = self.facts.as_ref();
        let body = rows::Snapshot {
            version: VERSION,
            room: Bytes::copy_from_slice(&room.to_bytes()),
            epoch: link.epoch,
            checksum: link.checksum,
            last_seq: self.last_seq,
            messages: self.messages,
            last_ts: self.last_ts,
            name: facts.map(|f| f.name.clone()).unwrap_or_default(),
            topic: facts.and_then(|f| f.topic.clone()).unwrap_or_default(),
            kind: facts.map_or(0, |f| wire(kind_to_wire(f.kind).into())),
            visibility: facts.map_or(0, |f| wire(visibility_to_wire(f.visibility).into())),
            slow_mode_seconds: facts.map_or(0, |f| f.slow_mode_seconds),
            untranslated: facts.is_some_and(|f| !f.translation),
            max_members: facts.and_then(|f| f.max_members).unwrap_or(0),
            retention_days: facts.and_then(|f| f.retention_days).unwrap_or(0),
            declared: facts.is_some_and(|f| f.declared),
            created_at: facts.map_or(0, |f| f.created_at),
            removed: self.removed,
            members: self
                .members()
                .map(|m| rows::Member {
                    user: id_bytes(m.id),
                    role: wire(role_to_wire(m.role).into()),
                    username: m.username.to_owned(),
                    display_name: m.display_name.to_owned(),
                    declared: self.declared.contains(&m.id),
                })
                .collect(),
            bans: self
                .bans
                .iter()
                .map(|(user, ban)| rows::Ban {
                    user: id_bytes(*user),
                    until: ban.until,
                    username: ban.username.to_string(),
                    display_name: ban.display_name.to_string(),
                })
                .collect(),
            mutes: self
                .mutes
                .iter()
                .map(|(user, until)| rows::Mute { user: id_bytes(*user), until: *until })
                .collect(),
            last_posts: self
                .last_posts
                .iter()
                .map(|(user, ts)| rows::LastPost { user: id_bytes(*user), ts: *ts })
                .collect(),
            mentions: self
                .mentions
                .0
                .iter()
                .map(|(user, seqs)| rows::Mentions { user: id_bytes(*user), seqs: seqs.clone() })
                .collect(),
            posts: self.dedupe.encode().into(),
        };
        let body = Bytes::from(body.encode_to_vec());
        let checksum = xxh3_64(&body);
        rows::SealedSnapshot { body, checksum }.encode_to_vec().into()
    }

    /// The last record that a snapshot has.
    ///
    /// # Errors
    /// As [`Self::restore`].
    pub fn snapshot_link(bytes: Bytes, room: RoomId) -> Result<Link, RowError> {
        open(bytes, room).map(|row| link(&row))
    }

    /// The reverse of [`Self::snapshot`].
    ///
    /// # Errors
    /// [`RowError`]: it is damaged, of another room, or of a newer version. The log has all that it said.
    pub fn restore(bytes: Bytes, room: RoomId, limits: Arc<Limits>) -> Result<Anchor, RowError> {
        let row = open(bytes, room)?;
        let link = link(&row);
        let mut state = Self::new(limits);
        state.last_seq = row.last_seq;
        state.last_ts = row.last_ts;
        state.messages = row.messages;
        state.removed = row.removed;
        state.heads.committed(row.last_seq, &state.limits);
        if row.last_seq > 0 {
            state.facts = Some(Facts {
                name: row.name,
                topic: Some(row.topic).filter(|t| !t.is_empty()),
                kind: known(row.kind, kind_from_wire)?,
                visibility: known(row.visibility, visibility_from_wire)?,
                slow_mode_seconds: row.slow_mode_seconds,
                translation: !row.untranslated,
                max_members: Some(row.max_members).filter(|most| *most > 0),
                retention_days: Some(row.retention_days).filter(|days| *days > 0),
                declared: row.declared,
                created_at: row.created_at,
            });
        }
        for member in row.members {
            let user = Profile {
                id: id(&member.user)?,
                username: member.username,
                display_name: member.display_name,
            };
            state.members.put(&user, known(member.role, role_from_wire)?);
            if member.declared {
                state.declared.insert(user.id);
            }
        }
        for ban in row.bans {
            let known = Ban {
                until: ban.until,
                username: ban.username.into(),
                display_name: ban.display_name.into(),
            };
            state.bans.insert(id(&ban.user)?, known);
        }
        for mute in row.mutes {
            state.mutes.insert(id(&mute.user)?, mute.until);
        }
        for post in row.last_posts {
            state.last_posts.insert(id(&post.user)?, post.ts);
        }
        for mentions in row.mentions {
            state.mentions.0.insert(id(&mentions.user)?, mentions.seqs);
        }
        state.dedupe = Dedupe::decode(&row.posts)?;
        Ok(Anchor { state, link })
    }
}
