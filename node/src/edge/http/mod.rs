//! HTTP: routes, extractors, problems as answers, the OpenAPI document.
//!
//! Here belongs the mapping between HTTP and the services. No rule about rooms or accounts.
//!
//! How to add calls: write a file with `pub(super) fn routes() -> OpenApiRouter<Arc<App>>` that collects handlers
//! by `routes!`, each with `#[utoipa::path]` and a doc comment (its first line becomes the summary), and merge it in
//! [`calls`]. Handlers take [`Auth`], [`ClientAddress`], [`Path`], [`Query`], [`Body`] (last) and answer
//! `Result<_, Problem>`. Say in `responses` what succeeds and the problems that are the call's own, as
//! ``(status = 409, description = "`username_taken`: ...")``; what every call may answer is added by `openapi`.
//! Names of handlers are the operation ids: they must be unique over all files.

mod accounts;
mod address;
mod auth;
mod body;
mod cursor;
mod direct;
mod external;
mod front;
mod guard;
mod mailbox;
mod members;
mod messages;
mod openapi;
mod path;
mod problem;
mod query;
mod rooms;
mod settings;
#[cfg(test)]
mod tests;
mod timestamp;
mod unsubscribe;
mod users;

use std::sync::Arc;

use axum::{Router, extract::DefaultBodyLimit, middleware, routing::get};
use utoipa_axum::router::OpenApiRouter;

pub use address::ClientAddress;
pub use auth::Auth;
pub use body::Body;
pub use path::Path;
pub use problem::ProblemBody;
pub use query::Query;
pub use settings::{HttpSettings, Network, Origin};
pub use timestamp::rfc3339;

use crate::edge::App;

/// All calls that the OpenAPI document describes.
fn calls() -> OpenApiRouter<Arc<App>> {
    OpenApiRouter::with_openapi(openapi::head())
        .merge(accounts::routes())
        .merge(external::routes())
        .merge(users::routes())
        .merge(rooms::routes())
        .merge(members::routes())
        .merge(messages::routes())
        .merge(direct::routes())
        .merge(unsubscribe::routes())
}

/// Everything that is answered over HTTP on the public port, apart from the WebSocket.
///
/// Requests must carry `axum::extract::ConnectInfo<SocketAddr>` as an extension: the address of the peer.
pub fn router(app: Arc<App>) -> Router {
    let (calls, api) = calls().split_for_parts();
    let document = openapi::Document::new(&api);
    let mut router = calls
        .route("/", get(front::front))
        .route("/docs", get(front::docs))
        .route("/docs/docs.js", get(front::script))
        .route("/v1/openapi.json", get(move || std::future::ready(document.answer())));
    if app.mailbox.is_some() {
        router = router.route("/dev/mailbox", get(mailbox::mailbox));
    }
    router
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::method_not_allowed)
        .layer(DefaultBodyLimit::max(app.http.max_body_bytes))
        .layer(middleware::from_fn_with_state(app.clone(), guard::guard))
        .with_state(app)
}
