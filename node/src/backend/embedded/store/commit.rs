//! The one step that makes a batch durable, as a seam for tests of failing disks.

/// Makes batches durable.
pub trait Commit: Send + Sync {
    /// Writes the batch, syncs, and only then lets reads see it.
    ///
    /// # Errors
    /// The disk's. Whether the batch will be there after a restart is then unknown.
    fn commit(&self, batch: fjall::OwnedWriteBatch) -> fjall::Result<()>;
}

/// What really does it.
#[derive(Debug, Clone, Copy, Default)]
pub struct FjallCommit;

impl Commit for FjallCommit {
    fn commit(&self, batch: fjall::OwnedWriteBatch) -> fjall::Result<()> {
        batch.commit()
    }
}
