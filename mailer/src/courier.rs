//! What happens to one job: written, counted against the rates, handed over.
//!
//! The same in a cluster, where jobs come from JetStream, and in `standalone`.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rookery_protocol::outbox::{Mail, MailJob};

use crate::{
    compose::{ComposeError, Composer},
    smtp::{Outcome, Rates, Smtp},
};

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
}

/// Sends mails.
pub struct Courier {
    composer: Composer,
    smtp: Smtp,
    rates: Rates,
}

impl Courier {
    /// Of these parts.
    pub fn new(composer: Composer, smtp: Smtp, rates: Rates) -> Self {
        Self { composer, smtp, rates }
    }

    /// The SMTP server.
    pub fn smtp(&self) -> &Smtp {
        &self.smtp
    }

    /// Takes a job's mail from the rates, or says how long to wait.
    ///
    /// # Errors
    /// The time after which another try may succeed. That is no failure of the mail's.
    pub fn admit(&self, job: &MailJob) -> Result<(), Duration> {
        self.rates.take(job.to.rsplit_once('@').map_or("", |(_, domain)| domain))
    }

    /// Tries to send a job's mail once, whatever the rates say.
    pub async fn send(&self, job: &MailJob) -> Tried {
        if job.not_after.is_some_and(|end| now_ms() > end) {
            return Tried::Hopeless("what it says is not valid any more".to_owned());
        }
        let message = match self.composer.compose(job) {
            Ok(message) => message,
            Err(why @ ComposeError::Address) => return Tried::Hopeless(why.to_string()),
            // Mended templates may succeed.
            Err(why) => return Tried::Failed(why.to_string()),
        };
        match self.smtp.send(&message).await {
            Outcome::Sent => Tried::Sent,
            Outcome::Later(why) => Tried::Failed(discreet(&why, &job.mail)),
            Outcome::Unknown(why) => Tried::Unknown(discreet(&why, &job.mail)),
            Outcome::Never(why) => Tried::Hopeless(discreet(&why, &job.mail)),
        }
    }
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
