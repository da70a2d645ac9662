//! The rooms that a connection follows, each in a slot.

use std::sync::atomic::Ordering;

use rookery_protocol::id::RoomId;
use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;

use super::super::answer::ok;
use super::super::answer::refusal;
use super::super::answer::too_many_rooms;
use super::super::answer::trouble;
use super::super::follow::Because;
use super::super::follow::Follow;
use super::super::follow::follow;
use super::{Connection, Followed, Slot};
use crate::live::Following;
use crate::live::link::Mail;
use crate::live::link::Order;
use crate::problem::Problem;

impl<S: AsyncRead + AsyncWrite + Unpin, G> Connection<S, G> {
    /// Bytes that wait for the client.
    pub(super) fn lag(&self) -> u64 {
        let live = self.slots.iter().filter_map(|slot| match slot {
            Slot::Live(followed) => {
                let Following { tape, sub, .. } = &followed.following;
                Some(tape.end().saturating_sub(sub.cursor.load(Ordering::Relaxed)))
            }
            _ => None,
        });
        live.sum::<u64>() + self.writing.len() as u64
    }

    // Rooms.

    pub(super) fn slot_for(&mut self, room: RoomId) -> Result<u32, Problem> {
        let free = self.slots.iter().position(|slot| matches!(slot, Slot::Free));
        let index = match free {
            Some(index) => index,
            None if self.slots.len() < self.edge.settings.max_subscriptions => {
                // Most follow one room or a few; room for four would be wasted on them.
                self.slots.reserve_exact(1 + self.slots.len() / 2);
                self.slots.push(Slot::Free);
                self.slots.len() - 1
            }
            None => {
                let detail = "This connection follows as many rooms as it may.";
                return Err(Problem::new(429, "too_many_subscriptions", detail));
            }
        };
        self.slots[index] = Slot::Joining { room, leave: None };
        u32::try_from(index).map_err(|_| Problem::internal())
    }

    pub(super) fn index_of(&self, room: RoomId) -> Option<usize> {
        self.slots.iter().position(|slot| match slot {
            Slot::Free => false,
            Slot::Joining { room: joining, .. } => *joining == room,
            Slot::Live(followed) => followed.following.room.id == room,
        })
    }

    pub(super) fn take_orders(&mut self, orders: &[Order]) {
        let mut follows = Vec::with_capacity(orders.len());
        let mut left_out = Vec::new();
        for &Order { room, after, known } in orders {
            if self.index_of(room).is_some() {
                continue;
            }
            match self.slot_for(room) {
                Ok(index) => follows.push(Follow { room, index, after, known, because: Because::Hello }),
                Err(problem) => left_out.push((room, problem)),
            }
        }
        // Nobody is left to believe that he follows all his rooms.
        match &*left_out {
            [] => {}
            [(room, problem)] => self.post(&trouble(*room, problem)),
            several => self.post(&refusal(None, &too_many_rooms(several.len()))),
        }
        if !follows.is_empty() {
            tokio::spawn(follow(self.edge.clone(), self.link.clone(), follows));
        }
    }

    pub(super) fn joined(&mut self, index: u32, following: Option<Following>) {
        let slot = &mut self.slots[index as usize];
        let leave = match slot {
            Slot::Joining { leave, .. } => leave.take(),
            _ => None,
        };
        *slot = match following {
            Some(following) => {
                // It may have changed since the room was told.
                let away = self.link.away.load(Ordering::Acquire);
                following.room.presence(&following.sub, away, &self.edge.app.hub.live);
                following.room.reads(&following.sub);
                Slot::Live(Followed { following, typed: 0, waiting: false })
            }
            None => Slot::Free,
        };
        match leave {
            Some(re) => {
                self.leave(index as usize);
                self.post(&ok(re));
                self.link.in_flight.fetch_sub(1, Ordering::AcqRel);
            }
            None => self.wait_for(index),
        }
    }

    pub(super) fn wait_for(&mut self, index: u32) {
        if let Some(Slot::Live(followed)) = self.slots.get_mut(index as usize)
            && !followed.waiting
        {
            followed.waiting = true;
            self.waiting.push(index);
        }
    }

    pub(super) fn leave(&mut self, index: usize) {
        if let Slot::Live(followed) = std::mem::replace(&mut self.slots[index], Slot::Free) {
            followed.following.room.leave(&followed.following.sub, &self.edge.app.hub.live);
        }
    }

    pub(super) fn leave_all(&mut self) {
        for index in 0..self.slots.len() {
            self.leave(index);
        }
        self.waiting = Vec::new();
    }

    /// Gives back what came too late.
    pub(super) fn discard(&self, mail: Mail) {
        for (_, following) in mail.joined {
            if let Some(following) = following {
                following.room.leave(&following.sub, &self.edge.app.hub.live);
            }
        }
    }
}
