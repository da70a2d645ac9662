//! Logins by somebody else: OpenID providers that the operator of the service trusts ("issuers").
//!
//! An application logs its user in there, as with any OpenID provider, and gives us the ID token that it got. Here is what that is worth:
//! whether it is the issuer's ([`issuer`], [`id_token`]), whose account it opens ([`identity`]), and what becomes of somebody who has none.
//! How applications talk to the provider, and what it asks of its users, is none of our business: no redirects, no client secrets.

mod id_token;
mod identity;
mod issuer;
mod settings;

use std::{net::IpAddr, time::Duration};

use bytes::Bytes;
use rookery_protocol::id::UserId;

pub(super) use issuer::Issuers;
pub(super) use settings::check;
pub use {
    identity::{Identity, IdentityOf},
    settings::IssuerSettings,
};

use self::{
    id_token::{Person, invalid},
    identity::Holder,
};
use super::{
    Account, Accounts, LoggedIn, Secret, digest,
    email::Email,
    limits::Call,
    names::{self, Username},
    register::{new_id, username_taken},
    users::Created,
};
use crate::{
    backend::{Expect, Row},
    problem::Problem,
};

/// An issuer, as applications have to know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownIssuer {
    /// What the service calls it.
    pub name: String,
    /// Its address: where discovery begins.
    pub url: String,
    /// Clients whose ID tokens are taken.
    pub audiences: Vec<String>,
}

/// A login by an ID token.
#[derive(Debug, Clone)]
pub struct ExternalLogin {
    /// The token.
    pub id_token: Secret,
    /// What the token must have as `nonce`, where the application sent one.
    pub nonce: Option<String>,
    /// For a new account: unique name. By default what the issuer tells, if it can be had.
    pub username: Option<String>,
    /// For a new account: name to show. By default what the issuer tells, or the username.
    pub display_name: Option<String>,
    /// For a new account: BCP 47 tag. By default what the issuer tells, or `en`.
    pub language: Option<String>,
}

/// What an ID token leads to.
pub struct Entered {
    /// As after a right password.
    pub logged_in: LoggedIn,
    /// An account was made for it.
    pub made: bool,
}

impl Accounts {
    /// The issuers whose users may log in.
    pub fn issuers(&self) -> Vec<KnownIssuer> {
        let all = self.settings.external_issuers.iter();
        all.map(|(name, issuer)| KnownIssuer {
            name: name.clone(),
            url: issuer.url.clone(),
            audiences: issuer.audiences.clone(),
        })
        .collect()
    }

    /// Logs in by an ID token, which is good once. Whom nobody knows gets an account.
    ///
    /// A user who wants a code by mail at each login gets one here too; that the service wants one of everybody does not count:
    /// how its users prove who they are is the issuer's business.
    ///
    /// # Errors
    /// 401 `id_token_invalid`; 403 `email_unverified`; 409 `email_taken` (log in there, then [`Self::add_identity`]), 409
    /// `username_taken`; 422 `invalid` with fields (also where a username has to be chosen); 429; `unavailable` (also when the
    /// issuer's keys cannot be read).
    pub async fn log_in_external(
        &self,
        request: &ExternalLogin,
        address: IpAddr,
    ) -> Result<Entered, Problem> {
        let person = self.person(&request.id_token, request.nonce.as_deref(), address).await?;
        self.enter(&person, request).await.inspect_err(|problem| {
            if problem.status < 500 {
                self.metrics.login("external_refused");
            }
        })
    }

    async fn enter(&self, person: &Person, request: &ExternalLogin) -> Result<Entered, Problem> {
        let (account, made) = match self.holder(&person.identity).await? {
            Holder { user: Some(account), .. } => (account, false),
            vacant => match self.newcomer(person, vacant, request).await {
                Ok(found) => found,
                Err(problem) => {
                    // Perhaps what is in his way is his own account, made by another login at the same moment, or by a try that was not
                    // answered.
                    let made = self.holder(&person.identity).await?.user;
                    (made.ok_or(problem)?, false)
                }
            },
        };
        self.use_up(&request.id_token, person).await?;
        let needs_code = account.login_code;
        Ok(Entered { logged_in: self.let_in(account, needs_code).await?, made })
    }

    /// Whose a token is, if it was not used.
    async fn person(&self, token: &Secret, nonce: Option<&str>, address: IpAddr) -> Result<Person, Problem> {
        // The account of a limit must be something a stranger cannot name: the token itself, hashed.
        let key = digest(token.expose());
        self.limit(Call::External, address, &key).await?;
        let person = self.issuers.read(token, nonce).await.inspect_err(|problem| {
            if problem.status < 500 {
                self.metrics.login("id_token_invalid");
            }
        })?;
        if self.ephemeral.get(&used(token)).await?.is_some() {
            return Err(used_before());
        }
        Ok(person)
    }

