//! Which node owns which room: slots, and rendezvous hashing with weights.
//!
//! Room → slot (a fixed number) → shard → node; a pin puts a room into a shard of its own choice. Every node computes the
//! same from the same view. Being wrong about it costs time, never data: the log is the lock.

use std::{cmp::Ordering, collections::BTreeMap, sync::Arc};

use rookery_protocol::id::RoomId;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Number of slots.
pub const SLOTS: u16 = 4096;

/// What this program understands of commands and records beyond what it first did. 1: settings of rooms that only owners
/// change, and declared rooms.
pub const LEVEL: u32 = 1;

/// Rooms that are put into a shard, whatever hashing says.
pub type Pins = BTreeMap<RoomId, String>;

/// A part of the rooms that moves as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u16);

impl Slot {
    /// The slot with this number; `None` for one that is not less than [`SLOTS`].
    pub fn new(number: u16) -> Option<Self> {
        (number < SLOTS).then_some(Self(number))
    }

    /// Its number.
    pub fn number(self) -> u16 {
        self.0
    }

    /// All slots.
    pub fn all() -> impl Iterator<Item = Self> {
        (0..SLOTS).map(Self)
    }
}

/// The slot of a room. Never changes: it is part of what nodes of different versions agree on.
pub fn slot_of(room: RoomId) -> Slot {
    let [low, high, ..] = xxh3_64(&room.to_bytes()).to_le_bytes();
    Slot(u16::from_le_bytes([low, high]) % SLOTS)
}

/// What a node is up to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MemberState {
    /// Not ready: owns nothing yet.
    Joining,
    /// Owns slots.
    Active,
    /// On its way out: owns nothing any more, hands over.
    Draining,
}

impl MemberState {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Joining, Self::Active, Self::Draining];

    /// The word for it, for people and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Joining => "joining",
            Self::Active => "active",
            Self::Draining => "draining",
        }
    }
}

/// A node of the cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Name; unique.
    pub name: String,
    /// Where other nodes reach it: `host:port`. Empty when there are none.
    pub address: String,
    /// Its shard.
    pub shard: String,
    /// Its share, compared with the other nodes of its shard; 0: none.
    pub weight: u32,
    /// Its shard's share, compared with the other shards; 0: only rooms that are pinned there.
    pub shard_weight: u32,
    /// Its [`LEVEL`].
    pub level: u32,
    /// What it is up to.
    pub state: MemberState,
    /// Grows whenever the node starts anew.
    pub incarnation: u64,
}

/// The membership as of a revision.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct View {
    revision: u64,
    /// By name, those that own slots.
    active: Vec<Member>,
    /// Shards with an active node, and their weights.
    shards: BTreeMap<String, u32>,
    members: Vec<Member>,
    pins: Arc<Pins>,
}

/// A slot that has another owner in another view.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move<'a> {
    /// Which slot.
    pub slot: Slot,
    /// Who owned it.
    pub from: Option<&'a Member>,
    /// Who owns it.
    pub to: Option<&'a Member>,
}

/// The weighted rendezvous score of a name for a slot: the greatest wins (Thaler and Ravishankar 1998; weights as in
/// Schindelhauer and Schomaker 2005: `-w / ln(h)`, `h` uniform in (0, 1)).
fn score(name: &str, weight: u32, slot: Slot, salt: u64) -> f64 {
    let hash = xxh3_64_with_seed(name.as_bytes(), salt ^ (u64::from(slot.0) << 16 | 0x5107));
    // 52 bits are exact in a double; the half keeps it off 0 and 1.
    #[allow(clippy::cast_precision_loss)]
    let uniform = ((hash >> 12) as f64 + 0.5) / (1u64 << 52) as f64;
    -f64::from(weight) / ln(uniform)
}

