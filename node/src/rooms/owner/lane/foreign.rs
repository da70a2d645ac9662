//! What other nodes ask of a room that is not this node's own: they are told whose it is, or this node takes it over,
//! or, where they do not reach its owner and this node does, passes it on.

use std::{
    collections::VecDeque,
    future::{Future, pending},
    pin::Pin,
    sync::Arc,
    time::{Duration, Instant},
};

use rookery_protocol::{id::RoomId, peer::not_taken::Reason};

use super::super::{Env, Item, busy};
use crate::peer::{Caller, Links};

/// When the other node has a newer ring, so long is waited for it.
const CATCH_UP: Duration = Duration::from_millis(300);
/// What was found out about the nodes before this one counts for so long.
const FRESH: Duration = Duration::from_millis(200);

/// While this node waits for what it asked of another node before it serves the room, what that one asks here waits for
/// so long: each might wait for the other.
const CROSSED: Duration = Duration::from_millis(10);

type Verifying = Pin<Box<dyn Future<Output = bool> + Send>>;

/// Requests of other nodes.
#[derive(Default)]
pub(super) struct Foreign {
    items: VecDeque<(Item, Instant)>,
    verifying: Option<Verifying>,
    /// Whether the nodes before this one are gone, and when that was found out.
    verified: Option<(bool, Instant)>,
    /// To be passed on.
    relayed: VecDeque<Item>,
    wake_at: Option<Instant>,
}

impl Foreign {
    pub(super) fn take(&mut self, item: Item) {
        self.items.push_back((item, Instant::now()));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty() && self.relayed.is_empty()
    }

    pub(super) fn into_items(self) -> impl Iterator<Item = Item> {
        self.relayed.into_iter().chain(self.items.into_iter().map(|(item, _)| item))
    }

    pub(super) fn wake_at(&self) -> Option<Instant> {
        self.wake_at
    }

    /// Answers what can be answered. Says whether the room is to be taken over.
    pub(super) fn judge(&mut self, env: &Env, links: &Arc<Links>, room: RoomId, now: Instant) -> bool {
        self.wake_at = None;
        while let Some((item, since)) = self.items.front() {
            let revision = match (item.caller(), item) {
                (Some(caller), _) => caller.revision(),
                (None, Item::Wake { revision, .. }) => *revision,
                (None, _) => 0,
            };
            let may_begin = item.caller().map_or(Ok(()), Caller::may_begin);
            if may_begin.is_ok() && revision > env.route.revision() && now < *since + CATCH_UP {
                let until = *since + CATCH_UP;
                self.wake_at = Some(item.caller().map_or(until, |caller| until.min(caller.not_after())));
                return false;
            }
            let reason = may_begin.err().unwrap_or(Reason::Moved);
            if reason == Reason::Moved && item.caller().is_some_and(Caller::instead) {
                match self.verified.filter(|(_, at)| now < *at + FRESH) {
                    Some((true, _)) => return true,
                    Some((false, _)) => {
                        // The other node does not reach the owner, but this one does.
                        self.relayed.extend(self.items.pop_front().map(|(item, _)| item));
                        continue;
                    }
                    None => {
                        self.verifying.get_or_insert_with(|| verify(env, links, room));
                        return false;
                    }
                }
            }
            let owner = env.route.owner(room).filter(|owner| owner.name != env.route.me());
            if let Some((item, _)) = self.items.pop_front() {
                item.refuse(busy(), reason, owner.as_ref().map(|owner| owner.name.as_str()));
            }
        }
        false
    }

    /// What is to be passed on to the owner, in order.
    pub(super) fn relayed(&mut self) -> impl Iterator<Item = Item> {
        self.relayed.drain(..)
    }

    /// Lets nobody wait for a node that waits itself. What the owner before has left is kept: nobody waits for that, and the next one here
    /// is to begin with it.
    pub(super) fn give_up(&mut self, now: Instant) {
        self.wake_at = None;
        let mut left = VecDeque::new();
        while let Some((item, since)) = self.items.pop_front() {
            if item.caller().is_none() {
                left.push_back((item, since));
            } else if now < since + CROSSED {
                self.wake_at = Some(since + CROSSED);
                left.push_back((item, since));
                break;
            } else {
                item.refuse(busy(), Reason::Late, None);
            }
        }
        left.append(&mut self.items);
        self.items = left;
    }

    /// Finds out whether the nodes before this one are gone.
    pub(super) async fn verify(&mut self) {
        let Some(verifying) = &mut self.verifying else { return pending().await };
        let gone = verifying.await;
        self.verifying = None;
        self.verified = Some((gone, Instant::now()));
    }
}

/// Asks the nodes before this one whether they take the room: whoever says so is its owner.
fn verify(env: &Env, links: &Arc<Links>, room: RoomId) -> Verifying {
    let order = env.route.order(room);
    let mine = order.iter().position(|node| node.name == env.route.me());
    let before: Vec<_> = order.iter().take(mine.unwrap_or(0)).map(|node| links.get(&node.name)).collect();
    Box::pin(async move {
        if mine.is_none() {
            return false;
        }
        for link in before.into_iter().flatten() {
            // What is not known is not gone.
            if link.probe(room).await != Some(false) {
                return false;
            }
        }
        true
    })
}
