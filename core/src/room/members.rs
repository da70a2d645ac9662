//! Who is in a room. Made for a million members: about a hundred bytes each besides the names.

use std::collections::{BTreeMap, BTreeSet};

use rookery_protocol::id::UserId;
use xxhash_rust::xxh3::xxh3_64;

use super::{Profile, Role};

/// A member, as lists show him.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemberView<'a> {
    /// Id.
    pub id: UserId,
    /// Name, as it was when he came.
    pub username: &'a str,
    /// Name to show, as it was when he came.
    pub display_name: &'a str,
    /// Role.
    pub role: Role,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Member {
    role: Role,
    username: Box<str>,
    /// `None`: the same as `username`.
    display_name: Option<Box<str>>,
}

/// The members, findable by id and by name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Members {
    by_id: BTreeMap<UserId, Member>,
    /// Hash of the lower-case username, and whose it is.
    by_name: BTreeSet<(u64, UserId)>,
    owners: usize,
}

/// Usernames differ in more than case, so comparing them in lower case is safe.
fn name_hash(username: &str) -> u64 {
    if username.is_ascii() && !username.bytes().any(|b| b.is_ascii_uppercase()) {
        xxh3_64(username.as_bytes())
    } else {
        xxh3_64(username.to_lowercase().as_bytes())
    }
}

fn view(id: UserId, member: &Member) -> MemberView<'_> {
    let username = &*member.username;
    let display_name = member.display_name.as_deref().unwrap_or(username);
    MemberView { id, username, display_name, role: member.role }
}

impl Members {
    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn owners(&self) -> usize {
        self.owners
    }

    pub(super) fn role(&self, user: UserId) -> Option<Role> {
        self.by_id.get(&user).map(|m| m.role)
    }

    pub(super) fn get(&self, user: UserId) -> Option<MemberView<'_>> {
        self.by_id.get(&user).map(|m| view(user, m))
    }

    /// Ordered by id, those after `after`.
    pub(super) fn after(&self, after: Option<UserId>) -> impl Iterator<Item = MemberView<'_>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.by_id.range((from, Unbounded)).map(|(id, m)| view(*id, m))
    }

    pub(super) fn find(&self, username: &str) -> Option<UserId> {
        let hash = name_hash(username);
        let lower = username.to_lowercase();
        self.by_name
            .range((hash, UserId(0))..=(hash, UserId(u128::MAX)))
            .map(|(_, id)| *id)
            .find(|id| self.by_id.get(id).is_some_and(|m| m.username.to_lowercase() == lower))
    }

    /// Adds a member, or replaces what is known of him.
    pub(super) fn put(&mut self, user: &Profile, role: Role) {
        self.remove(user.id);
        self.owners += usize::from(role == Role::Owner);
        self.by_name.insert((name_hash(&user.username), user.id));
        let display_name = (user.display_name != user.username).then(|| user.display_name.as_str().into());
        self.by_id.insert(user.id, Member { role, username: user.username.as_str().into(), display_name });
    }

    pub(super) fn set_role(&mut self, user: UserId, role: Role) {
        if let Some(member) = self.by_id.get_mut(&user) {
            self.owners -= usize::from(member.role == Role::Owner);
            self.owners += usize::from(role == Role::Owner);
            member.role = role;
        }
    }

    pub(super) fn remove(&mut self, user: UserId) {
        if let Some(member) = self.by_id.remove(&user) {
            self.owners -= usize::from(member.role == Role::Owner);
            self.by_name.remove(&(name_hash(&member.username), user));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(id: u128, username: &str) -> Profile {
        Profile { id: UserId(id), username: username.into(), display_name: "Shown".into() }
    }

    #[test]
    fn finds_by_name_in_any_case() {
        let mut members = Members::default();
        members.put(&profile(1, "Ada"), Role::Owner);
        members.put(&profile(2, "ÉMILE"), Role::Member);
        assert_eq!(members.find("aDA"), Some(UserId(1)));
        assert_eq!(members.find("émile"), Some(UserId(2)));
        members.remove(UserId(1));
        assert_eq!(members.find("ada"), None);
        assert_eq!((members.owners(), members.len()), (0, 1));
        assert!(members.by_name.len() == 1);
    }
}
