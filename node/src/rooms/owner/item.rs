//! What waits for a room, and who waits for its answer.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::Arc,
    time::Instant,
};

use prometheus_client::metrics::gauge::Gauge;
use rookery_core::{
    owner::Legacy,
    room::{Kind, Profile, Reply, What},
};
use rookery_protocol::{id::UserId, peer::not_taken::Reason};

use crate::{
    peer::Caller,
    problem::Problem,
    rooms::{Member, Page},
};

/// Called once with an outcome; must not block.
pub(in crate::rooms) type Tell<T> = Box<dyn FnOnce(Result<T, Problem>) + Send>;

/// Counts what this node's clients wait for.
#[derive(Debug)]
pub(in crate::rooms) struct Unanswered(Gauge);

impl Unanswered {
    pub(in crate::rooms) fn one(of: &Gauge) -> Self {
        of.inc();
        Self(of.clone())
    }
}

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// Who asks.
pub(in crate::rooms) enum Asker<T> {
    /// Somebody on this node.
    Here(Tell<T>, #[expect(dead_code, reason = "counts until it is dropped")] Unanswered),
    /// Another node.
    Peer(Box<Caller>),
}

/// A command was sent to another node, and what became of it there is not known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(in crate::rooms) enum Doubt {
    /// Not so.
    #[default]
    None,
    /// It posts.
    Post,
    /// It makes a room whose id nobody else can have chosen.
    Create,
}

impl Doubt {
    /// The answer to a repeat, as the first try would have got it.
    pub(in crate::rooms) fn resolve(self, outcome: Result<Reply, Problem>) -> Result<Reply, Problem> {
        match (self, outcome) {
            (Self::Post, Ok(Reply::Posted { seq, id, ts, mentions, .. })) => {
                Ok(Reply::Posted { seq, id, ts, repeated: false, mentions })
            }
            (Self::Create, Err(problem)) if problem.code == "conflict" => Ok(Reply::Done { seq: Some(1) }),
            (_, outcome) => outcome,
        }
    }
}

/// What waits for a room.
pub(in crate::rooms) enum Item {
    /// A command.
    Command {
        actor: Arc<Profile>,
        what: What,
        asker: Asker<Reply>,
        /// When it was asked.
        at: Instant,
        /// What is not known of it.
        doubt: Doubt,
    },
    /// A page of members.
    Members { after: Option<UserId>, limit: usize, asker: Asker<Page<Member>>, at: Instant },
    /// The room is this node's own now, by a ring of this revision.
    Wake {
        revision: u64,
        /// What the owner before has left.
        legacy: Option<Box<Legacy>>,
    },
}

impl Item {
    /// The node that asks; `None`: somebody here.
    pub(in crate::rooms) fn caller(&self) -> Option<&Caller> {
        match self {
            Self::Command { asker: Asker::Peer(caller), .. }
            | Self::Members { asker: Asker::Peer(caller), .. } => Some(caller),
            _ => None,
        }
    }

    /// Takes what an owner has left out of it.
    pub(in crate::rooms) fn legacy(&mut self) -> Option<Box<Legacy>> {
        match self {
            Self::Wake { legacy, .. } => legacy.take(),
            _ => None,
        }
    }

    /// Whether somebody on this node waits for it.
    pub(in crate::rooms) fn is_ours(&self) -> bool {
        matches!(
            self,
            Self::Command { asker: Asker::Here(..), .. } | Self::Members { asker: Asker::Here(..), .. }
        )
    }

    /// When it was asked.
    pub(in crate::rooms) fn at(&self) -> Option<Instant> {
        match self {
            Self::Command { at, .. } | Self::Members { at, .. } => Some(*at),
            Self::Wake { .. } => None,
        }
    }

    /// Answers that it cannot be done. Another node is told that nothing was done, and asks elsewhere.
    pub(in crate::rooms) fn refuse(self, problem: Problem, reason: Reason, owner: Option<&str>) {
        match self {
            Self::Command { asker: Asker::Peer(caller), .. }
            | Self::Members { asker: Asker::Peer(caller), .. } => caller.not_taken(reason, owner),
            Self::Command { asker: Asker::Here(tell, _), .. } => told(tell, Err(problem)),
            Self::Members { asker: Asker::Here(tell, _), .. } => told(tell, Err(problem)),
            Self::Wake { .. } => {}
        }
    }

    /// It was sent, and what became of it is not known. `Err`: it must not be repeated.
    #[expect(clippy::result_large_err, reason = "the error is the item itself, given back whole")]
    pub(in crate::rooms) fn doubted(mut self) -> Result<Self, Self> {
        match &mut self {
            // Its node knows best, and is told that nothing is known.
            Self::Command { asker: Asker::Peer(_), .. } => return Err(self),
            Self::Command { what, doubt, .. } => match what {
                What::Post { .. } => *doubt = Doubt::Post,
                What::Create { kind: Kind::Direct, .. } => {}
                What::Create { .. } => *doubt = Doubt::Create,
                _ => return Err(self),
            },
            Self::Members { .. } | Self::Wake { .. } => {}
        }
        Ok(self)
    }

    /// Answers for good.
    pub(in crate::rooms) fn fail(self, problem: Problem) {
        match self {
            Self::Command { asker, .. } => asker.reply(Err(problem)),
            Self::Members { asker, .. } => asker.members(Err(problem)),
            Self::Wake { .. } => {}
        }
    }
}

impl Asker<Reply> {
    pub(in crate::rooms) fn reply(self, outcome: Result<Reply, Problem>) {
        match self {
            Self::Here(tell, _) => told(tell, outcome),
            Self::Peer(caller) => caller.reply(outcome),
        }
    }
}

impl Asker<Page<Member>> {
    pub(in crate::rooms) fn members(self, outcome: Result<Page<Member>, Problem>) {
        match self {
            Self::Here(tell, _) => told(tell, outcome),
            Self::Peer(caller) => caller.members(outcome),
        }
    }
}

/// Calls back; a panic there is not this room's fault.
fn told<T>(tell: Tell<T>, outcome: Result<T, Problem>) {
    if catch_unwind(AssertUnwindSafe(|| tell(outcome))).is_err() {
        tracing::error!("the receiver of a room's answer panicked");
    }
}
