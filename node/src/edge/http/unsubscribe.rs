//! Ending mails about messages, from a link in one of them (RFC 8058).

use std::sync::Arc;

use axum::{
    extract::State,
    response::{Html, IntoResponse},
};
use utoipa_axum::{router::OpenApiRouter, routes};

use super::{Query, front::PAGE};
use crate::{edge::App, problem::Problem};

pub(super) fn routes() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::new().routes(routes!(ask_to_unsubscribe, unsubscribe))
}

#[derive(serde::Deserialize)]
struct Link {
    #[serde(default)]
    token: String,
}

/// The page behind the link
///
/// Asks whether that is meant: programs that look at links in mails must not end anything.
#[utoipa::path(get, path = "/v1/mail/unsubscribe", tag = "users",
    params(("token" = String, Query, description = "From the mail.")),
    responses((status = 200, description = "A page with a button.", content_type = "text/html")))]
async fn ask_to_unsubscribe() -> impl IntoResponse {
    let page = concat!(
        include_str!("pages/head.html"),
        "<title>Mails</title><h1>No more mails about messages?</h1>",
        "<form method=\"post\"><button>No more mails</button></form>"
    );
    (PAGE, Html(page))
}

/// End mails about messages
///
/// Needs no login: the token is for this alone. What mail programs call when their reader clicks once; they send
/// `List-Unsubscribe=One-Click` as body, which is not looked at. Turned on again by `notifications` of the account.
#[utoipa::path(post, path = "/v1/mail/unsubscribe", tag = "users",
    params(("token" = String, Query, description = "From the mail.")),
    responses(
        (status = 200, description = "Done.", content_type = "text/html"),
        (status = 400, description = "`token_invalid`."),
    ))]
async fn unsubscribe(
    State(app): State<Arc<App>>,
    Query(link): Query<Link>,
) -> Result<impl IntoResponse, Problem> {
    app.accounts.unsubscribe(&link.token).await?;
    let page = concat!(
        include_str!("pages/head.html"),
        "<title>Mails</title><h1>Done</h1><p>You get no more mails about messages.</p>"
    );
    Ok((PAGE, Html(page)))
}
