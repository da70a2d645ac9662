//! Connections that have something to write have their turns, a few at a time.
//!
//! A runtime runs tasks in the order in which they were woken. When thousands of connections have something to write, a message
//! would wait for a turn around all of them again and again: until it is read, until its room's owner takes it, until
//! the owner hears that it is stored, and until it is written. So connections that only have something to write wait here, and the
//! runtime's queue stays short for everything else. What waits for a connection, waits for its turn: whoever is read from in between writes
//! nothing then, and so all have the same number of writes, and nobody's messages wait for two turns.

use std::{
    collections::VecDeque,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::link::Link;

/// Woken at once. That many writes take about half a millisecond.
const AT_ONCE: usize = 64;

/// Connections that have something to write.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    runs: AtomicBool,
    waiting: Mutex<VecDeque<Arc<Link>>>,
    something: Notify,
}

impl Pacer {
    /// Gives these their turns soon; at once if [`Self::run`] was not called.
    pub(super) fn take(&self, turns: &mut Vec<Arc<Link>>) {
        if turns.is_empty() {
            return;
        }
        if !self.runs.load(Ordering::Acquire) {
            turns.drain(..).for_each(|link| link.turn());
            return;
        }
        let was_empty = {
            let mut waiting = self.waiting.lock();
            let was_empty = waiting.is_empty();
            waiting.extend(turns.drain(..));
            was_empty
        };
        if was_empty {
            self.something.notify_one();
        }
    }

    /// For as long as the node runs.
    pub(super) async fn run(&self) {
        self.runs.store(true, Ordering::Release);
        let mut some = Vec::with_capacity(AT_ONCE);
        loop {
            {
                let mut waiting = self.waiting.lock();
                let count = waiting.len().min(AT_ONCE);
                some.extend(waiting.drain(..count));
            }
            if some.is_empty() {
                self.something.notified().await;
                continue;
            }
            some.drain(..).for_each(|link: Arc<Link>| link.turn());
            // Behind them, and behind whatever was woken by them or by the network.
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::AtomicUsize,
        task::{Wake, Waker},
        time::Duration,
    };

    use rookery_protocol::Subprotocol;

    use super::{super::link::Mail, *};

    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl Woken {
        fn count(&self) -> usize {
            self.0.load(Ordering::SeqCst)
        }
    }

    fn links(of: &Arc<Woken>, count: usize) -> Vec<Arc<Link>> {
        let link = |_| {
            let link = Link::new(Subprotocol::Json, 0, 0);
            link.collect(&Waker::from(of.clone()), &mut Mail::default());
            link
        };
        (0..count).map(link).collect()
    }

    #[tokio::test]
    async fn all_are_woken_and_not_too_many_at_once() {
        let (pacer, woken) = (Arc::new(Pacer::default()), Arc::new(Woken::default()));
        pacer.take(&mut links(&woken, 100));
        assert_eq!(woken.count(), 100, "nobody else would wake them yet");
        let runs = pacer.clone();
        tokio::spawn(async move { runs.run().await });
        let began = async {
            while !pacer.runs.load(Ordering::SeqCst) {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), began).await.expect("it runs");
        for round in 2..=4 {
            let (mut before, mut most) = (woken.count(), 0);
            pacer.take(&mut links(&woken, 100));
            let all = async {
                while before < round * 100 {
                    tokio::task::yield_now().await;
                    let now = woken.count();
                    (most, before) = (most.max(now - before), now);
                }
            };
            tokio::time::timeout(Duration::from_secs(60), all).await.expect("all are woken");
            assert!(most <= AT_ONCE, "{most} at once");
        }
    }

    #[test]
    fn whoever_is_read_from_in_between_takes_nothing_before_his_turn() {
        let woken = Arc::new(Woken::default());
        let waker = Waker::from(woken.clone());
        let (link, mut mail) = (Link::new(Subprotocol::Json, 0, 0), Mail::default());
        link.collect(&waker, &mut mail);
        assert!(link.ready(3, true), "it is the first one, and has a turn for it");
        link.post_bytes(|out| out.push(7));
        assert!(!link.ready(4, true), "it has one already");
        link.collect(&waker, &mut mail);
        assert_eq!((mail.ready.len(), mail.out.len(), woken.count()), (0, 0, 0));
        link.turn();
        assert_eq!(woken.count(), 1);
        link.collect(&waker, &mut mail);
        assert_eq!((&*mail.ready, &*mail.out), (&[3, 4][..], &[7][..]));
        // A turn that nothing waits for does no harm, and what comes without one is taken at once.
        link.turn();
        let mut mail = Mail::default();
        assert!(link.ready(5, false));
        assert!(!link.ready(6, true), "it is about to be woken");
        link.collect(&waker, &mut mail);
        assert_eq!(*mail.ready, [5, 6]);
    }
}
