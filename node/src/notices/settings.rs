//! When users are told by mail what they have not read.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::settings::Wrong;

/// `[notices]`
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NoticesSettings {
    /// Whether users are told at all.
    pub enabled: bool,
    /// Something must be unread for so long. 1 to 86,400.
    pub delay_seconds: u64,
    /// One mail to a user in this time, at most. 0 to 604,800.
    pub window_seconds: u64,
}

impl Default for NoticesSettings {
    fn default() -> Self {
        Self { enabled: true, delay_seconds: 120, window_seconds: 900 }
    }
}

impl NoticesSettings {
    /// What cannot work.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut no =
            |key: &str, why: &str| wrong.push(Wrong { key: format!("notices.{key}"), why: why.to_owned() });
        if !(1..=86_400).contains(&self.delay_seconds) {
            no("delay_seconds", "must be 1 to 86400");
        }
        if self.window_seconds > 604_800 {
            no("window_seconds", "must be at most 604800");
        }
        wrong
    }

    pub(super) fn delay(&self) -> Duration {
        Duration::from_secs(self.delay_seconds)
    }

    pub(super) fn window(&self) -> Duration {
        Duration::from_secs(self.window_seconds)
    }
}
