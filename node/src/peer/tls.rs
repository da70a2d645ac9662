//! Mutual TLS between nodes: everybody shows a certificate of the cluster's authority.

use std::path::{Path, PathBuf};

use tonic::transport::{Certificate, ClientTlsConfig, Identity, ServerTlsConfig};

use super::settings::PeerSettings;

/// A file cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("peer.{key}: cannot read {}: {why}", .path.display())]
pub struct TlsError {
    key: &'static str,
    path: PathBuf,
    why: std::io::Error,
}

pub(super) struct Tls {
    pub(super) server: ServerTlsConfig,
    pub(super) client: ClientTlsConfig,
}

fn read(key: &'static str, path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|why| TlsError { key, path: path.to_owned(), why })
}

/// Reads the files that the settings name. `None`: no TLS is wanted.
pub(super) fn load(settings: &PeerSettings) -> Result<Option<Tls>, TlsError> {
    let (Some(cert), Some(key), Some(ca)) = (&settings.tls_cert, &settings.tls_key, &settings.tls_ca) else {
        return Ok(None);
    };
    let identity = Identity::from_pem(read("tls_cert", cert)?, read("tls_key", key)?);
    let ca = Certificate::from_pem(read("tls_ca", ca)?);
    Ok(Some(Tls {
        server: ServerTlsConfig::new().identity(identity.clone()).client_ca_root(ca.clone()),
        client: ClientTlsConfig::new().identity(identity).ca_certificate(ca),
    }))
}
