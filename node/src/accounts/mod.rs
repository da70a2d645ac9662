//! Accounts: who somebody is, and how he proves it.
//!
//! Registration, login, codes, sessions, access tokens, tickets, users. No HTTP here: `edge/http` maps calls
//! to these methods and their [`Problem`](crate::problem::Problem)s to answers.

use std::sync::Arc;

use rookery_core::room::Profile;
use rookery_protocol::id::{SessionId, UserId};

use crate::problem::Problem;

/// A user who has proved who he is.
#[derive(Debug, Clone)]
pub struct Principal {
    /// Shared by all his connections on this node.
    pub profile: Arc<Profile>,
    /// BCP 47 tag.
    pub language: Arc<str>,
    /// When the account was made, Unix milliseconds.
    pub created_at: i64,
    /// His login.
    pub session: SessionId,
    /// When the access token ends, Unix milliseconds.
    pub expires_at: i64,
}

/// Logins that ended: their connections must be closed within a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Revocation {
    /// One login.
    Session(SessionId),
    /// All logins of a user.
    User(UserId),
}

/// The accounts of this service. One per node.
pub struct Accounts {
    revocations: tokio::sync::broadcast::Sender<Revocation>,
}

impl Accounts {
    /// Checks an access token: signature, times, issuer, audience, and that its login has not ended.
    ///
    /// # Errors
    /// 401 `token_invalid` or `token_expired`; `unavailable`.
    pub async fn authenticate(&self, _token: &str) -> Result<Principal, Problem> {
        Err(Problem::unavailable("Accounts are not served yet."))
    }

    /// Uses up a ticket.
    ///
    /// # Errors
    /// 401 `ticket_invalid`; `unavailable`.
    pub async fn redeem_ticket(&self, _ticket: &str) -> Result<Principal, Problem> {
        Err(Problem::unavailable("Accounts are not served yet."))
    }

    /// Logins that end from now on.
    pub fn revocations(&self) -> tokio::sync::broadcast::Receiver<Revocation> {
        self.revocations.subscribe()
    }
}
