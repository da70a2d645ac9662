//! The nodes and the pins of rooms as etcd tells of them: what a list or a watch makes of the view. No I/O.

use std::{collections::BTreeMap, sync::Arc};

use rookery_core::ring::{Member, Pins, View};
use rookery_protocol::id::RoomId;

/// One change of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// The revision that made it.
    pub(super) revision: u64,
    /// Whose key, and what it holds now; `None`: it is gone.
    pub(super) key: Key,
}

/// A key and what it holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Key {
    /// A node's, by its name.
    Node(String, Option<Member>),
    /// A room's pin, to a shard.
    Pin(RoomId, Option<String>),
}

/// Everything there was at a revision.
#[derive(Debug, Clone, Default)]
pub(super) struct Listed {
    members: BTreeMap<String, Member>,
    pins: Pins,
    /// Of the newest change in it.
    newest: u64,
}

impl Listed {
    /// Adds a key, as it was changed last by `revision`.
    pub(super) fn add(&mut self, key: Key, revision: u64) {
        self.newest = self.newest.max(revision);
        match key {
            Key::Node(name, Some(member)) => {
                self.members.insert(name, member);
            }
            Key::Pin(room, Some(shard)) => {
                self.pins.insert(room, shard);
            }
            Key::Node(_, None) | Key::Pin(_, None) => {}
        }
    }
}

/// What something that was heard changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing that the view shows.
    Nothing,
    /// The view.
    View,
    /// The view, by a list that shows what the watch did not.
    Missed,
    /// Everything: etcd has lost its history (restored from a backup, or made anew).
    Reset,
}

/// All that is known.
#[derive(Debug, Default)]
pub(super) struct Directory {
    cluster: Option<u64>,
    members: BTreeMap<String, Member>,
    pins: Arc<Pins>,
    /// Everything up to this revision is known.
    known: u64,
    /// The revision the view carries: that of its newest change, so that nodes agree about it.
    shown: u64,
}

impl Directory {
    /// Up to where everything is known: a watch goes on behind it.
    pub(super) fn known(&self) -> u64 {
        self.known
    }

    /// Takes a linearizable list: everything there was at `revision`. `asked_at` is [`Self::known`] as of when the
    /// list was asked for: a list cannot be older than that, unless etcd lost its history.
    pub(super) fn list(&mut self, cluster: u64, revision: u64, asked_at: u64, listed: Listed) -> Change {
        let Listed { members, pins, newest } = listed;
        let first = self.cluster.is_none();
        if !first && (self.cluster != Some(cluster) || revision < asked_at) {
            let (cluster, pins) = (Some(cluster), Arc::new(pins));
            *self = Self { cluster, members, pins, known: revision, shown: revision };
            return Change::Reset;
        }
        self.cluster = Some(cluster);
        if revision < self.known {
            // The watch was faster than this list.
            return Change::Nothing;
        }
        self.known = revision;
        if first {
            // Who left before cannot be known, and need not: this node has just made its own key, or will.
            (self.members, self.pins, self.shown) = (members, Arc::new(pins), newest);
            return Change::View;
        }
        if self.members == members && *self.pins == pins {
            return Change::Nothing;
        }
        (self.members, self.pins, self.shown) = (members, Arc::new(pins), revision);
        Change::Missed
    }

    /// Takes what a watch says: all events of one or more revisions, in order.
    pub(super) fn events(&mut self, events: Vec<Event>) -> Change {
        let known = self.known;
        let mut change = Change::Nothing;
        for event in events.into_iter().filter(|event| event.revision > known) {
            match event.key {
                Key::Node(name, Some(member)) => drop(self.members.insert(name, member)),
                Key::Node(name, None) => drop(self.members.remove(&name)),
                Key::Pin(room, Some(shard)) => drop(Arc::make_mut(&mut self.pins).insert(room, shard)),
                Key::Pin(room, None) => drop(Arc::make_mut(&mut self.pins).remove(&room)),
            }
            self.known = self.known.max(event.revision);
            self.shown = self.known;
            change = Change::View;
        }
        change
    }

    /// Lets the view say that it is good up to a revision that another node has seen, as far as that is known. Not up to all
    /// that is known: the other one would be behind then, and ask in turn, as long as anybody writes to etcd.
    pub(super) fn raise(&mut self, to: u64) {
        self.shown = self.shown.max(to.min(self.known));
    }

    /// The view.
    pub(super) fn view(&self) -> View {
        View::new(self.shown, self.members.values().cloned().collect()).with_pins(self.pins.clone())
    }
}

#[cfg(test)]
mod tests {
    use rookery_core::ring::MemberState;

    use super::*;

    fn node(name: &str, incarnation: u64) -> Member {
        Member {
            name: name.into(),
            address: format!("{name}:1"),
            shard: "main".into(),
            weight: 1,
            shard_weight: 1,
            level: rookery_core::ring::LEVEL,
            state: MemberState::Active,
            incarnation,
        }
    }