/// Natural logarithm on (0, 1) from exact operations alone: `f64::ln` may differ in the last bit between
/// platforms, and two nodes would then disagree about an owner.
fn ln(x: f64) -> f64 {
    let bits = x.to_bits();
    let exponent = i32::try_from(bits >> 52 & 0x7FF).unwrap_or(0) - 1023;
    let mantissa = f64::from_bits(bits & 0x000F_FFFF_FFFF_FFFF | 0x3FF0_0000_0000_0000);
    // ln(m) = 2 artanh((m - 1) / (m + 1)), |t| ≤ 1/3: 17 terms are enough for a double.
    let t = (mantissa - 1.0) / (mantissa + 1.0);
    let square = t * t;
    let series = (0..17).rev().fold(0.0, |sum, k| sum * square + 1.0 / f64::from(2 * k + 1));
    2.0 * t * series + f64::from(exponent) * std::f64::consts::LN_2
}

/// Salts, so that the choice of a shard says nothing about the choice of a node.
const NODE_SALT: u64 = 0;
const SHARD_SALT: u64 = 0x5AAD_0000_0000;

fn better(a: (f64, &str), b: (f64, &str)) -> Ordering {
    b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1))
}

impl View {
    /// The view of a revision, without pins. What a shard weighs does not depend on how many nodes it has, so that a node
    /// that comes or goes moves slots inside its shard alone; while its nodes say different things, the most counts.
    pub fn new(revision: u64, mut members: Vec<Member>) -> Self {
        members.sort_by(|a, b| a.name.cmp(&b.name).then(b.incarnation.cmp(&a.incarnation)));
        // Of one name, the newest incarnation counts.
        members.dedup_by(|later, kept| later.name == kept.name);
        let owns = |member: &&Member| member.state == MemberState::Active && member.weight > 0;
        let active: Vec<Member> = members.iter().filter(owns).cloned().collect();
        let mut shards = BTreeMap::new();
        for member in &active {
            let weight: &mut u32 = shards.entry(member.shard.clone()).or_default();
            *weight = member.shard_weight.max(*weight);
        }
        Self { revision, active, shards, members, pins: Arc::default() }
    }

    /// The same with pins.
    #[must_use]
    pub fn with_pins(self, pins: Arc<Pins>) -> Self {
        Self { pins, ..self }
    }

    /// The view of a node that is alone: it owns everything.
    pub fn alone(name: &str) -> Self {
        let member = Member {
            name: name.to_owned(),
            address: String::new(),
            shard: String::new(),
            weight: 1,
            shard_weight: 1,
            level: LEVEL,
            state: MemberState::Active,
            incarnation: 1,
        };
        Self::new(1, vec![member])
    }

    /// Its revision: node-to-node calls carry it.
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// All nodes, ordered by name.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// Rooms that are pinned.
    pub fn pins(&self) -> &Pins {
        &self.pins
    }

    /// The shard that a room is pinned to.
    pub fn pin(&self, room: RoomId) -> Option<&str> {
        self.pins.get(&room).map(String::as_str)
    }

    /// The [`LEVEL`] that all nodes have.
    pub fn level(&self) -> u32 {
        self.members.iter().map(|member| member.level).min().unwrap_or(0)
    }

    /// Takes a newer view; one that is not newer is ignored. Says whether it was taken.
    pub fn advance(&mut self, newer: Self) -> bool {
        let taken = newer.revision > self.revision;
        if taken {
            *self = newer;
        }
        taken
    }

    /// The shard of a slot; `pinned` wins if it has an active node. `None`: there is no active node.
    pub fn shard(&self, slot: Slot, pinned: Option<&str>) -> Option<&str> {
        if let Some((name, _)) = pinned.and_then(|name| self.shards.get_key_value(name)) {
            return Some(name);
        }
        self.scored_shards(slot).min_by(|a, b| better(*a, *b)).map(|(_, name)| name)
    }

    fn scored_shards(&self, slot: Slot) -> impl Iterator<Item = (f64, &str)> {
        self.shards.iter().map(move |(name, weight)| (score(name, *weight, slot, SHARD_SALT), name.as_str()))
    }

