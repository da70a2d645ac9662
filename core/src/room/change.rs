//! Rows that follow from events: what makes reading cheap.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use prost::Message as _;
use rookery_protocol::{id::UserId, rows};

use super::{Amendment, Kind, Role, RowError, State};
use crate::record::{Body, Event, RoomChanged, kind_from_wire, kind_to_wire};

/// A row that follows from a record and is stored in the same step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A user's role in the room; `None`: he is no member any more.
    Membership {
        /// Whose.
        user: UserId,
        /// Which.
        role: Option<Role>,
    },
    /// How lists of public rooms show it; `None`: they do not.
    Listed(Option<Listing>),
    /// What became of a message.
    Amended {
        /// Which.
        seq: u64,
        /// What.
        amendment: Amendment,
    },
}

/// A public room in a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Name.
    pub name: String,
    /// Topic.
    pub topic: Option<String>,
    /// Kind.
    pub kind: Kind,
    /// When made, Unix milliseconds.
    pub created_at: i64,
}

impl Listing {
    /// As an encoded `rookery.rows.v1.Listing`.
    pub fn encode(&self) -> Bytes {
        rows::Listing {
            name: self.name.clone(),
            topic: self.topic.clone().unwrap_or_default(),
            kind: i32::from(kind_to_wire(self.kind)).unsigned_abs(),
            created_at: self.created_at,
        }
        .encode_to_vec()
        .into()
    }

    /// The reverse of [`Self::encode`].
    ///
    /// # Errors
    /// [`RowError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, RowError> {
        let row = rows::Listing::decode(bytes).map_err(|_| RowError("not a Listing"))?;
        let kind = i32::try_from(row.kind).ok().and_then(kind_from_wire);
        Ok(Self {
            name: row.name,
            topic: Some(row.topic).filter(|t| !t.is_empty()),
            kind: kind.ok_or(RowError("room of no known kind"))?,
            created_at: row.created_at,
        })
    }
}

/// Rows of memberships that the removal of a room deletes in one step, at most. Of a greater room some
/// stay behind: who lists a user's rooms passes over those that are gone.
pub const REMOVED_MEMBERSHIPS: usize = 1_000;

/// The rows that follow from a record with these events, of which `state` has seen all and none after them.
pub fn changes(state: &State, first_seq: u64, events: &[Event]) -> Vec<Change> {
    let mut memberships = BTreeMap::new();
    let mut touched = BTreeSet::new();
    let mut listed = false;
    for (seq, event) in (first_seq..).zip(events) {
        match &event.body {
            Body::Posted(_) => {}
            Body::Edited { message_seq, .. } | Body::Deleted { message_seq } => {
                touched.insert(*message_seq);
            }
            Body::Reacted(reaction) | Body::Unreacted(reaction) => {
                touched.insert(reaction.message_seq);
            }
            Body::Member(member) => {
                memberships.insert(member.user.id, member.role);
            }
            Body::Room(room) => {
                listed = true;
                match &**room {
                    RoomChanged::Created { members, .. } => {
                        memberships.extend(members.iter().map(|(user, role)| (user.id, Some(*role))));
                    }
                    RoomChanged::Updated(_) => {}
                    RoomChanged::Removed => {
                        let all = state.members().take(REMOVED_MEMBERSHIPS);
                        memberships.extend(all.map(|member| (member.id, None)));
                    }
                }
            }
        }
        debug_assert!(seq <= state.last_seq());
    }
    let memberships = memberships.into_iter().map(|(user, role)| Change::Membership { user, role });
    let listed = listed.then(|| Change::Listed(state.listing()));
    let amended = touched
        .into_iter()
        .filter_map(|seq| Some(Change::Amended { seq, amendment: state.head(seq)?.amendment.clone() }));
    memberships.chain(listed).chain(amended).collect()
}
