//! A new password for who reads the account's mail.

use std::{net::IpAddr, time::Duration};

use rookery_protocol::id::UserId;
use tokio::time::Instant;

use super::{
    Accounts, Secret,
    codes::{Purpose, code_invalid},
    limits::Call,
    password,
    register::email_field,
    same_time,
};
use crate::{backend::Mail, problem::Problem};

impl Accounts {
    /// Mails a code to the account's owner. Answers the same, in the same time, if there is none.
    ///
    /// # Errors
    /// 422 `invalid`, 429, `unavailable`.
    pub async fn forgot_password(&self, email: &str, address: IpAddr) -> Result<Duration, Problem> {
        let started = Instant::now();
        let email = email_field(email)?;
        self.limit(Call::Forgot, address, &email.canonical).await?;
        let owner = match self.users.by_email(&email.canonical).await? {
            Some(id) => self.users.load(id).await?,
            None => None,
        };
        let payload = owner.as_ref().map(|(account, _)| account.id);
        let code = self.codes.issue(Purpose::Reset, &email.canonical, payload).await?;
        if let Some((account, _)) = owner {
            let minutes = self.settings.reset_code_minutes;
            let mail = Mail::PasswordReset { code, username: account.username, minutes };
            self.mail(&account.email, &account.language, mail).await?;
        }
        same_time(started).await;
        Ok(Purpose::Reset.life(&self.settings))
    }

    /// Sets a new password, and ends every login of the user.
    ///
    /// # Errors
    /// 422 `invalid` (a weak password; the code stays good), 400 `code_invalid`, 429 `too_many_attempts`, 429, `unavailable`.
    pub async fn reset_password(
        &self,
        email: &str,
        code: &Secret,
        new: &Secret,
        address: IpAddr,
    ) -> Result<(), Problem> {
        let email = email_field(email)?;
        let weak = |why| Problem::invalid("password", why);
        password::check(new, &email.typed, None).map_err(weak)?;
        self.limit(Call::Reset, address, &email.canonical).await?;
        let checked = self.codes.check::<UserId>(Purpose::Reset, &email.canonical, code).await?;
        let user = self.users.find(checked.payload).await?.ok_or_else(code_invalid)?;
        password::check(new, &email.typed, Some(&user.profile.username)).map_err(weak)?;
        let hash = self.hasher.hash(new).await?;
        let id = checked.payload;
        self.codes.consume(&checked).await?;
        let changed = self.users.change(id, |account| {
            account.password.clone_from(&hash);
            account.epoch += 1;
        });
        match changed.await {
            Ok(Some(_)) => {}
            Ok(None) => return Err(code_invalid()),
            Err(problem) => {
                // He tries again, with the same code.
                self.codes.give_back(Purpose::Reset, &checked).await;
                return Err(problem);
            }
        }
        self.end_all_sessions(id).await;
        Ok(())
    }
}
