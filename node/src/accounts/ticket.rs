//! Tickets: who holds a token can open one WebSocket without putting the token into a URL.

use std::{net::IpAddr, time::Duration};

use rookery_protocol::id::{SessionId, UserId};

use super::{Accounts, Principal, Verified, digest, limits::Call, random};
use crate::problem::Problem;

#[derive(serde::Serialize, serde::Deserialize)]
struct Stored {
    user: UserId,
    session: SessionId,
    expires_at: i64,
}

/// Longest ticket that is looked at, in bytes; ours have 43.
const LONGEST: usize = 128;

fn ticket_invalid() -> Problem {
    Problem::new(401, "ticket_invalid", "The ticket is wrong, used or expired; ask for a new one.")
}

/// Tickets are stored under their hash: who reads keys has no tickets.
fn key(ticket: &str) -> String {
    format!("ticket:{}", digest(ticket))
}

impl Accounts {
    /// A ticket for one WebSocket, and how long it is good.
    ///
    /// # Errors
    /// 429, `unavailable`.
    pub async fn issue_ticket(&self, me: &Principal, address: IpAddr) -> Result<(String, Duration), Problem> {
        let user = me.profile.id;
        self.limit(Call::Ticket, address, &user.to_string()).await?;
        let ticket = random::token()?;
        let stored = Stored { user, session: me.session, expires_at: me.expires_at };
        let value = serde_json::to_vec(&stored).map_err(|_| Problem::internal())?;
        let life = Duration::from_secs(self.settings.ticket_seconds);
        self.ephemeral.put(&key(&ticket), value.into(), life).await?;
        Ok((ticket, life))
    }

    /// Uses up a ticket. What it opens ends with the access token that it was asked for with.
    ///
    /// # Errors
    /// 401 `ticket_invalid`, `token_expired` or `session_revoked`; `unavailable`.
    pub async fn redeem_ticket(&self, ticket: &str) -> Result<Principal, Problem> {
        if ticket.len() > LONGEST {
            return Err(ticket_invalid());
        }
        let value = self.ephemeral.take(&key(ticket)).await?.ok_or_else(ticket_invalid)?;
        let stored: Stored = serde_json::from_slice(&value).map_err(|_| ticket_invalid())?;
        let verified = Verified { user: stored.user, session: stored.session, expires_at: stored.expires_at };
        self.principal(verified).await
    }
}
