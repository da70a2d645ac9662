//! The backends of `standalone`: one process, one directory on disk.
//!
//! Here belong the implementations of the traits of `backend/`: [`Store`] (room logs and rows, durable), [`Ttl`]
//! (short-lived values), [`Mailbox`] (mails, kept instead of sent) or [`EmbeddedOutbox`], and [`EmbeddedReminders`]. No policy about rooms, accounts or sessions.
//! Why the store is built as it is, with figures: `docs/storage.md`.

mod clock;
#[cfg(test)]
pub(crate) mod for_tests;
pub(super) mod mailbox;
mod metrics;
mod outbox;
mod reminders;
mod settings;
mod store;
mod ttl;

pub use clock::{Clock, SystemClock};
pub use mailbox::Mailbox;
pub use metrics::StoreMetrics;
pub use outbox::EmbeddedOutbox;
pub use reminders::EmbeddedReminders;
pub use settings::StoreSettings;
pub use store::{Commit, FjallCommit, OpenError, Store};
pub use ttl::Ttl;
