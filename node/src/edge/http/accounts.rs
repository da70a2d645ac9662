//! Calls about accounts: registering, logging in and out.

use std::sync::Arc;

use axum::{
    Json,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Auth, Body, ClientAddress, users::User};
use crate::{
    accounts::{LoggedIn, Registration, Secret, Session},
    edge::App,
    problem::Problem,
};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(verify))
        .routes(routes!(resend))
        .routes(routes!(login))
        .routes(routes!(login_verify))
        .routes(routes!(refresh))
        .routes(routes!(logout))
        .routes(routes!(forgot_password))
        .routes(routes!(reset_password))
        .routes(routes!(ticket))
        .routes(routes!(jwks))
}

/// How long a code that was mailed is good.
#[derive(serde::Serialize, utoipa::ToSchema)]
struct CodeSent {
    /// Seconds.
    #[schema(example = 900)]
    expires_in: u64,
}

/// A login.
#[derive(serde::Serialize, utoipa::ToSchema)]
#[schema(as = Session)]
pub(super) struct SessionBody {
    user: User,
    /// JWT for `Authorization: Bearer`.
    access_token: String,
    /// For `/v1/auth/refresh`, good once.
    refresh_token: String,
    #[schema(example = "Bearer")]
    token_type: &'static str,
    /// Life of the access token, in seconds.
    #[schema(example = 900)]
    expires_in: u64,
}

impl From<Session> for SessionBody {
    fn from(session: Session) -> Self {
        Self {
            user: User::of(&session.user),
            access_token: session.access_token,
            refresh_token: session.refresh_token,
            token_type: "Bearer",
            expires_in: session.expires_in.as_secs(),
        }
    }
}

#[derive(serde::Deserialize, utoipa::ToSchema)]
struct RegisterBody {
    /// Where the code is mailed; at most 254 bytes.
    #[schema(example = "ada@example.org")]
    email: String,
    /// 2-32 letters and digits of one script, and `.`, `_`, `-` between them. Unique, also among names that look like it.
    #[schema(example = "ada")]
    username: String,
    /// 8-128 characters.
    #[schema(value_type = String, format = Password, example = "correct horse battery")]
    password: Secret,
    /// 1-64 characters; by default the username.
    #[schema(example = "Ada Lovelace")]
    display_name: Option<String>,
    /// BCP 47 tag; by default `en`.
    #[schema(example = "en")]
    language: Option<String>,
}

/// Register
///
/// Mails a code for `/v1/auth/verify`. The answer is the same whether or not the address is known; if it is, its owner is
/// told by mail. A username is not reserved until the code is verified.
#[utoipa::path(post, path = "/v1/auth/register", tag = "accounts", request_body = RegisterBody, responses(
    (status = 202, description = "A mail was sent.", body = CodeSent),
    (status = 409, description = "`username_taken`: somebody has this name, or one that looks like it."),
    (status = 429, description = "`rate_limited`."),
))]
async fn register(
    State(app): State<Arc<App>>,
    address: ClientAddress,
    Body(body): Body<RegisterBody>,
) -> Result<(StatusCode, Json<CodeSent>), Problem> {
    let registration = Registration {
        email: body.email,
        username: body.username,
        password: body.password,
        display_name: body.display_name,
        language: body.language,
    };
    let life = app.accounts.register(&registration, address.bucket()).await?;
    Ok((StatusCode::ACCEPTED, Json(CodeSent { expires_in: life.as_secs() })))
}

#[derive(serde::Deserialize, utoipa::ToSchema)]
struct VerifyBody {
    #[schema(example = "ada@example.org")]
    email: String,
    /// The digits of the mail.
    #[schema(value_type = String, example = "123456")]
    code: Secret,
}

/// End a registration
///
/// Makes the account and logs in.
#[utoipa::path(post, path = "/v1/auth/verify", tag = "accounts", request_body = VerifyBody, responses(
    (status = 201, description = "Registered, and logged in.", body = SessionBody),
    (status = 400, description = "`code_invalid`: wrong or expired."),
    (status = 409, description = "`username_taken`: somebody was faster; register again with another name."),
    (status = 429, description = "`too_many_attempts`: after 5 wrong tries the code is dead. `rate_limited`."),
))]
async fn verify(
    State(app): State<Arc<App>>,
    address: ClientAddress,
    Body(body): Body<VerifyBody>,
) -> Result<(StatusCode, Json<SessionBody>), Problem> {
    let session = app.accounts.verify(&body.email, &body.code, address.bucket()).await?;
    Ok((StatusCode::CREATED, Json(session.into())))
}

