//! Calls about users.

use std::sync::Arc;

use axum::Json;
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Auth, rfc3339};
use crate::{edge::App, problem::Problem};

/// A user as everybody sees him.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub(super) struct User {
    #[schema(example = "01JZ8V4Q5R6S7T8V9WAXBYCZD0")]
    pub(super) id: String,
    /// Unique name.
    #[schema(example = "ada")]
    pub(super) username: String,
    /// Name to show.
    #[schema(example = "Ada Lovelace")]
    pub(super) display_name: String,
    /// BCP 47 tag.
    #[schema(example = "en")]
    pub(super) language: String,
    #[schema(example = "2026-01-02T03:04:05.678Z")]
    pub(super) created_at: String,
}

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(get_me))
}

/// Who I am.
#[utoipa::path(get, path = "/v1/users/me", tag = "users", security(("bearer" = [])),
    responses((status = 200, description = "The user of the access token.", body = User)))]
async fn get_me(Auth(me): Auth) -> Result<Json<User>, Problem> {
    Ok(Json(User {
        id: me.profile.id.to_string(),
        username: me.profile.username.clone(),
        display_name: me.profile.display_name.clone(),
        language: me.language.to_string(),
        created_at: rfc3339(me.created_at),
    }))
}
