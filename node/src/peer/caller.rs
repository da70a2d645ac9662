//! Who asked, when it was another node: gets exactly one answer.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Instant,
};

use rookery_core::room::Reply;
use rookery_protocol::peer::{Answer, NotTaken, answer::Outcome, not_taken::Reason};
use tokio::sync::mpsc::OwnedPermit;

use super::{codec, metrics::PeerMetrics};
use crate::{
    problem::Problem,
    rooms::{Member, Page},
};

/// The requests of a lane are taken in order or not at all.
#[derive(Debug, Default)]
pub(super) struct Lane {
    /// One was not taken: no later one is.
    broken: AtomicBool,
}

/// Another node that waits for an answer.
pub(crate) struct Caller {
    pub(super) id: u64,
    /// Its place among the answers: giving one never waits.
    pub(super) place: Option<OwnedPermit<Answer>>,
    pub(super) lane: Arc<Lane>,
    /// Whether its stream is the one in use.
    pub(super) alive: Arc<AtomicBool>,
    /// Not to be begun later.
    pub(super) not_after: Instant,
    /// Revision of its ring.
    pub(super) revision: u64,
    /// It finds the nodes before this one gone.
    pub(super) instead: bool,
    pub(super) metrics: PeerMetrics,
}

impl Caller {
    /// Whether what it asks may be begun now; `Err`: why not.
    pub(crate) fn may_begin(&self) -> Result<(), Reason> {
        if self.lane.broken.load(Ordering::Acquire) {
            Err(Reason::Lane)
        } else if !self.alive.load(Ordering::Acquire) || Instant::now() > self.not_after {
            Err(Reason::Late)
        } else {
            Ok(())
        }
    }

    /// Revision of its ring.
    pub(crate) fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether it finds the nodes before this one gone.
    pub(crate) fn instead(&self) -> bool {
        self.instead
    }

    /// Not to be begun later.
    pub(crate) fn not_after(&self) -> Instant {
        self.not_after
    }

    pub(crate) fn reply(mut self, outcome: Result<Reply, Problem>) {
        self.send(codec::of_reply(outcome));
    }

    pub(crate) fn members(mut self, outcome: Result<Page<Member>, Problem>) {
        self.send(codec::of_members(outcome));
    }

    /// Nothing was done of it, nor will be, nor of what comes after it in its lane.
    pub(crate) fn not_taken(mut self, reason: Reason, owner: Option<&str>) {
        self.lane.broken.store(true, Ordering::Release);
        self.metrics.not_taken(match reason {
            Reason::Unknown => "unknown",
            Reason::Moved => "moved",
            Reason::Late => "late",
            Reason::Lane => "lane",
            Reason::Ending => "ending",
        });
        let owner = owner.unwrap_or_default().to_owned();
        self.send(Outcome::NotTaken(NotTaken { reason: reason.into(), owner }));
    }

    pub(super) fn send(&mut self, outcome: Outcome) {
        if let Some(place) = self.place.take() {
            place.send(Answer { id: self.id, outcome: Some(outcome) });
        }
    }
}

impl Drop for Caller {
    /// Whoever lets go of it has failed on the way.
    fn drop(&mut self) {
        if self.place.is_some() {
            self.send(codec::of_reply(Err(Problem::unavailable(
                "The room cannot take this now; try again.",
            ))));
        }
    }
}
