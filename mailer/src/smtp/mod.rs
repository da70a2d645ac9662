//! Handing mails to an SMTP server: connections, credentials, and what its answers mean.
//!
//! No templates and no queue here: a finished message goes in, an [`Outcome`] comes out.

mod answer;
mod connect;
mod pool;
mod rates;
mod settings;
#[cfg(test)]
mod tests;
mod transaction;
mod wire;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use lettre::{Message, address::Envelope};
use parking_lot::Mutex;
use rookery_service::secret::Secret;

use connect::Connector;
pub use pool::Turn;
use pool::{Link, Pool};
pub use rates::{Admission, Rates, Standing};
pub use settings::{Login, Security, SmtpSettings};
use transaction::Failure;

/// How handing over a mail ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The server has it.
    Sent,
    /// It was not taken; another try may succeed.
    Later(String),
    /// The server has the content and never said what it did with it.
    Unknown(String),
    /// The server cannot be used, and no mail could have been begun.
    Away(String),
    /// This mail will never be taken.
    Never(String),
}

/// The SMTP server cannot be used as it is set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SmtpError(pub String);

/// Files with credentials are looked at again after this time: tokens for XOAUTH2 live for an hour, and Secrets are rotated.
const LOOK: Duration = Duration::from_secs(30);

/// The password in force.
struct Password {
    secret: Secret,
    /// How many there have been before it.
    login: u64,
    looked: Instant,
}

/// An SMTP server, with a pool of connections.
pub struct Smtp {
    settings: SmtpSettings,
    connector: Connector,
    pool: Arc<Pool>,
    password: Mutex<Password>,
}

impl Smtp {
    /// Reads files; connects to nothing. In a Tokio runtime.
    ///
    /// # Errors
    /// [`SmtpError`] names the setting whose file cannot be used.
    pub fn new(settings: SmtpSettings) -> Result<Self, SmtpError> {
        let connector = Connector::new(&settings)?;
        let secret = password(&settings)?;
        let pool = Pool::new(settings.connections, Duration::from_secs(settings.idle_seconds));
        let password = Mutex::new(Password { secret, login: 0, looked: Instant::now() });
        Ok(Self { settings, connector, pool, password })
    }

    /// `host:port`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.settings.host, self.settings.port())
    }

    /// The password that is in force now, and how many there have been before it.
    fn password(&self) -> (Secret, u64) {
        let mut known = self.password.lock();
        if self.settings.password_file.is_some() && known.looked.elapsed() >= LOOK {
            known.looked = Instant::now();
            match password(&self.settings) {
                Ok(secret) if secret != known.secret => {
                    tracing::info!("the SMTP password has changed");
                    known.secret = secret;
                    known.login += 1;
                }
                Ok(_) => {}
                Err(why) => {
                    tracing::warn!(%why, "the SMTP password cannot be read again; the old one is used");
                }
            }
        }
        (known.secret.clone(), known.login)
    }

    async fn open(&self) -> Result<Link, Failure> {
        let (password, login) = self.password();
        let connection = self.connector.connect(&password).await?;
        Ok(self.pool.link(connection, login))
    }

    /// Waits until one more mail may be under way.
    pub async fn turn(&self) -> Turn<'_> {
        self.pool.turn().await
    }

    /// Whether there are connections, in use or idle: then it is not the server that cannot be used, but one more connection.
    pub fn is_connected(&self) -> bool {
        self.pool.is_connected()
    }

    /// Hands a mail over. Dropped before its end, it may have been handed over or not.
    pub async fn send(&self, message: &Message, _turn: Turn<'_>) -> Outcome {
        let content = message.formatted();
        match self.transact(message.envelope(), &content).await {
            Ok(()) => Outcome::Sent,
            Err(failure) => answer::judge(&failure, &self.place()),
        }
    }

    async fn transact(&self, envelope: &Envelope, content: &[u8]) -> Result<(), Failure> {
        let limit = self.settings.data_done();
        let (mut link, offered) = self.begin(envelope, content).await?;
        let ended = match offered {
            Ok(()) => transaction::hand_over(&mut link.connection, content, limit).await,
            Err(failure) => Err(failure),
        };
        let in_step = match &ended {
            Ok(()) => true,
            Err(failure) => failure.is_in_step() && transaction::reset(&mut link.connection).await,
        };
        if in_step {
            self.pool.put_back(link);
        }
        ended
    }

    /// Offers a mail over a connection that was used before, or over a new one where there is none or it has ended meanwhile.
    async fn begin(
        &self,
        envelope: &Envelope,
        content: &[u8],
    ) -> Result<(Link, Result<(), Failure>), Failure> {
        let limit = self.settings.timeout();
        let (_, login) = self.password();
        if let Some(mut link) = self.pool.take(login) {
            let offered = transaction::offer(&mut link.connection, envelope, content, limit).await;
            if !offered.as_ref().is_err_and(Failure::is_stale) {
                return Ok((link, offered));
            }
        }
        let mut link = self.open().await?;
        let offered = transaction::offer(&mut link.connection, envelope, content, limit).await;
        Ok((link, offered))
    }

    /// Connects and shows credentials, or finds a connection on which that was done and which is good still. Sends nothing.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub async fn try_out(&self) -> Result<(), SmtpError> {
        let _turn = self.turn().await;
        let (_, login) = self.password();
        while let Some(mut link) = self.pool.take(login) {
            if transaction::reset(&mut link.connection).await {
                self.pool.put_back(link);
                return Ok(());
            }
        }
        match self.open().await {
            Ok(link) => {
                self.pool.put_back(link);
                Ok(())
            }
            Err(failure) => match answer::judge(&failure, &self.place()) {
                Outcome::Later(why) | Outcome::Never(why) | Outcome::Unknown(why) | Outcome::Away(why) => {
                    Err(SmtpError(why))
                }
                Outcome::Sent => Ok(()),
            },
        }
    }

    /// Says goodbye on idle connections.
    pub async fn close(&self) {
        self.pool.close(Duration::ZERO).await;
    }
}

fn password(settings: &SmtpSettings) -> Result<Secret, SmtpError> {
    let read = settings.password.or_file(settings.password_file.as_deref());
    read.map_err(|why| SmtpError(format!("smtp.password_file: {why}")))
}

/// Shared by all that send.
pub type SharedSmtp = Arc<Smtp>;
