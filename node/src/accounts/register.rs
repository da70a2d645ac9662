//! Registration: a code by mail, then an account.

use std::{net::IpAddr, time::Duration};

use rookery_protocol::id::UserId;
use tokio::time::Instant;

use super::{
    Accounts, Secret, Session,
    codes::{Purpose, code_invalid},
    email::Email,
    limits::Call,
    names::{self, Username},
    now, password, random, same_time,
    users::{Account, Created},
};
use crate::{backend::Mail, problem::Problem};

/// What somebody wants to be registered with.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Where the code is mailed.
    pub email: String,
    /// Unique name.
    pub username: String,
    /// Password.
    pub password: Secret,
    /// Name to show; by default the username.
    pub display_name: Option<String>,
    /// BCP 47 tag; by default `en`.
    pub language: Option<String>,
}

/// A registration that waits for its code.
#[derive(serde::Serialize, serde::Deserialize)]
struct Pending {
    /// The user's id, when he is made: by it his account is known to be his, should it be made and nobody told so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    id: Option<UserId>,
    email: String,
    username: String,
    display_name: String,
    language: String,
    /// PHC string.
    password: String,
}

pub(super) fn username_taken() -> Problem {
    Problem::new(
        409,
        "username_taken",
        "That username is taken, or looks like one that is; choose another one.",
    )
    .and_field("username", "This username is taken.")
}

pub(super) fn new_id() -> Result<UserId, Problem> {
    Ok(UserId::from_parts(u64::try_from(now()).unwrap_or_default(), random::id_bits()?))
}

/// An e-mail address of a request.
pub(super) fn email_field(text: &str) -> Result<Email, Problem> {
    Email::parse(text).map_err(|why| Problem::invalid("email", why))
}

impl Accounts {
    /// Mails a code, or, where the address is known, tells its owner. The caller is told the same in both cases.
    /// Answers how long the code lives.
    ///
    /// A username is not reserved by a registration that waits: who verifies first has it.
    ///
    /// # Errors
    /// 422 `invalid` with fields, 409 `username_taken`, 429, `unavailable`.
    pub async fn register(&self, request: &Registration, address: IpAddr) -> Result<Duration, Problem> {
        let started = Instant::now();
        let (email, name, pending) = check(request)?;
        self.limit(Call::Register, address, &email.canonical).await?;
        if self.users.name_is_taken(&name).await? {
            self.metrics.registration("username_taken");
            return Err(username_taken());
        }
        // Hashed also where it is for nothing: the time must not tell.
        let password = self.hasher.hash(&request.password).await?;
        let pending = Pending { id: Some(new_id()?), password, ..pending };
        let owner = match self.users.by_email(&email.canonical).await? {
            Some(id) => self.users.load(id).await?,
            None => None,
        };
        let life = Purpose::Register.life(&self.settings);
        if let Some((owner, _)) = owner {
            self.codes.issue::<Pending>(Purpose::Register, &email.canonical, None).await?;
            let mail = Mail::AlreadyRegistered { username: owner.username };
            self.mail(&owner.email, &owner.language, mail).await?;
            self.metrics.registration("known_email");
        } else {
            self.send_code(&email.canonical, pending).await?;
            self.metrics.registration("code_sent");
        }
        same_time(started).await;
        Ok(life)
    }

    async fn send_code(&self, canonical: &str, pending: Pending) -> Result<(), Problem> {
        let code = self.codes.issue(Purpose::Register, canonical, Some(&pending)).await?;
        let minutes = self.settings.register_code_minutes;
        let mail = Mail::SignUpCode { code, username: pending.username, minutes };
        self.mail(&pending.email, &pending.language, mail).await
    }

    /// Mails a new code for a registration that waits; the old one is dead. Answers the same if none waits.
    ///
    /// # Errors
    /// 422 `invalid`, 429, `unavailable`.
    pub async fn resend(&self, email: &str, address: IpAddr) -> Result<Duration, Problem> {
        let started = Instant::now();
        let email = email_field(email)?;
        self.limit(Call::Resend, address, &email.canonical).await?;
        match self.codes.pending::<Pending>(Purpose::Register, &email.canonical).await? {
            Some(pending) => self.send_code(&email.canonical, pending).await?,
            None => {
                self.codes.issue::<Pending>(Purpose::Register, &email.canonical, None).await?;
            }
        }
        same_time(started).await;
        Ok(Purpose::Register.life(&self.settings))
    }

