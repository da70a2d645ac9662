//! Who has deleted his account, and may still be in rooms: noted in the same step as the deletion, so that a crash in
//! between forgets nobody. What is done about it is the business of [`crate::departures`].

use std::sync::Arc;

use bytes::Bytes;
use rookery_core::room::Profile;
use rookery_protocol::id::UserId;

use super::{Account, Accounts};
use crate::{
    backend::{Expect, Row, Rows, Table},
    problem::Problem,
};

/// Somebody who has deleted his account.
#[derive(Debug, Clone)]
pub struct Departure {
    /// As he was.
    pub user: Arc<Profile>,
    /// When he did, Unix milliseconds.
    pub at: i64,
    revision: u64,
}

/// As it is stored. Fields may be added, with defaults.
#[derive(serde::Serialize, serde::Deserialize)]
struct Stored {
    username: String,
    display_name: String,
    at: i64,
}

/// The value of the row that notes the deletion of an account.
pub(super) fn value(account: &Account, at: i64) -> Result<Bytes, Problem> {
    let (username, display_name) = (account.username.clone(), account.display_name.clone());
    serde_json::to_vec(&Stored { username, display_name, at })
        .map(Bytes::from)
        .map_err(|_| Problem::internal())
}

/// Up to `limit` of those after `after`, in the order of their ids.
pub(super) async fn read(
    rows: &dyn Rows,
    after: Option<UserId>,
    limit: usize,
) -> Result<Vec<Departure>, Problem> {
    let after = after.map(UserId::to_bytes);
    let found = rows.scan(Table::Departures, &[], after.as_ref().map(|key| &key[..]), limit).await?;
    Ok(found
        .into_iter()
        .filter_map(|entry| {
            let id = UserId::from_bytes(entry.key.as_ref().try_into().ok()?);
            let Ok(Stored { username, display_name, at }) = serde_json::from_slice(&entry.value) else {
                tracing::error!(user = %id, "a stored departure cannot be read");
                return None;
            };
            let user = Arc::new(Profile { id, username, display_name });
            Some(Departure { user, at, revision: entry.revision })
        })
        .collect())
}

impl Accounts {
    /// Who has deleted his account and may still be in rooms: up to `limit` after `after`, in the order of their ids.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn departures(&self, after: Option<UserId>, limit: usize) -> Result<Vec<Departure>, Problem> {
        read(&*self.rows, after, limit).await
    }

    /// Nothing is left to do for him.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn departed(&self, departure: &Departure) -> Result<(), Problem> {
        let key = Bytes::copy_from_slice(&departure.user.id.to_bytes());
        let row = Row { table: Table::Departures, key, value: None };
        // That another node was faster is as well.
        self.rows.write(vec![(row, Expect::Revision(departure.revision))]).await?;
        Ok(())
    }

    /// Waits until somebody deletes his account through this node.
    pub async fn somebody_departs(&self) {
        self.departs.notified().await;
    }

    /// For how long another node may still take somebody for a user who is none any more.
    pub fn remembered_for(&self) -> std::time::Duration {
        std::time::Duration::from_secs(self.settings.cache_seconds)
    }
}
