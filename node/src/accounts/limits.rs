//! Rate limits of calls.

use std::{net::IpAddr, sync::Arc, time::Instant};

use rookery_protocol::id::UserId;

use super::{cache::Recent, digest, metrics::AccountsMetrics, settings::Limit, settings::LimitSettings};
use crate::{
    backend::{Ephemeral, Rate, quota},
    problem::Problem,
};

/// A call that is limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Call {
    Register,
    Verify,
    Resend,
    Login,
    LoginVerify,
    Refresh,
    Forgot,
    Reset,
    External,
    Ticket,
}

impl Call {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Register => "register",
            Self::Verify => "verify",
            Self::Resend => "resend",
            Self::Login => "login",
            Self::LoginVerify => "login_verify",
            Self::Refresh => "refresh",
            Self::Forgot => "forgot",
            Self::Reset => "reset",
            Self::External => "external",
            Self::Ticket => "ticket",
        }
    }

    fn limits(self, all: &LimitSettings) -> [Limit; 3] {
        match self {
            Self::Register => [all.register_per_address, all.register_per_account, all.register_global],
            Self::Verify => [all.verify_per_address, all.verify_per_account, all.verify_global],
            Self::Resend => [all.resend_per_address, all.resend_per_account, all.resend_global],
            Self::Login => [all.login_per_address, all.login_per_account, all.login_global],
            Self::LoginVerify => {
                [all.login_verify_per_address, all.login_verify_per_account, all.login_verify_global]
            }
            Self::Refresh => [all.refresh_per_address, all.refresh_per_account, all.refresh_global],
            Self::Forgot => [all.forgot_per_address, all.forgot_per_account, all.forgot_global],
            Self::Reset => [all.reset_per_address, all.reset_per_account, all.reset_global],
            Self::External => [all.external_per_address, all.external_per_account, all.external_global],
            Self::Ticket => [all.ticket_per_address, all.ticket_per_account, all.ticket_global],
        }
    }
}

/// Counts calls.
pub(super) struct Limits {
    pub(super) settings: LimitSettings,
    pub(super) ephemeral: Arc<dyn Ephemeral>,
    pub(super) metrics: AccountsMetrics,
}

impl Limits {
    /// Takes one call from each quota that it falls under. `account` is what the caller says, whether or not it exists:
    /// so the answer tells nothing.
    ///
    /// The address comes first: who has used up his own share cannot use up that of an account or of all.
    ///
    /// # Errors
    /// 429 `rate_limited`; `unavailable`.
    pub(super) async fn take(&self, call: Call, address: IpAddr, account: &str) -> Result<(), Problem> {
        let name = call.name();
        let [per_address, per_account, global] = call.limits(&self.settings);
        let all = [
            (per_address, format!("rate:{name}:address:{address}")),
            // Hashed: it may be long, and is nobody's business.
            (per_account, format!("rate:{name}:account:{}", digest(account))),
            (global, format!("rate:{name}:global")),
        ];
        for (limit, key) in all {
            let Some(quota) = limit.quota() else { continue };
            if let Rate::RetryAfter(after) = self.ephemeral.rate(&key, quota).await? {
                self.metrics.limited(name);
                return Err(Problem::new(429, "rate_limited", "Too many tries; wait and try again.")
                    .retry_after(after));
            }
        }
        Ok(())
    }
}

/// What a user who is logged in does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Changes something.
    Write,
    /// Looks at much.
    List,
}

/// Counts what users do, in this node's memory: asking Redis each time would cost more than many of these calls do. Whom it has
/// forgotten begins anew.
pub(super) struct Acts {
    started: Instant,
    /// When what each has done is paid for, by [`Act`].
    due: Recent<UserId, [u64; 2]>,
}

impl Acts {
    /// Remembers so many users.
    pub(super) fn new(users: usize) -> Self {
        Self { started: Instant::now(), due: Recent::new(users) }
    }

    fn take(&self, user: UserId, act: Act, limit: Limit) -> Rate {
        let Some(quota) = limit.quota() else { return Rate::Allowed };
        let now = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let mut rate = Rate::Allowed;
        self.due.update(user, |due| {
            let mut due = due.copied().unwrap_or_default();
            rate = quota::take(&mut due[act as usize], now, quota);
            Some(due)
        });
        rate
    }
}

impl super::Accounts {
    /// Takes an act of a user's from his quota.
    ///
    /// # Errors
    /// 429 `rate_limited`.
    pub fn count(&self, user: UserId, act: Act) -> Result<(), Problem> {
        let limits = &self.limits.settings;
        let (limit, name) = match act {
            Act::Write => (limits.write_per_account, "write"),
            Act::List => (limits.list_per_account, "list"),
        };
        let Rate::RetryAfter(after) = self.acts.take(user, act, limit) else { return Ok(()) };
        self.metrics.limited(name);
        Err(Problem::new(429, "rate_limited", "Too many calls; wait and try again.").retry_after(after))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_has_quotas_of_his_own() {
        let acts = Acts::new(1_000);
        let limit = Limit::of(3, 604_800);
        for user in [UserId(1), UserId(2)] {
            for act in [Act::Write, Act::List] {
                for _ in 0..3 {
                    assert_eq!(acts.take(user, act, limit), Rate::Allowed);
                }
                assert!(matches!(acts.take(user, act, limit), Rate::RetryAfter(_)));
                assert_eq!(acts.take(user, act, Limit::OFF), Rate::Allowed);
            }
        }
    }
}
