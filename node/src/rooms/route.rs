//! Which node a room's commands go to, by the ring.

use arc_swap::ArcSwap;
use rookery_core::ring::{Slot, View, slot_of};
use rookery_protocol::id::RoomId;

/// The ring as this node needs it for every command: which slots are its own.
pub(super) struct Route {
    me: String,
    /// By slot.
    mine: ArcSwap<Vec<bool>>,
}

impl Route {
    pub(super) fn new(me: &str, view: &View) -> Self {
        Self { me: me.to_owned(), mine: ArcSwap::from_pointee(own_slots(me, view)) }
    }

    /// Takes over a newer view.
    pub(super) fn change(&self, view: &View) {
        self.mine.store(own_slots(&self.me, view).into());
    }

    /// Whether this node owns the room.
    pub(super) fn is_mine(&self, room: RoomId) -> bool {
        self.mine.load().get(usize::from(slot_of(room).number())).copied().unwrap_or(false)
    }
}

fn own_slots(me: &str, view: &View) -> Vec<bool> {
    Slot::all().map(|slot| view.owner(slot, None).is_some_and(|owner| owner.name == me)).collect()
}

#[cfg(test)]
mod tests {
    use rookery_core::ring::{Member, MemberState};

    use super::*;

    fn node(name: &str) -> Member {
        Member {
            name: name.into(),
            address: format!("{name}:7070"),
            shard: "a".into(),
            weight: 1,
            state: MemberState::Active,
            incarnation: 1,
        }
    }

    #[test]
    fn follows_the_view() {
        let owned = |route: &Route| (0..1000).filter(|&room| route.is_mine(RoomId(room))).count();
        let route = Route::new("one", &View::new(1, vec![node("one")]));
        assert_eq!(owned(&route), 1000);
        route.change(&View::new(2, vec![node("one"), node("two")]));
        assert!((300..700).contains(&owned(&route)));
        route.change(&View::new(3, vec![node("two")]));
        assert_eq!(owned(&route), 0);
    }
}
