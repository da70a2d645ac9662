//! Who was heard, and whether all was. No I/O and no clock.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use super::NodeRun;

/// A node that was not heard for so long is silent. Each says something every second.
pub(super) const SILENT: Duration = Duration::from_secs(5);
/// As long as this node has not heard itself for so long, it is the one that hears nothing.
const DEAF: Duration = Duration::from_millis(2_500);
/// Runs remembered.
const MOST: usize = 4_096;

struct Peer {
    number: u64,
    heard: Instant,
}

/// See the module's text.
pub(super) struct Peers {
    me: NodeRun,
    others: HashMap<NodeRun, Peer>,
    /// When this node last heard itself.
    echo: Option<Instant>,
    /// Since then it has heard itself without a break.
    hears_since: Instant,
}

/// What a message was.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// This node's own.
    Own,
    /// The next of another node, or the first.
    Next,
    /// Others of that node before it were lost.
    AfterGap,
}

impl Peers {
    pub(super) fn new(me: NodeRun, now: Instant) -> Self {
        Self { me, others: HashMap::new(), echo: None, hears_since: now }
    }

    pub(super) fn heard(&mut self, from: NodeRun, number: u64, now: Instant) -> Heard {
        if from == self.me {
            if self.is_deaf(now) {
                self.hears_since = now;
            }
            self.echo = Some(now);
            return Heard::Own;
        }
        let Some(peer) = self.others.get_mut(&from) else {
            if self.others.len() < MOST {
                self.others.insert(from, Peer { number, heard: now });
            }
            // What it said before may be news to this node: it was perhaps here all the time.
            return if number <= 1 { Heard::Next } else { Heard::AfterGap };
        };
        let gap = number > peer.number.saturating_add(1);
        peer.number = peer.number.max(number);
        peer.heard = now;
        if gap { Heard::AfterGap } else { Heard::Next }
    }

    fn is_deaf(&self, now: Instant) -> bool {
        self.echo.is_none_or(|echo| now.saturating_duration_since(echo) > DEAF)
    }

    /// Forgets those that are silent, and says which. None as long as this node hears not even itself.
    pub(super) fn silent(&mut self, now: Instant) -> Vec<NodeRun> {
        if self.is_deaf(now) {
            return Vec::new();
        }
        let mut silent = Vec::new();
        self.others.retain(|&node, peer| {
            let here = now.saturating_duration_since(peer.heard.max(self.hears_since)) <= SILENT;
            if !here {
                silent.push(node);
            }
            here
        });
        silent
    }

    pub(super) fn count(&self) -> usize {
        self.others.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ME: NodeRun = NodeRun(1);
    const OTHER: NodeRun = NodeRun(2);

    #[test]
    fn gaps_are_noticed() {
        let now = Instant::now();
        let mut peers = Peers::new(ME, now);
        assert_eq!(peers.heard(OTHER, 1, now), Heard::Next);
        assert_eq!(peers.heard(OTHER, 2, now), Heard::Next);
        assert_eq!(peers.heard(OTHER, 4, now), Heard::AfterGap);
        assert_eq!(peers.heard(OTHER, 3, now), Heard::Next);
        assert_eq!(peers.heard(OTHER, 5, now), Heard::Next);
        assert_eq!(peers.heard(NodeRun(3), 9, now), Heard::AfterGap);
        assert_eq!(peers.heard(ME, 77, now), Heard::Own);
    }

    #[test]
    fn the_silent_are_told_from_ones_own_deafness() {
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        let mut peers = Peers::new(ME, start);
        for ms in (0..10_000).step_by(1_000) {
            peers.heard(ME, ms, at(ms));
            if ms < 4_000 {
                peers.heard(OTHER, ms / 1_000 + 1, at(ms));
            }
            let silent = peers.silent(at(ms));
            assert_eq!(silent, if ms == 9_000 { vec![OTHER] } else { vec![] }, "{ms}");
        }
        // Cut off for a minute: nobody is taken for gone, also not in the first moments afterwards.
        peers.heard(OTHER, 20, at(10_000));
        assert!(peers.silent(at(70_000)).is_empty());
        for ms in (70_000..=75_000).step_by(1_000) {
            peers.heard(ME, ms, at(ms));
            assert!(peers.silent(at(ms)).is_empty(), "{ms}");
        }
        peers.heard(ME, 1, at(76_000));
        assert_eq!(peers.silent(at(76_000)), [OTHER]);
    }
}