    fn came(revision: u64, name: &str) -> Event {
        Event { revision, key: Key::Node(name.into(), Some(node(name, revision))) }
    }

    fn went(revision: u64, name: &str) -> Event {
        Event { revision, key: Key::Node(name.into(), None) }
    }

    fn listed<const N: usize>(members: [(Member, u64); N]) -> Listed {
        let mut listed = Listed::default();
        for (member, revision) in members {
            listed.add(Key::Node(member.name.clone(), Some(member)), revision);
        }
        listed
    }

    fn names(directory: &Directory) -> Vec<String> {
        directory.view().members().iter().map(|member| member.name.clone()).collect()
    }

    #[test]
    fn the_view_carries_the_revision_of_its_newest_change() {
        let mut directory = Directory::default();
        assert_eq!(directory.list(1, 20, 0, listed([(node("a", 5), 7)])), Change::View);
        assert_eq!((directory.view().revision(), directory.known()), (7, 20));
        assert_eq!(directory.list(1, 30, 20, listed([(node("a", 5), 7)])), Change::Nothing);
        assert_eq!((directory.view().revision(), directory.known()), (7, 30));
        assert_eq!(directory.events(vec![came(31, "b")]), Change::View);
        assert_eq!(directory.view().revision(), 31);
        directory.list(1, 40, 31, listed([(node("a", 5), 7), (node("b", 31), 31)]));
        assert_eq!(directory.view().revision(), 31);
        directory.raise(36);
        assert_eq!((directory.view().revision(), names(&directory)), (36, vec!["a".into(), "b".into()]));
        directory.raise(50);
        assert_eq!(directory.view().revision(), 40, "no more than is known");
        directory.raise(9);
        assert_eq!(directory.view().revision(), 40);
    }

    #[test]
    fn what_is_known_already_changes_nothing() {
        let mut directory = Directory::default();
        directory.list(1, 20, 0, listed([(node("a", 5), 7)]));
        assert_eq!(directory.events(vec![went(6, "a"), came(20, "b")]), Change::Nothing);
        assert_eq!(directory.events(vec![went(21, "a"), came(21, "b")]), Change::View);
        assert_eq!(names(&directory), ["b"]);
        // A list that was asked for before that, and answered with the state before it.
        assert_eq!(directory.list(1, 20, 20, listed([(node("a", 5), 7)])), Change::Nothing);
        assert_eq!(names(&directory), ["b"]);
    }

    #[test]
    fn a_list_shows_what_the_watch_lost() {
        let mut directory = Directory::default();
        directory.list(1, 20, 0, listed([(node("a", 5), 7), (node("b", 6), 6)]));
        assert_eq!(directory.list(1, 25, 20, listed([(node("a", 5), 7)])), Change::Missed);
        assert_eq!((directory.view().revision(), names(&directory)), (25, vec!["a".into()]));
    }

    #[test]
    fn pins_are_known_as_of_the_same_revision() {
        let mut directory = Directory::default();
        let pin = |room: u128, shard: Option<&str>| Key::Pin(RoomId(room), shard.map(Into::into));
        let pins = |directory: &Directory| directory.view().pins().clone();
        let mut first = listed([(node("a", 5), 7)]);
        first.add(pin(1, Some("x")), 9);
        assert_eq!(directory.list(1, 20, 0, first), Change::View);
        assert_eq!((directory.view().revision(), directory.view().pin(RoomId(1))), (9, Some("x")));
        let told = [(21, pin(2, Some("y"))), (22, pin(1, None))];
        let told = told.map(|(revision, key)| Event { revision, key }).to_vec();
        assert_eq!(directory.events(told.clone()), Change::View);
        assert_eq!((directory.view().revision(), pins(&directory).len()), (22, 1));
        assert_eq!(directory.events(told), Change::Nothing);
        let mut missed = listed([(node("a", 5), 7)]);
        missed.add(pin(2, Some("z")), 23);
        assert_eq!(directory.list(1, 25, 22, missed), Change::Missed);
        assert_eq!((directory.view().pin(RoomId(2)), names(&directory).len()), (Some("z"), 1));
        assert_eq!(directory.list(2, 3, 25, listed([])), Change::Reset);
        assert!(pins(&directory).is_empty());
    }

    #[test]
    fn an_etcd_that_lost_its_history_is_believed() {
        let mut directory = Directory::default();
        directory.list(1, 20, 0, listed([(node("a", 5), 7)]));
        assert_eq!(directory.list(1, 9, 20, listed([(node("b", 3), 3)])), Change::Reset);
        assert_eq!((directory.view().revision(), names(&directory)), (9, vec!["b".into()]));
        assert_eq!(directory.list(2, 9, 9, listed([])), Change::Reset);
        assert_eq!(names(&directory).len(), 0);
    }
}
