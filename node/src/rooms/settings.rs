//! Settings of rooms.

use std::time::Duration;

use crate::settings::Wrong;

/// Settings of rooms, under `rooms`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RoomsSettings {
    /// Longest text of a message, in characters. 1 to 65,536.
    pub text_chars: u32,
    /// Most members of a room. 2 to 1,000,000.
    pub members: u32,
    /// Most rooms that one user is in, whoever brings him there. 1 to 10,000.
    pub rooms_per_user: usize,
    /// A repeated `client_msg_id` is recognised for so many seconds. 60 to 86,400.
    pub dedupe_seconds: u64,
    /// Most commands that wait for one room; more are answered `unavailable` at once. 1 to 1,000,000.
    pub waiting_commands: usize,
    /// A command not done after so many milliseconds is answered `unavailable`. 100 to 60,000.
    pub deadline_ms: u64,
    /// A room without commands for so many seconds leaves memory. 1 to 86,400.
    pub idle_seconds: u64,
    /// Most rooms in memory at once; the one used longest ago makes place. 1 to 10,000,000.
    pub active: usize,
    /// Read marks reach the disk at the latest after so many milliseconds. 10 to 60,000.
    pub read_mark_flush_ms: u64,
    /// Events are kept for so many days at least, unless a room's owners want less; 0: for ever. At most 36,500. The newest 256
    /// of a room always stay.
    pub retention_days: u64,
}

impl Default for RoomsSettings {
    fn default() -> Self {
        Self {
            text_chars: 4000,
            members: 10_000,
            rooms_per_user: 1000,
            dedupe_seconds: 3600,
            waiting_commands: 10_000,
            deadline_ms: 5000,
            idle_seconds: 300,
            active: 10_000,
            read_mark_flush_ms: 500,
            retention_days: 0,
        }
    }
}

impl RoomsSettings {
    /// What cannot be accepted.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut within = |key: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                let why = format!("must be between {least} and {most}");
                wrong.push(Wrong { key: format!("rooms.{key}"), why });
            }
        };
        within("text_chars", self.text_chars.into(), 1, 65_536);
        within("members", self.members.into(), 2, 1_000_000);
        within("rooms_per_user", self.rooms_per_user as u64, 1, 10_000);
        within("dedupe_seconds", self.dedupe_seconds, 60, 86_400);
        within("waiting_commands", self.waiting_commands as u64, 1, 1_000_000);
        within("deadline_ms", self.deadline_ms, 100, 60_000);
        within("idle_seconds", self.idle_seconds, 1, 86_400);
        within("active", self.active as u64, 1, 10_000_000);
        within("read_mark_flush_ms", self.read_mark_flush_ms, 10, 60_000);
        within("retention_days", self.retention_days, 0, 36_500);
        wrong
    }

    /// Time after which a command is given up.
    pub(super) fn deadline(&self) -> Duration {
        Duration::from_millis(self.deadline_ms)
    }

    /// Time without commands after which a room leaves memory.
    pub(super) fn idle(&self) -> Duration {
        Duration::from_secs(self.idle_seconds)
    }

    /// Time after which events may go; `None`: never.
    pub(super) fn retention(&self) -> Option<Duration> {
        (self.retention_days > 0).then(|| Duration::from_secs(self.retention_days * 24 * 3600))
    }

    /// Time after which read marks are on disk.
    pub(super) fn read_mark_flush(&self) -> Duration {
        Duration::from_millis(self.read_mark_flush_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_accepted_and_wrong_ones_named() {
        assert_eq!(RoomsSettings::default().check(), []);
        let wrong = RoomsSettings { active: 0, ..RoomsSettings::default() }.check();
        assert_eq!(wrong[0].key, "rooms.active");
    }
}
