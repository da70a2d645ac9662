//! Users who perhaps have something unread that they should be told of by mail.

use std::time::Duration;

use async_trait::async_trait;
use rookery_protocol::id::UserId;

use super::Unavailable;

/// A user who is to be looked at now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Due {
    /// Who.
    pub user: UserId,
    /// The backend's name for this occasion.
    pub ticket: String,
}

/// Each user is waited for once, however many remind of him. Lasts over restarts.
#[async_trait]
pub trait Reminders: Send + Sync {
    /// Has somebody look at a user when `after` has passed. Changes nothing if a look at him is to come already; one that has begun may
    /// have missed the reason, and does not count.
    async fn remind(&self, user: UserId, after: Duration) -> Result<(), Unavailable>;

    /// Waits for a user who is to be looked at now. Who is neither put off nor done with comes again, after a minute at most.
    async fn due(&self) -> Result<Due, Unavailable>;

    /// Has him looked at when `after` has passed, and not before, whoever reminded of him since he was due.
    async fn put_off(&self, due: &Due, after: Duration) -> Result<(), Unavailable>;

    /// He has been looked at.
    async fn done(&self, due: &Due) -> Result<(), Unavailable>;
}
