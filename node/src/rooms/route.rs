//! Which node a room's commands go to, by the ring.

use std::{collections::HashMap, sync::Arc, time::Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use rookery_core::ring::{Member, Slot, View, slot_of};
use rookery_protocol::id::RoomId;

/// No node owns the slot.
const NOBODY: u16 = u16::MAX;

/// The ring as this node needs it for every command: a lookup is one load and one index. Where rooms are pinned, also one
/// look into a table of those.
pub(super) struct Route {
    me: String,
    ring: ArcSwap<Ring>,
    /// The ring before this one.
    before: ArcSwapOption<Before>,
}

struct Before {
    ring: Arc<Ring>,
    /// When another one took its place.
    until: Instant,
}

struct Ring {
    view: View,
    /// By slot: which of the view's members owns it.
    owners: Vec<u16>,
    /// The same of rooms that are pinned.
    pinned: HashMap<RoomId, u16>,
    /// Which of them this node is.
    me: u16,
    /// What all of them understand.
    level: u32,
}

/// A node as the owner of a room: one that starts anew is another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Owner {
    pub(super) name: String,
    pub(super) incarnation: u64,
}

impl Owner {
    fn of(member: &Member) -> Self {
        Self { name: member.name.clone(), incarnation: member.incarnation }
    }
}

impl Ring {
    fn new(me: &str, view: &View) -> Self {
        let place = |name: &str| {
            let at = view.members().binary_search_by(|member| member.name.as_str().cmp(name));
            at.ok().and_then(|at| u16::try_from(at).ok()).unwrap_or(NOBODY)
        };
        let owner = |slot, pin| view.owner(slot, pin).map_or(NOBODY, |owner| place(&owner.name));
        let owners = Slot::all().map(|slot| owner(slot, None)).collect();
        let pins = view.pins().iter();
        let pinned = pins.map(|(room, shard)| (*room, owner(slot_of(*room), Some(shard)))).collect();
        Self { owners, pinned, me: place(me), level: view.level(), view: view.clone() }
    }

    fn owner(&self, room: RoomId) -> u16 {
        if !self.pinned.is_empty()
            && let Some(owner) = self.pinned.get(&room)
        {
            return *owner;
        }
        self.owners.get(usize::from(slot_of(room).number())).copied().unwrap_or(NOBODY)
    }
}

impl Route {
    pub(super) fn new(me: &str, view: &View) -> Self {
        let ring = ArcSwap::from_pointee(Ring::new(me, view));
        Self { me: me.to_owned(), ring, before: ArcSwapOption::empty() }
    }

    /// Takes over the newest view, of whichever revision: an etcd that lost its history counts from the beginning.
    pub(super) fn change(&self, view: &View) {
        let ring = self.ring.swap(Ring::new(&self.me, view).into());
        self.before.store(Some(Before { ring, until: Instant::now() }.into()));
    }

    /// This node's name.
    pub(super) fn me(&self) -> &str {
        &self.me
    }

    /// The ring's revision.
    pub(super) fn revision(&self) -> u64 {
        self.ring.load().view.revision()
    }

    /// Whether this node owns the room.
    pub(super) fn is_mine(&self, room: RoomId) -> bool {
        let ring = self.ring.load();
        ring.me != NOBODY && ring.owner(room) == ring.me
    }

    /// Who owns the room.
    pub(super) fn owner(&self, room: RoomId) -> Option<Owner> {
        let ring = self.ring.load();
        ring.view.members().get(usize::from(ring.owner(room))).map(Owner::of)
    }

    /// The node that owned the room before the newest change of the ring gave it to this one, if it is a member still, and when that was.
    pub(super) fn moved_from(&self, room: RoomId) -> Option<(String, Instant)> {
        let before = self.before.load_full()?;
        let owner = before.ring.view.members().get(usize::from(before.ring.owner(room))).map(Owner::of)?;
        let stays = |member: &Member| Owner::of(member) == owner;
        let moved =
            owner.name != self.me && self.is_mine(room) && self.ring.load().view.members().iter().any(stays);
        moved.then_some((owner.name, before.until))
    }

    /// Name and shard of the node that owns the room.
    pub(super) fn place(&self, room: RoomId) -> Option<(String, String)> {
        let ring = self.ring.load();
        let owner = ring.view.members().get(usize::from(ring.owner(room)))?;
        Some((owner.name.clone(), owner.shard.clone()))
    }

    /// Who is asked for the room, in order. Computed when it is needed: where owners answer it never is.
    pub(super) fn order(&self, room: RoomId) -> Vec<Owner> {
        let ring = self.ring.load();
        ring.view.order(slot_of(room), ring.view.pin(room)).into_iter().map(Owner::of).collect()
    }