#[derive(serde::Deserialize, utoipa::ToSchema)]
struct EmailBody {
    #[schema(example = "ada@example.org")]
    email: String,
}

/// Mail another registration code
///
/// A new code replaces the old one. The answer is the same if no registration waits.
#[utoipa::path(post, path = "/v1/auth/resend", tag = "accounts", request_body = EmailBody, responses(
    (status = 202, description = "If a registration waits, a mail was sent.", body = CodeSent),
    (status = 429, description = "`rate_limited`."),
))]
async fn resend(
    State(app): State<Arc<App>>,
    address: ClientAddress,
    Body(body): Body<EmailBody>,
) -> Result<(StatusCode, Json<CodeSent>), Problem> {
    let life = app.accounts.resend(&body.email, address.bucket()).await?;
    Ok((StatusCode::ACCEPTED, Json(CodeSent { expires_in: life.as_secs() })))
}

#[derive(serde::Deserialize, utoipa::ToSchema)]
struct LoginBody {
    /// Username or e-mail address.
    #[schema(example = "ada")]
    login: String,
    #[schema(value_type = String, format = Password, example = "correct horse battery")]
    password: Secret,
}

/// A login that waits for a code.
#[derive(serde::Serialize, utoipa::ToSchema)]
pub(super) struct ChallengeBody {
    /// For `/v1/auth/login/verify`.
    challenge_id: String,
    /// Seconds.
    #[schema(example = 900)]
    expires_in: u64,
}

/// Log in
///
/// An unknown user and a wrong password are answered alike.
#[utoipa::path(post, path = "/v1/auth/login", tag = "accounts", request_body = LoginBody, responses(
    (status = 200, description = "Logged in.", body = SessionBody),
    (status = 202, description = "A code was mailed; it must follow.", body = ChallengeBody),
    (status = 401, description = "`credentials_invalid`."),
    (status = 429, description = "`rate_limited`."),
    (status = 503, description = "`overloaded`: too many logins at once."),
))]
async fn login(
    State(app): State<Arc<App>>,
    address: ClientAddress,
    Body(body): Body<LoginBody>,
) -> Result<Response, Problem> {
    Ok(logged_in(app.accounts.log_in(&body.login, &body.password, address.bucket()).await?))
}

/// The answer to who has proved who he is.
pub(super) fn logged_in(by: LoggedIn) -> Response {
    match by {
        LoggedIn::Session(session) => Json(SessionBody::from(*session)).into_response(),
        LoggedIn::Challenge { challenge_id, expires_in } => {
            let challenge = ChallengeBody { challenge_id, expires_in: expires_in.as_secs() };
            (StatusCode::ACCEPTED, Json(challenge)).into_response()
        }
    }
}

#[derive(serde::Deserialize, utoipa::ToSchema)]
struct LoginVerifyBody {
    challenge_id: String,
    /// The digits of the mail.
    #[schema(value_type = String, example = "123456")]
    code: Secret,
}

/// End a login by its code
#[utoipa::path(post, path = "/v1/auth/login/verify", tag = "accounts", request_body = LoginVerifyBody, responses(
    (status = 200, description = "Logged in.", body = SessionBody),
    (status = 400, description = "`code_invalid`: wrong or expired, or no such challenge."),
    (status = 429, description = "`too_many_attempts`: after 5 wrong tries the code is dead. `rate_limited`."),
))]
async fn login_verify(
    State(app): State<Arc<App>>,
    address: ClientAddress,
    Body(body): Body<LoginVerifyBody>,
) -> Result<Json<SessionBody>, Problem> {
    let session = app.accounts.verify_login(&body.challenge_id, &body.code, address.bucket()).await?;
    Ok(Json(session.into()))
}

#[derive(serde::Deserialize, utoipa::ToSchema)]
struct RefreshBody {
    #[schema(value_type = String)]
    refresh_token: Secret,
}

/// Stay logged in
///
/// Answers a new access token and the next refresh token. A refresh token is good once: using an old one again, also twice at
/// the same time, ends the login, because somebody else may have it.
#[utoipa::path(post, path = "/v1/auth/refresh", tag = "accounts", request_body = RefreshBody, responses(
    (status = 200, description = "The login goes on.", body = SessionBody),
    (status = 401, description = "`session_revoked`: the login has ended. `token_invalid`: never was a refresh token."),
    (status = 429, description = "`rate_limited`."),
))]
async fn refresh(
    State(app): State<Arc<App>>,
    address: ClientAddress,
    Body(body): Body<RefreshBody>,
) -> Result<Json<SessionBody>, Problem> {
    Ok(Json(app.accounts.refresh(&body.refresh_token, address.bucket()).await?.into()))
}

