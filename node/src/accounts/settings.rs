//! Settings of accounts.

use std::{collections::BTreeMap, fmt, time::Duration};

use super::external::{self, IssuerSettings};
use crate::{backend::Quota, settings::Wrong};

/// Settings of accounts, under `accounts`.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AccountsSettings {
    /// `iss` of access tokens: name or URL of this service.
    pub issuer: String,
    /// `aud` of access tokens: whom they are for.
    pub audience: String,
    /// Life of an access token, in seconds.
    pub access_token_seconds: u64,
    /// A login ends when it was not refreshed for so many days.
    pub refresh_token_days: u64,
    /// Life of a ticket, in seconds.
    pub ticket_seconds: u64,
    /// A new key signs access tokens after so many days.
    pub key_rotation_days: u64,
    /// Digits of a code, 6 to 8.
    pub code_digits: u8,
    /// Life of a registration and its code, in minutes.
    pub register_code_minutes: u64,
    /// Life of a login code, in minutes.
    pub login_code_minutes: u64,
    /// Life of a code for a new password, in minutes.
    pub reset_code_minutes: u64,
    /// Every login needs a code by mail; otherwise only those of users who asked for it.
    pub require_login_code: bool,
    /// Logins that a user can have at once; another one ends the oldest. 1 to 1000.
    pub sessions_per_user: usize,
    /// Passwords hashed at once; each takes 19 MiB. 0: one per core.
    pub hashing_threads: usize,
    /// Passwords that may wait for that; more are answered 503.
    pub hashing_queue: usize,
    /// Users, logins and access tokens kept in memory, each.
    pub cache_entries: usize,
    /// What is kept in memory is looked up again after so many seconds.
    pub cache_seconds: u64,
    /// OpenID providers whose users may log in, by name. At most 16.
    pub external_issuers: BTreeMap<String, IssuerSettings>,
    /// Rate limits.
    pub limits: LimitSettings,
}

impl Default for AccountsSettings {
    fn default() -> Self {
        Self {
            issuer: "rookery".into(),
            audience: "rookery".into(),
            access_token_seconds: 15 * 60,
            refresh_token_days: 30,
            ticket_seconds: 30,
            key_rotation_days: 30,
            code_digits: 6,
            register_code_minutes: 15,
            login_code_minutes: 15,
            reset_code_minutes: 15,
            require_login_code: false,
            sessions_per_user: 50,
            hashing_threads: 0,
            hashing_queue: 256,
            cache_entries: 100_000,
            cache_seconds: 60,
            external_issuers: BTreeMap::new(),
            limits: LimitSettings::default(),
        }
    }
}

impl AccountsSettings {
    /// What cannot be accepted.
    pub fn check(&self) -> Vec<Wrong> {
        let mut wrong = Vec::new();
        let mut within = |key: &str, value: u64, least: u64, most: u64| {
            if !(least..=most).contains(&value) {
                let why = format!("must be between {least} and {most}");
                wrong.push(Wrong { key: format!("accounts.{key}"), why });
            }
        };
        within("access_token_seconds", self.access_token_seconds, 5, 86_400);
        within("refresh_token_days", self.refresh_token_days, 1, 3650);
        within("ticket_seconds", self.ticket_seconds, 1, 600);
        within("key_rotation_days", self.key_rotation_days, 1, 3650);
        within("code_digits", self.code_digits.into(), 6, 8);
        within("register_code_minutes", self.register_code_minutes, 1, 1440);
        within("login_code_minutes", self.login_code_minutes, 1, 1440);
        within("reset_code_minutes", self.reset_code_minutes, 1, 1440);
        within("sessions_per_user", self.sessions_per_user as u64, 1, 1000);
        within("hashing_threads", self.hashing_threads as u64, 0, 256);
        within("hashing_queue", self.hashing_queue as u64, 1, 100_000);
        within("cache_entries", self.cache_entries as u64, 16, 100_000_000);
        within("cache_seconds", self.cache_seconds, 1, 3600);
        for (key, text) in [("issuer", &self.issuer), ("audience", &self.audience)] {
            within(key, text.len() as u64, 1, 256);
        }
        let issuers = external::check(&self.external_issuers);
        wrong.extend(issuers.into_iter().map(|(key, why)| Wrong { key: format!("accounts.{key}"), why }));
        wrong
    }

    pub(super) fn access_token_life(&self) -> Duration {
        Duration::from_secs(self.access_token_seconds)
    }

    pub(super) fn refresh_token_life(&self) -> Duration {
        Duration::from_secs(self.refresh_token_days * 86_400)
    }
}

