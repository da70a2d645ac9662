//! [`Store`]: what the rest of the node holds.

use std::{fs::File, path::Path, sync::Arc, thread::JoinHandle};

use async_trait::async_trait;
use bytes::Bytes;
use rookery_protocol::id::RoomId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};

use super::{
    commit::{Commit, FjallCommit},
    committer::{BatchLimits, Committer, Shared, Told, What, Work, describe},
    engine::{Engine, row_key},
    open::{OpenError, Opened, open},
    tails::Tails,
};
use crate::backend::{
    Append, Appended, Committed, Entry, Expect, Read, RoomLog, Row, Rows, Table, Unavailable, Written,
    embedded::{StoreMetrics, StoreSettings},
};
use crate::workers::Workers;

/// Longest key of a row, bytes.
const KEY_BYTES: usize = 512;
/// Longest value of a row, bytes.
const VALUE_BYTES: usize = 1 << 20;
/// Longest snapshot and longest record, bytes.
const LARGE_BYTES: usize = 64 << 20;
/// A scan of at most so many rows takes less than a millisecond or two from memory.
const SHORT_SCAN: usize = 1000;
/// Records, or rows, removed at once.
const FORGOTTEN: usize = 500;
/// What a write needs in memory besides its bytes, about.
const OVERHEAD_BYTES: usize = 256;

/// Room logs and rows in one directory.
///
/// A write that was queued is carried out even if its caller goes away. Dropping the store writes what is queued and
/// blocks for that long (a few syncs).
pub struct Store {
    /// `None` only while the store is dropped.
    queue: Option<mpsc::Sender<Work>>,
    /// KiB of writes that may wait.
    space: Arc<Semaphore>,
    queue_kib: u32,
    reads: Arc<Semaphore>,
    shared: Arc<Shared>,
    committer: Option<JoinHandle<()>>,
    workers: Arc<Workers>,
    /// Held until the committer has ended.
    _lock: File,
}