    /// Ends a registration: makes the account and logs in.
    ///
    /// The code is used up after that, and only who uses it up is let in: so whatever fails in between, the same call can be made
    /// again, and finds the account that it has made.
    ///
    /// # Errors
    /// 400 `code_invalid`, 429 `too_many_attempts`, 409 `username_taken` (somebody was faster: register again), 429,
    /// `unavailable`.
    pub async fn verify(&self, email: &str, code: &Secret, address: IpAddr) -> Result<Session, Problem> {
        let email = email_field(email)?;
        self.limit(Call::Verify, address, &email.canonical).await?;
        let checked = self.codes.check::<Pending>(Purpose::Register, &email.canonical, code).await?;
        let pending = &checked.payload;
        let name = Username::find(&pending.username).ok_or_else(Problem::internal)?;
        // Registrations of older nodes have no id.
        let account = Account::new(
            pending.id.map_or_else(new_id, Ok)?,
            Email { typed: pending.email.clone(), ..email },
            Username { shown: pending.username.clone(), ..name },
            pending.display_name.clone(),
            pending.language.clone(),
            pending.password.clone(),
        );
        let created = self.users.create(&account, None).await?;
        if created != Created::Done {
            match self.users.by_email(&account.email_key).await? {
                // By this registration, in a try that was not answered.
                Some(id) if id == account.id => {}
                // The address was registered since the code was sent.
                Some(_) => return Err(code_invalid()),
                None if created == Created::NameTaken => {
                    self.metrics.registration("username_taken");
                    return Err(username_taken());
                }
                // It was there a moment ago.
                None => return Err(Problem::unavailable("The account cannot be read now; try again.")),
            }
        }
        self.codes.consume(&checked).await?;
        self.metrics.registration("done");
        self.welcome(&account).await;
        self.begin_session(account.id, account.epoch).await
    }

    /// Mails that there is an account now. It is one without that mail, too.
    pub(super) async fn welcome(&self, account: &Account) {
        let welcome = Mail::Welcome { username: account.username.clone() };
        if let Err(problem) = self.mail(&account.email, &account.language, welcome).await {
            tracing::warn!(%problem, user = %account.id, "no welcome mail was sent");
        }
    }
}

/// Checks all fields, so that all mistakes are told at once.
fn check(request: &Registration) -> Result<(Email, Username, Pending), Problem> {
    let email = Email::parse(&request.email);
    let name = Username::choose(&request.username);
    let shown_as = request.display_name.as_deref().filter(|name| !name.trim().is_empty());
    let display_name = match shown_as {
        Some(text) => names::display_name(text),
        None => Ok(name.as_ref().map(|name| name.shown.clone()).unwrap_or_default()),
    };
    let language = names::language(request.language.as_deref().unwrap_or("en"));
    let password = password::check(&request.password, request.email.trim(), Some(&request.username));
    let wrong = [
        ("email", email.as_ref().err().copied()),
        ("username", name.as_ref().err().copied()),
        ("display_name", display_name.as_ref().err().copied()),
        ("language", language.as_ref().err().copied()),
        ("password", password.as_ref().err().copied()),
    ];
    match (email, name, display_name, language, password) {
        (Ok(email), Ok(name), Ok(display_name), Ok(language), Ok(())) => {
            let pending = Pending {
                id: None,
                email: email.typed.clone(),
                username: name.shown.clone(),
                display_name,
                language,
                password: String::new(),
            };
            Ok((email, name, pending))
        }
        _ => {
            let problem = Problem::new(422, "invalid", "The request has fields that cannot be accepted.");
            Err(wrong
                .into_iter()
                .filter_map(|(field, why)| Some((field, why?)))
                .fold(problem, |problem, (field, why)| problem.and_field(field, why)))
        }
    }
}
