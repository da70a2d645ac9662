//! Whether the server that this node is connected to still takes part: one that is cut off from the others answers pings, and
//! reads of what it has itself, and stores nothing, for as long as that lasts. It is left for another one.
//!
//! Here belong the judgement and the choice, without I/O; `link.rs` and `publish.rs` tell what became of requests, `connect.rs`
//! asks where to go.

use std::time::{Duration, Instant};

use async_nats::{ReconnectToServer, Server, ServerAddr};
use rand::seq::IteratorRandom as _;

/// Nothing was stored for so long, though it was tried. A stream that has lost its leader takes that long, too: where a node has
/// no other stream to write to just then it leaves a server for nothing, which costs it a reconnect.
const PATIENCE: Duration = Duration::from_secs(6);
/// What failed in that time, at least, ...
const FAILURES: u32 = 3;
/// ... never further apart than this: else each is an accident of its own.
const APART: Duration = Duration::from_secs(5);
/// No further server is left sooner.
const AGAIN: Duration = Duration::from_secs(10);
/// The one that was left is gone back to only for want of others for so long.
const AVOIDED: Duration = Duration::from_secs(30);
/// As if connecting to it had failed so often.
const MALUS: usize = 3;

/// What has become of writes lately, and where to go if nothing does.
#[derive(Default)]
pub(super) struct Isolation {
    /// When something was stored last.
    stored: Option<Instant>,
    /// When the first failure since then began, when the last one ended, and how many there were.
    failing: Option<(Instant, Instant, u32)>,
    /// The server that was chosen last.
    chosen: Option<ServerAddr>,
    /// The one that was left, and when.
    left: Option<(Option<ServerAddr>, Instant)>,
}

impl Isolation {
    /// A write was stored: a quorum takes part.
    pub(super) fn stored(&mut self, now: Instant) {
        (self.stored, self.failing) = (Some(now), None);
    }

    /// A write that began then was not acknowledged, or a read of what the leader has not answered as it should be. Says whether
    /// the server is to be left.
    pub(super) fn failed(&mut self, began: Instant, now: Instant) -> bool {
        let began = self.stored.map_or(began, |stored| stored.max(began));
        let before = self.failing.filter(|(_, last, _)| now.duration_since(*last) <= APART);
        let (since, failures) =
            before.map_or((began, 1), |(since, _, failures)| (since.min(began), failures + 1));
        self.failing = Some((since, now, failures));
        let is_new = self.left.as_ref().is_none_or(|(_, at)| now.duration_since(*at) >= AGAIN);
        let leave = is_new && failures >= FAILURES && now.duration_since(since) >= PATIENCE;
        if leave {
            self.failing = None;
            self.left = Some((self.chosen.clone(), now));
        }
        leave
    }

    /// Where to connect to: by chance, but to one that has failed as seldom as any.
    pub(super) fn next(&mut self, servers: &[Server], now: Instant) -> Option<ReconnectToServer> {
        let left = self.left.as_ref().filter(|(_, at)| now.duration_since(*at) < AVOIDED);
        let left = left.and_then(|(addr, _)| addr.as_ref());
        let cost =
            |server: &Server| server.failed_attempts + if Some(&server.addr) == left { MALUS } else { 0 };
        let least = servers.iter().map(cost).min()?;
        let best = servers.iter().filter(|server| cost(server) == least).choose(&mut rand::rng())?;
        self.chosen = Some(best.addr.clone());
        Some(ReconnectToServer { addr: best.addr.clone(), delay: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn server(name: &str, failed_attempts: usize) -> Server {
        let addr = format!("nats://{name}:4222").parse().unwrap();
        Server { addr, failed_attempts, did_connect: true, is_discovered: false, last_error: None }
    }

    const fn secs(secs: u64) -> Duration {
        Duration::from_secs(secs)
    }

    #[test]
    fn a_server_is_left_when_nothing_is_stored_for_long() {
        let begun = Instant::now();
        let mut isolation = Isolation::default();
        assert!(!isolation.failed(begun, begun + secs(4)));
        assert!(!isolation.failed(begun + secs(1), begun + secs(5)));
        assert!(!isolation.failed(begun + secs(1), begun + secs(5)), "not for long");
        assert!(isolation.failed(begun + secs(2), begun + secs(6)));
        // And the next one not at once.
        for second in [7, 9, 11, 13, 15] {
            assert!(!isolation.failed(begun + secs(second - 1), begun + secs(second)), "after {second} s");
        }
        assert!(isolation.failed(begun + secs(15), begun + secs(16)));
    }

    #[test]
    fn one_write_that_is_stored_is_enough_to_stay() {
        let begun = Instant::now();
        let mut isolation = Isolation::default();
        for second in 4..60 {
            assert!(!isolation.failed(begun + secs(second - 4), begun + secs(second)));
            if second % 5 == 0 {
                isolation.stored(begun + secs(second));
            }
        }
        // What fails now and then says nothing of the server.
        for second in (60..600).step_by(10) {
            assert!(!isolation.failed(begun + secs(second - 4), begun + secs(second)), "after {second} s");
        }
    }

    #[test]
    fn who_was_left_is_avoided_for_a_while_unless_there_is_nobody_else() {
        let begun = Instant::now();
        let mut isolation = Isolation::default();
        let all = [server("a", 0), server("b", 0), server("c", 0)];
        let first = isolation.next(&all, begun).unwrap().addr;
        for second in [4, 5, 6] {
            isolation.failed(begun, begun + secs(second));
        }
        let at = |isolation: &mut Isolation, servers: &[Server], seconds| {
            isolation.next(servers, begun + secs(seconds)).unwrap().addr
        };
        assert!((0..100).all(|_| at(&mut isolation, &all, 7) != first));
        let others_fail: Vec<Server> = all
            .iter()
            .map(|one| Server { failed_attempts: if one.addr == first { 0 } else { 4 }, ..one.clone() })
            .collect();
        assert_eq!(at(&mut isolation, &others_fail, 8), first);
        assert!((0..200).any(|_| at(&mut isolation, &all, 60) == first), "it may have come back");
        assert!(isolation.next(&[], begun).is_none());
    }
}