/// Rate limits of the calls that need no access token, of tickets, and of what a user does, each as `"20/600s"` (20 at once, refilled evenly over
/// 600 seconds) or `"off"`.
///
/// `per_address`: from one IPv4 address or IPv6 /64. `per_account`: for one e-mail address, login name or user, whether or
/// not there is such an account. `global`: in all.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "the scheme of the names is explained above")]
pub struct LimitSettings {
    pub register_per_address: Limit,
    pub register_per_account: Limit,
    pub register_global: Limit,
    pub verify_per_address: Limit,
    pub verify_per_account: Limit,
    pub verify_global: Limit,
    pub resend_per_address: Limit,
    pub resend_per_account: Limit,
    pub resend_global: Limit,
    pub login_per_address: Limit,
    pub login_per_account: Limit,
    pub login_global: Limit,
    pub login_verify_per_address: Limit,
    pub login_verify_per_account: Limit,
    pub login_verify_global: Limit,
    pub refresh_per_address: Limit,
    pub refresh_per_account: Limit,
    pub refresh_global: Limit,
    pub forgot_per_address: Limit,
    pub forgot_per_account: Limit,
    pub forgot_global: Limit,
    pub reset_per_address: Limit,
    pub reset_per_account: Limit,
    pub reset_global: Limit,
    pub external_per_address: Limit,
    pub external_per_account: Limit,
    pub external_global: Limit,
    pub ticket_per_address: Limit,
    pub ticket_per_account: Limit,
    pub ticket_global: Limit,
    /// All calls of a user that change something: messages, reactions, rooms, members, his account. Each node counts by itself.
    pub write_per_account: Limit,
    /// A user's calls that look at much: his rooms, public rooms, history in translation. Each node counts by itself.
    pub list_per_account: Limit,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            register_per_address: Limit::of(500, 3600),
            register_per_account: Limit::of(10, 3600),
            register_global: Limit::of(5000, 600),
            verify_per_address: Limit::of(1000, 600),
            verify_per_account: Limit::of(30, 600),
            verify_global: Limit::of(20_000, 600),
            resend_per_address: Limit::of(200, 3600),
            resend_per_account: Limit::of(5, 600),
            resend_global: Limit::of(5000, 600),
            login_per_address: Limit::of(1000, 600),
            login_per_account: Limit::of(30, 300),
            login_global: Limit::of(20_000, 600),
            login_verify_per_address: Limit::of(1000, 600),
            login_verify_per_account: Limit::of(30, 600),
            login_verify_global: Limit::of(20_000, 600),
            refresh_per_address: Limit::of(5000, 600),
            refresh_per_account: Limit::of(120, 600),
            refresh_global: Limit::of(200_000, 600),
            forgot_per_address: Limit::of(200, 3600),
            forgot_per_account: Limit::of(5, 600),
            forgot_global: Limit::of(5000, 600),
            reset_per_address: Limit::of(200, 600),
            reset_per_account: Limit::of(30, 600),
            reset_global: Limit::of(5000, 600),
            external_per_address: Limit::of(1000, 600),
            external_per_account: Limit::of(30, 300),
            external_global: Limit::of(20_000, 600),
            ticket_per_address: Limit::of(10_000, 600),
            ticket_per_account: Limit::of(300, 60),
            ticket_global: Limit::of(500_000, 600),
            write_per_account: Limit::of(600, 60),
            list_per_account: Limit::of(120, 60),
        }
    }
}

/// A rate limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Limit(Option<Quota>);

impl Limit {
    /// No limit.
    pub const OFF: Self = Self(None);

    /// `burst` at once, refilled evenly over `seconds`.
    pub const fn of(burst: u32, seconds: u64) -> Self {
        Self(Some(Quota { burst, per: Duration::from_secs(seconds) }))
    }

    /// The limit; `None`: there is none.
    pub fn quota(self) -> Option<Quota> {
        self.0
    }
}

impl TryFrom<String> for Limit {
    type Error = &'static str;
    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text == "off" {
            return Ok(Self::OFF);
        }
        let parse = || {
            let (burst, seconds) = text.strip_suffix('s')?.split_once('/')?;
            let (burst, seconds) = (burst.trim().parse().ok()?, seconds.trim().parse().ok()?);
            (burst > 0 && (1..=604_800).contains(&seconds)).then(|| Self::of(burst, seconds))
        };
        parse().ok_or(
            "a limit is written as \"20/600s\" (20 at once, refilled over 600 seconds, at most 604800) or \"off\"",
        )
    }
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(quota) => write!(f, "{}/{}s", quota.burst, quota.per.as_secs()),
            None => f.write_str("off"),
        }
    }
}

impl From<Limit> for String {
    fn from(limit: Limit) -> Self {
        limit.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_text() {
        for text in ["20/600s", "off", "1/1s"] {
            assert_eq!(Limit::try_from(text.to_owned()).unwrap().to_string(), text);
        }
        for text in ["", "20", "20/600", "0/5s", "5/0s", "-1/5s", "5/9999999s", "a/bs"] {
            assert!(Limit::try_from(text.to_owned()).is_err(), "{text}");
        }
    }

    #[test]
    fn defaults_are_accepted() {
        assert_eq!(AccountsSettings::default().check(), []);
        let wrong = AccountsSettings { code_digits: 5, ..AccountsSettings::default() }.check();
        assert_eq!(wrong[0].key, "accounts.code_digits");
    }
}
