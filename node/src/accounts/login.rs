//! Logins: password, code where one is asked for, refresh, logout.

use std::{net::IpAddr, sync::Arc, time::Duration};

use rookery_protocol::id::{SessionId, UserId};
use sha2::{Digest, Sha256};

use super::{
    Accounts, Principal, Secret, User, Verified,
    codes::{Purpose, code_invalid},
    digest,
    email::Email,
    limits::Call,
    millis,
    names::Username,
    random, session_revoked,
    sessions::Refreshed,
    users::Account,
};
use crate::{backend::Mail, problem::Problem};

/// A login that has begun or goes on. Not `Debug`: it holds tokens.
pub struct Session {
    /// Whose.
    pub user: Arc<User>,
    /// JWT for `Authorization: Bearer`.
    pub access_token: String,
    /// For the next session; good once.
    pub refresh_token: String,
    /// Life of the access token.
    pub expires_in: Duration,
}

/// What a right password, or another proof, leads to. Not `Debug`: it holds tokens.
pub enum LoggedIn {
    /// A session.
    Session(Box<Session>),
    /// A code that was mailed must follow.
    Challenge {
        /// What the code is for.
        challenge_id: String,
        /// Life of the code.
        expires_in: Duration,
    },
}

/// A login that waits for its code.
#[derive(serde::Serialize, serde::Deserialize)]
struct Challenge {
    user: UserId,
    epoch: u64,
}

/// Longest name, address or challenge that is looked up, in bytes.
const LONGEST: usize = 512;

impl Accounts {
    /// Logs in by username or e-mail address, and password. An unknown user and a wrong password are answered alike and take
    /// the same time.
    ///
    /// # Errors
    /// 401 `credentials_invalid`, 429, 503 `overloaded`, `unavailable`.
    pub async fn log_in(&self, login: &str, password: &Secret, address: IpAddr) -> Result<LoggedIn, Problem> {
        let login = login.trim();
        if login.len() > LONGEST {
            return Err(Problem::invalid("login", "A login is a username or an e-mail address."));
        }
        let email = if login.contains('@') { Email::parse(login).ok() } else { None };
        let name = Username::find(login);
        let key = match (&email, &name) {
            (Some(email), _) => &email.canonical,
            (None, Some(name)) => &name.key,
            (None, None) => login,
        };
        self.limit(Call::Login, address, key).await?;
        let account = match &email {
            Some(email) => match self.users.by_email(&email.canonical).await? {
                Some(id) => self.users.load(id).await?,
                None => None,
            },
            None => match self.users.by_name(login).await? {
                Some(user) => self.users.load(user.profile.id).await?,
                None => None,
            },
        };
        let account = account.map(|(account, _)| account);
        let hash = account.as_ref().map(|account| account.password.as_str()).filter(|hash| !hash.is_empty());
        let right = self.hasher.verify(password, hash).await?;
        match account {
            Some(account) if right => {
                let needs_code = account.login_code || self.settings.require_login_code;
                self.let_in(account, needs_code).await
            }
            _ => {
                self.metrics.login("credentials_invalid");
                Err(Problem::new(401, "credentials_invalid", "The login or the password is wrong."))
            }
        }
    }

    /// Lets a user in who has proved who he is, or mails him a code that must follow.
    pub(super) async fn let_in(&self, account: Account, needs_code: bool) -> Result<LoggedIn, Problem> {
        if !needs_code {
            let session = self.begin_session(account.id, account.epoch).await?;
            self.metrics.login("ok");
            return Ok(LoggedIn::Session(Box::new(session)));
        }
        let challenge_id = random::token()?;
        let challenge = Challenge { user: account.id, epoch: account.epoch };
        let code = self.codes.issue(Purpose::Login, &challenge_id, Some(challenge)).await?;
        let minutes = self.settings.login_code_minutes;
        let mail = Mail::LoginCode { code, username: account.username, minutes };
        self.mail(&account.email, &account.language, mail).await?;
        self.metrics.login("code_sent");
        Ok(LoggedIn::Challenge { challenge_id, expires_in: Purpose::Login.life(&self.settings) })
    }

