//! Mails that `standalone` has given up, on the management port: listed and put back by its keeper.

use std::sync::Arc;

use axum::{
    Router,
    extract::{Query, State},
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::get,
};
use serde::Deserialize;

use crate::backend::embedded::EmbeddedOutbox;

/// Which are put back.
#[derive(Deserialize)]
struct Which {
    /// The one of this job; without, all.
    job: Option<String>,
}

/// `GET /mails/dead`: a line each; `POST /mails/dead`: puts them back, all or that of `?job=`.
pub fn router(outbox: Arc<EmbeddedOutbox>) -> Router {
    Router::new().route("/mails/dead", get(list).post(requeue)).with_state(outbox)
}

async fn list(State(outbox): State<Arc<EmbeddedOutbox>>) -> String {
    outbox.dead_letters()
}

async fn requeue(State(outbox): State<Arc<EmbeddedOutbox>>, Query(which): Query<Which>) -> Response {
    match outbox.requeue(which.job.as_deref()).await {
        Ok(0) if which.job.is_some() => (StatusCode::NOT_FOUND, "no such dead letter\n").into_response(),
        Ok(count) => format!("{count} put back\n").into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}
