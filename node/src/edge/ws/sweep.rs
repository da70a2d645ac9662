//! Once a second: who is late, who is silent, whose token has ended. One task for all connections, no timers.

use std::{
    sync::{Arc, Weak, atomic::Ordering},
    time::Duration,
};

use futures_util::StreamExt as _;
use rookery_protocol::id::UserId;
use tokio::sync::broadcast::{Receiver, error::RecvError};

use super::node::{Edge, unix_ms};
use crate::{
    accounts::Revocation,
    live::link::{Link, Order, Phase, Signal},
};

const EVERY: Duration = Duration::from_millis(500);

/// Looks after all connections until the node is gone.
pub(super) async fn sweep(edge: Weak<Edge>) {
    let mut every = tokio::time::interval(EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        every.tick().await;
        let Some(edge) = edge.upgrade() else { return };
        let (millis, unix) = (edge.now_millis(), unix_ms());
        let heartbeat = u32::try_from(edge.settings.heartbeat_ms.div_ceil(1000)).unwrap_or(u32::MAX);
        edge.registry.for_each(|link| look(link, millis, unix, heartbeat));
    }
}

/// `millis`: node time; `unix`: the time by which tokens end, both in milliseconds.
fn look(link: &Arc<Link>, millis: u64, unix: i64, heartbeat: u32) {
    let phase = link.phase();
    let late = || link.deadline.load(Ordering::Acquire) <= millis;
    match phase {
        Phase::Greeting if late() => return link.signal(Signal::HelloLate),
        Phase::Closing if late() => return link.signal(Signal::Silent),
        Phase::Greeting | Phase::Closing => return,
        Phase::Open if link.expires_at.load(Ordering::Acquire) <= unix => {
            return link.signal(Signal::Expired);
        }
        Phase::Open => {}
    }
    let seconds = u32::try_from(millis / 1000).unwrap_or(u32::MAX);
    let silent = seconds.saturating_sub(link.heard.load(Ordering::Relaxed));
    if silent > heartbeat.saturating_mul(2) {
        link.signal(Signal::Silent);
    } else if seconds.saturating_sub(link.pinged.load(Ordering::Relaxed)) >= heartbeat {
        link.pinged.store(seconds, Ordering::Relaxed);
        link.signal(Signal::Ping);
    }
    if link.blocked.load(Ordering::Relaxed) {
        link.signal(Signal::CheckLag);
    }
}

/// Logins that are asked about at the same time.
const ASKED: usize = 32;

/// Rooms that a user came into without this node's hearing of it.
async fn follow_all(edge: &Edge, link: &Link, user: UserId) {
    match edge.app.rooms.rooms_of(user).await {
        // Those that it follows already are left as they are.
        Ok(rooms) => link.order(rooms.into_iter().map(|room| Order { room, after: None, known: None })),
        Err(problem) => tracing::warn!(%problem, "it cannot be found out which rooms a user has come into"),
    }
}

/// Closes those of some connections whose login has ended.
async fn ask(edge: Arc<Edge>, links: Vec<Arc<Link>>) {
    let edge = &edge;
    futures_util::stream::iter(links)
        .for_each_concurrent(ASKED, |link| async move {
            let (Some(session), Some(user)) = (link.session(), link.user()) else {
                return;
            };
            match edge.app.accounts.is_alive(session, user).await {
                Ok(true) => {
                    super::hello::look_up(edge, user, std::slice::from_ref(&link)).await;
                    if link.follows_all.load(Ordering::Acquire) {
                        follow_all(edge, &link, user).await;
                    }
                }
                Ok(false) => link.signal(Signal::Revoked),
                // It ends with its token at the latest.
                Err(problem) => tracing::warn!(%problem, "it cannot be found out whether a login has ended"),
            }
        })
        .await;
}

/// Closes the connections of logins that end.
pub(super) async fn revocations(edge: Weak<Edge>, mut receiver: Receiver<Revocation>) {
    loop {
        let next = receiver.recv().await;
        let Some(edge) = edge.upgrade() else { return };
        match next {
            Ok(perhaps @ (Revocation::Perhaps(_) | Revocation::PerhapsAny)) => {
                tokio::spawn(ask(edge.clone(), edge.registry.revoked(perhaps)));
            }
            Ok(revocation) => {
                for link in edge.registry.revoked(revocation) {
                    link.signal(Signal::Revoked);
                }
            }
            // Which ones were missed is not known: everybody proves himself again, by reconnecting.
            Err(RecvError::Lagged(_)) => {
                tracing::warn!("too many logins ended at once; all connections are closed");
                edge.registry.for_each(|link| link.signal(Signal::Revoked));
            }
            Err(RecvError::Closed) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use rookery_protocol::Subprotocol;

    use super::*;

    /// What it is told when it is looked at.
    fn told(link: &Arc<Link>, millis: u64, unix: i64) -> u16 {
        look(link, millis, unix, 25);
        let waker = std::task::Waker::noop();
        let mut mail = crate::live::link::Mail::default();
        link.collect(waker, &mut mail);
        mail.signals
    }

    /// Whatever the clock on the wall is set to: only tokens end by it.
    #[test]
    fn deadlines_go_by_the_time_of_the_node() {
        let link = Link::new(Subprotocol::Json, 0, 10_000);
        assert_eq!((told(&link, 9_999, i64::MAX), told(&link, 10_000, 0)), (0, Signal::HelloLate as u16));
        link.open(1_000_000);
        assert_eq!(
            (told(&link, 20_000, 999_999), told(&link, 20_000, 1_000_000)),
            (0, Signal::Expired as u16)
        );
        link.open(2_000_000);
        assert_eq!(told(&link, 20_000, 1_000_000), 0);
        link.closing(25_000);
        assert_eq!((told(&link, 24_999, i64::MAX), told(&link, 25_000, 0)), (0, Signal::Silent as u16));
        // There is no way back.
        link.open(i64::MAX);
        assert_eq!(told(&link, 25_000, 0), Signal::Silent as u16);
    }
}
