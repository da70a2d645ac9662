//! Handing mails to an SMTP server: connections, credentials, and what its answers mean.
//!
//! No templates and no queue here: a finished message goes in, an [`Outcome`] comes out.

mod answer;
mod rates;
mod settings;

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use lettre::{
    AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor,
    transport::smtp::{
        PoolConfig,
        authentication::{Credentials, Mechanism},
        client::{Certificate, CertificateStore, Tls, TlsParameters},
        extension::ClientId,
    },
};
use parking_lot::Mutex;
use rookery_service::secret::Secret;

pub use rates::Rates;
pub use settings::{Login, Security, SmtpSettings};

/// How handing over a mail ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The server has it.
    Sent,
    /// Not now; another try may succeed.
    Later(String),
    /// This mail will never be taken.
    Never(String),
}

/// The SMTP server cannot be used as it is set.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct SmtpError(pub String);

type Transport = AsyncSmtpTransport<Tokio1Executor>;

/// Files with credentials are looked at again after this time: tokens for XOAUTH2 live for an hour, and Secrets are rotated.
const LOOK: Duration = Duration::from_secs(30);

struct Built {
    transport: Transport,
    password: Secret,
    looked: Instant,
}

/// An SMTP server, with a pool of connections.
pub struct Smtp {
    settings: SmtpSettings,
    tls: Tls,
    built: Mutex<Built>,
}

impl Smtp {
    /// Reads files; connects to nothing. In a Tokio runtime.
    ///
    /// # Errors
    /// [`SmtpError`] names the setting whose file cannot be used.
    pub fn new(settings: SmtpSettings) -> Result<Self, SmtpError> {
        let tls = tls(&settings)?;
        let password = password(&settings)?;
        let transport = transport(&settings, &tls, &password);
        let built = Mutex::new(Built { transport, password, looked: Instant::now() });
        Ok(Self { settings, tls, built })
    }

    /// `host:port`.
    pub fn place(&self) -> String {
        format!("{}:{}", self.settings.host, self.settings.port())
    }

    /// The transport, with the credentials that are in force now.
    fn transport(&self) -> Transport {
        let mut built = self.built.lock();
        if self.settings.password_file.is_some() && built.looked.elapsed() >= LOOK {
            built.looked = Instant::now();
            match password(&self.settings) {
                Ok(password) if password != built.password => {
                    tracing::info!("the SMTP password has changed");
                    built.transport = transport(&self.settings, &self.tls, &password);
                    built.password = password;
                }
                Ok(_) => {}
                Err(why) => {
                    tracing::warn!(%why, "the SMTP password cannot be read again; the old one is used");
                }
            }
        }
        built.transport.clone()
    }

    /// Hands a mail over.
    pub async fn send(&self, message: Message) -> Outcome {
        let sending = self.transport();
        let limit = self.settings.timeout();
        match tokio::time::timeout(limit, sending.send(message)).await {
            Ok(Ok(_)) => Outcome::Sent,
            Ok(Err(error)) => answer::judge(&error, &self.place()),
            Err(_) => Outcome::Later(format!("{} took longer than {} s", self.place(), limit.as_secs())),
        }
    }

    /// Connects, shows credentials, and sends nothing.
    ///
    /// # Errors
    /// What is wrong, in words.
    pub async fn try_out(&self) -> Result<(), SmtpError> {
        let transport = self.transport();
        match tokio::time::timeout(self.settings.timeout(), transport.test_connection()).await {
            Ok(Ok(true)) => Ok(()),
            Ok(Ok(false)) => Err(SmtpError(format!("{} does not answer NOOP", self.place()))),
            Ok(Err(error)) => match answer::judge(&error, &self.place()) {
                Outcome::Later(why) | Outcome::Never(why) => Err(SmtpError(why)),
                Outcome::Sent => Ok(()),
            },
            Err(_) => Err(SmtpError(format!("{} does not answer in time", self.place()))),
        }
    }

    /// Says goodbye on idle connections.
    pub async fn close(&self) {
        let transport = self.built.lock().transport.clone();
        transport.shutdown().await;
    }
}

fn password(settings: &SmtpSettings) -> Result<Secret, SmtpError> {
    let read = settings.password.or_file(settings.password_file.as_deref());
    read.map_err(|why| SmtpError(format!("smtp.password_file: {why}")))
}

fn tls(settings: &SmtpSettings) -> Result<Tls, SmtpError> {
    if settings.security == Security::Plain {
        return Ok(Tls::None);
    }
    let mut parameters = TlsParameters::builder(settings.host.clone());
    if let Some(path) = &settings.tls_ca {
        parameters = parameters.certificate_store(CertificateStore::None);
        parameters = parameters.add_root_certificate(certificate(path)?);
    }
    let parameters =
        parameters.build_rustls().map_err(|error| SmtpError(format!("TLS for smtp.host: {error}")))?;
    Ok(match settings.security {
        Security::Implicit => Tls::Wrapper(parameters),
        Security::Starttls | Security::Plain => Tls::Required(parameters),
    })
}

fn certificate(path: &Path) -> Result<Certificate, SmtpError> {
    let wrong = |why: String| SmtpError(format!("smtp.tls_ca: cannot use {}: {why}", path.display()));
    let pem = std::fs::read(path).map_err(|error| wrong(error.to_string()))?;
    Certificate::from_pem(&pem).map_err(|error| wrong(error.to_string()))
}

fn transport(settings: &SmtpSettings, tls: &Tls, password: &Secret) -> Transport {
    let pool = PoolConfig::new()
        .max_size(settings.connections)
        .idle_timeout(Duration::from_secs(settings.idle_seconds));
    let mut builder = Transport::builder_dangerous(settings.host.clone())
        .port(settings.port())
        .tls(tls.clone())
        .timeout(Some(settings.timeout()))
        .pool_config(pool);
    if let Some(name) = &settings.hello_name {
        builder = builder.hello_name(ClientId::Domain(name.clone()));
    }
    if let Some(user) = &settings.user {
        builder = builder
            .credentials(Credentials::new(user.clone(), password.expose().to_owned()))
            .authentication(match settings.login {
                Login::Auto => vec![Mechanism::Plain, Mechanism::Login],
                Login::Plain => vec![Mechanism::Plain],
                Login::Login => vec![Mechanism::Login],
                Login::Xoauth2 => vec![Mechanism::Xoauth2],
            });
    }
    builder.build()
}

/// Shared by all that send.
pub type SharedSmtp = Arc<Smtp>;
