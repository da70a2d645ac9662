//! A room's state: what its events add up to.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use rookery_protocol::id::UserId;

use super::{
    Head, Kind, Limits, Listing, MemberView, Refusal, Role, Visibility, dedupe::Dedupe, heads::Heads,
    members::Members, mentions::Mentions,
};

/// What a room is, once made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// Name; empty in direct rooms.
    pub name: String,
    /// Topic.
    pub topic: Option<String>,
    /// Kind.
    pub kind: Kind,
    /// Visibility.
    pub visibility: Visibility,
    /// Seconds between two messages of one member; 0: off.
    pub slow_mode_seconds: u32,
    /// Whether messages may be translated.
    pub translation: bool,
    /// Most members; `None`: as many as the service allows.
    pub max_members: Option<u32>,
    /// Events are kept for so many days; `None`: as long as the service keeps them.
    pub retention_days: Option<u32>,
    /// It is declared from outside the chat: members do not change it, and it needs neither an owner nor anybody else.
    pub declared: bool,
    /// When made, Unix milliseconds.
    pub created_at: i64,
}

/// A ban in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ban {
    pub(super) until: Option<i64>,
    pub(super) username: Box<str>,
    pub(super) display_name: Box<str>,
}

/// A room, built by its events in order ([`State::apply`]) and asked what a command makes of it
/// ([`State::decide`]).
///
/// An owner applies events when it proposes them, so its state may be ahead of what is committed.
#[derive(Debug, Clone)]
pub struct State {
    pub(super) limits: Arc<Limits>,
    pub(super) facts: Option<Facts>,
    pub(super) removed: bool,
    pub(super) last_seq: u64,
    pub(super) last_ts: i64,
    pub(super) messages: u64,
    pub(super) members: Members,
    /// Those of them whom the room's declaration names.
    pub(super) declared: BTreeSet<UserId>,
    pub(super) bans: BTreeMap<UserId, Ban>,
    pub(super) mutes: BTreeMap<UserId, Option<i64>>,
    /// When members last posted, as far as slow mode needs to know.
    pub(super) last_posts: BTreeMap<UserId, i64>,
    pub(super) mentions: Mentions,
    pub(super) dedupe: Dedupe,
    pub(super) heads: Heads,
}

/// Equal in all that events made; what happens to be in memory of old messages does not count.
impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        self.facts == other.facts
            && self.removed == other.removed
            && (self.last_seq, self.last_ts, self.messages) == (other.last_seq, other.last_ts, other.messages)
            && self.members == other.members
            && self.declared == other.declared
            && self.bans == other.bans
            && self.mutes == other.mutes
            && self.last_posts == other.last_posts
            && self.mentions == other.mentions
            && self.dedupe.same(&other.dedupe)
    }
}

impl State {
    /// A room without events.
    pub fn new(limits: Arc<Limits>) -> Self {
        Self {
            limits,
            facts: None,
            removed: false,
            last_seq: 0,
            last_ts: 0,
            messages: 0,
            members: Members::default(),
            declared: BTreeSet::new(),
            bans: BTreeMap::new(),
            mutes: BTreeMap::new(),
            last_posts: BTreeMap::new(),
            mentions: Mentions::default(),
            dedupe: Dedupe::default(),
            heads: Heads::default(),
        }
    }

    /// What the room is; `None`: it was never made, or it was removed.
    pub fn facts(&self) -> Option<&Facts> {
        self.facts.as_ref().filter(|_| !self.removed)
    }

    /// Whether it was removed.
    pub fn removed(&self) -> bool {
        self.removed
    }

    /// Seq of the newest event; 0: none.
    pub fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Time of the newest event, Unix milliseconds.
    pub fn last_ts(&self) -> i64 {
        self.last_ts
    }

    /// How many messages were posted, deleted ones included.
    pub fn messages(&self) -> u64 {
        self.messages
    }

    /// How many members.
    pub fn member_count(&self) -> usize {
        self.members.len()
    }

    /// A user's role; `None`: he is no member.
    pub fn role(&self, user: UserId) -> Option<Role> {
        self.members.role(user)
    }

    /// A member.
    pub fn member(&self, user: UserId) -> Option<MemberView<'_>> {
        self.members.get(user)
    }

    /// Whether the room's declaration names him.
    pub fn is_declared(&self, user: UserId) -> bool {
        self.declared.contains(&user)
    }

    /// All members, ordered by id.
    pub fn members(&self) -> impl Iterator<Item = MemberView<'_>> {
        self.members.after(None)
    }

    /// Members with an id greater than `after`, ordered by id: for pages.
    pub fn members_after(&self, after: Option<UserId>) -> impl Iterator<Item = MemberView<'_>> {
        self.members.after(after)
    }

    /// Who was mentioned by a message, whatever it says now: at least those of whom it is one of the newest that mention them.
    pub fn mentioned_by(&self, seq: u64) -> impl Iterator<Item = UserId> {
        self.mentions.by(seq)
    }

    /// Whether `user` may read the room: with what role.
    ///
    /// # Errors
    /// `RoomNotFound`, also for a private room that he is not in; `Banned` or `NotAMember` of a public one.
    pub fn readable(&self, user: UserId, now: i64) -> Result<Role, Refusal> {
        let facts = self.facts().ok_or(Refusal::RoomNotFound)?;
        if let Some(role) = self.members.role(user) {
            return Ok(role);
        }
        Err(match facts.visibility {
            Visibility::Private => Refusal::RoomNotFound,
            Visibility::Public if self.banned(user, now) => Refusal::Banned,
            Visibility::Public => Refusal::NotAMember,
        })
    }

    /// How lists of public rooms show it; `None`: they do not.
    pub fn listing(&self) -> Option<Listing> {
        let facts = self.facts().filter(|f| f.visibility == Visibility::Public)?;
        Some(Listing {
            name: facts.name.clone(),
            topic: facts.topic.clone(),
            kind: facts.kind,
            created_at: facts.created_at,
        })
    }

    /// Takes what the shell loaded of message `seq`; `None`: it is no message.
    pub fn provide_head(&mut self, seq: u64, head: Option<Head>) {
        self.heads.provide(seq, head, &self.limits);
    }

    /// All events up to `seq` are committed: what they touched can be read from the log again.
    pub fn committed(&mut self, seq: u64) {
        self.heads.committed(seq, &self.limits);
    }

    /// How much work a snapshot is, counted in entries.
    pub fn size(&self) -> usize {
        self.members.len() + self.dedupe.len() + self.bans.len() + self.mutes.len() + self.mentions.len()
    }

    /// What is known of the message `seq`, if it is in memory.
    pub fn head(&self, seq: u64) -> Option<&Head> {
        self.heads.get(seq).flatten()
    }

    pub(super) fn banned(&self, user: UserId, now: i64) -> bool {
        self.bans.get(&user).is_some_and(|ban| ban.until.is_none_or(|until| until > now))
    }

    /// Until when `user` is muted; `None`: he is not.
    pub(super) fn muted(&self, user: UserId, now: i64) -> Option<Option<i64>> {
        self.mutes.get(&user).copied().filter(|until| until.is_none_or(|until| until > now))
    }
}
