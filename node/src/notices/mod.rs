//! Mails about what somebody has not read: mentions, and messages in direct rooms.
//!
//! The owner of a room *reminds* of a user whom a message is for. A while later some node *looks*: what he has read by then, wherever
//! he read it, needs no mail, and what he has not is put into one. No judgement about presence: who is connected may be away,
//! and who reads moves his mark.
//!
//! Reminders are the backend's, one per user at most; what a user was told of is remembered among what ends by itself. If that is lost,
//! he may be told once more. Between a commit and its stored reminder a user waits in memory, also through an outage of the backend, and
//! is lost with the process: then he is told with the next message for him. Chat never waits for any of it.

mod metrics;
mod remind;
mod settings;

use std::{
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use rookery_protocol::id::UserId;
use tokio::task::AbortHandle;

pub use metrics::NoticesMetrics;
pub use settings::NoticesSettings;

use remind::Waiting;

use crate::{
    accounts::{Accounts, MailAbout},
    backend::{Due, Ephemeral, Mail, MailJob, Outbox, Reminders, UnreadRoom},
    problem::Problem,
    rooms::{Rooms, Unread},
};

/// Reminders stored at the same time.
const STORES: usize = 4;
/// Users looked at at the same time.
const LOOKS: usize = 4;
/// Rooms that a mail names.
const ROOMS: usize = 10;
/// How long it is remembered what a user was told of.
const TOLD: Duration = Duration::from_secs(30 * 24 * 3600);
/// A mail that was not sent for so long, nor within the window, is not sent any more: much of it may have been read meanwhile, and the
/// next one names what was not.
const VALID: Duration = Duration::from_secs(3600);
/// After something was not to be had.
const PAUSE: Duration = Duration::from_secs(1);

/// What notices are made from, and where they go.
pub struct Sources {
    /// Accounts.
    pub accounts: Arc<Accounts>,
    /// Rooms.
    pub rooms: Arc<Rooms>,
    /// Who is to be looked at.
    pub reminders: Arc<dyn Reminders>,
    /// What users were told of.
    pub ephemeral: Arc<dyn Ephemeral>,
    /// Mails.
    pub outbox: Arc<dyn Outbox>,
    /// Address of the chat, without a slash at its end.
    pub public_url: Option<String>,
}

/// The notices of a node.
pub struct Notices {
    settings: NoticesSettings,
    sources: Sources,
    metrics: NoticesMetrics,
}

/// Ends with this value.
pub struct Running(Vec<AbortHandle>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Looked {
    /// There is nothing to tell.
    Nothing,
    /// A mail is in the outbox.
    Told,
    /// Look again after this time.
    Later(Duration),
}

/// Starts reminding and looking. Once, before clients come. Needs a Tokio runtime.
pub fn start(settings: NoticesSettings, sources: Sources, metrics: NoticesMetrics) -> Running {
    if !settings.enabled {
        return Running(Vec::new());
    }
    let delay = settings.delay();
    let waiting = Waiting::new(delay, metrics.clone());
    let added = waiting.clone();
    sources.rooms.on_unread(Box::new(move |users| added.add(users)));
    let mut tasks = Vec::new();
    for _ in 0..STORES {
        let storing = waiting.clone().store(sources.reminders.clone(), delay);
        tasks.push(tokio::spawn(storing).abort_handle());
    }
    let notices = Arc::new(Notices { settings, sources, metrics });
    for _ in 0..LOOKS {
        tasks.push(tokio::spawn(notices.clone().look_on()).abort_handle());
    }
    Running(tasks)
}

impl Notices {
    async fn look_on(self: Arc<Self>) {
        loop {
            match self.sources.reminders.due().await {
                Ok(due) => self.see_to(&due).await,
                Err(why) => {
                    tracing::debug!(%why, "nobody can be looked at");
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    async fn see_to(&self, due: &Due) {
        let reminders = &self.sources.reminders;
        let outcome = match self.look(due.user, now_ms()).await {
            Ok(Looked::Later(after)) => {
                self.metrics.looked("later");
                reminders.put_off(due, after).await
            }
            Ok(looked) => {
                self.metrics.looked(if looked == Looked::Told { "told" } else { "nothing" });
                reminders.done(due).await
            }
            Err(problem) => {
                self.metrics.looked("failed");
                tracing::debug!(%problem, user = %due.user, "a user cannot be looked at; later");
                reminders.put_off(due, self.settings.delay()).await
            }
        };
        if let Err(why) = outcome {
            // He comes again by himself.
            tracing::debug!(%why, user = %due.user, "a look could not be ended");
        }
    }

    async fn look(&self, user: UserId, now: i64) -> Result<Looked, Problem> {
        let Some(account) = self.sources.accounts.to_be_told(user).await? else { return Ok(Looked::Nothing) };
        if account.mail_about == MailAbout::Off {
            return Ok(Looked::Nothing);
        }
        let key = format!("notice:{user}");
        let told = self.sources.ephemeral.get(&key).await?;
        let told = told.and_then(|told| std::str::from_utf8(&told).ok()?.parse::<i64>().ok()).unwrap_or(0);
        let rooms = self.sources.rooms.unread(user, told).await?;
        let Some(since) = rooms.iter().filter_map(|room| room.news).min() else { return Ok(Looked::Nothing) };
        // Not before it was unread for long enough, nor before the last mail is old enough.
        let earliest = after(since, self.settings.delay()).max(after(told, self.settings.window()));
        if earliest > now {
            return Ok(Looked::Later(Duration::from_millis(u64::try_from(earliest - now).unwrap_or(0))));
        }
        let mail = self.mail(user, account.username, &rooms, account.mail_about);
        // The same for all who look at him now: one mail. Of what he was told nothing may be known any more.
        let id = format!("notice-{user}-{told}-{since}");
        let (to, language) = (account.email, account.language);
        let not_after = Some(after(now, self.settings.window().max(VALID)));
        self.sources.outbox.enqueue(MailJob { id, to, language, not_after, mail }).await?;
        self.sources.ephemeral.put(&key, Bytes::from(now.to_string()), TOLD).await?;
        Ok(Looked::Told)
    }

    fn mail(&self, user: UserId, username: String, rooms: &[Unread], about: MailAbout) -> Mail {
        let counts = |room: &&Unread| room.direct || room.mentions > 0 || about == MailAbout::All;
        let mut rooms: Vec<&Unread> = rooms.iter().filter(counts).collect();
        rooms.sort_by_key(|room| std::cmp::Reverse((room.mentions, room.direct, room.messages)));
        let more_rooms = u32::try_from(rooms.len().saturating_sub(ROOMS)).unwrap_or(u32::MAX);
        rooms.truncate(ROOMS);
        let rooms = rooms.into_iter().map(|room| UnreadRoom {
            name: room.name.clone(),
            direct: room.direct,
            mentions: room.mentions,
            messages: room.messages,
        });
        let link = self.sources.public_url.clone();
        // RFC 8058 wants https.
        let unsubscribe = link.as_ref().filter(|link| link.starts_with("https://")).map(|link| {
            format!("{link}/v1/mail/unsubscribe?token={}", self.sources.accounts.unsubscribe_token(user))
        });
        Mail::Unread { username, rooms: rooms.collect(), more_rooms, link, unsubscribe }
    }
}

fn after(at: i64, time: Duration) -> i64 {
    at.saturating_add(i64::try_from(time.as_millis()).unwrap_or(i64::MAX))
}

/// Unix milliseconds.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
