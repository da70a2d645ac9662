//! Opening a connection: TCP, TLS, the greeting, and credentials.

use std::{io, path::Path, sync::Arc, time::Duration};

use lettre::transport::smtp::{
    authentication::{Credentials, Mechanism},
    client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters},
    extension::ClientId,
};
use rookery_service::secret::Secret;
use rustls::{
    ClientConfig, RootCertStore,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tokio::{
    net::{TcpStream, lookup_host},
    time::{Instant, timeout_at},
};
use tokio_rustls::TlsConnector;

use super::{
    Login, Security, SmtpError, SmtpSettings,
    transaction::{Failure, Stage},
    wire::{Clear, Sealed},
};

enum Tls {
    None,
    Starttls(TlsParameters),
    Implicit(TlsConnector, ServerName<'static>),
}

/// Opens connections.
pub(super) struct Connector {
    host: String,
    port: u16,
    tls: Tls,
    hello: ClientId,
    user: Option<String>,
    mechanisms: &'static [Mechanism],
    limit: Duration,
}

impl Connector {
    /// Reads files; connects to nothing.
    pub(super) fn new(settings: &SmtpSettings) -> Result<Self, SmtpError> {
        Ok(Self {
            host: settings.host.clone(),
            port: settings.port(),
            tls: tls(settings)?,
            hello: settings.hello_name.clone().map_or_else(ClientId::default, ClientId::Domain),
            user: settings.user.clone(),
            mechanisms: match settings.login {
                Login::Auto => &[Mechanism::Plain, Mechanism::Login],
                Login::Plain => &[Mechanism::Plain],
                Login::Login => &[Mechanism::Login],
                Login::Xoauth2 => &[Mechanism::Xoauth2],
            },
            limit: settings.timeout(),
        })
    }

    /// A connection on which a mail can be begun.
    pub(super) async fn connect(&self, password: &Secret) -> Result<AsyncSmtpConnection, Failure> {
        let end = Instant::now() + self.limit;
        let opened = timeout_at(end, Box::pin(self.open())).await;
        let mut connection = opened.unwrap_or_else(|_| Err(Failure::silent(Stage::Connect)))?;
        if let Some(user) = &self.user {
            let credentials = Credentials::new(user.clone(), password.expose().to_owned());
            let shown = timeout_at(end, connection.auth(self.mechanisms, &credentials)).await;
            let shown = shown.map_err(|_| Failure::silent(Stage::Login))?;
            shown.map_err(|error| Failure::smtp(Stage::Login, error))?;
        }
        Ok(connection)
    }

    async fn open(&self) -> Result<AsyncSmtpConnection, Failure> {
        let refused = |error| Failure::smtp(Stage::Connect, error);
        let broken = |error| Failure::io(Stage::Connect, error);
        let socket = self.socket().await.map_err(broken)?;
        match &self.tls {
            Tls::Implicit(connector, name) => {
                let stream = connector.connect(name.clone(), socket).await.map_err(broken)?;
                let stream = Box::new(Sealed(stream));
                AsyncSmtpConnection::connect_with_transport(stream, &self.hello).await.map_err(refused)
            }
            Tls::Starttls(parameters) => {
                let stream = Box::new(Clear::new(socket));
                let connection = AsyncSmtpConnection::connect_with_transport(stream, &self.hello).await;
                let mut connection = connection.map_err(refused)?;
                connection.starttls(parameters.clone(), &self.hello).await.map_err(refused)?;
                Ok(connection)
            }
            Tls::None => AsyncSmtpConnection::connect_with_transport(Box::new(socket), &self.hello)
                .await
                .map_err(refused),
        }
    }

    /// Tries each of the server's addresses; a silent one leaves time for the others.
    pub(super) async fn socket(&self) -> io::Result<TcpStream> {
        let addresses: Vec<_> = lookup_host((self.host.as_str(), self.port)).await?.collect();
        let share = self.limit / u32::try_from(addresses.len()).unwrap_or(u32::MAX).max(1);
        let mut why = io::Error::new(io::ErrorKind::NotFound, "its name has no address");
        for address in addresses {
            match tokio::time::timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(socket)) => {
                    // A mail is a few small writes; without this each waits until the one before it is acknowledged.
                    socket.set_nodelay(true)?;
                    return Ok(socket);
                }
                Ok(Err(error)) => why = error,
                Err(_) => why = io::ErrorKind::TimedOut.into(),
            }
        }
        Err(why)
    }
}

fn tls(settings: &SmtpSettings) -> Result<Tls, SmtpError> {
    let pem = settings.tls_ca.as_deref().map(read).transpose()?;
    match settings.security {
        Security::Plain => Ok(Tls::None),
        Security::Starttls => starttls(&settings.host, pem).map(Tls::Starttls),
        Security::Implicit => {
            let name = ServerName::try_from(settings.host.clone());
            let name = name.map_err(|_| SmtpError("smtp.host: is no name of a server".to_owned()))?;
            Ok(Tls::Implicit(implicit(pem)?, name))
        }
    }
}

/// A file with certificates, and its name for what is wrong with it.
struct Pem<'a> {
    path: &'a Path,
    bytes: Vec<u8>,
}

impl Pem<'_> {
    fn wrong(&self, why: &dyn std::fmt::Display) -> SmtpError {
        SmtpError(format!("smtp.tls_ca: cannot use {}: {why}", self.path.display()))
    }
}

fn read(path: &Path) -> Result<Pem<'_>, SmtpError> {
    match std::fs::read(path) {
        Ok(bytes) => Ok(Pem { path, bytes }),
        Err(error) => Err(Pem { path, bytes: Vec::new() }.wrong(&error)),
    }
}

fn starttls(host: &str, pem: Option<Pem<'_>>) -> Result<TlsParameters, SmtpError> {
    let mut parameters = TlsParameters::builder(host.to_owned());
    if let Some(pem) = pem {
        let authority = Certificate::from_pem(&pem.bytes).map_err(|error| pem.wrong(&error))?;
        parameters = parameters.certificate_store(CertificateStore::None).add_root_certificate(authority);
    }
    parameters.build_rustls().map_err(|error| SmtpError(format!("TLS for smtp.host: {error}")))
}

fn implicit(pem: Option<Pem<'_>>) -> Result<TlsConnector, SmtpError> {
    let mut roots = RootCertStore::empty();
    if let Some(pem) = pem {
        for certificate in CertificateDer::pem_slice_iter(&pem.bytes) {
            let certificate = certificate.map_err(|error| pem.wrong(&error))?;
            roots.add(certificate).map_err(|error| pem.wrong(&error))?;
        }
    } else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    }
    let config = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| SmtpError(format!("TLS for smtp.host: {error}")))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
