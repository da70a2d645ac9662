//! The opening handshake (RFC 6455, section 4.2).

use std::sync::Arc;

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header},
    response::IntoResponse,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use hyper::upgrade::{OnUpgrade, Parts};
use hyper_util::rt::TokioIo;
use rookery_protocol::Subprotocol;
use sha1::{Digest, Sha1};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::server::TlsStream;

use super::{connection::Connection, hello::UrlCredentials, node::Edge};
use crate::{edge::patient::Patient, problem::Problem};

/// RFC 6455, section 1.3.
const MAGIC: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// A WebSocket that is being opened: the answer to its request must be sent first.
pub(crate) struct Upgrading {
    pub(super) protocol: Subprotocol,
    pub(super) credentials: Option<UrlCredentials>,
    /// Its page's origin may use this service.
    pub(super) origin_allowed: bool,
    /// Resolves to the connection.
    pub(super) on: OnUpgrade,
}

/// Answers a request to open a WebSocket.
///
/// Without a `Sec-WebSocket-Protocol` JSON is spoken; if only unknown ones are offered, the answer is 400. Of a
/// forbidden origin the connection is opened and closed with 4403 at once, since a page cannot see anything else.
pub(crate) fn handshake(
    edge: &Arc<Edge>,
    request: &mut Request<Body>,
) -> (Response<Body>, Option<Upgrading>) {
    match check(edge, request) {
        Ok((protocol, chosen, accept)) => {
            let mut answer = Response::new(Body::empty());
            *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
            let headers = answer.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
            if chosen {
                headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol.name()));
            }
            let headers = request.headers();
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
            let origin_allowed = headers.get(header::ORIGIN).is_none_or(|origin| {
                origin.to_str().is_ok_and(|origin| edge.app.http.origin_allowed(origin, host))
            });
            let credentials = UrlCredentials::of(request.uri().query().unwrap_or_default());
            let on = hyper::upgrade::on(request);
            (answer, Some(Upgrading { protocol, credentials, origin_allowed, on }))
        }
        Err(problem) => {
            let upgrade = problem.status == StatusCode::UPGRADE_REQUIRED;
            let mut answer = problem.into_response();
            if upgrade {
                let headers = answer.headers_mut();
                headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
            }
            (answer, None)
        }
    }
}

fn check(edge: &Edge, request: &Request<Body>) -> Result<(Subprotocol, bool, HeaderValue), Problem> {
    let headers = request.headers();
    if request.method() != Method::GET {
        return Err(Problem::new(405, "method_not_allowed", "A WebSocket is opened by GET."));
    }
    if !lists(headers, header::CONNECTION, "upgrade") || !lists(headers, header::UPGRADE, "websocket") {
        return Err(Problem::new(426, "upgrade_required", "This address speaks WebSocket only."));
    }
    if !lists(headers, header::SEC_WEBSOCKET_VERSION, "13") {
        return Err(Problem::new(426, "upgrade_required", "Version 13 of WebSocket is spoken here."));
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(HeaderValue::as_bytes).unwrap_or_default();
    if STANDARD.decode(key).map(|key| key.len()) != Ok(16) {
        let detail = "Sec-WebSocket-Key must be 16 bytes in Base64.";
        return Err(Problem::new(400, "handshake_invalid", detail));
    }
    let offered: Vec<_> = list(headers, header::SEC_WEBSOCKET_PROTOCOL).collect();
    let protocol = match Subprotocol::ALL.into_iter().find(|one| offered.contains(&one.name())) {
        Some(protocol) => protocol,
        None if offered.is_empty() => Subprotocol::Json,
        None => {
            let detail = "Offer the subprotocol rookery.v1.json or rookery.v1.proto.";
            return Err(Problem::new(400, "subprotocol_unsupported", detail));
        }
    };
    if edge.is_draining() {
        return Err(Problem::unavailable("This node is leaving; connect to another."));
    }
    let digest = Sha1::new().chain_update(key).chain_update(MAGIC).finalize();
    let accept = HeaderValue::try_from(STANDARD.encode(digest)).map_err(|_| Problem::internal())?;
    Ok((protocol, !offered.is_empty(), accept))
}

/// The elements of a header that is a list, over all its lines.
fn list(headers: &HeaderMap, name: header::HeaderName) -> impl Iterator<Item = &str> {
    headers
        .get_all(name)
        .into_iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(',').map(str::trim))
        .filter(|element| !element.is_empty())
}

fn lists(headers: &HeaderMap, name: header::HeaderName, wanted: &str) -> bool {
    list(headers, name).any(|element| element.eq_ignore_ascii_case(wanted))
}

impl Upgrading {
    /// Waits for the connection, and serves it in a task of its own, so that nothing of HTTP is kept.
    pub(crate) async fn run<G: Unpin + Send + 'static>(mut self, edge: Arc<Edge>, guard: G) {
        let Ok(upgraded) = (&mut self.on).await else { return };
        match upgraded.downcast::<TokioIo<Patient<TcpStream>>>() {
            Ok(parts) => self.serve(edge, parts, guard),
            Err(upgraded) => {
                if let Ok(parts) = upgraded.downcast::<TokioIo<Patient<TlsStream<TcpStream>>>>() {
                    self.serve(edge, parts, guard);
                }
            }
        }
    }

    fn serve<S, G>(self, edge: Arc<Edge>, parts: Parts<TokioIo<Patient<S>>>, guard: G)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
        G: Unpin + Send + 'static,
    {
        let Parts { io, read_buf, .. } = parts;
        let socket = io.into_inner().into_inner();
        let mut connection = Connection::new(socket, edge, self.protocol, self.credentials, &read_buf, guard);
        if !self.origin_allowed {
            connection.close(4403, "pages of this origin may not use this service");
        }
        tokio::spawn(connection);
    }
}
