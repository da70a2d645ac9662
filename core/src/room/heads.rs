//! A bounded memory of message heads: recent messages, and older ones that somebody touched.

use std::collections::{BTreeMap, BTreeSet};

use rookery_protocol::id::UserId;

use super::{Amendment, Head, Limits};

#[derive(Debug, Clone)]
struct Slot {
    /// `None`: known to be no message.
    head: Option<Head>,
    /// Seq of the event that last touched it; 0: it was loaded.
    touched: u64,
    used: u64,
    weight: usize,
}

/// Heads by seq. What an event that is not yet committed touched is never dropped: nowhere else can it be read.
#[derive(Debug, Clone, Default)]
pub(super) struct Heads {
    slots: BTreeMap<u64, Slot>,
    /// `(used, seq)`: the first is the next to go.
    order: BTreeSet<(u64, u64)>,
    uses: u64,
    weight: usize,
    committed: u64,
}

/// Bytes of a slot besides what it holds, about.
const SLOT_BYTES: usize = 160;

impl Heads {
    /// What is known: `None`: nothing; `Some(None)`: it is no message.
    pub(super) fn get(&self, seq: u64) -> Option<Option<&Head>> {
        self.slots.get(&seq).map(|slot| slot.head.as_ref())
    }

    pub(super) fn posted(&mut self, seq: u64, sender: UserId, limits: &Limits) {
        self.put(seq, Some(Head { sender, amendment: Amendment::default() }), seq, limits);
    }

    /// Takes what was loaded, unless more is known.
    pub(super) fn provide(&mut self, seq: u64, head: Option<Head>, limits: &Limits) {
        if !self.slots.contains_key(&seq) {
            self.put(seq, head, 0, limits);
        }
    }

    /// Changes the head of `message` by event `seq`, if it is known.
    pub(super) fn touch(
        &mut self,
        message: u64,
        seq: u64,
        limits: &Limits,
        change: impl FnOnce(&mut Amendment),
    ) {
        let Some(mut head) = self.slots.get_mut(&message).and_then(|slot| slot.head.take()) else { return };
        change(&mut head.amendment);
        self.put(message, Some(head), seq, limits);
    }

    fn put(&mut self, seq: u64, head: Option<Head>, touched: u64, limits: &Limits) {
        let weight = SLOT_BYTES + head.as_ref().map_or(0, |h| h.amendment.weight());
        self.uses += 1;
        let slot = Slot { head, touched, used: self.uses, weight };
        if let Some(old) = self.slots.insert(seq, slot) {
            self.order.remove(&(old.used, seq));
            self.weight -= old.weight;
        }
        self.order.insert((self.uses, seq));
        self.weight += weight;
        self.shrink(limits);
    }

    /// All events up to `seq` are committed.
    pub(super) fn committed(&mut self, seq: u64, limits: &Limits) {
        self.committed = self.committed.max(seq);
        self.shrink(limits);
    }

    fn shrink(&mut self, limits: &Limits) {
        // The one used last stays however big it is: somebody is about to ask for it.
        while self.slots.len() > 1 && (self.slots.len() > limits.heads || self.weight > limits.heads_bytes) {
            let Some(&(used, seq)) = self.order.first() else { return };
            if self.slots.get(&seq).is_some_and(|slot| slot.touched > self.committed) {
                return;
            }
            self.order.remove(&(used, seq));
            if let Some(slot) = self.slots.remove(&seq) {
                self.weight -= slot.weight;
            }
        }
    }
}
