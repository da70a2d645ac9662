//! Rate limits of calls.

use std::{net::IpAddr, sync::Arc};

use super::{digest, metrics::AccountsMetrics, settings::Limit, settings::LimitSettings};
use crate::{
    backend::{Ephemeral, Rate},
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
                self.metrics.limited(call);
                return Err(Problem::new(429, "rate_limited", "Too many tries; wait and try again.")
                    .retry_after(after));
            }
        }
        Ok(())
    }
}
