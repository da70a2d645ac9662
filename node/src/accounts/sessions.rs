//! Logins and their refresh tokens.
//!
//! A login (session) is one value in the TTL store; its refresh tokens are a family of which only the newest is good. A token
//! is `session id ‖ 32 random bytes ‖ tag`: the tag, a keyed hash, tells an old token of ours, whose use ends the family,
//! from one that somebody made up, whose use changes nothing. Of two uses of the same token at once one comes second, and that
//! too ends the family: the holder cannot be told from a thief, and whoever is the real one logs in again.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use parking_lot::Mutex;
use rookery_protocol::id::{SessionId, UserId};
use subtle::ConstantTimeEq;

use super::{
    Secret, cache::Recent, codes::mac, digest, keys::token_invalid, now, random, settings::AccountsSettings,
};
use crate::{backend::Ephemeral, problem::Problem};

/// A login as stored.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub(super) struct Login {
    /// Whose.
    pub(super) user: UserId,
    /// The user's epoch when it began: a later epoch ends it.
    pub(super) epoch: u64,
    /// Unix milliseconds.
    created_at: i64,
    /// SHA-256 of the newest refresh token.
    refresh: String,
}

/// What is known about a login without asking.
#[derive(Clone)]
enum Known {
    Alive { login: Arc<Login>, since: Instant },
    Ended,
}

/// The logins.
pub(super) struct Sessions {
    ephemeral: Arc<dyn Ephemeral>,
    secret: [u8; 32],
    settings: Arc<AccountsSettings>,
    known: Recent<SessionId, Known>,
    /// What was found out before is looked up again.
    doubted: Mutex<Option<Instant>>,
}

/// How the use of a refresh token ended.
pub(super) enum Refreshed {
    /// Good: the login, and the next token.
    Next(SessionId, Arc<Login>, String),
    /// An old token of a login: somebody else has used it. The family must end.
    Reused(SessionId, UserId),
    /// Its login has ended.
    Ended,
}

impl Sessions {
    pub(super) fn new(
        ephemeral: Arc<dyn Ephemeral>,
        secret: [u8; 32],
        settings: Arc<AccountsSettings>,
    ) -> Self {
        let known = Recent::new(settings.cache_entries);
        Self { ephemeral, secret, settings, known, doubted: Mutex::new(None) }
    }

    /// Begins a login. Also says which older ones of the user are too many now.
    pub(super) async fn begin(
        &self,
        user: UserId,
        epoch: u64,
    ) -> Result<(SessionId, String, Vec<SessionId>), Problem> {
        let millis = now();
        let id = SessionId::from_parts(u64::try_from(millis).unwrap_or_default(), random::id_bits()?);
        let token = self.make_token(id)?;
        let login = Login { user, epoch, created_at: millis, refresh: digest(&token) };
        let life = self.settings.refresh_token_life();
        let (entry, list, item) = (key(id), of_user(user), id.to_string());
        // Both at once: they share one sync of the disk.
        tokio::try_join!(
            self.ephemeral.enlist(&list, &item, life),
            self.ephemeral.put(&entry, encode(&login)?, life),
        )?;
        self.known.insert(id, Known::Alive { login: Arc::new(login), since: Instant::now() });
        let mut all = self.of(user).await?;
        // Ids begin with their time, so the oldest come first.
        all.sort_unstable();
        all.truncate(all.len().saturating_sub(self.settings.sessions_per_user));
        Ok((id, token, all))
    }

    /// The login, if it has not ended. What is known for a short time is not asked again.
    pub(super) async fn find(&self, id: SessionId) -> Result<Option<Arc<Login>>, Problem> {
        let known = self.known.get(&id);
        let fresh = Duration::from_secs(self.settings.cache_seconds);
        match &known {
            Some(Known::Ended) => return Ok(None),
            Some(Known::Alive { login, since }) if since.elapsed() < fresh && !self.is_doubted(*since) => {
                return Ok(Some(login.clone()));
            }
            _ => {}
        }
        let read = match self.ephemeral.get(&key(id)).await {
            Ok(read) => read,
            // With the TTL store away, who was here goes on.
            Err(error) => match known {
                Some(Known::Alive { login, .. }) => return Ok(Some(login)),
                _ => return Err(error.into()),
            },
        };
        let login = read.and_then(|raw| serde_json::from_slice::<Login>(&raw).ok()).map(Arc::new);
        self.remember(id, login.clone());
        // It may have ended while it was read.
        Ok(login.filter(|_| !matches!(self.known.get(&id), Some(Known::Ended))))
    }