#[derive(serde::Deserialize, utoipa::ToSchema)]
struct LogoutBody {
    /// End all logins of the user, not this one alone.
    #[serde(default)]
    all: bool,
}

/// Log out
///
/// The login's tokens are no good from now on, and its WebSockets are closed within a second. The body may be left out.
#[utoipa::path(post, path = "/v1/auth/logout", tag = "accounts", security(("bearer" = [])),
    request_body = LogoutBody, responses((status = 204, description = "Logged out.")))]
async fn logout(
    State(app): State<Arc<App>>,
    Auth(me): Auth,
    Body(body): Body<LogoutBody>,
) -> Result<StatusCode, Problem> {
    app.accounts.log_out(&me, body.all).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Ask for a code that allows a new password
///
/// The answer is the same whether or not the address is known.
#[utoipa::path(post, path = "/v1/auth/password/forgot", tag = "accounts", request_body = EmailBody, responses(
    (status = 202, description = "If the address has an account, a mail was sent.", body = CodeSent),
    (status = 429, description = "`rate_limited`."),
))]
async fn forgot_password(
    State(app): State<Arc<App>>,
    address: ClientAddress,
    Body(body): Body<EmailBody>,
) -> Result<(StatusCode, Json<CodeSent>), Problem> {
    let life = app.accounts.forgot_password(&body.email, address.bucket()).await?;
    Ok((StatusCode::ACCEPTED, Json(CodeSent { expires_in: life.as_secs() })))
}

#[derive(serde::Deserialize, utoipa::ToSchema)]
struct ResetBody {
    #[schema(example = "ada@example.org")]
    email: String,
    /// The digits of the mail.
    #[schema(value_type = String, example = "123456")]
    code: Secret,
    /// 8-128 characters.
    #[schema(value_type = String, format = Password, example = "staple battery horse")]
    password: Secret,
}

/// Set a new password
///
/// Every login of the user ends.
#[utoipa::path(post, path = "/v1/auth/password/reset", tag = "accounts", request_body = ResetBody, responses(
    (status = 204, description = "The new password is in force."),
    (status = 400, description = "`code_invalid`: wrong or expired."),
    (status = 429, description = "`too_many_attempts`: after 5 wrong tries the code is dead. `rate_limited`."),
))]
async fn reset_password(
    State(app): State<Arc<App>>,
    address: ClientAddress,
    Body(body): Body<ResetBody>,
) -> Result<StatusCode, Problem> {
    app.accounts.reset_password(&body.email, &body.code, &body.password, address.bucket()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// A ticket for one WebSocket.
#[derive(serde::Serialize, utoipa::ToSchema)]
struct TicketBody {
    /// For `/v1/ws?ticket=`, good once.
    ticket: String,
    /// Seconds.
    #[schema(example = 30)]
    expires_in: u64,
}

/// Get a ticket to open a WebSocket
///
/// For clients that cannot send the access token in the first frame, and should not put it into a URL.
#[utoipa::path(post, path = "/v1/auth/ticket", tag = "accounts", security(("bearer" = [])), responses(
    (status = 200, description = "A ticket, good once.", body = TicketBody),
    (status = 429, description = "`rate_limited`."),
))]
async fn ticket(
    State(app): State<Arc<App>>,
    address: ClientAddress,
    Auth(me): Auth,
) -> Result<Json<TicketBody>, Problem> {
    let (ticket, life) = app.accounts.issue_ticket(&me, address.bucket()).await?;
    Ok(Json(TicketBody { ticket, expires_in: life.as_secs() }))
}

/// A public key (RFC 7517, RFC 8037).
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes what the accounts encode once per key")]
struct PublicKey {
    #[schema(example = "OKP")]
    kty: String,
    #[schema(example = "Ed25519")]
    crv: String,
    #[schema(example = "EdDSA")]
    alg: String,
    #[schema(rename = "use", example = "sig")]
    usage: String,
    kid: String,
    x: String,
}

/// Public keys.
#[derive(utoipa::ToSchema)]
#[expect(dead_code, reason = "describes what the accounts encode once per key")]
struct PublicKeys {
    keys: Vec<PublicKey>,
}

/// The public keys of access tokens
///
/// A JSON Web Key Set. An old key stays until the last token that it signed has expired.
#[utoipa::path(get, path = "/.well-known/jwks.json", tag = "accounts",
    responses((status = 200, description = "The keys, newest first.", body = PublicKeys)))]
async fn jwks(State(app): State<Arc<App>>) -> impl IntoResponse {
    // Shorter than the life of a token after a rotation, so that a cached answer lacks no key for long.
    let headers =
        [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "public, max-age=300")];
    (headers, app.accounts.jwks())
}
