//! The pages for people: what runs here, and the API's description.

use std::sync::Arc;

use axum::{
    extract::State,
    http::{HeaderName, HeaderValue, header},
    response::{Html, IntoResponse},
};

use super::mailbox::MayRead;
use crate::edge::App;

/// What our own pages may load: nothing but themselves.
pub(super) const PAGE: [(HeaderName, HeaderValue); 1] = [(
    header::CONTENT_SECURITY_POLICY,
    HeaderValue::from_static(
        "default-src 'none'; style-src 'unsafe-inline'; script-src 'self'; connect-src 'self'; frame-ancestors 'none'",
    ),
)];

const HEAD: &str = include_str!("pages/head.html");

/// `GET /`: what runs here.
pub(super) async fn front(State(app): State<Arc<App>>, MayRead(may_read): MayRead) -> impl IntoResponse {
    let mailbox = if may_read {
        "<li><a href=\"/dev/mailbox\">/dev/mailbox</a>: the mails that this node would send, codes included</li>"
    } else {
        ""
    };
    let page = format!(
        "{HEAD}<title>Rookery</title><h1>Rookery</h1>\
         <p>A chat service runs here: accounts, rooms and direct messages over HTTP and WebSocket. \
         This is node <b>{}</b>, version {}.</p>\
         <ul><li><a href=\"/docs\">/docs</a>: every call, with its fields and answers</li>\
         <li><a href=\"/v1/openapi.json\">/v1/openapi.json</a>: the same for programs</li>{mailbox}</ul>",
        escape(&app.node),
        env!("CARGO_PKG_VERSION"),
    );
    (PAGE, Html(page))
}

/// `GET /docs`: the OpenAPI document, readable. Works without any other server.
pub(super) async fn docs() -> impl IntoResponse {
    (PAGE, Html(concat!(include_str!("pages/head.html"), include_str!("pages/docs.html"))))
}

/// The script of `/docs`.
pub(super) async fn script() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/javascript; charset=utf-8")], include_str!("pages/docs.js"))
}

/// Text as HTML, in elements and in quoted attributes.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}