    /// The nodes in the order in which they take over: the first one owns the slot, the next one does when that is gone.
    /// First the slot's shard in rendezvous order, then the shard that would have the slot without it, and so on: a shard
    /// may have one node alone.
    pub fn order(&self, slot: Slot, pinned: Option<&str>) -> Vec<&Member> {
        let first = self.shard(slot, pinned);
        let mut shards: Vec<_> = self.scored_shards(slot).collect();
        shards.sort_by(|a, b| (Some(b.1) == first).cmp(&(Some(a.1) == first)).then_with(|| better(*a, *b)));
        let mut order = Vec::with_capacity(self.active.len());
        for (_, shard) in shards {
            let mut scored: Vec<_> = self.scored(slot, shard).collect();
            scored.sort_by(|a, b| better((a.0, &a.1.name), (b.0, &b.1.name)));
            order.extend(scored.into_iter().map(|(_, member)| member));
        }
        order
    }

    /// The owner of a slot.
    pub fn owner(&self, slot: Slot, pinned: Option<&str>) -> Option<&Member> {
        let shard = self.shard(slot, pinned)?;
        let best = self.scored(slot, shard).min_by(|a, b| better((a.0, &a.1.name), (b.0, &b.1.name)));
        best.map(|(_, member)| member)
    }

