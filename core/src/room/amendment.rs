//! What became of a message after it was posted.

use bytes::{Buf as _, Bytes};
use prost::Message as _;
use rookery_protocol::{id::UserId, rows};

/// What edits, deletion and reactions made of a message: a row next to the log, so that reading a page of
/// history does not mean reading all that followed.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Amendment {
    /// Seq of the last event that is in here.
    pub as_of: u64,
    /// The newest text, if it was ever edited.
    pub edited: Option<Edit>,
    /// Deleted: nothing else is kept then.
    pub deleted: bool,
    /// Who reacted how, in the order of first use.
    pub reactions: Vec<Reacted>,
}

/// A message's newest text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The text.
    pub text: String,
    /// When, Unix milliseconds.
    pub at: i64,
    /// Whom it mentions.
    pub mentions: Vec<UserId>,
}

/// Who reacted with an emoji.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reacted {
    /// The emoji.
    pub emoji: String,
    /// Who, in the order of doing so. Never empty.
    pub users: Vec<UserId>,
}

/// What a room must know of a message to judge what is done to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Who posted it.
    pub sender: UserId,
    /// What became of it.
    pub amendment: Amendment,
}

/// A row that cannot be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed row: {0}")]
pub struct RowError(pub &'static str);

impl Amendment {
    /// How many users reacted with `emoji`.
    pub fn count(&self, emoji: &str) -> usize {
        self.reactions.iter().find(|r| r.emoji == emoji).map_or(0, |r| r.users.len())
    }

    /// Whether `user` reacted with `emoji`.
    pub fn has(&self, emoji: &str, user: UserId) -> bool {
        self.reactions.iter().any(|r| r.emoji == emoji && r.users.contains(&user))
    }

    /// Reactions in all.
    pub fn total(&self) -> usize {
        self.reactions.iter().map(|r| r.users.len()).sum()
    }

    pub(super) fn edit(&mut self, seq: u64, edit: Edit) {
        self.as_of = seq;
        self.edited = Some(edit);
    }

    pub(super) fn delete(&mut self, seq: u64) {
        *self = Self { as_of: seq, deleted: true, ..Self::default() };
    }

    pub(super) fn react(&mut self, seq: u64, emoji: &str, user: UserId) {
        self.as_of = seq;
        match self.reactions.iter_mut().find(|r| r.emoji == emoji) {
            Some(reacted) if reacted.users.contains(&user) => {}
            Some(reacted) => reacted.users.push(user),
            None => self.reactions.push(Reacted { emoji: emoji.to_owned(), users: vec![user] }),
        }
    }

    pub(super) fn unreact(&mut self, seq: u64, emoji: &str, user: UserId) {
        self.as_of = seq;
        if let Some(at) = self.reactions.iter().position(|r| r.emoji == emoji) {
            self.reactions[at].users.retain(|u| *u != user);
            if self.reactions[at].users.is_empty() {
                self.reactions.remove(at);
            }
        }
    }

    /// About how many bytes it takes in memory.
    pub(super) fn weight(&self) -> usize {
        let edit = self.edited.as_ref().map_or(0, |e| e.text.len() + e.mentions.len() * 16);
        edit + self.reactions.iter().map(|r| 64 + r.emoji.len() + r.users.len() * 16).sum::<usize>()
    }

    /// As an encoded `rookery.rows.v1.Amendment`.
    pub fn encode(&self) -> Bytes {
        let edited = self.edited.as_ref();
        rows::Amendment {
            as_of: self.as_of,
            text: edited.map(|e| e.text.clone()),
            edited_at: edited.map_or(0, |e| e.at),
            mentions: edited.map_or_else(Bytes::new, |e| pack(&e.mentions)),
            deleted: self.deleted,
            reactions: self
                .reactions
                .iter()
                .map(|r| rows::Reaction { emoji: r.emoji.clone(), users: pack(&r.users) })
                .collect(),
        }
        .encode_to_vec()
        .into()
    }

    /// The reverse of [`Self::encode`].
    ///
    /// # Errors
    /// [`RowError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        let row = rows::Amendment::decode(bytes).map_err(|_| RowError("not an Amendment"))?;
        let mentions = unpack(row.mentions)?;
        Ok(Self {
            as_of: row.as_of,
            edited: row.text.map(|text| Edit { text, at: row.edited_at, mentions }),
            deleted: row.deleted,
            reactions: row
                .reactions
                .into_iter()
                .map(|r| Ok(Reacted { emoji: r.emoji, users: unpack(r.users)? }))
                .collect::<Result<_, RowError>>()?,
        })
    }
}

/// Ids one after another.
pub(super) fn pack(ids: &[UserId]) -> Bytes {
    let mut out = Vec::with_capacity(ids.len() * 16);
    for id in ids {
        out.extend_from_slice(&id.to_bytes());
    }
    out.into()
}

fn unpack(mut bytes: Bytes) -> Result<Vec<UserId>, RowError> {
    if !bytes.len().is_multiple_of(16) {
        return Err(RowError("ids of other than 16 bytes"));
    }
    let mut ids = Vec::with_capacity(bytes.len() / 16);
    while bytes.has_remaining() {
        ids.push(UserId(bytes.get_u128()));
    }
    Ok(ids)
}
