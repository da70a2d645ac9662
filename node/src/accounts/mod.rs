//! Accounts: who somebody is, and how he proves it.
//!
//! Registration, login, codes, sessions, access tokens, tickets, users. No HTTP here: `edge/http` maps calls
//! to these methods and their [`Problem`](crate::problem::Problem)s to answers.
//!
//! What lasts is in `Rows`: users, their indexes, keys. What ends by itself is in `Ephemeral`: registrations, codes, logins,
//! tickets, rate limits, which ID tokens were used. A user's *epoch* is in his row and in each of his logins: raising it ends all of them at once,
//! also those that begin at the same moment. No answer tells whether an e-mail address is known.

mod cache;
mod codes;
mod departures;
mod email;
mod external;
mod hashing;
mod keys;
mod limits;
mod login;
mod metrics;
mod names;
mod password;
mod profile;
mod random;
mod register;
mod reset;
mod sessions;
mod settings;
#[cfg(test)]
mod tests;
mod ticket;
mod tries;
mod unsubscribe;
mod users;

use std::{
    net::IpAddr,
    sync::{
        Arc, OnceLock, Weak,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use rookery_core::room::Profile;
use rookery_protocol::id::{RoomId, SessionId, UserId};
use sha2::{Digest, Sha256};
use tokio::{
    sync::{Notify, broadcast},
    time::Instant,
};

pub use crate::secret::Secret;
pub use departures::Departure;
pub use external::{Entered, ExternalLogin, Identity, IdentityOf, IssuerSettings, KnownIssuer};
pub use limits::Act;
pub use login::{LoggedIn, Session};
pub use metrics::AccountsMetrics;
pub use profile::Change;
pub use register::Registration;
pub use settings::{AccountsSettings, Limit, LimitSettings};
pub use users::{Account, MailAbout, User};

use crate::{
    backend::{
        Ephemeral, Mail, MailJob, Outbox, Rows,
        bus::{Bus, News, Tell},
    },
    problem::Problem,
};

/// A user who has proved who he is.
#[derive(Debug, Clone)]
pub struct Principal {
    /// Shared by all his connections on this node.
    pub profile: Arc<Profile>,
    /// BCP 47 tag.
    pub language: Arc<str>,
    /// Rooms that he reads as they were written, in order.
    pub untranslated: Arc<[RoomId]>,
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
    /// Perhaps logins of a user: another node has ended those that began before some moment. Ask about each.
    Perhaps(UserId),
    /// Perhaps any: news of other nodes were lost. Ask about each.
    PerhapsAny,
}

/// Told of each user who has changed his account, in a Tokio runtime. Must not block.
pub type OnChange = Box<dyn Fn(UserId) + Send + Sync>;

/// Revocations that a slow receiver may be behind before it misses some.
const REVOCATIONS: usize = 4096;
/// Signing keys are looked after this often.
const KEYS_EVERY: Duration = Duration::from_secs(3600);
/// Answers that could tell by their time whether an address is known take at least this long.
const SAME_TIME: Duration = Duration::from_millis(50);
/// News that were missed are made up for together with those that are missed so soon after.
const MISSED_TOGETHER: Duration = Duration::from_millis(200);

/// An access token whose signature was right.
#[derive(Debug, Clone, Copy)]
struct Verified {
    user: UserId,
    session: SessionId,
    /// Unix milliseconds.
    expires_at: i64,
}

/// The accounts of this service. One per node.
pub struct Accounts {
    settings: Arc<AccountsSettings>,
    rows: Arc<dyn Rows>,
    ephemeral: Arc<dyn Ephemeral>,
    outbox: Arc<dyn Outbox>,
    users: users::Users,
    sessions: sessions::Sessions,
    codes: codes::Codes,
    keys: keys::Keys,
    issuers: external::Issuers,
    limits: limits::Limits,
    acts: limits::Acts,
    hasher: hashing::Hasher,
    metrics: AccountsMetrics,
    /// Of links in mails.
    mac_secret: [u8; 32],
    /// By SHA-256 of the token.
    verified: cache::Recent<[u8; 32], Verified>,
    revocations: broadcast::Sender<Revocation>,
    news: Arc<Tell>,
    on_change: OnceLock<OnChange>,
    /// Somebody has deleted his account.
    departs: Notify,
    /// News were missed, and that will be made up for in a moment.
    missed: AtomicBool,
}

impl Accounts {
    /// Reads keys, or makes them at the first start, and starts looking after them. Needs a Tokio runtime.
    ///
    /// # Errors
    /// `unavailable` when `rows` cannot be reached; `internal` when a stored key, or a file that the settings name, cannot be read.
    pub async fn start(
        settings: AccountsSettings,
        rows: Arc<dyn Rows>,
        ephemeral: Arc<dyn Ephemeral>,
        outbox: Arc<dyn Outbox>,
        metrics: AccountsMetrics,
    ) -> Result<Arc<Self>, Problem> {
        let settings = Arc::new(settings);
        let secret = keys::mac_secret(&*rows).await?;
        let issuers = external::Issuers::new(&settings.external_issuers, &metrics).map_err(|why| {
            tracing::error!(why, "the settings of an external issuer cannot be followed");
            Problem::internal()
        })?;
        let news = Arc::new(Tell::default());
        let accounts = Arc::new(Self {
            users: users::Users::new(rows.clone(), &settings),
            sessions: sessions::Sessions::new(ephemeral.clone(), secret, settings.clone()),
            codes: codes::Codes::new(ephemeral.clone(), secret, settings.clone()),
            keys: keys::Keys::load(rows.clone(), settings.clone(), news.clone()).await?,
            rows,
            issuers,
            limits: limits::Limits {
                settings: settings.limits.clone(),
                ephemeral: ephemeral.clone(),
                metrics: metrics.clone(),
            },
            acts: limits::Acts::new(settings.cache_entries),
            hasher: hashing::Hasher::new(&settings, metrics.clone()),
            verified: cache::Recent::new(settings.cache_entries),
            revocations: broadcast::channel(REVOCATIONS).0,
            settings,
            mac_secret: secret,
            ephemeral,
            outbox,
            metrics,
            news,
            on_change: OnceLock::new(),
            departs: Notify::new(),
            missed: AtomicBool::new(false),
        });
        tokio::spawn(look_after_keys(Arc::downgrade(&accounts)));
        let looking = accounts.clone();
        tokio::spawn(async move { looking.issuers.look().await });
        Ok(accounts)
    }

    /// Checks an access token: signature, times, issuer, audience, and that its login has not ended.
    ///
    /// # Errors
    /// 401 `token_invalid`, `token_expired` or `session_revoked`; `unavailable`.
    pub async fn authenticate(&self, token: &str) -> Result<Principal, Problem> {
        let key: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let verified = match self.verified.get(&key) {
            Some(verified) => verified,
            None => {
                let claims = self.keys.verify(token).await?;
                self.metrics.token_verified();
                let verified =
                    Verified { user: claims.sub, session: claims.sid, expires_at: millis(claims.exp) };
                self.verified.insert(key, verified);
                verified
            }
        };
        self.principal(verified).await
    }

    /// Who holds a token, if it has not expired and its login has not ended.
    async fn principal(&self, verified: Verified) -> Result<Principal, Problem> {
        if verified.expires_at <= now() {
            return Err(keys::token_expired());
        }
        let login = self.sessions.find(verified.session).await?;
        let login = login.filter(|login| login.user == verified.user).ok_or_else(session_revoked)?;
        let user = self.owner(&login).await?.ok_or_else(session_revoked)?;
        Ok(Principal {
            profile: user.profile.clone(),
            language: user.language.clone(),
            untranslated: user.untranslated.clone(),
            created_at: user.created_at,
            session: verified.session,
            expires_at: verified.expires_at,
        })
    }

    /// Logins that end from now on. A receiver that lags must ask about all of its logins again.
    pub fn revocations(&self) -> broadcast::Receiver<Revocation> {
        self.revocations.subscribe()
    }

    /// Registers who is told of users that have changed their accounts, through whatever node. Once, at the start.
    pub fn on_change(&self, hook: OnChange) {
        let _ = self.on_change.set(hook);
    }

    fn changed(&self, user: UserId) {
        if let Some(hook) = self.on_change.get() {
            hook(user);
        }
    }

    /// The public keys of access tokens, as a JSON Web Key Set.
    pub fn jwks(&self) -> Bytes {
        self.keys.jwks()
    }

    /// There are other nodes, with accounts of their own over the same backends. Once, at the start.
    pub fn join(&self, bus: Arc<dyn Bus>) {
        self.news.join(bus);
        // Perhaps this node made the first.
        self.news.tell(News::KeysChanged);
    }

    /// What another node tells.
    pub fn heard(self: &Arc<Self>, news: &News) {
        match *news {
            News::SessionEnded { session } => {
                self.sessions.ended_elsewhere(session);
                let _ = self.revocations.send(Revocation::Session(session));
            }
            News::UserLoggedOut { user } => {
                self.users.doubt(user);
                // A login of his may have begun since.
                let _ = self.revocations.send(Revocation::Perhaps(user));
            }
            News::UserChanged { user } => {
                self.users.doubt(user);
                self.changed(user);
            }
            News::KeysChanged => self.reload_keys(),
            _ => {}
        }
    }

    /// News of other nodes were lost: what is in memory is looked up again before it is believed.
    pub fn missed(self: &Arc<Self>) {
        if self.missed.swap(true, Ordering::AcqRel) {
            return;
        }
        let this = self.clone();
        tokio::spawn(async move {
            tokio::time::sleep(MISSED_TOGETHER).await;
            this.missed.store(false, Ordering::Release);
            this.users.doubt_all();
            this.sessions.doubt_all();
            this.reload_keys();
            let _ = this.revocations.send(Revocation::PerhapsAny);
        });
    }

    fn reload_keys(self: &Arc<Self>) {
        let this = self.clone();
        tokio::spawn(async move {
            if let Err(problem) = this.keys.reload().await {
                tracing::warn!(%problem, "a new signing key could not be read; it is read when it is needed");
            }
        });
    }

    /// Whether a login of a user's goes on, as far as can be found out now.
    ///
    /// # Errors
    /// `unavailable`.
    pub async fn is_alive(&self, session: SessionId, user: UserId) -> Result<bool, Problem> {
        let Some(login) = self.sessions.find(session).await? else { return Ok(false) };
        Ok(login.user == user && self.owner(&login).await?.is_some())
    }

    /// Whose a login is, unless it was ended together with his others.
    async fn owner(&self, login: &sessions::Login) -> Result<Option<Arc<User>>, Problem> {
        let mut user = self.users.find(login.user).await?;
        if user.as_ref().is_some_and(|user| user.epoch < login.epoch) {
            // It began on another node, after that had ended the others; the news are on their way.
            self.users.doubt(login.user);
            user = self.users.find(login.user).await?;
        }
        Ok(user.filter(|user| user.epoch == login.epoch))
    }

    /// Ends one login.
    async fn end_session(&self, session: SessionId, user: UserId) -> Result<(), Problem> {
        let ended = self.sessions.end(session, user).await;
        // Sockets are closed in any case: this node knows already that the login has ended.
        let _ = self.revocations.send(Revocation::Session(session));
        self.news.tell(News::SessionEnded { session });
        self.metrics.session_ended();
        ended
    }

    /// Ends all logins of a user whose epoch was raised or who was deleted.
    async fn end_all_sessions(&self, user: UserId) {
        let _ = self.revocations.send(Revocation::User(user));
        self.news.tell(News::UserLoggedOut { user });
        self.metrics.session_ended();
        // The epoch has ended them; this only makes room.
        let Ok(all) = self.sessions.of(user).await else { return };
        for session in all {
            if self.sessions.end(session, user).await.is_err() {
                return;
            }
        }
    }

    /// Puts a mail into the outbox.
    async fn mail(&self, to: &str, language: &str, mail: Mail) -> Result<(), Problem> {
        let kind = mail.kind();
        // A code that is not valid any more is of no use to anybody.
        let not_after = match &mail {
            Mail::SignUpCode { minutes, .. }
            | Mail::LoginCode { minutes, .. }
            | Mail::PasswordReset { minutes, .. } => {
                let life = i64::try_from(*minutes).unwrap_or(i64::MAX).saturating_mul(60_000);
                Some(now().saturating_add(life))
            }
            _ => None,
        };
        let (to, language) = (to.to_owned(), language.to_owned());
        let job = MailJob { id: random::token()?, to, language, not_after, mail };
        self.outbox.enqueue(job).await?;
        self.metrics.mail(kind);
        Ok(())
    }

    /// Takes a call from its quotas.
    async fn limit(&self, call: limits::Call, address: IpAddr, account: &str) -> Result<(), Problem> {
        self.limits.take(call, address, account).await
    }
}

/// Makes a new key when it is time and drops old ones, until the accounts are gone.
async fn look_after_keys(accounts: Weak<Accounts>) {
    let mut tick = tokio::time::interval_at(Instant::now() + KEYS_EVERY, KEYS_EVERY);
    loop {
        tick.tick().await;
        let Some(accounts) = accounts.upgrade() else { return };
        if let Err(problem) = accounts.keys.reload().await {
            tracing::warn!(%problem, "signing keys could not be read; those in memory stay in force");
        }
    }
}

/// Waits until an answer has taken as long as its like.
async fn same_time(started: Instant) {
    tokio::time::sleep_until(started + SAME_TIME).await;
}

fn session_revoked() -> Problem {
    Problem::new(401, "session_revoked", "This login has ended; log in again.")
}

/// SHA-256 as text: what is stored or counted in place of a secret with enough randomness of its own.
fn digest(secret: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(secret.as_bytes()))
}

/// Unix milliseconds.
pub(crate) fn now() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// Unix milliseconds from Unix seconds.
fn millis(seconds: u64) -> i64 {
    i64::try_from(seconds).unwrap_or(i64::MAX / 1000).saturating_mul(1000)
}