    fn is_doubted(&self, since: Instant) -> bool {
        self.doubted.lock().is_some_and(|doubted| since <= doubted)
    }

    /// Nothing that is remembered is believed without a look.
    pub(super) fn doubt_all(&self) {
        *self.doubted.lock() = Some(Instant::now());
    }

    /// Another node has ended a login.
    pub(super) fn ended_elsewhere(&self, id: SessionId) {
        self.known.insert(id, Known::Ended);
    }

    /// Remembers what was read, unless the login has been ended here.
    fn remember(&self, id: SessionId, login: Option<Arc<Login>>) {
        let new = login.map_or(Known::Ended, |login| Known::Alive { login, since: Instant::now() });
        self.known.update(id, |now| (!matches!(now, Some(Known::Ended))).then_some(new));
    }

    /// Uses a refresh token.
    pub(super) async fn refresh(&self, token: &Secret) -> Result<Refreshed, Problem> {
        let id = self.read_token(token.expose()).ok_or_else(token_invalid)?;
        let Some(raw) = self.ephemeral.get(&key(id)).await? else { return Ok(Refreshed::Ended) };
        let Ok(login) = serde_json::from_slice::<Login>(&raw) else { return Ok(Refreshed::Ended) };
        let given = digest(token.expose());
        if !bool::from(given.as_bytes().ct_eq(login.refresh.as_bytes())) {
            return Ok(Refreshed::Reused(id, login.user));
        }
        let next = self.make_token(id)?;
        let login = Login { refresh: digest(&next), ..login };
        let life = self.settings.refresh_token_life();
        // Before the swap: when this fails, the old token is still good.
        self.ephemeral.enlist(&of_user(login.user), &id.to_string(), life).await?;
        if !self.ephemeral.swap(&key(id), Some(raw), encode(&login)?, life).await? {
            return Ok(Refreshed::Reused(id, login.user));
        }
        let login = Arc::new(login);
        self.remember(id, Some(login.clone()));
        Ok(Refreshed::Next(id, login, next))
    }

    /// Ends a login: from now on it is not found on this node, and soon on none.
    pub(super) async fn end(&self, id: SessionId, user: UserId) -> Result<(), Problem> {
        self.known.insert(id, Known::Ended);
        let (entry, list, item) = (key(id), of_user(user), id.to_string());
        tokio::try_join!(self.ephemeral.delete(&entry), self.ephemeral.unlist(&list, &item))?;
        Ok(())
    }

    /// The user's logins.
    pub(super) async fn of(&self, user: UserId) -> Result<Vec<SessionId>, Problem> {
        let most = 2 * self.settings.sessions_per_user + 16;
        let items = self.ephemeral.listed(&of_user(user), most).await?;
        Ok(items.iter().filter_map(|item| item.parse().ok()).collect())
    }

    fn make_token(&self, id: SessionId) -> Result<String, Problem> {
        let mut body = id.to_bytes().to_vec();
        body.extend(random::bytes::<32>()?);
        let body = URL_SAFE_NO_PAD.encode(body);
        let tag = mac(&self.secret, &["refresh", &body]);
        Ok(format!("{body}{tag}"))
    }

    /// The login of a token that was made here.
    fn read_token(&self, token: &str) -> Option<SessionId> {
        // 48 bytes are 64 characters.
        let (body, tag) = token.split_at_checked(64)?;
        let expected = mac(&self.secret, &["refresh", body]);
        if !bool::from(tag.as_bytes().ct_eq(expected.as_bytes())) {
            return None;
        }
        let body = URL_SAFE_NO_PAD.decode(body).ok()?;
        Some(SessionId::from_bytes(body.get(..16)?.try_into().ok()?))
    }
}

fn key(id: SessionId) -> String {
    format!("login:{id}")
}

fn of_user(user: UserId) -> String {
    format!("logins:{user}")
}

fn encode(login: &Login) -> Result<Bytes, Problem> {
    serde_json::to_vec(login).map(Bytes::from).map_err(|_| Problem::internal())
}
