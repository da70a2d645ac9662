//! Calls about logins by external issuers.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{
    Auth, Body, ClientAddress, Path,
    accounts::{ChallengeBody, SessionBody, logged_in},
};
use crate::{
    accounts::{ExternalLogin, IdentityOf, KnownIssuer, Secret},
    edge::App,
    problem::Problem,
};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(issuers, external_login))
        .routes(routes!(identities, add_identity))
        .routes(routes!(remove_identity))
}

/// An OpenID provider whose users may log in.
#[derive(serde::Serialize, utoipa::ToSchema)]
struct Issuer {
    /// What this service calls it.
    #[schema(example = "acme")]
    name: String,
    /// Its address: `/.well-known/openid-configuration` below it says the rest.
    #[schema(example = "https://login.example.org")]
    url: String,
    /// Clients whose ID tokens are taken.
    #[schema(example = json!(["chat-web"]))]
    audiences: Vec<String>,
}

/// External issuers.
#[derive(serde::Serialize, utoipa::ToSchema)]
struct Issuers {
    issuers: Vec<Issuer>,
}

/// External issuers
///
/// The OpenID providers whose users may log in here, by name. There may be none.
#[utoipa::path(get, path = "/v1/auth/external", tag = "accounts",
    responses((status = 200, description = "The issuers.", body = Issuers)))]
async fn issuers(State(app): State<Arc<App>>) -> Json<Issuers> {
    let issuer = |KnownIssuer { name, url, audiences }| Issuer { name, url, audiences };
    Json(Issuers { issuers: app.accounts.issuers().into_iter().map(issuer).collect() })
}

#[derive(serde::Deserialize, utoipa::ToSchema)]
struct ExternalLoginBody {
    /// What the application got from the issuer; at most 16 KiB, issued in the last ten minutes. Good once.
    #[schema(value_type = String)]
    id_token: Secret,
    /// What the token must have as `nonce`.
    nonce: Option<String>,
    /// For a new account: 2-32 characters. By default what the issuer tells, if it can be had.
    #[schema(example = "ada")]
    username: Option<String>,
    /// For a new account: 1-64 characters. By default what the issuer tells, or the username.
    #[schema(example = "Ada Lovelace")]
    display_name: Option<String>,
    /// For a new account: BCP 47 tag. By default what the issuer tells, or `en`.
    #[schema(example = "en")]
    language: Option<String>,
}

/// Log in by an external issuer
///
/// Whom nobody knows gets an account. A token that is refused with 409 or 422 is not used up: the call can be made again with
/// another username.
#[utoipa::path(post, path = "/v1/auth/external", tag = "accounts", request_body = ExternalLoginBody, responses(
    (status = 200, description = "Logged in.", body = SessionBody),
    (status = 201, description = "An account was made, and logged in.", body = SessionBody),
    (status = 202, description = "A code was mailed, as the user wants it; it must follow.", body = ChallengeBody),
    (status = 401, description = "`id_token_invalid`: the sentence says why."),
    (status = 403, description = "`email_unverified`: the issuer tells no e-mail address that it has verified."),
    (status = 409, description = "`email_taken`: log in to that account, then `POST /v1/users/me/identities`. `username_taken`."),
    (status = 422, description = "`invalid`; with the field `username`: one has to be chosen."),
    (status = 429, description = "`rate_limited`."),
    (status = 503, description = "`unavailable`, also when the issuer is away."),
))]
async fn external_login(
    State(app): State<Arc<App>>,
    address: ClientAddress,
    Body(body): Body<ExternalLoginBody>,
) -> Result<Response, Problem> {
    let login = ExternalLogin {
        id_token: body.id_token,
        nonce: body.nonce,
        username: body.username,
        display_name: body.display_name,
        language: body.language,
    };
    let entered = app.accounts.log_in_external(&login, address.bucket()).await?;
    let answer = logged_in(entered.logged_in);
    Ok(if entered.made { (StatusCode::CREATED, answer).into_response() } else { answer })
}

/// What opens an account at an external issuer.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Identity)]
struct IdentityBody {
    /// For `DELETE`.
    id: String,
    /// What this service calls the issuer; `null`: it is not trusted any more.
    #[schema(example = "acme")]
    issuer: Option<String>,
    /// The issuer's address.
    #[schema(example = "https://login.example.org")]
    url: String,
    /// What the issuer calls the user (`sub`).
    subject: String,
}

/// Identities of an account.
#[derive(serde::Serialize, utoipa::ToSchema)]
struct Identities {
    identities: Vec<IdentityBody>,
}

impl From<Vec<IdentityOf>> for Identities {
    fn from(all: Vec<IdentityOf>) -> Self {
        let body = |one: IdentityOf| IdentityBody {
            id: one.identity.id(),
            issuer: one.issuer,
            url: one.identity.issuer,
            subject: one.identity.subject,
        };
        Self { identities: all.into_iter().map(body).collect() }
    }
}

/// What opens my account at external issuers
#[utoipa::path(get, path = "/v1/users/me/identities", tag = "users", security(("bearer" = [])),
    responses((status = 200, description = "At most 16.", body = Identities)))]
async fn identities(State(app): State<Arc<App>>, Auth(me): Auth) -> Result<Json<Identities>, Problem> {
    Ok(Json(app.accounts.identities(&me).await?.into()))
}

#[derive(serde::Deserialize, utoipa::ToSchema)]
struct AddIdentityBody {
    /// What the application got from the issuer; good once.
    #[schema(value_type = String)]
    id_token: Secret,
    /// What the token must have as `nonce`.
    nonce: Option<String>,
}

/// Let a login at an external issuer open my account
#[utoipa::path(post, path = "/v1/users/me/identities", tag = "users", security(("bearer" = [])),
    request_body = AddIdentityBody, responses(
    (status = 200, description = "All of them.", body = Identities),
    (status = 401, description = "`id_token_invalid`: the sentence says why."),
    (status = 409, description = "`identity_taken`: it opens another account. `limit_reached`: there are 16."),
    (status = 429, description = "`rate_limited`."),
))]
async fn add_identity(
    State(app): State<Arc<App>>,
    address: ClientAddress,
    Auth(me): Auth,
    Body(body): Body<AddIdentityBody>,
) -> Result<Json<Identities>, Problem> {
    let nonce = body.nonce.as_deref();
    Ok(Json(app.accounts.add_identity(&me, &body.id_token, nonce, address.bucket()).await?.into()))
}

/// Let it open my account no more
///
/// Logins that it has begun go on.
#[utoipa::path(delete, path = "/v1/users/me/identities/{id}", tag = "users", security(("bearer" = [])),
    params(("id" = String, Path, description = "Of the identity.")), responses(
    (status = 204, description = "It opens nothing now."),
    (status = 404, description = "`identity_not_found`."),
))]
async fn remove_identity(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    app.accounts.remove_identity(&me, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}
