//! Calls about users.

use std::sync::Arc;

use axum::{Json, extract::State, http::StatusCode};
use rookery_protocol::id::UserId;
use serde::{Deserialize, Deserializer};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Auth, Body, Path, rfc3339};
use crate::{
    accounts::{self, Account, Change, MailAbout},
    edge::App,
    problem::Problem,
};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(get_me, change_me, delete_me))
        .routes(routes!(get_user))
        .routes(routes!(get_user_by_name))
}

/// A user as everybody sees him.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
pub(super) struct User {
    #[schema(example = "01JZ8V4Q5R6S7T8V9WAXBYCZD0")]
    id: String,
    /// Unique name.
    #[schema(example = "ada")]
    username: String,
    /// Name to show.
    #[schema(example = "Ada Lovelace")]
    display_name: String,
    /// BCP 47 tag.
    #[schema(example = "en")]
    language: String,
    /// Address of a picture, if there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    avatar_url: Option<String>,
    #[schema(example = "2026-01-02T03:04:05.678Z")]
    created_at: String,
}

impl User {
    pub(super) fn of(user: &accounts::User) -> Self {
        Self {
            id: user.profile.id.to_string(),
            username: user.profile.username.clone(),
            display_name: user.profile.display_name.clone(),
            language: user.language.to_string(),
            avatar_url: user.avatar_url.clone(),
            created_at: rfc3339(user.created_at),
        }
    }
}

/// What mails a user wants.
#[derive(Debug, Clone, Copy, serde::Serialize, utoipa::ToSchema)]
struct Notifications {
    /// About which messages, while he is away.
    email: MailAbout,
}

/// One's own account.
#[derive(Debug, Clone, serde::Serialize, utoipa::ToSchema)]
struct Me {
    #[schema(example = "01JZ8V4Q5R6S7T8V9WAXBYCZD0")]
    id: String,
    #[schema(example = "ada")]
    username: String,
    #[schema(example = "ada@example.org")]
    email: String,
    #[schema(example = "Ada Lovelace")]
    display_name: String,
    /// BCP 47 tag.
    #[schema(example = "en")]
    language: String,
    avatar_url: Option<String>,
    /// Whether each login needs a code by mail.
    login_code: bool,
    notifications: Notifications,
    #[schema(example = "2026-01-02T03:04:05.678Z")]
    created_at: String,
}

impl From<Account> for Me {
    fn from(account: Account) -> Self {
        Self {
            id: account.id.to_string(),
            username: account.username,
            email: account.email,
            display_name: account.display_name,
            language: account.language,
            avatar_url: account.avatar_url,
            login_code: account.login_code,
            notifications: Notifications { email: account.mail_about },
            created_at: rfc3339(account.created_at),
        }
    }
}

/// Who I am
#[utoipa::path(get, path = "/v1/users/me", tag = "users", security(("bearer" = [])),
    responses((status = 200, description = "The user of the access token.", body = Me)))]
async fn get_me(State(app): State<Arc<App>>, Auth(me): Auth) -> Result<Json<Me>, Problem> {
    Ok(Json(app.accounts.account(&me).await?.into()))
}

#[derive(serde::Deserialize, utoipa::ToSchema)]
struct ChangeNotifications {
    email: Option<MailAbout>,
}

/// What to change; what is left out stays.
#[derive(serde::Deserialize, utoipa::ToSchema)]
struct ChangeBody {
    /// 1-64 characters.
    #[schema(example = "Ada Lovelace")]
    display_name: Option<String>,
    /// BCP 47 tag.
    #[schema(example = "en")]
    language: Option<String>,
    /// `https`, at most 512 bytes; `null` removes the picture.
    #[serde(default, deserialize_with = "present")]
    #[schema(value_type = Option<String>, example = "https://example.org/ada.png")]
    avatar_url: Option<Option<String>>,
    /// Whether each login needs a code by mail.
    login_code: Option<bool>,
    notifications: Option<ChangeNotifications>,
}

/// Tells `null` from a field that is left out.
fn present<'de, D: Deserializer<'de>>(value: D) -> Result<Option<Option<String>>, D::Error> {
    Option::<String>::deserialize(value).map(Some)
}

/// Change my account
///
/// Messages that were sent keep the names that they were sent with.
#[utoipa::path(patch, path = "/v1/users/me", tag = "users", security(("bearer" = [])), request_body = ChangeBody,
    responses((status = 200, description = "The account as it is now.", body = Me)))]
async fn change_me(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Body(body): Body<ChangeBody>,
) -> Result<Json<Me>, Problem> {
    let change = Change {
        display_name: body.display_name,
        language: body.language,
        avatar_url: body.avatar_url,
        login_code: body.login_code,
        mail_about: body.notifications.and_then(|notifications| notifications.email),
    };
    Ok(Json(app.accounts.change_account(&me, change).await?.into()))
}

/// Delete my account
///
/// Its logins end and its username and address are free again. Within moments the user leaves his rooms: where he was the only
/// owner, of the moderators the one with the oldest account becomes owner, else of the members; a room of which he was the last
/// member is removed. A direct room stays, for the other. Messages stay, with the name of their sender as it was.
#[utoipa::path(delete, path = "/v1/users/me", tag = "users", security(("bearer" = [])),
    responses((status = 204, description = "Deleted.")))]
async fn delete_me(State(app): State<Arc<App>>, Auth(me): Auth) -> Result<StatusCode, Problem> {
    app.accounts.delete_account(&me).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A user by id
#[utoipa::path(get, path = "/v1/users/{id}", tag = "users", security(("bearer" = [])),
    params(("id" = String, Path, description = "The user's id.")),
    responses(
        (status = 200, description = "The user.", body = User),
        (status = 404, description = "`user_not_found`."),
    ))]
async fn get_user(
    State(app): State<Arc<App>>,
    Auth(_me): Auth,
    Path(id): Path<String>,
) -> Result<Json<User>, Problem> {
    // What is no id is nobody's.
    let id = id.parse().unwrap_or(UserId(0));
    Ok(Json(User::of(&*app.accounts.user(id).await?)))
}

/// A user by username
///
/// In any case; not by a name that only looks like it.
#[utoipa::path(get, path = "/v1/users/by-username/{username}", tag = "users", security(("bearer" = [])),
    params(("username" = String, Path, description = "The user's name.")),
    responses(
        (status = 200, description = "The user.", body = User),
        (status = 404, description = "`user_not_found`."),
    ))]
async fn get_user_by_name(
    State(app): State<Arc<App>>,
    Auth(_me): Auth,
    Path(username): Path<String>,
) -> Result<Json<User>, Problem> {
    Ok(Json(User::of(&*app.accounts.user_by_name(&username).await?)))
}
