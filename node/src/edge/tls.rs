//! TLS on the public port, for those who have no proxy in front that ends it.
//!
//! Certificates are renewed while the node runs: when the files change they are read again, for the connections that come then.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwap;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::EdgeSettings;

/// The files are looked at so often.
const EVERY: Duration = Duration::from_secs(5);

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is missing, unreadable, or no PEM with what is needed.
    #[error("cannot read {} from {}: {why}", .what, .path.display())]
    File {
        /// The setting that names it.
        key: &'static str,
        /// What should be in it.
        what: &'static str,
        /// Which file.
        path: PathBuf,
        /// The reader's word for it.
        why: String,
    },
    /// Certificate and key do not go together, or are of a kind that is not supported.
    #[error("it and edge.tls_key cannot be used: {0}")]
    Pair(String),
}

impl TlsError {
    /// The setting that is wrong.
    pub fn key(&self) -> &'static str {
        match self {
            Self::File { key, .. } => key,
            Self::Pair(_) => "edge.tls_certificate",
        }
    }
}

/// Accepts TLS.
#[derive(Clone)]
pub struct Tls(Arc<Inner>);

struct Inner {
    files: Files,
    config: ArcSwap<ServerConfig>,
    every: Duration,
}

#[derive(Clone)]
struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// What tells whether the files are those that were read.
type Seen = [Option<(SystemTime, u64)>; 2];

impl Tls {
    /// Reads the files that the settings name. `None`: no TLS is wanted.
    ///
    /// # Errors
    /// [`TlsError`], naming the setting and the file.
    pub fn load(settings: &EdgeSettings) -> Result<Option<Self>, TlsError> {
        Self::load_and_look(settings, EVERY)
    }

    /// [`Self::load`], and looks at the files so often.
    pub(super) fn load_and_look(settings: &EdgeSettings, every: Duration) -> Result<Option<Self>, TlsError> {
        let (Some(certificate), Some(key)) = (&settings.tls_certificate, &settings.tls_key) else {
            return Ok(None);
        };
        let files = Files { certificate: certificate.clone(), key: key.clone() };
        let config = ArcSwap::from_pointee(files.read()?);
        Ok(Some(Self(Arc::new(Inner { files, config, every }))))
    }

    /// For one connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.0.config.load_full())
    }

    /// Reads the files again when they change, as long as somebody accepts. In a Tokio runtime.
    pub(super) fn watch(&self) {
        let (files, seen) = (self.0.files.clone(), self.0.files.seen());
        tokio::spawn(watch(files, seen, Arc::downgrade(&self.0), self.0.every));
    }
}

async fn watch(files: Files, mut seen: Seen, tls: Weak<Inner>, every: Duration) {
    let mut failed = false;
    loop {
        tokio::time::sleep(every).await;
        let Some(tls) = tls.upgrade() else { return };
        let looked = files.clone();
        let Ok(now) = tokio::task::spawn_blocking(move || looked.seen()).await else { continue };
        // What could not be read is tried again: certificate and key are seldom written at the same moment.
        if now == seen && !failed {
            continue;
        }
        let read = files.clone();
        let Ok(read) = tokio::task::spawn_blocking(move || read.read()).await else { continue };
        match read {
            Ok(config) => {
                tls.config.store(Arc::new(config));
                tracing::info!("the certificate of the public port was read again");
                failed = false;
            }
            Err(error) => {
                if now != seen {
                    let key = error.key();
                    tracing::error!(%error, key, "a new certificate cannot be used; the one before stays in force");
                }
                failed = true;
            }
        }
        seen = now;
    }
}

impl Files {
    fn seen(&self) -> Seen {
        [&self.certificate, &self.key].map(|path| {
            let file = std::fs::metadata(path).ok()?;
            Some((file.modified().ok()?, file.len()))
        })
    }

    fn read(&self) -> Result<ServerConfig, TlsError> {
        let wrong =
            |key, what, path: &Path, why: String| TlsError::File { key, what, path: path.to_owned(), why };
        let (certificate, key) = (&self.certificate, &self.key);
        let no_certificates = |why| wrong("edge.tls_certificate", "certificates", certificate, why);
        let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .map_err(|error| no_certificates(error.to_string()))?;
        if chain.is_empty() {
            return Err(no_certificates("there is none in it".to_owned()));
        }
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| wrong("edge.tls_key", "a private key", key, error.to_string()))?;
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Pair(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| TlsError::Pair(error.to_string()))?;
        // WebSocket and HTTP/1.1 are all that is spoken here.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(config)
    }
}
