//! Who is asking, by access token.

use std::sync::Arc;

use axum::{
    extract::FromRequestParts,
    http::{HeaderMap, header, request::Parts},
};

use crate::{accounts::Principal, edge::App, problem::Problem};

/// A request with a valid `Authorization: Bearer`. Without one: 401 `token_missing`, `token_invalid` or `token_expired`.
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
        app.accounts.authenticate(token).await.map(Self)
    }
}
