//! The token by which the operator is known.

use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use tonic::{Request, Status};

/// Shorter ones are guessed.
const SHORTEST: usize = 16;
/// Nothing longer is read.
const LONGEST: usize = 1024;

/// The token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// The file cannot be read.
    #[error("cannot read the operator's token from {path} (peer.operator_token_file): {why}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        why: std::io::Error,
    },
    /// It says nothing to go by.
    #[error("{path} (peer.operator_token_file) must hold a token of 16 to 1024 characters, and nothing else")]
    Useless {
        /// Which.
        path: PathBuf,
    },
}

/// A file with the operator's token. It is read for each call: calls are few, and a new token is in force at once.
#[derive(Debug)]
pub struct OperatorToken {
    path: PathBuf,
}

impl OperatorToken {
    /// The token in a file, which must be there.
    ///
    /// # Errors
    /// [`TokenError`].
    pub async fn new(path: &Path) -> Result<Self, TokenError> {
        let token = Self { path: path.to_owned() };
        token.read().await?;
        Ok(token)
    }

    /// Its hash: what is compared must not tell by its time how long it is.
    async fn read(&self) -> Result<[u8; 32], TokenError> {
        let path = || self.path.clone();
        let text = tokio::fs::read_to_string(&self.path).await;
        let text = text.map_err(|why| TokenError::Read { path: path(), why })?;
        let token = text.trim_end();
        let visible = token.bytes().all(|byte| byte.is_ascii_graphic());
        if !visible || !(SHORTEST..=LONGEST).contains(&token.len()) {
            return Err(TokenError::Useless { path: path() });
        }
        Ok(Sha256::digest(token).into())
    }

    /// Lets a call in whose `authorization` is `Bearer` and the token.
    ///
    /// # Errors
    /// What the caller is told.
    async fn admits<T: Sync>(&self, request: &Request<T>) -> Result<(), Status> {
        let wanted = self.read().await.map_err(|error| {
            tracing::error!(%error, "the operator is not let in");
            Status::unavailable("this node cannot read its operator's token; its log says why")
        })?;
        let given = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        let given = given.and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        if Sha256::digest(given).ct_eq(&wanted).into() {
            return Ok(());
        }
        tracing::warn!(from = ?request.remote_addr(), "somebody without the operator's token was sent away");
        Err(Status::unauthenticated("the operator's token is wrong or missing"))
    }
}

/// Lets a call in that needs no more than to reach this node, unless there is a token.
pub(super) async fn admit<T: Sync>(
    token: Option<&OperatorToken>,
    request: &Request<T>,
) -> Result<(), Status> {
    match token {
        Some(token) => token.admits(request).await,
        None => Ok(()),
    }
}

/// Lets a call in that nobody makes without a token.
pub(super) async fn admit_operator<T: Sync>(
    token: Option<&OperatorToken>,
    request: &Request<T>,
) -> Result<(), Status> {
    match token {
        Some(token) => token.admits(request).await,
        None => Err(Status::unauthenticated(
            "rooms are declared only where peer.operator_token_file is set on every node",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(authorization: Option<&str>) -> Request<()> {
        let mut request = Request::new(());
        if let Some(text) = authorization {
            request.metadata_mut().insert("authorization", text.parse().unwrap());
        }
        request
    }

    #[tokio::test]
    async fn only_who_has_it_comes_in_and_a_new_one_is_in_force_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        assert!(matches!(OperatorToken::new(&path).await, Err(TokenError::Read { .. })));
        for useless in ["", "short", "two words of it all", &"x".repeat(1025)] {
            std::fs::write(&path, useless).unwrap();
            assert!(
                matches!(OperatorToken::new(&path).await, Err(TokenError::Useless { .. })),
                "{useless:?}"
            );
        }
        std::fs::write(&path, "the-first-token-of-all\n").unwrap();
        let token = OperatorToken::new(&path).await.unwrap();
        let comes_in = async |text| admit_operator(Some(&token), &call(text)).await.map_err(|s| s.code());
        assert_eq!(comes_in(Some("Bearer the-first-token-of-all")).await, Ok(()));
        for wrong in [
            None,
            Some(""),
            Some("Bearer "),
            Some("Bearer the-first-token-of-al"),
            Some("the-first-token-of-all"),
        ] {
            assert_eq!(comes_in(wrong).await, Err(tonic::Code::Unauthenticated), "{wrong:?}");
        }
        std::fs::write(&path, "another-token-instead").unwrap();
        assert_eq!(comes_in(Some("Bearer the-first-token-of-all")).await, Err(tonic::Code::Unauthenticated));
        assert_eq!(comes_in(Some("Bearer another-token-instead")).await, Ok(()));
        std::fs::remove_file(&path).unwrap();
        assert_eq!(comes_in(Some("Bearer another-token-instead")).await, Err(tonic::Code::Unavailable));
        assert!(admit(None, &call(None)).await.is_ok());
        assert_eq!(admit_operator(None, &call(None)).await.unwrap_err().code(), tonic::Code::Unauthenticated);
    }
}