    /// The second step of a login.
    ///
    /// # Errors
    /// 400 `code_invalid` (also for an unknown challenge), 429 `too_many_attempts`, 429, `unavailable`.
    pub async fn verify_login(
        &self,
        challenge_id: &str,
        code: &Secret,
        address: IpAddr,
    ) -> Result<Session, Problem> {
        if challenge_id.len() > LONGEST {
            return Err(code_invalid());
        }
        self.limit(Call::LoginVerify, address, challenge_id).await?;
        let checked = self.codes.check::<Challenge>(Purpose::Login, challenge_id, code).await;
        let checked = checked.inspect_err(|problem| {
            if problem.status < 500 {
                self.metrics.login("code_invalid");
            }
        })?;
        let challenge = &checked.payload;
        // Before the code is used up: where the user cannot be read now, the same code is tried again.
        let user = self.users.load(challenge.user).await?;
        self.codes.consume(&checked).await?;
        // A new password since then ends this login too.
        if user.is_none_or(|(user, _)| user.epoch != challenge.epoch) {
            return Err(code_invalid());
        }
        let session = self.begin_session(challenge.user, challenge.epoch).await?;
        self.metrics.login("ok");
        Ok(session)
    }

    /// Begins a login of a user who has proved who he is. Where he has too many, the oldest end.
    pub(super) async fn begin_session(&self, user: UserId, epoch: u64) -> Result<Session, Problem> {
        let found = self.users.find(user).await?.ok_or_else(session_revoked)?;
        let (id, refresh_token, surplus) = self.sessions.begin(user, epoch).await?;
        for old in surplus {
            self.end_session(old, user).await?;
        }
        self.session(found, id, refresh_token).await
    }

    async fn session(
        &self,
        user: Arc<User>,
        id: SessionId,
        refresh_token: String,
    ) -> Result<Session, Problem> {
        let (access_token, claims) = self.keys.sign(user.profile.id, id).await?;
        // What was signed here need not be verified here.
        let verified = Verified { user: user.profile.id, session: id, expires_at: millis(claims.exp) };
        self.verified.insert(Sha256::digest(access_token.as_bytes()).into(), verified);
        Ok(Session { user, access_token, refresh_token, expires_in: self.settings.access_token_life() })
    }

    /// Goes on with a login: a new access token and the next refresh token. A refresh token is good once; using an old one
    /// again ends the login, since one of the two who have it is not its owner.
    ///
    /// # Errors
    /// 401 `session_revoked` (ended, expired, or an old token), 401 `token_invalid` (never was one), 429, `unavailable`.
    pub async fn refresh(&self, token: &Secret, address: IpAddr) -> Result<Session, Problem> {
        // The account of a limit must be something a stranger cannot name: the token itself, hashed.
        let key = digest(token.expose());
        self.limit(Call::Refresh, address, &key).await?;
        let refreshed = self.sessions.refresh(token).await.inspect_err(|problem| {
            if problem.status == 401 {
                self.metrics.refresh("invalid");
            }
        })?;
        let (id, login, next) = match refreshed {
            Refreshed::Next(id, login, next) => (id, login, next),
            Refreshed::Ended => {
                self.metrics.refresh("ended");
                return Err(session_revoked());
            }
            Refreshed::Reused(id, user) => {
                self.metrics.refresh("reused");
                tracing::warn!(%user, session = %id, "an old refresh token was used again: its login ends");
                self.end_session(id, user).await?;
                return Err(session_revoked());
            }
        };
        let Some(user) = self.owner(&login).await? else {
            self.end_session(id, login.user).await?;
            return Err(session_revoked());
        };
        self.metrics.refresh("ok");
        self.session(user, id, next).await
    }

    /// Ends the login, or all of the user's.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn log_out(&self, me: &Principal, all: bool) -> Result<(), Problem> {
        let user = me.profile.id;
        if all {
            self.users.change(user, |account| account.epoch += 1).await?;
            self.end_all_sessions(user).await;
            Ok(())
        } else {
            self.end_session(me.session, user).await
        }
    }
}
