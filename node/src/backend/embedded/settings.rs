//! Limits and sizes of the embedded backends.

use serde::{Deserialize, Serialize};

use crate::settings::Wrong;

/// `[store]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreSettings {
    /// Writes that wait for the disk at most; those beyond wait before they are queued.
    pub queue_length: usize,
    /// Bytes of all writes that wait, in MiB.
    pub queue_mib: u32,
    /// Writes that share one sync at most.
    pub batch_writes: usize,
    /// Bytes that share one sync at most, in KiB (a single larger write goes alone).
    pub batch_kib: usize,
    /// Memory for the newest record of each room that is in use, in MiB.
    pub tail_cache_mib: u64,
    /// Memory for blocks read from disk, in MiB.
    pub block_cache_mib: u64,
    /// Memory for what is written but not yet sorted into tables, in MiB, for records and rows each.
    pub write_buffer_mib: u64,
    /// Size of the journal on disk before it is folded into tables, in MiB. A larger one makes a longer start.
    pub journal_mib: u64,
    /// Reads from disk at the same time.
    pub concurrent_reads: usize,
    /// Short-lived values, counters and rate limits, each at most so many.
    pub ephemeral_entries: usize,
    /// Mails that the local mailbox keeps.
    pub mailbox_mails: usize,
}

impl Default for StoreSettings {
    fn default() -> Self {
        Self {
            queue_length: 16_384,
            queue_mib: 128,
            batch_writes: 2_048,
            batch_kib: 4_096,
            tail_cache_mib: 64,
            block_cache_mib: 64,
            write_buffer_mib: 16,
            journal_mib: 64,
            concurrent_reads: 16,
            ephemeral_entries: 1_000_000,
            mailbox_mails: 1_000,
        }
    }
}

impl StoreSettings {
    /// What cannot work.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut within = |key: &str, value: u64, low: u64, high: u64| {
            if !(low..=high).contains(&value) {
                wrong.push(Wrong { key: format!("store.{key}"), why: format!("must be {low} to {high}") });
            }
        };
        within("queue_length", self.queue_length as u64, 1, 1 << 20);
        // A snapshot may have 64 MiB.
        within("queue_mib", self.queue_mib.into(), 80, 16_384);
        within("batch_writes", self.batch_writes as u64, 1, 1 << 20);
        within("batch_kib", self.batch_kib as u64, 1, 1 << 20);
        within("tail_cache_mib", self.tail_cache_mib, 1, 1 << 20);
        within("block_cache_mib", self.block_cache_mib, 1, 1 << 20);
        within("write_buffer_mib", self.write_buffer_mib, 1, 4_096);
        // fjall accepts no less than 64.
        within("journal_mib", self.journal_mib, 64, 65_536);
        within("concurrent_reads", self.concurrent_reads as u64, 1, 256);
        within("ephemeral_entries", self.ephemeral_entries as u64, 1, 1 << 30);
        within("mailbox_mails", self.mailbox_mails as u64, 1, 100_000);
        wrong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_accepted_and_nonsense_is_named() {
        assert_eq!(StoreSettings::default().check(), []);
        let wrong = StoreSettings { journal_mib: 1, ..StoreSettings::default() }.check();
        assert_eq!(wrong.len(), 1);
        assert_eq!(wrong[0].key, "store.journal_mib");
    }
}