impl Store {
    /// Opens the store in `dir`, or makes one. What a crash left half written, and so was never acknowledged, is cut off.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open(dir: &Path, settings: &StoreSettings, metrics: StoreMetrics) -> Result<Arc<Self>, OpenError> {
        Self::open_with(dir, settings, metrics, Arc::new(FjallCommit), Arc::default())
    }

    /// [`Self::open`] with another way to make batches durable, for tests of failing disks, and beside threads that may be
    /// busy: then writes are gathered for a moment.
    ///
    /// # Errors
    /// See [`OpenError`].
    pub fn open_with(
        dir: &Path,
        settings: &StoreSettings,
        metrics: StoreMetrics,
        commit: Arc<dyn Commit>,
        workers: Arc<Workers>,
    ) -> Result<Arc<Self>, OpenError> {
        let Opened { engine, lock, counter } = open(dir, settings)?;
        metrics.writable.set(1);
        let shared = Arc::new(Shared {
            engine,
            tails: Tails::new(settings.tail_cache_mib << 20),
            stopped: std::sync::OnceLock::new(),
            metrics,
        });
        let limits = BatchLimits { writes: settings.batch_writes, bytes: settings.batch_kib << 10 };
        let told = Told::new(&shared.metrics);
        let committer = Committer {
            shared: Arc::clone(&shared),
            commit,
            limits,
            counter,
            told,
            workers: workers.clone(),
        };
        let (queue, works) = mpsc::channel(settings.queue_length);
        let thread = std::thread::Builder::new().name("store-commit".to_owned());
        let thread = thread.spawn(move || committer.run(works)).map_err(|source| OpenError::Io {
            what: "start the writing thread for",
            path: dir.into(),
            source,
        })?;
        Ok(Arc::new(Self {
            queue: Some(queue),
            space: Arc::new(Semaphore::new(settings.queue_mib as usize * 1024)),
            queue_kib: settings.queue_mib.saturating_mul(1024),
            reads: Arc::new(Semaphore::new(settings.concurrent_reads)),
            shared,
            committer: Some(thread),
            workers,
            _lock: lock,
        }))
    }

    /// Whether writes are taken; for readiness.
    ///
    /// # Errors
    /// Why not.
    pub fn writable(&self) -> Result<(), Unavailable> {
        self.shared.stopped.get().map_or(Ok(()), |why| Err(why.clone()))
    }

    /// A place in the queue for a write of `size` bytes, about; waits while the queue is full.
    pub(in super::super) async fn place(&self, size: usize) -> Result<Place<'_>, Unavailable> {
        self.writable()?;
        let closed = || Unavailable("The store is closed.".into());
        let kib = match u32::try_from(size.div_ceil(1024).max(1)) {
            Ok(kib) if kib <= self.queue_kib => kib,
            _ => return Err(Unavailable("The write is larger than the store's queue.".into())),
        };
        let space = Arc::clone(&self.space).acquire_many_owned(kib).await.map_err(|_| closed())?;
        let queue = self.queue.as_ref().ok_or_else(closed)?;
        let permit = queue.reserve().await.map_err(|_| closed())?;
        Ok(Place { permit, space, size, workers: &self.workers })
    }

    /// Removes what became of messages before a seq.
    async fn forget_amendments(&self, room: RoomId, before: u64) -> Result<(), Unavailable> {
        let prefix = room.to_bytes();
        loop {
            let found = self.scan(Table::Amendments, &prefix, None, FORGOTTEN).await?;
            // `room ‖ seq`, in order.
            let is_old = |key: &Bytes| {
                key[prefix.len()..].try_into().is_ok_and(|seq| u64::from_be_bytes(seq) < before)
            };
            let old: Vec<_> = found.into_iter().map(|entry| entry.key).take_while(is_old).collect();
            if old.is_empty() {
                return Ok(());
            }
            let gone = |key| (Row { table: Table::Amendments, key, value: None }, Expect::Any);
            self.write(old.into_iter().map(gone).collect()).await?;
        }
    }

    /// Runs a short read where it is asked for: rows in use are in memory, and the way to another thread and back
    /// costs many times what reading them does (half of all CPU when thousands connect, by `rookery-bench connect`).
    fn briefly<T>(&self, read: impl FnOnce(&Engine) -> fjall::Result<T>) -> Result<T, Unavailable> {
        read(&self.shared.engine).map_err(|error| unreadable(&error))
    }

    /// Runs a read where blocking is allowed.
    async fn blocking<T: Send + 'static>(
        &self,
        read: impl FnOnce(&Engine) -> fjall::Result<T> + Send + 'static,
    ) -> Result<T, Unavailable> {
        let permit = Arc::clone(&self.reads).acquire_owned().await.map_err(|e| failed(&e.to_string()))?;
        let shared = Arc::clone(&self.shared);
        let task = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read(&shared.engine)
        });
        match task.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(error)) => Err(unreadable(&error)),
            Err(error) => Err(failed(&error.to_string())),
        }
    }
}

fn failed(why: &str) -> Unavailable {
    Unavailable(format!("The store cannot read: {why}.").into())
}

fn unreadable(error: &fjall::Error) -> Unavailable {
    tracing::error!(%error, "the store cannot read");
    failed(&describe(error))
}

/// A place in the queue. What is written through places is carried out in the order of those calls.
pub(in super::super) struct Place<'a> {
    permit: mpsc::Permit<'a, Work>,
    space: OwnedSemaphorePermit,
    size: usize,
    workers: &'a Workers,
}

impl Place<'_> {
    fn send(self, what: What) {
        self.permit.send(Work { what, size: self.size, space: self.space });
        self.workers.bring();
    }

    /// Queues the removal of records. Does not block.
    fn forget(self, keys: Vec<Bytes>) -> Pending {
        let (tell, told) = oneshot::channel();
        self.send(What::Forget(keys, tell));
        Pending(told)
    }

    /// Queues a write of rows. Does not block.
    pub(in super::super) fn write(self, writes: Vec<(Row, Expect)>) -> Pending {
        let (tell, told) = oneshot::channel();
        self.send(What::Write(writes, tell));
        Pending(told)
    }
}

/// A write that is queued.
pub(in super::super) struct Pending(oneshot::Receiver<Result<Written, Unavailable>>);

impl Pending {
    /// Waits for it.
    pub(in super::super) async fn done(self) -> Result<Written, Unavailable> {
        self.0.await.unwrap_or_else(|_| Err(Unavailable("The store's writing thread ended.".into())))
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.queue = None;
        self.workers.bring();
        if let Some(thread) = self.committer.take()
            && thread.thread().id() != std::thread::current().id()
            && thread.join().is_err()
        {
            tracing::error!("the store's writing thread panicked");
        }
    }
}