    fn scored<'a>(&'a self, slot: Slot, shard: &str) -> impl Iterator<Item = (f64, &'a Member)> {
        let of_shard = self.active.iter().filter(move |member| member.shard == shard);
        of_shard.map(move |member| (score(&member.name, member.weight, slot, NODE_SALT), member))
    }

    /// The slots that have another owner in `newer`, of rooms that are not pinned. A node that started anew
    /// is another owner.
    pub fn moves<'a>(&'a self, newer: &'a Self) -> Vec<Move<'a>> {
        let identity = |member: &Member| (member.name.clone(), member.incarnation);
        Slot::all()
            .map(|slot| Move { slot, from: self.owner(slot, None), to: newer.owner(slot, None) })
            .filter(|m| m.from.map(identity) != m.to.map(identity))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn node(number: usize, shard: &str, weight: u32) -> Member {
        let name = format!("{shard}-node-{number}");
        let address = format!("{name}:7070");
        let (shard, state) = (shard.into(), MemberState::Active);
        Member { name, address, shard, weight, shard_weight: 1, level: LEVEL, state, incarnation: 1 }
    }

    #[test]
    fn slots_are_fixed_for_ever() {
        assert_eq!(slot_of(RoomId(0)), slot_of(RoomId(0)));
        assert!((0..10_000).map(|id| slot_of(RoomId(id)).number()).all(|slot| slot < SLOTS));
        assert_eq!(Slot::new(SLOTS), None);
    }

    #[test]
    fn logarithm_is_right() {
        for x in [1e-300, 1e-9, 0.1, 0.5, 0.7, 0.999, 1.0 - f64::EPSILON] {
            assert!((ln(x) - x.ln()).abs() <= 1e-14 * x.ln().abs().max(1.0), "{x}");
        }
    }

    #[test]
    fn older_views_and_incarnations_are_ignored() {
        let mut view = View::new(5, vec![node(1, "a", 1)]);
        assert!(!view.advance(View::new(5, Vec::new())) && !view.advance(View::new(4, Vec::new())));
        let again = Member { incarnation: 2, ..node(1, "a", 1) };
        let newer = View::new(6, vec![node(1, "a", 1), again.clone(), node(1, "a", 1)]);
        assert_eq!(newer.members(), [again]);
        assert_eq!(view.moves(&newer).len(), usize::from(SLOTS));
        assert!(view.advance(newer));
        assert!(View::default().owner(Slot(0), None).is_none());
    }

    #[test]
    fn pins_hold_while_their_shard_is_there() {
        let view = View::new(1, vec![node(1, "a", 1), node(2, "b", 1)]);
        for slot in Slot::all().take(50) {
            assert_eq!(view.shard(slot, Some("b")), Some("b"));
            assert_eq!(view.shard(slot, Some("gone")), view.shard(slot, None));
        }
        let room = RoomId(7);
        let pinned = view.clone().with_pins(Arc::new([(room, "b".to_owned())].into()));
        assert_eq!((pinned.pin(room), pinned.pin(RoomId(8)), view.pin(room)), (Some("b"), None, None));
        assert!(view != pinned, "who compares views must see it");
    }

    #[test]
    fn a_shard_takes_its_share_and_one_that_weighs_nothing_only_what_is_pinned_there() {
        let weighs = |shard_weight, member| Member { shard_weight, ..member };
        let of =
            |view: &View, shard| Slot::all().filter(|slot| view.shard(*slot, None) == Some(shard)).count();
        let (a, b) = (node(1, "a", 1), node(1, "b", 1));
        let even = View::new(1, vec![a.clone(), b.clone()]);
        assert!((1848..2248).contains(&of(&even, "a")), "{}", of(&even, "a"));
        // Nodes of one shard that do not agree (yet): the most counts.
        let others = vec![a.clone(), weighs(3, b.clone()), weighs(2, node(2, "b", 1))];
        let view = View::new(2, others);
        assert!((824..1224).contains(&of(&view, "a")), "{}", of(&view, "a"));
        for slot in Slot::all() {
            let moved = (even.shard(slot, None), view.shard(slot, None));
            assert!(moved != (Some("b"), Some("a")), "nothing goes to the shard that weighs less");
        }
        let none = View::new(3, vec![a.clone(), weighs(0, b.clone())]);
        assert_eq!(of(&none, "b"), 0);
        assert_eq!(none.owner(Slot(5), Some("b")), Some(&weighs(0, b.clone())));
        assert_eq!(none.order(Slot(5), None).len(), 2, "and it takes over when nobody else is there");
        let alone = View::new(4, vec![weighs(0, b)]);
        assert_eq!(of(&alone, "b"), usize::from(SLOTS));
    }

    #[test]
    fn the_oldest_node_says_what_all_understand() {
        let older = Member { level: 0, state: MemberState::Draining, ..node(2, "a", 1) };
        assert_eq!(View::new(1, vec![node(1, "a", 1)]).level(), LEVEL);
        assert_eq!(View::new(2, vec![node(1, "a", 1), older]).level(), 0);
    }

    #[test]
    fn the_next_in_order_owns_what_the_first_leaves_whichever_shard_is_left() {
        let mut nodes = vec![node(1, "a", 1), node(2, "a", 1), node(1, "b", 1), node(1, "c", 2)];
        for slot in Slot::all().step_by(13) {
            for pinned in [None, Some("b")] {
                let view = View::new(1, nodes.clone());
                let order: Vec<Member> = view.order(slot, pinned).into_iter().cloned().collect();
                assert_eq!(order.len(), nodes.len());
                for (gone, next) in (1..).zip(&order) {
                    let rest: Vec<_> =
                        nodes.iter().filter(|n| !order[..gone - 1].contains(n)).cloned().collect();
                    assert_eq!(View::new(2, rest).owner(slot, pinned), Some(next));
                }
            }
        }
        nodes.clear();
        assert!(View::new(1, nodes).order(Slot(0), None).is_empty());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(16))]

        /// A node takes its share of slots; when it goes, its slots move to the next in order and no other does.
        #[test]
        fn balanced_and_minimal(weights in prop::collection::vec(1u32..4, 2..8), gone in any::<prop::sample::Index>()) {
            let members: Vec<Member> = weights.iter().enumerate().map(|(at, w)| node(at, "a", *w)).collect();
            let view = View::new(1, members.clone());
            let total: u32 = weights.iter().sum();
            for member in &members {
                let owned = Slot::all().filter(|s| view.owner(*s, None) == Some(member)).count();
                let share = f64::from(SLOTS) * f64::from(member.weight) / f64::from(total);
                let owned = f64::from(u32::try_from(owned).unwrap());
                prop_assert!((owned - share).abs() < 6.0 * share.sqrt(), "{owned} of {share}");
            }
            let gone = gone.get(&members);
            let mut rest = members.clone();
            for member in &mut rest {
                if member.name == gone.name {
                    member.state = MemberState::Draining;
                }
            }
            let newer = View::new(2, rest);
            for Move { slot, from, to } in view.moves(&newer) {
                prop_assert_eq!(from, Some(gone));
                prop_assert_eq!(to, view.order(slot, None).get(1).copied());
            }
            for slot in Slot::all() {
                prop_assert!(newer.owner(slot, None) != Some(gone));
                prop_assert_eq!(view.order(slot, None).first().copied(), view.owner(slot, None));
            }
        }
    }
}
