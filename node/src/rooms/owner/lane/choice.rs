//! Which node a lane asks next.

use std::{sync::Arc, time::Instant};

use rookery_protocol::peer::not_taken::Reason;

use super::{INSTEAD, Lane, MOST_PAUSE, PAUSE, Wait};
use crate::{
    peer::{Link, Session, State},
    rooms::route::Owner,
};

/// Who is asked.
pub(super) enum Choice {
    /// The room is this node's own.
    Mine,
    /// This node is the next in order, and those before it are gone.
    Instead,
    /// Another node.
    Node { node: String, link: Arc<Link>, session: Session, instead: bool },
    /// Nobody yet.
    Wait,
}

impl Lane {
    /// The first node in order that is not gone, and does not refuse. What is to be waited for otherwise is in `wait`.
    pub(super) fn choose(&mut self, now: Instant, wait: &mut Wait) -> Choice {
        if self.is_risky(wait, now) {
            return Choice::Wait;
        }
        if now < self.not_before {
            wait.earlier(Some(self.not_before));
            return Choice::Wait;
        }
        if let Some(node) = &self.hint
            && let Some(link) = self.links.get(node)
            && let State::Up(session) = link.look().0
        {
            return Choice::Node { node: node.clone(), link, session, instead: false };
        }
        let mut instead = false;
        for Owner { name: node, .. } in self.env.route.order(self.room) {
            if node == self.env.route.me() {
                return if instead { Choice::Instead } else { Choice::Mine };
            }
            if !self.refused_by.contains(&node)
                && let Some(link) = self.links.get(&node)
            {
                let (state, watch) = link.look();
                match state {
                    State::Up(session) => return Choice::Node { node, link, session, instead },
                    state if state.is_gone() => {}
                    _ => {
                        // It is known soon.
                        wait.state = Some(watch);
                        return Choice::Wait;
                    }
                }
            }
            instead = true;
        }
        // Everybody was asked. The ring, or somebody, comes back.
        self.refused_by.clear();
        self.hint = None;
        self.not_before = now + MOST_PAUSE;
        wait.earlier(Some(self.not_before));
        Choice::Wait
    }

    /// This node serves the room instead of its owner by the ring.
    pub(super) fn take_over(&self) -> Option<Owner> {
        let owner = self.env.route.owner(self.room);
        if let Some(owner) = &owner {
            tracing::info!(room = %self.room, owner = owner.name, "the owner of a room is gone: it is taken over");
            self.links.metrics().instead.inc();
        }
        owner
    }

    /// The node that was asked does not take it.
    pub(super) fn refused(&mut self, reason: Reason, owner: String) {
        let Some(attempt) = &self.attempt else { return };
        let node = attempt.node.clone();
        let by_hint = self.hint.take().is_some();
        let mut at_once = false;
        match reason {
            Reason::Moved if owner.is_empty() || owner == node || owner == self.env.route.me() => {
                self.refused_by.push(node);
            }
            Reason::Moved if attempt.instead => {
                // It finds somebody there whom this node does not.
                self.refused_by.push(node);
            }
            Reason::Moved => {
                at_once = !by_hint;
                self.hint = Some(owner);
            }
            Reason::Ending => {
                at_once = true;
                self.refused_by.push(node);
            }
            Reason::Late | Reason::Lane | Reason::Unknown => {}
        }
        if !at_once {
            self.not_before = Instant::now() + self.pause;
            self.pause = (self.pause * 2).min(MOST_PAUSE);
        }
    }

    /// Ends an attempt at another node when the owner is back.
    pub(super) fn return_to_owner(&mut self, now: Instant) {
        if let Some(attempt) = &mut self.attempt
            && attempt.instead
            && now.duration_since(attempt.since) > INSTEAD
        {
            attempt.since = now;
            let owner = self.env.route.owner(self.room).and_then(|owner| self.links.get(&owner.name));
            attempt.over |= owner.is_some_and(|owner| matches!(owner.state(), State::Up(_)));
        }
    }

    /// The ring changed: what was learned under the one before is forgotten.
    pub(super) fn look_again(&mut self) {
        self.hint = None;
        self.refused_by.clear();
        self.pause = PAUSE;
        self.not_before = Instant::now();
        let owner = self.env.route.owner(self.room);
        if let Some(attempt) = &mut self.attempt {
            attempt.over |= owner.is_none_or(|owner| owner.name != attempt.node);
        }
    }
}
