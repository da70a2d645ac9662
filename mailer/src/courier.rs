//! What happens to one job: counted against the rates, written, handed over; and what happens to none while the server cannot be used.
//!
//! The same in a cluster, where jobs come from JetStream, and in `standalone`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;
use rookery_protocol::outbox::{Mail, MailJob};
use tokio::sync::watch;

use crate::{
    compose::{ComposeError, Composer},
    metrics::MailerMetrics,
    smtp::{Admission, Outcome, Rates, Smtp, Standing, Turn},
};

/// After the server was found not to be usable, it is asked again after this time, and then after twice as long each time.
const ASK_FIRST: Duration = Duration::from_secs(1);
/// But at least so often.
const ASK_LAST: Duration = Duration::from_secs(30);

/// How a try ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Tried {
    /// The server has the mail.
    Sent,
    /// It failed; another try may succeed.
    Failed(String),
    /// Nobody knows whether the server has the mail.
    Unknown(String),
    /// It will never succeed.
    Hopeless(String),
    /// What it says is not valid any more, and is of no use to anybody.
    Expired,
    /// It was not begun: the server cannot be used, or one more connection cannot. That is no failure of the mail's.
    Away(String),
}

/// Sends mails.
pub struct Courier {
    composer: Composer,
    smtp: Smtp,
    rates: Rates,
    metrics: MailerMetrics,
    /// Why no mail is begun, while none is.
    away: watch::Sender<Option<String>>,
    /// When the server is asked next; locked by who asks.
    asking: tokio::sync::Mutex<()>,
    ask_after: Mutex<Duration>,
}

impl Courier {
    /// Of these parts.
    pub fn new(composer: Composer, smtp: Smtp, rates: Rates, metrics: MailerMetrics) -> Self {
        let (away, asking) = (watch::Sender::default(), tokio::sync::Mutex::default());
        Self { composer, smtp, rates, metrics, away, asking, ask_after: Mutex::new(ASK_FIRST) }
    }

    /// The SMTP server.
    pub fn smtp(&self) -> &Smtp {
        &self.smtp
    }

    /// What it counts.
    pub fn metrics(&self) -> &MailerMetrics {
        &self.metrics
    }

    /// Takes a job's mail from the rates, or says when it is to come again. `waited`: it comes in its turn, or not for the first time.
    pub fn admit(&self, job: &MailJob, waited: bool) -> Admission {
        // Somebody waits for what answers him; a notice is about what he has not looked at.
        let urgent = !matches!(job.mail, Mail::Unread { .. } | Mail::Welcome { .. });
        let domain = job.to.rsplit_once('@').map_or("", |(_, domain)| domain);
        let admission = self.rates.admit(domain, Standing { urgent, waited });
        if matches!(admission, Admission::Later(_)) {
            self.metrics.held.inc();
        }
        admission
    }

    /// Waits until the SMTP server can be used, for all that is known, and asks it now and then while it cannot.
    pub async fn usable(&self) {
        while self.is_away() {
            // One asks; the others learn it from him.
            let _asking = self.asking.lock().await;
            if !self.is_away() {
                return;
            }
            let after = *self.ask_after.lock();
            tokio::time::sleep(after.mul_f64(rand::random_range(0.75..=1.0))).await;
            *self.ask_after.lock() = (after * 2).min(ASK_LAST);
            match self.smtp.try_out().await {
                Ok(()) => {
                    tracing::info!(place = self.smtp.place(), "mails are begun again");
                    self.say_away(None);
                }
                Err(why) => tracing::debug!(%why, "no mail is begun still"),
            }
        }
    }

    /// Whether no mail is begun because the server cannot be used.
    pub fn is_away(&self) -> bool {
        self.away.borrow().is_some()
    }

    /// Why no mail is begun, while the server cannot be used.
    pub fn away(&self) -> watch::Receiver<Option<String>> {
        self.away.subscribe()
    }

    /// Says whether that is news.
    fn say_away(&self, why: Option<&str>) -> bool {
        self.metrics.smtp_away.set(i64::from(why.is_some()));
        self.away.send_replace(why.map(str::to_owned)).is_some() != why.is_some()
    }

    /// Tries to send a job's mail once, whatever the rates say.
    pub async fn send(&self, job: &MailJob, turn: Turn<'_>) -> Tried {
        if is_expired(job) {
            return Tried::Expired;
        }
        let message = match self.composer.compose(job) {
            Ok(message) => message,
            Err(why @ ComposeError::Address) => return Tried::Hopeless(why.to_string()),
            // Mended templates may succeed.
            Err(why) => return Tried::Failed(why.to_string()),
        };
        match self.smtp.send(&message, turn).await {
            Outcome::Sent => {
                *self.ask_after.lock() = ASK_FIRST;
                Tried::Sent
            }
            Outcome::Later(why) => Tried::Failed(discreet(&why, &job.mail)),
            Outcome::Unknown(why) => Tried::Unknown(discreet(&why, &job.mail)),
            Outcome::Never(why) => Tried::Hopeless(discreet(&why, &job.mail)),
            Outcome::Away(why) => {
                // It may be that only so many connections are allowed.
                if !self.smtp.is_connected() && self.say_away(Some(&why)) {
                    tracing::warn!(why, "the SMTP server cannot be used; no mail is begun until it can");
                }
                Tried::Away(why)
            }
        }
    }
}

/// Whether what a mail says is not valid any more.
pub fn is_expired(job: &MailJob) -> bool {
    job.not_after.is_some_and(|end| now_ms() > end)
}

/// A server may quote what it refuses; the code must not reach a log by that way.
fn discreet(why: &str, mail: &Mail) -> String {
    match mail {
        Mail::SignUpCode { code, .. } | Mail::LoginCode { code, .. } | Mail::PasswordReset { code, .. }
            if !code.is_empty() =>
        {
            why.replace(code.as_str(), "(code)")
        }
        _ => why.to_owned(),
    }
}

/// Unix milliseconds.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
