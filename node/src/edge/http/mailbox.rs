//! `/dev/mailbox`: the mails that `standalone` keeps instead of sending them, and those of a cluster that is tested (`http.dev_mailbox`).
//!
//! Whoever reads a code can be whom it was mailed to: without that setting they are shown on this machine alone.

use std::{convert::Infallible, fmt::Write as _, net::SocketAddr, sync::Arc};

use axum::{
    Json,
    extract::{ConnectInfo, FromRequestParts, State},
    http::{HeaderMap, header, request::Parts},
    response::{Html, IntoResponse, Response},
};

use super::{
    front::{PAGE, escape},
    query::Query,
    timestamp::rfc3339,
};
use crate::{backend::StoredMail, edge::App, problem::Problem};

/// Mails shown at once, newest first.
const SHOWN: usize = 100;

/// Headers by which a proxy says that it asks for somebody else.
const FORWARDED: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// Whether who asks may read the mails.
pub(super) struct MayRead(pub(super) bool);

impl FromRequestParts<Arc<App>> for MayRead {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &Arc<App>) -> Result<Self, Self::Rejection> {
        // The peer of the connection: what a header says of the client is never enough for this, whoever wrote it.
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let is_here = peer.is_some_and(|peer| peer.0.ip().to_canonical().is_loopback());
        let by_proxy = FORWARDED.iter().any(|name| parts.headers.contains_key(*name));
        Ok(Self(app.mailbox.is_some() && (app.http.dev_mailbox || is_here && !by_proxy)))
    }
}

#[derive(serde::Deserialize)]
pub(super) struct Filter {
    to: Option<String>,
}

#[derive(serde::Serialize)]
struct Mails {
    mails: Vec<MailBody>,
}

#[derive(serde::Serialize)]
struct MailBody {
    to: String,
    subject: String,
    text: String,
    html: String,
    ts: String,
}

/// The newest mails, newest first: as JSON if asked for (`Accept: application/json`, or `?to=` an address), else as page.
pub(super) async fn mailbox(
    State(app): State<Arc<App>>,
    MayRead(may_read): MayRead,
    Query(filter): Query<Filter>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let mailbox =
        app.mailbox.as_ref().ok_or_else(|| Problem::new(404, "not_found", "This node sends its mails."))?;
    if !may_read {
        let why = "Mails are shown on the node's own machine alone, and not through a proxy, unless http.dev_mailbox is set.";
        return Err(Problem::new(403, "forbidden", why));
    }
    let mails = mailbox.list(filter.to.as_deref().map(str::trim)).await;
    let mut mails = mails.map_err(|why| {
        tracing::warn!(%why, "the mailbox does not answer");
        Problem::unavailable("The mailbox does not answer now; try again.")
    })?;
    mails.truncate(SHOWN);
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let as_json = accept.contains("application/json") || filter.to.is_some() && !accept.contains("text/html");
    Ok(if as_json { json(mails) } else { page(&mails) })
}

fn json(mails: Vec<StoredMail>) -> Response {
    let mails = mails
        .into_iter()
        .map(|mail| MailBody {
            to: mail.to,
            subject: mail.subject,
            text: mail.text,
            html: mail.html,
            ts: rfc3339(mail.ts),
        })
        .collect();
    Json(Mails { mails }).into_response()
}

fn page(mails: &[StoredMail]) -> Response {
    let mut page = format!(
        "{}<title>Mailbox</title><h1>Mailbox</h1><p>Mails are not sent by this node; they end here, newest first. \
         As JSON: <code>/dev/mailbox?to=ADDRESS</code>.</p>",
        include_str!("pages/head.html")
    );
    if mails.is_empty() {
        page.push_str("<p>Nothing yet. Register, and the code appears here.</p>");
    }
    for mail in mails {
        // Writing to a string cannot fail.
        let _ = write!(
            page,
            "<article><h2>{}</h2><p><b>{}</b> · {}</p><pre>{}</pre></article>",
            escape(&mail.subject),
            escape(&mail.to),
            rfc3339(mail.ts),
            escape(&mail.text),
        );
    }
    (PAGE, Html(page)).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn page_is_escaped() {
        let answer = page(&[StoredMail {
            to: "<a@example.org>".into(),
            subject: "\"><script>".into(),
            text: "</pre><script>alert(1)</script>".into(),
            html: String::new(),
            ts: 0,
        }]);
        let body = axum::body::to_bytes(answer.into_body(), 100_000).await.unwrap();
        assert!(!std::str::from_utf8(&body).unwrap().contains("<script>"));
    }
}
