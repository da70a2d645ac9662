//! What goes wrong, said to a client: one type for HTTP problems, WebSocket errors and refusals.
//!
//! Here belongs the mapping from a failure to `(status, code, sentence)`. No logic that decides.

use std::{borrow::Cow, collections::BTreeMap, time::Duration};

/// A refusal or failure as a client sees it (RFC 9457 over HTTP, an `error` frame over WebSocket).
///
/// `code` is stable and snake_case; `detail` is a sentence its reader can act on and never holds a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Problem {
    /// HTTP status.
    pub status: u16,
    /// Stable word for programs.
    pub code: &'static str,
    /// A sentence for people.
    pub detail: Cow<'static, str>,
    /// What is wrong with which field of the request, by field name.
    pub fields: BTreeMap<Cow<'static, str>, Cow<'static, str>>,
    /// When another try may succeed.
    pub retry_after: Option<Duration>,
}

impl Problem {
    /// A problem without fields or a time to retry.
    pub fn new(status: u16, code: &'static str, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { status, code, detail: detail.into(), fields: BTreeMap::new(), retry_after: None }
    }

    /// 422 `invalid`: one field is wrong; add more with [`Self::and_field`].
    pub fn invalid(field: &'static str, why: impl Into<Cow<'static, str>>) -> Self {
        Self::new(422, "invalid", "The request has fields that cannot be accepted.").and_field(field, why)
    }

    /// Names one more wrong field.
    #[must_use]
    pub fn and_field(
        mut self,
        field: impl Into<Cow<'static, str>>,
        why: impl Into<Cow<'static, str>>,
    ) -> Self {
        self.fields.insert(field.into(), why.into());
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }

    /// 503 `unavailable`: nothing is known to have been stored; trying again is safe.
    pub fn unavailable(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(503, "unavailable", detail).retry_after(Duration::from_secs(1))
    }

    /// 500 `internal`: logged where it happens, told without particulars.
    pub fn internal() -> Self {
        Self::new(500, "internal", "Something failed inside the node; its log says what.")
    }
}

impl From<crate::backend::Unavailable> for Problem {
    /// The reason is for the log: it may name machines.
    fn from(error: crate::backend::Unavailable) -> Self {
        tracing::warn!(%error, "a backend is unavailable");
        Self::unavailable("Storage cannot be reached now; try again.")
    }
}
