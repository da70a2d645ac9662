//! Settings of live delivery.

use std::time::Duration;

use crate::settings::Wrong;

/// Settings of live delivery, under `live`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LiveSettings {
    /// Tasks that put committed records on the rooms' tapes; 0: one per core, at most 8.
    pub workers: usize,
    /// Committed records that may wait for each of them. More are read from the log instead.
    pub inbox_records: usize,
    /// A connection further behind in one room, or in all together, is closed with 4409, in bytes.
    pub max_lag_bytes: u64,
    /// A tape never holds more, in bytes.
    pub tape_max_bytes: u64,
    /// A tape keeps so much that everybody has read, in bytes: those who come back soon need no log.
    pub tape_keep_bytes: u64,
    /// Events are put on a tape in pieces of at most about this size, in bytes.
    pub batch_bytes: usize,
    /// A room that nobody follows any more is kept for so many seconds.
    pub room_linger_seconds: u64,
    /// Presence is told user by user in rooms with at most so many present; of larger ones, their number.
    pub presence_members: usize,
    /// An absence shorter than so many seconds is not told.
    pub presence_grace_seconds: u64,
    /// The number of those present is told at most once in so many seconds.
    pub presence_count_seconds: u64,
    /// At most so many are told to be typing in a room per second.
    pub typing_per_second: u32,
}

impl Default for LiveSettings {
    fn default() -> Self {
        Self {
            workers: 0,
            inbox_records: 65_536,
            max_lag_bytes: 4 * 1024 * 1024,
            tape_max_bytes: 8 * 1024 * 1024,
            tape_keep_bytes: 16 * 1024,
            batch_bytes: 64 * 1024,
            room_linger_seconds: 10,
            presence_members: 200,
            presence_grace_seconds: 5,
            presence_count_seconds: 5,
            typing_per_second: 20,
        }
    }
}

impl LiveSettings {
    /// What cannot be accepted.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut add =
            |key: &str, why: &str| wrong.push(Wrong { key: format!("live.{key}"), why: why.to_owned() });
        if self.workers > 64 {
            add("workers", "must be at most 64");
        }
        if !(64..=16_777_216).contains(&self.inbox_records) {
            add("inbox_records", "must be between 64 and 16777216");
        }
        if !(65_536..=1 << 30).contains(&self.max_lag_bytes) {
            add("max_lag_bytes", "must be between 65536 and 1073741824");
        }
        if self.tape_max_bytes < self.max_lag_bytes {
            add("tape_max_bytes", "must not be less than live.max_lag_bytes");
        }
        if self.tape_keep_bytes > self.tape_max_bytes {
            add("tape_keep_bytes", "must not be more than live.tape_max_bytes");
        }
        if !(1024..=1_048_576).contains(&self.batch_bytes) {
            add("batch_bytes", "must be between 1024 and 1048576");
        }
        for (key, seconds) in [
            ("room_linger_seconds", self.room_linger_seconds),
            ("presence_grace_seconds", self.presence_grace_seconds),
            ("presence_count_seconds", self.presence_count_seconds),
        ] {
            if seconds > 3600 {
                add(key, "must be at most 3600");
            }
        }
        wrong
    }

    pub(super) fn room_linger(&self) -> Duration {
        Duration::from_secs(self.room_linger_seconds)
    }

    pub(super) fn presence_grace(&self) -> Duration {
        Duration::from_secs(self.presence_grace_seconds)
    }

    pub(super) fn presence_count_every(&self) -> Duration {
        Duration::from_secs(self.presence_count_seconds)
    }

    pub(super) fn worker_count(&self) -> usize {
        match self.workers {
            0 => std::thread::available_parallelism().map_or(1, |cores| cores.get().min(8)),
            some => some,
        }
    }
}