    /// What all nodes understand.
    pub(super) fn level(&self) -> u32 {
        self.ring.load().level
    }

    /// Slots that this node owns, and members of the ring.
    pub(super) fn counts(&self) -> (usize, usize) {
        let ring = self.ring.load();
        let mine = ring.owners.iter().filter(|owner| **owner == ring.me && ring.me != NOBODY).count();
        (mine, ring.view.members().len())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use rookery_core::ring::{MemberState, Pins};

    use super::*;

    fn node(name: &str) -> Member {
        Member {
            name: name.into(),
            address: String::new(),
            shard: "a".into(),
            weight: 1,
            shard_weight: 1,
            level: 1,
            state: MemberState::Active,
            incarnation: 1,
        }
    }

    #[test]
    fn follows_the_view() {
        let owned = |route: &Route| (0..1000).filter(|&room| route.is_mine(RoomId(room))).count();
        let route = Route::new("one", &View::new(1, vec![node("one")]));
        assert_eq!(owned(&route), 1000);
        assert_eq!(route.counts(), (4096, 1));
        route.change(&View::new(2, vec![node("one"), node("two")]));
        assert!((300..700).contains(&owned(&route)));
        // etcd was made anew.
        route.change(&View::new(1, vec![node("one")]));
        assert_eq!((route.revision(), owned(&route)), (1, 1000));
        route.change(&View::new(2, vec![node("one"), node("two")]));
        for room in (0..50).map(RoomId) {
            assert_eq!(route.order(room).first(), route.owner(room).as_ref());
            assert_eq!(route.owner(room).is_some_and(|owner| owner.name == "one"), route.is_mine(room));
        }
        route.change(&View::new(3, vec![node("two")]));
        assert_eq!(owned(&route), 0);
        route.change(&View::new(4, Vec::new()));
        assert_eq!((owned(&route), route.owner(RoomId(1))), (0, None), "nobody is not me");
    }

    #[test]
    fn knows_whom_a_room_has_come_from() {
        let route = Route::new("one", &View::new(1, vec![node("one")]));
        let from = |route: &Route| {
            (0..100)
                .filter_map(|room| route.moved_from(RoomId(room)))
                .map(|(name, _)| name)
                .collect::<Vec<_>>()
        };
        assert!(from(&route).is_empty(), "it was never anybody else's");
        let both = View::new(2, vec![node("one"), node("two")]);
        route.change(&both);
        assert!(from(&route).is_empty(), "what is here was here");
        let state = MemberState::Draining;
        route.change(&View::new(3, vec![node("one"), Member { state, ..node("two") }]));
        let moved = from(&route);
        assert!((20..80).contains(&moved.len()) && moved.iter().all(|name| name == "two"), "{moved:?}");
        route.change(&View::new(4, vec![node("one")]));
        assert!(from(&route).is_empty(), "the newest change gave it nothing");
        // One that is gone, or began anew, leaves nothing.
        for after in [vec![node("one")], vec![node("one"), Member { incarnation: 2, state, ..node("two") }]] {
            route.change(&both);
            route.change(&View::new(6, after));
            assert!(from(&route).is_empty());
        }
    }

    #[test]
    fn pinned_rooms_are_where_they_are_pinned() {
        let other = |shard: &str| Member { shard: shard.into(), ..node("two") };
        let view = |revision, shard| View::new(revision, vec![node("one"), other(shard)]);
        let pins = || (0..50).map(|room| (RoomId(room), "b".to_owned())).collect::<Pins>().into();
        let owners = |route: &Route, rooms: std::ops::Range<u128>| {
            let name = |room| route.owner(RoomId(room)).unwrap().name;
            rooms.map(name).collect::<BTreeSet<_>>()
        };
        let route = Route::new("one", &view(1, "b").with_pins(pins()));
        assert_eq!(owners(&route, 0..50), ["two".to_owned()].into());
        assert_eq!(owners(&route, 50..100), ["one".to_owned(), "two".to_owned()].into());
        for room in (0..50).map(RoomId) {
            assert!(!route.is_mine(room));
            assert_eq!(route.order(room).first(), route.owner(room).as_ref());
        }
        // Nobody is there: as if they were not pinned.
        route.change(&view(2, "c").with_pins(pins()));
        let unpinned = Route::new("one", &view(2, "c"));
        assert!((0..50).map(RoomId).all(|room| route.owner(room) == unpinned.owner(room)));
        assert_eq!(owners(&route, 0..50).len(), 2);
    }
}
