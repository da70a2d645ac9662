//! Who is mentioned: found in texts, and remembered per user.
//!
//! How many mentions are unread is counted by the node, over the rows that it stores with records (`node/src/rooms/marks.rs`).

use std::collections::BTreeMap;

use rookery_protocol::id::UserId;

use super::{limits::MENTIONS_KEPT, members::Members};

/// Usernames are at most this long, in characters.
const USERNAME_CHARS: usize = 32;

/// Members mentioned in a text as `@username`, in order, each once, at most `limit`.
pub(super) fn mentioned(text: &str, members: &Members, limit: usize) -> Vec<UserId> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices('@') {
        if found.len() == limit {
            break;
        }
        // `mail@example` mentions nobody.
        if text[..at].chars().next_back().is_some_and(char::is_alphanumeric) {
            continue;
        }
        if let Some(user) = longest_name(&text[at + 1..], members)
            && !found.contains(&user)
        {
            found.push(user);
        }
    }
    found
}

/// The member with the longest name that `text` starts with: a full stop after a name may end a sentence.
fn longest_name(text: &str, members: &Members) -> Option<UserId> {
    let in_name = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.');
    let end = text
        .char_indices()
        .enumerate()
        .find(|(count, (_, c))| *count == USERNAME_CHARS || !in_name(*c))
        .map_or(text.len(), |(_, (at, _))| at);
    let mut name = &text[..end];
    while !name.is_empty() {
        if let Some(user) = members.find(name) {
            return Some(user);
        }
        name = name.strip_suffix(['.', '-', '_'])?;
    }
    None
}

/// Per user the newest messages that mention him.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Mentions(pub(super) BTreeMap<UserId, Vec<u64>>);

impl Mentions {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn add(&mut self, user: UserId, seq: u64) {
        let seqs = self.0.entry(user).or_default();
        if let Err(at) = seqs.binary_search(&seq) {
            seqs.insert(at, seq);
            if seqs.len() > MENTIONS_KEPT {
                seqs.remove(0);
            }
        }
    }

    pub(super) fn forget(&mut self, user: UserId) {
        self.0.remove(&user);
    }

    pub(super) fn by(&self, seq: u64) -> impl Iterator<Item = UserId> {
        self.0.iter().filter(move |(_, seqs)| seqs.binary_search(&seq).is_ok()).map(|(user, _)| *user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::{Profile, Role};

    #[test]
    fn finds_members_and_nobody_else() {
        let mut members = Members::default();
        for (id, name) in [(1, "ada"), (2, "bob.b"), (3, "Zoë")] {
            let user = Profile { id: UserId(id), username: name.into(), display_name: name.into() };
            members.put(&user, Role::Member);
        }
        let of = |text: &str| mentioned(text, &members, 2).iter().map(|u| u.0).collect::<Vec<_>>();
        assert_eq!(of("@Ada, and @bob.b."), [1, 2]);
        assert_eq!(of("(@ada) @ADA @zoë"), [1, 3]);
        assert_eq!(of("x@ada @adam @carl @ @@"), []);
        assert_eq!(of("@@ada"), [1]);
        assert_eq!(of("@ada @bob.b @zoë"), [1, 2]);
    }

    #[test]
    fn keeps_the_newest() {
        let mut mentions = Mentions::default();
        for seq in 1..=150 {
            mentions.add(UserId(1), seq);
        }
        mentions.add(UserId(2), 50);
        let by = |seq: u64| mentions.by(seq).map(|user| user.0).collect::<Vec<_>>();
        assert_eq!(by(50), [2]);
        assert!((51..=150).all(|seq| by(seq) == [1]));
        assert_eq!(by(151), []);
    }
}