fn size_of(row: &Row) -> usize {
    row.key.len() + row.value.as_ref().map_or(0, Bytes::len) + OVERHEAD_BYTES
}

/// Checks the limits of `Row`.
fn check_row(row: &Row) -> Result<(), Unavailable> {
    let limit = if row.table == Table::Snapshots { LARGE_BYTES } else { VALUE_BYTES };
    let len = row.value.as_ref().map_or(0, Bytes::len);
    if row.key.len() > KEY_BYTES || len > limit {
        let (table, key) = (row.table, row.key.len());
        let why = format!("A row of {table:?} is too large: key {key} bytes, value {len} bytes.");
        return Err(Unavailable(why.into()));
    }
    Ok(())
}

#[async_trait]
impl RoomLog for Store {
    async fn append(&self, append: Append) -> Appended {
        let room = append.room;
        let checked = if append.record.len() > LARGE_BYTES {
            Err(Unavailable("A record is too large.".into()))
        } else {
            append.rows.iter().try_for_each(check_row)
        };
        if let Err(why) = checked {
            // A bug of the caller: nothing is stored, and trying again would not help.
            tracing::error!(%room, %why, "refused an append");
            return Appended::ConditionFailed;
        }
        let rows: usize = append.rows.iter().map(size_of).sum();
        let size = append.record.len() + OVERHEAD_BYTES + rows;
        let Ok(place) = self.place(size).await else { return Appended::Unknown };
        let (tell, told) = oneshot::channel();
        place.send(What::Append(append, tell));
        told.await.unwrap_or(Appended::Unknown)
    }

    async fn tail(&self, room: RoomId) -> Result<Option<Committed>, Unavailable> {
        let tail = match self.shared.tails.get(room) {
            Some(tail) => Some(tail),
            None => self.blocking(move |engine| engine.tail(room)).await?,
        };
        Ok(tail.map(|tail| Committed { room, at: tail.at, record: tail.record }))
    }

    async fn read(&self, room: RoomId, read: Read) -> Result<Vec<Committed>, Unavailable> {
        self.blocking(move |engine| engine.read(room, read)).await
    }

    async fn forget(&self, room: RoomId, before: u64) -> Result<(), Unavailable> {
        let tail = match self.shared.tails.get(room) {
            Some(tail) => Some(tail),
            None => self.blocking(move |engine| engine.tail(room)).await?,
        };
        let before = before.min(tail.map_or(0, |tail| tail.last_seq));
        loop {
            let keys = self.blocking(move |engine| engine.records_before(room, before, FORGOTTEN)).await?;
            if keys.is_empty() {
                break;
            }
            let size = keys.iter().map(Bytes::len).sum();
            self.place(size).await?.forget(keys).done().await?;
        }
        self.forget_amendments(room, before).await
    }

    /// All owners that write here are of this node, and have their records delivered themselves.
    fn follow(&self, _: RoomId, _: bool) {}
}

#[async_trait]
impl Rows for Store {
    async fn get(&self, table: Table, key: &[u8]) -> Result<Option<Entry>, Unavailable> {
        let full = row_key(table, key);
        let found = if table == Table::Snapshots {
            // Up to 64 MiB.
            let full = full.clone();
            self.blocking(move |engine| engine.row(&full)).await?
        } else {
            self.briefly(|engine| engine.row(&full))?
        };
        Ok(found.map(|(revision, value)| Entry { key: full.slice(1..), value, revision }))
    }

    async fn scan(
        &self,
        table: Table,
        prefix: &[u8],
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Entry>, Unavailable> {
        let prefix = row_key(table, prefix);
        let after = after.map(|after| row_key(table, after));
        if limit <= SHORT_SCAN {
            return self.briefly(|engine| engine.scan(&prefix, after.as_deref(), limit));
        }
        self.blocking(move |engine| engine.scan(&prefix, after.as_deref(), limit)).await
    }

    async fn write(&self, writes: Vec<(Row, Expect)>) -> Result<Written, Unavailable> {
        writes.iter().try_for_each(|(row, _)| check_row(row))?;
        let size = writes.iter().map(|(row, _)| size_of(row)).sum();
        self.place(size).await?.write(writes).done().await
    }
}
