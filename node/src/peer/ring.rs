//! The ring as the streams between nodes tell of it: every message says of which revision its sender's is, so that whoever
//! is behind notices, whichever side it is on.

use std::sync::Arc;

use rookery_core::ring::View;
use tokio::sync::watch;

/// Told of a revision that another node has seen and this one has not, so that it looks at once. Must not block.
pub type OnBehind = Box<dyn Fn(u64) + Send + Sync>;

pub(super) struct Ring {
    views: watch::Receiver<Arc<View>>,
    on_behind: OnBehind,
}

impl Ring {
    pub(super) fn new(views: watch::Receiver<Arc<View>>, on_behind: OnBehind) -> Self {
        Self { views, on_behind }
    }

    /// What this node's messages say.
    pub(super) fn revision(&self) -> u64 {
        self.views.borrow().revision()
    }

    /// What a message of another node says.
    pub(super) fn heard(&self, revision: u64) {
        if revision > self.revision() {
            (self.on_behind)(revision);
        }
    }
}
