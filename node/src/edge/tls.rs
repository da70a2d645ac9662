//! TLS on the public port, for those who have no proxy in front that ends it.

use std::{path::PathBuf, sync::Arc};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    },
};

use super::EdgeSettings;

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file is missing, unreadable, or no PEM with what is needed.
    #[error("edge.{key}: cannot read {} from {}: {why}", .what, .path.display())]
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
    #[error("edge.tls_certificate and edge.tls_key cannot be used: {0}")]
    Pair(String),
}

/// Accepts TLS.
#[derive(Clone)]
pub struct Tls(pub(super) TlsAcceptor);

impl Tls {
    /// Reads the files that the settings name. `None`: no TLS is wanted.
    ///
    /// # Errors
    /// [`TlsError`], naming the setting and the file.
    pub fn load(settings: &EdgeSettings) -> Result<Option<Self>, TlsError> {
        let (Some(certificate), Some(key)) = (&settings.tls_certificate, &settings.tls_key) else {
            return Ok(None);
        };
        let wrong =
            |key, what, path: &PathBuf, why: String| TlsError::File { key, what, path: path.clone(), why };
        let chain: Vec<_> = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect)
            .map_err(|error| wrong("tls_certificate", "certificates", certificate, error.to_string()))?;
        if chain.is_empty() {
            let why = "there is none in it".to_owned();
            return Err(wrong("tls_certificate", "certificates", certificate, why));
        }
        let key = PrivateKeyDer::from_pem_file(key)
            .map_err(|error| wrong("tls_key", "a private key", key, error.to_string()))?;
        let provider = Arc::new(tokio_rustls::rustls::crypto::aws_lc_rs::default_provider());
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|error| TlsError::Pair(error.to_string()))?
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .map_err(|error| TlsError::Pair(error.to_string()))?;
        // WebSocket and HTTP/1.1 are all that is spoken here.
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Some(Self(TlsAcceptor::from(Arc::new(config)))))
    }
}
