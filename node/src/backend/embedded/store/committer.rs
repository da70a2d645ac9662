//! The one thread that writes.
//!
//! It takes all that waits, up to the limits of a batch, decides each condition in order, makes the batch durable by one
//! sync, and only then answers. While it syncs, the next batch collects: under load batches grow and the number of
//! syncs does not.

use std::{
    sync::{Arc, OnceLock},
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::{
    runtime::Handle,
    sync::{
        OwnedSemaphorePermit,
        mpsc::{self, error::TryRecvError},
        oneshot,
    },
};

use super::{
    commit::Commit,
    engine::{Engine, row_key},
    staged::Staged,
    tails::Tails,
};
use crate::{
    backend::{Append, Appended, Expect, Row, Table, Unavailable, Written, embedded::StoreMetrics},
    workers::Workers,
};

/// Key in `Table::Meta` of the last position or revision given out.
pub(super) const COUNTER: &[u8] = b"counter";

/// While all threads that serve are busy, writes are gathered for so long before they are stored: each sync takes time from
/// those threads, and one of them does for many writes.
const GATHER: Duration = Duration::from_millis(3);
/// After so long without a write the thread sleeps, until one comes.
const LULL: Duration = Duration::from_secs(1);

/// A write that waits.
pub(super) struct Work {
    pub(super) what: What,
    /// Bytes, about.
    pub(super) size: usize,
    /// Its share of the queue's memory.
    pub(super) space: OwnedSemaphorePermit,
}

/// What to write and whom to tell.
pub(super) enum What {
    Append(Append, oneshot::Sender<Appended>),
    Write(Vec<(Row, Expect)>, oneshot::Sender<Result<Written, Unavailable>>),
    /// Removes the records with these keys.
    Forget(Vec<Bytes>, oneshot::Sender<Result<Written, Unavailable>>),
}

/// What the committer shares with the store's handles.
pub(super) struct Shared {
    pub(super) engine: Engine,
    pub(super) tails: Tails,
    /// Why no more writes are taken.
    pub(super) stopped: OnceLock<Unavailable>,
    pub(super) metrics: StoreMetrics,
}

impl Shared {
    /// Takes no more writes. A disk that failed once is not trusted to have kept what it could not confirm:
    /// Linux may drop dirty pages after a failed sync and report the next one as fine
    /// (<https://wiki.postgresql.org/wiki/Fsync_Errors>). A restart reads what is really there.
    pub(super) fn stop(&self, why: &str) {
        let sentence =
            format!("The store takes no more writes: {why}. Restart the node once the disk is well.");
        if self.stopped.set(Unavailable(sentence.into())).is_ok() {
            self.metrics.writable.set(0);
            tracing::error!(
                why,
                "the store takes no more writes; reads go on; restart once the disk is well"
            );
        }
    }
}

/// An answer that is told once its batch is durable.
pub(super) enum Answer {
    Append(Appended, oneshot::Sender<Appended>),
    Write(Result<Written, Unavailable>, oneshot::Sender<Result<Written, Unavailable>>),
}

/// Limits of one batch.
#[derive(Debug, Clone, Copy)]
pub(super) struct BatchLimits {
    pub(super) writes: usize,
    pub(super) bytes: usize,
}

/// Writes that are stored together.
#[derive(Default)]
struct Batch {
    works: Vec<Work>,
    /// Of all of them, about.
    bytes: usize,
}

impl Batch {
    fn is_full(&self, limits: BatchLimits) -> bool {
        self.works.len() >= limits.writes || self.bytes >= limits.bytes
    }

    /// Takes what waits, up to the limits. False: no more will come.
    fn fill(&mut self, queue: &mut mpsc::Receiver<Work>, limits: BatchLimits) -> bool {
        while !self.is_full(limits) {
            match queue.try_recv() {
                Ok(work) => {
                    self.bytes += work.size;
                    self.works.push(work);
                }
                Err(error) => return error == TryRecvError::Empty,
            }
        }
        true
    }
}

/// The thread's state.
pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) commit: Arc<dyn Commit>,
    pub(super) limits: BatchLimits,
    /// The last position or revision given out.
    pub(super) counter: u64,
    pub(super) told: Told,
    pub(super) workers: Arc<Workers>,
}

/// What a batch is answered, and the space in the queue that it held.
pub(super) struct Outcome {
    answers: Vec<Answer>,
    /// Why it was not stored.
    failed: Option<Unavailable>,
    /// Given back with the answers: what is being written counts as queued.
    _spaces: Vec<OwnedSemaphorePermit>,
}

impl Outcome {
    fn tell(self, metrics: &StoreMetrics) {
        for answer in self.answers {
            match &self.failed {
                None => tell(answer, metrics),
                Some(why) => tell_failed(answer, why, metrics),
            }
        }
    }
}

/// Tells those who wait, a batch at once.
///
/// A task that another thread wakes waits in a queue of which a busy worker takes one task each 0.2 ms or so
/// (Tokio's `global_queue_interval`): told one by one, writers were held up at 5,000 a second. So one task is woken for
/// the batch, and wakes the others on its own worker.
pub(super) enum Told {
    /// By a task of the runtime.
    ByTask(mpsc::UnboundedSender<Outcome>),
    /// By the writing thread: there is no runtime.
    Here,
}

impl Told {
    pub(super) fn new(metrics: &StoreMetrics) -> Self {
        let Ok(runtime) = Handle::try_current() else { return Self::Here };
        // Not more than the queue holds: each outcome holds its space there.
        let (tell, mut told) = mpsc::unbounded_channel::<Outcome>();
        let metrics = metrics.clone();
        runtime.spawn(async move {
            while let Some(outcome) = told.recv().await {
                outcome.tell(&metrics);
            }
        });
        Self::ByTask(tell)
    }

