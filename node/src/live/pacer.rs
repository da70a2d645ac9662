//! Wakes connections a few at a time.
//!
//! A runtime runs tasks in the order in which they were woken. When thousands of connections have something to write, a message
//! would wait for a turn around all of them again and again: until it is read, until its room's owner takes it, until
//! the owner hears that it is stored, and until it is written. So connections that only have something to write wait here, and the
//! runtime's queue stays short for everything else.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicBool, Ordering},
    task::Waker,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Woken at once. That many writes take about a quarter of a millisecond.
const AT_ONCE: usize = 32;

/// Connections that have something to write.
#[derive(Debug, Default)]
pub(super) struct Pacer {
    runs: AtomicBool,
    waiting: Mutex<VecDeque<Waker>>,
    something: Notify,
}

impl Pacer {
    /// Wakes these soon; at once if [`Self::run`] was not called.
    pub(super) fn wake(&self, wakers: &mut Vec<Waker>) {
        if wakers.is_empty() {
            return;
        }
        if !self.runs.load(Ordering::Acquire) {
            wakers.drain(..).for_each(Waker::wake);
            return;
        }
        let was_empty = {
            let mut waiting = self.waiting.lock();
            let was_empty = waiting.is_empty();
            waiting.extend(wakers.drain(..));
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
            some.drain(..).for_each(Waker::wake);
            // Behind them, and behind whatever was woken by them or by the network.
            tokio::task::yield_now().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{Arc, atomic::AtomicUsize},
        task::Wake,
        time::Duration,
    };

    use super::*;

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

    fn wakers(of: &Arc<Woken>, count: usize) -> Vec<Waker> {
        (0..count).map(|_| Waker::from(of.clone())).collect()
    }

    #[tokio::test]
    async fn all_are_woken_and_not_too_many_at_once() {
        let (pacer, woken) = (Arc::new(Pacer::default()), Arc::new(Woken::default()));
        pacer.wake(&mut wakers(&woken, 100));
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
            pacer.wake(&mut wakers(&woken, 100));
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
}
