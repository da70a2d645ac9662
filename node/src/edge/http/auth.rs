//! Who is asking, by access token.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};

use crate::{
    accounts::{Act, Principal},
    edge::App,
    problem::Problem,
};

/// A request with a valid `Authorization: Bearer`. Without one: 401 `token_missing`, `token_invalid`, `token_expired` or
/// `session_revoked`. One that changes something is counted: 429 `rate_limited` when its user does so too often.
#[derive(Debug, Clone)]
pub struct Auth(pub Principal);

/// The token of `Authorization: Bearer`.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

impl FromRequestParts<Arc<App>> for Auth {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Problem> {
        let token = bearer(&parts.headers).ok_or_else(|| {
            Problem::new(
                401,
                "token_missing",
                "This call needs the header Authorization: Bearer <access token>.",
            )
        })?;
        let me = app.accounts.authenticate(token).await?;
        if !parts.method.is_safe() {
            app.accounts.count(me.profile.id, Act::Write)?;
        }
        Ok(Self(me))
    }
}
