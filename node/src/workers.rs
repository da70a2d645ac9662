//! Whether the threads that serve have something to do: a thread that gathers work for a common effort (a sync of the
//! disk) goes on gathering while they are busy, and begins when one of them rests.

use std::{
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering::SeqCst},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

use tokio::runtime::Builder;

/// What the gathering thread does.
const AT_WORK: u8 = 0;
/// It waits for a short time.
const GATHERS: u8 = 1;
/// It waits until there is something.
const SLEEPS: u8 = 2;

/// The threads that serve, and one that gathers what they bring.
#[derive(Debug, Default)]
pub struct Workers {
    /// Somebody counts.
    watched: AtomicBool,
    /// Of the threads that serve, those that wait.
    resting: AtomicUsize,
    /// Something was brought that the gathering thread has not looked at.
    brought: AtomicBool,
    doing: AtomicU8,
    gatherer: OnceLock<Thread>,
}

impl Workers {
    /// Of the runtime that `builder` will make. Without this they count as resting always: nothing is ever gathered.
    pub fn watch(self: &Arc<Self>, builder: &mut Builder) {
        self.watched.store(true, SeqCst);
        let (parks, unparks) = (self.clone(), self.clone());
        builder.on_thread_park(move || parks.rests());
        builder.on_thread_unpark(move || {
            unparks.resting.fetch_sub(1, SeqCst);
        });
    }

    /// Whether all of them have something to do.
    pub fn all_busy(&self) -> bool {
        self.watched.load(SeqCst) && self.resting.load(SeqCst) == 0
    }

    /// One of them waits from now on.
    fn rests(&self) {
        self.resting.fetch_add(1, SeqCst);
        if self.doing.load(SeqCst) == GATHERS && self.brought.load(SeqCst) {
            self.begin();
        }
    }

    /// There is something for the gathering thread. While all are busy it is not disturbed, unless it sleeps.
    pub fn bring(&self) {
        self.brought.store(true, SeqCst);
        match self.doing.load(SeqCst) {
            SLEEPS => self.begin(),
            GATHERS if !self.all_busy() => self.begin(),
            _ => {}
        }
    }

    /// Wakes the gathering thread, whatever it waits for.
    pub fn begin(&self) {
        if self.doing.swap(AT_WORK, SeqCst) != AT_WORK
            && let Some(gatherer) = self.gatherer.get()
        {
            gatherer.unpark();
        }
    }

    /// The gathering thread looks at all that was brought.
    pub fn looks(&self) {
        self.brought.store(false, SeqCst);
    }

    /// Waits until one of them rests and something was brought, at most `within`. Always by the same thread;
    /// `has_some`: it has looked at something already.
    pub fn gather(&self, within: Duration, has_some: bool) {
        self.gatherer.get_or_init(thread::current);
        if has_some {
            self.brought.store(true, SeqCst);
        }
        self.doing.store(GATHERS, SeqCst);
        // After that: who brings something or rests from now on sees it.
        let until = Instant::now() + within;
        while self.doing.load(SeqCst) == GATHERS && (self.all_busy() || !self.brought.load(SeqCst)) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            thread::park_timeout(left);
        }
        self.doing.store(AT_WORK, SeqCst);
    }

    /// Waits until something is brought, or [`Self::begin`] is called. Always by the same thread.
    pub fn sleep(&self) {
        self.gatherer.get_or_init(thread::current);
        self.doing.store(SLEEPS, SeqCst);
        while self.doing.load(SeqCst) == SLEEPS && !self.brought.load(SeqCst) {
            thread::park();
        }
        self.doing.store(AT_WORK, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(600);
    const PATIENCE: Duration = Duration::from_secs(60);

    /// A runtime of one thread, which is watched.
    fn runtime(workers: &Arc<Workers>) -> tokio::runtime::Runtime {
        let mut builder = Builder::new_current_thread();
        workers.watch(&mut builder);
        builder.enable_time().build().unwrap()
    }

    /// Runs `wait` on a thread of its own, and says when it is over.
    fn waiting(workers: &Arc<Workers>, doing: u8, wait: fn(&Workers)) -> mpsc::Receiver<()> {
        let (over, is_over) = mpsc::channel();
        let gatherer = workers.clone();
        thread::spawn(move || {
            wait(&gatherer);
            let _ = over.send(());
        });
        let began = Instant::now();
        while workers.doing.load(SeqCst) != doing {
            assert!(began.elapsed() < PATIENCE, "nobody begins to wait");
            thread::yield_now();
        }
        is_over
    }

    #[test]
    fn gathers_while_all_are_busy_and_begins_when_one_rests() {
        let workers = Arc::<Workers>::default();
        runtime(&workers).block_on(async {
            assert!(workers.all_busy());
            let over = waiting(&workers, GATHERS, |workers| workers.gather(LONG, true));
            workers.bring();
            assert_eq!(workers.doing.load(SeqCst), GATHERS, "nobody rests yet");
            // The thread has nothing else to do then.
            tokio::time::sleep(Duration::from_millis(1)).await;
            over.recv_timeout(PATIENCE).expect("it begins");
        });
    }

    #[test]
    fn gathers_no_longer_than_it_may() {
        let workers = Arc::<Workers>::default();
        runtime(&workers).block_on(async {
            let gatherer = workers.clone();
            // It returns, though nobody rests: this thread waits for it without the runtime's knowledge.
            let (over, is_over) = mpsc::channel();
            thread::spawn(move || {
                gatherer.gather(Duration::from_millis(20), true);
                let _ = over.send(());
            });
            is_over.recv_timeout(PATIENCE).expect("it ends by itself");
        });
    }

    #[test]
    fn begins_at_once_if_somebody_rests_or_nobody_counts() {
        let workers = Arc::<Workers>::default();
        let over = waiting(&workers, GATHERS, |workers| workers.gather(LONG, false));
        workers.bring();
        over.recv_timeout(PATIENCE).expect("nobody counts");
        let workers = Arc::<Workers>::default();
        workers.watch(&mut Builder::new_current_thread());
        workers.rests();
        let over = waiting(&workers, GATHERS, |workers| workers.gather(LONG, false));
        workers.bring();
        over.recv_timeout(PATIENCE).expect("one rests");
    }

    #[test]
    fn what_is_brought_ends_a_sleep_also_while_all_are_busy() {
        let workers = Arc::<Workers>::default();
        runtime(&workers).block_on(async {
            let over = waiting(&workers, SLEEPS, Workers::sleep);
            workers.bring();
            over.recv_timeout(PATIENCE).expect("it wakes up");
        });
    }
}