    fn tell(&self, outcome: Outcome, metrics: &StoreMetrics) {
        match self {
            Self::ByTask(tell) => {
                // The runtime has ended, and with it whoever waited.
                let _ = tell.send(outcome);
            }
            Self::Here => outcome.tell(metrics),
        }
    }
}

/// Says so when the thread dies of a bug.
struct Alarm(Arc<Shared>);

impl Drop for Alarm {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.stop("its writing thread panicked");
        }
    }
}

impl Committer {
    /// Until all senders are gone.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Work>) {
        let _alarm = Alarm(Arc::clone(&self.shared));
        let mut batch = Batch::default();
        let mut last = Instant::now();
        // Whether it was waited for what the batch holds.
        let mut gathered = false;
        loop {
            self.workers.looks();
            let open = batch.fill(&mut queue, self.limits);
            let go = gathered || !open || batch.is_full(self.limits) || !self.workers.all_busy();
            if go && !batch.works.is_empty() {
                let metrics = &self.shared.metrics;
                metrics.queued.set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
                metrics.batch.observe(u32::try_from(batch.works.len()).unwrap_or(u32::MAX).into());
                self.write(&mut batch);
                (last, gathered) = (Instant::now(), false);
            } else if !batch.works.is_empty() || (open && last.elapsed() < LULL) {
                self.workers.gather(GATHER, !batch.works.is_empty());
                gathered = true;
            } else if open {
                self.workers.sleep();
                gathered = false;
            } else {
                return;
            }
        }
    }

    fn write(&mut self, batch: &mut Batch) {
        let bytes = std::mem::take(&mut batch.bytes);
        let batch = &mut batch.works;
        let shared = Arc::clone(&self.shared);
        let mut spaces: Vec<OwnedSemaphorePermit> = Vec::with_capacity(batch.len());
        let mut answers = Vec::with_capacity(batch.len());
        let mut staged = Staged::new(&shared.engine, &shared.tails, self.counter);
        for Work { what, space, .. } in batch.drain(..) {
            spaces.push(space);
            answers.push(match what {
                What::Append(append, tell) => Answer::Append(staged.append(append), tell),
                What::Write(writes, tell) => {
                    let written = staged.write(writes).map_err(|error| {
                        tracing::error!(%error, "cannot read a row");
                        Unavailable("The store cannot read the rows of a condition.".into())
                    });
                    Answer::Write(written, tell)
                }
                What::Forget(keys, tell) => {
                    staged.gone.extend(keys);
                    Answer::Write(Ok(Written::Done), tell)
                }
            });
        }
        let stored = shared.stopped.get().is_none() && (staged.is_empty() || self.store(&mut staged, bytes));
        let failed = if stored {
            self.counter = staged.counter;
            for (room, tail) in staged.into_tails() {
                shared.tails.put(room, tail);
            }
            None
        } else {
            let why = shared.stopped.get().cloned();
            Some(why.unwrap_or_else(|| Unavailable("The store takes no more writes.".into())))
        };
        self.told.tell(Outcome { answers, failed, _spaces: spaces }, &shared.metrics);
    }

    fn store(&self, staged: &mut Staged<'_>, bytes: usize) -> bool {
        let Shared { engine, metrics, .. } = &*self.shared;
        let counter = (staged.counter, Bytes::copy_from_slice(&staged.counter.to_be_bytes()));
        staged.rows.insert(row_key(Table::Meta, COUNTER), Some(counter));
        let mut batch = engine.batch();
        for record in &staged.records {
            engine.put_record(&mut batch, &record.committed, record.first_seq, record.last_seq);
        }
        for key in staged.gone.drain(..) {
            engine.remove_record(&mut batch, key);
        }
        for (key, row) in &staged.rows {
            engine.put_row(&mut batch, key, row.as_ref());
        }
        let started = Instant::now();
        match self.commit.commit(batch).and_then(|()| engine.seal_full()) {
            Ok(()) => {
                metrics.sync.observe(started.elapsed().as_secs_f64());
                metrics.appends.inc_by(staged.records.len() as u64);
                metrics.rows.inc_by(staged.rows.len() as u64);
                metrics.bytes.inc_by(bytes as u64);
                true
            }
            Err(error) => {
                self.shared.stop(&describe(&error));
                false
            }
        }
    }
}

/// The disk's own words where there are any.
pub(super) fn describe(error: &fjall::Error) -> String {
    match error {
        fjall::Error::Io(error) => error.to_string(),
        other => other.to_string(),
    }
}

fn tell(answer: Answer, metrics: &StoreMetrics) {
    // A caller that went away misses its answer; what it wrote is stored all the same.
    match answer {
        Answer::Append(appended, tell) => {
            if appended == Appended::ConditionFailed {
                metrics.refused.inc();
            }
            let _ = tell.send(appended);
        }
        Answer::Write(written, tell) => {
            let _ = tell.send(written);
        }
    }
}

fn tell_failed(answer: Answer, why: &Unavailable, metrics: &StoreMetrics) {
    metrics.errors.inc();
    match answer {
        Answer::Append(Appended::Committed(_), tell) => {
            let _ = tell.send(Appended::Unknown);
        }
        Answer::Append(appended, tell) => {
            let _ = tell.send(appended);
        }
        // A conflict may have been with a row of this very batch, which may not be there: so it is not told.
        Answer::Write(_, tell) => {
            let _ = tell.send(Err(why.clone()));
        }
    }
}
