//! Ending mails about messages with one click, without logging in (RFC 8058).

use rookery_protocol::id::UserId;
use subtle::ConstantTimeEq as _;

use super::{Account, Accounts, MailAbout, codes};
use crate::{backend::bus::News, problem::Problem};

fn wrong() -> Problem {
    Problem::new(400, "token_invalid", "This link is not whole; change the setting in your account instead.")
}

impl Accounts {
    /// What a link in a mail holds: whoever has it can end mails to this user, and do nothing else.
    pub fn unsubscribe_token(&self, user: UserId) -> String {
        let user = user.to_string();
        format!("{user}.{}", codes::mac(&self.mac_secret, &["unsubscribe", &user]))
    }

    fn of_token(&self, token: &str) -> Option<UserId> {
        let user: UserId = token.split_once('.')?.0.parse().ok()?;
        let wanted = self.unsubscribe_token(user);
        bool::from(wanted.as_bytes().ct_eq(token.as_bytes())).then_some(user)
    }

    /// Ends mails about messages to whom the token is for. Doing it again changes nothing.
    ///
    /// # Errors
    /// 400 `token_invalid`; `unavailable`.
    pub async fn unsubscribe(&self, token: &str) -> Result<(), Problem> {
        let user = self.of_token(token).ok_or_else(wrong)?;
        // A deleted user gets no mails either.
        self.users.change(user, |account| account.mail_about = MailAbout::Off).await?;
        self.news.tell(News::UserChanged { user });
        Ok(())
    }

    /// The account of a user to whom something may be mailed.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn to_be_told(&self, user: UserId) -> Result<Option<Account>, Problem> {
        Ok(self.users.load(user).await?.map(|(account, _)| account))
    }
}