    /// Of several who use the same token, one is let in.
    async fn use_up(&self, token: &Secret, person: &Person) -> Result<(), Problem> {
        let life = person.good_for.max(Duration::from_secs(1));
        let first = self.ephemeral.swap(&used(token), None, Bytes::from_static(b"1"), life).await?;
        if first { Ok(()) } else { Err(used_before()) }
    }

    /// The account of somebody whose identity is nobody's yet, and whether it was made for him.
    async fn newcomer(
        &self,
        person: &Person,
        vacant: Holder,
        request: &ExternalLogin,
    ) -> Result<(Account, bool), Problem> {
        let Some(email) = person.email.as_ref().filter(|_| person.email_is_his) else {
            return Err(Problem::new(
                403,
                "email_unverified",
                "The issuer does not say that it has verified an e-mail address of yours. Applications ask for it by the scope email.",
            ));
        };
        if let Some(owner) = self.users.by_email(&email.canonical).await? {
            return self.joined(owner, person, vacant).await.map(|account| (account, false));
        }
        let account = self.account_of(email, person, request).await?;
        self.make(&account, vacant.row_for(&person.identity, account.id)).await?;
        Ok((account, true))
    }

    /// The account that has the e-mail address of somebody, who gets it if the issuer is trusted with that.
    async fn joined(&self, owner: UserId, person: &Person, vacant: Holder) -> Result<Account, Problem> {
        if !person.issuer_is_trusted {
            return Err(Problem::new(
                409,
                "email_taken",
                "There is an account with your e-mail address. Log in to it, and add this login to it.",
            ));
        }
        let account = self.attach(owner, &person.identity, vacant).await?;
        tracing::info!(user = %owner, issuer = person.identity.issuer, "an account was joined by its e-mail address");
        self.metrics.registration("external_joined");
        Ok(account)
    }

    /// Makes an account together with the row of its identity.
    async fn make(&self, account: &Account, index: (Row, Expect)) -> Result<(), Problem> {
        match self.users.create(account, Some(index)).await? {
            Created::Done => {}
            Created::NameTaken => {
                self.metrics.registration("username_taken");
                return Err(username_taken());
            }
            Created::EmailTaken | Created::There => {
                return Err(Problem::unavailable("The account is being made; try again."));
            }
        }
        self.metrics.registration("external");
        self.welcome(account).await;
        Ok(())
    }

    /// A new account, by what was asked for and what the issuer tells.
    async fn account_of(
        &self,
        email: &Email,
        person: &Person,
        request: &ExternalLogin,
    ) -> Result<Account, Problem> {
        let name = self.username(person, request).await?;
        let shown = match &request.display_name {
            Some(text) => names::display_name(text).map_err(|why| Problem::invalid("display_name", why))?,
            None => {
                let told = person.name.as_deref().and_then(|text| names::display_name(text).ok());
                told.unwrap_or_else(|| name.shown.clone())
            }
        };
        let language = match &request.language {
            Some(text) => names::language(text).map_err(|why| Problem::invalid("language", why))?,
            None => {
                // Some write en_US.
                let told = person.locale.as_ref().map(|text| text.replace('_', "-"));
                told.and_then(|text| names::language(&text).ok()).unwrap_or_else(|| "en".to_owned())
            }
        };
        // No password: one can be set by mail, as if it had been forgotten.
        let account = Account::new(new_id()?, email.clone(), name, shown, language, String::new());
        Ok(Account { identities: vec![person.identity.clone()], ..account })
    }

    /// The name that was asked for, or one that the issuer tells and that can be had.
    async fn username(&self, person: &Person, request: &ExternalLogin) -> Result<Username, Problem> {
        if let Some(text) = &request.username {
            let name = Username::choose(text).map_err(|why| Problem::invalid("username", why))?;
            return if self.users.name_is_taken(&name).await? { Err(username_taken()) } else { Ok(name) };
        }
        for text in &person.usernames {
            // At some issuers it is an e-mail address.
            let text = text.split('@').next().unwrap_or_default();
            if let Ok(name) = Username::choose(text)
                && !self.users.name_is_taken(&name).await?
            {
                return Ok(name);
            }
        }
        Err(Problem::invalid("username", "Choose a username: the issuer tells none that can be had."))
    }
}

fn used(token: &Secret) -> String {
    format!("id-token:{}", digest(token.expose()))
}

fn used_before() -> Problem {
    invalid("The ID token was used before; get a new one.")
}
