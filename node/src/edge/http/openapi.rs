//! The OpenAPI document: made from the handlers, finished with what all calls have in common.

use axum::{
    http::header,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use serde_json::{Map, Value, json};
use utoipa::{
    OpenApi, ToSchema,
    openapi::{
        OpenApi as Api,
        security::{HttpAuthScheme, HttpBuilder, SecurityScheme},
    },
};

use super::problem::{PROBLEM_JSON, ProblemBody};

/// Name of the security scheme that calls with a token refer to.
pub(super) const BEARER: &str = "bearer";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Rookery",
        version = "1",
        description = "Accounts, rooms and history of a Rookery chat service over HTTP. What is live goes over one \
            WebSocket, `GET /v1/ws`.\n\nTimes are RFC 3339 UTC with milliseconds; ids are opaque strings. Errors are \
            RFC 9457 problems: programs look at `code`, which is stable; `fields` says what is wrong with which field. \
            429 and 503 say in `Retry-After` when to try again. Unknown fields are ignored.",
        license(name = "Apache-2.0", identifier = "Apache-2.0"),
    ),
    tags(
        (name = "accounts", description = "Registering, logging in, staying logged in, logging out."),
        (name = "users", description = "Who is who."),
        (name = "rooms", description = "Rooms, their members and their messages."),
        (name = "live", description = "The WebSocket: everything live."),
    ),
    paths(open_websocket),
)]
struct Head;

/// Open the WebSocket
///
/// A request for an upgrade to WebSocket (RFC 6455) with the subprotocol `rookery.v1.json` (text frames) or
/// `rookery.v1.proto` (binary frames, the same messages in Protobuf); without one JSON is spoken. The first frame is
/// `hello`, with a token or ticket unless the URL has one.
///
/// A connection follows at most `limits.subscriptions` rooms, as `welcome` says. Of `"rooms": "all"` those that are named in
/// `resume` come first; that some do not fit, now or when its user comes into one more, is said by an `error` without `re`, with
/// the code `too_many_subscriptions` (and `room`, if it is one).
///
/// `read` tells a user's own connections, on every node, how far he has read, so that what he reads on one of them is read on all. It
/// is not told to others: in a room of many, each one's reading would be written to every other's, and who has read what is
/// nobody's business but his.
///
/// The node closes with 1008 (too much that is malformed, or over the rate), 1009 (a frame too large), 1011 (a mistake in the node),
/// 1012 (after `drain`: this node leaves), 1013 (it cannot serve this now: the reason is `{"retry_after_ms": ...}`), 4401 (no valid
/// credentials, or not any more), 4403 (a page's origin that is not allowed), 4408 (no `hello` in time), 4409 (its reader is too
/// slow: it resumes without loss).
#[utoipa::path(get, path = "/v1/ws", tag = "live",
    params(("ticket" = Option<String>, Query, description = "A ticket, good once."),
        ("token" = Option<String>, Query, description = "An access token, where the node accepts one here."),
        ("Sec-WebSocket-Protocol" = Option<String>, Header, description = "`rookery.v1.json` or `rookery.v1.proto`.")),
    responses((status = 101, description = "The WebSocket is open."),
        (status = 400, description = "`handshake_invalid`, `subprotocol_unsupported`."),
        (status = 426, description = "`upgrade_required`: this is no request for a WebSocket of version 13.")))]
#[expect(dead_code, reason = "describes what is answered before the router, by `edge/ws`")]
fn open_websocket() {}

/// The document without any calls.
pub(super) fn head() -> Api {
    let mut api = Head::openapi();
    let components = api.components.get_or_insert_default();
    components.schemas.insert("Problem".to_owned(), <ProblemBody<'_> as utoipa::PartialSchema>::schema());
    let mut nested = Vec::new();
    <ProblemBody<'_> as ToSchema>::schemas(&mut nested);
    components.schemas.extend(nested);
    components.add_security_scheme(
        BEARER,
        SecurityScheme::Http(
            HttpBuilder::new()
                .scheme(HttpAuthScheme::Bearer)
                .bearer_format("JWT")
                .description(Some("The `access_token` of a session."))
                .build(),
        ),
    );
    api
}

/// The document as it is served.
#[derive(Clone)]
pub(super) struct Document(Bytes);

impl Document {
    /// Finishes what the handlers said and encodes it, once.
    pub(super) fn new(api: &Api) -> Self {
        // The types of the document all have text keys, so neither step can fail.
        let mut document = serde_json::to_value(api).unwrap_or_default();
        finish(&mut document);
        Self(serde_json::to_vec(&document).unwrap_or_default().into())
    }

    /// The answer to `GET /v1/openapi.json`.
    pub(super) fn answer(&self) -> Response {
        ([(header::CONTENT_TYPE, "application/json")], self.0.clone()).into_response()
    }
}

/// What a kind of call may answer besides what its handler says.
const BODY: &[(&str, &str)] = &[
    ("400", "`malformed`: the body is not JSON."),
    ("413", "`body_too_large`."),
    ("415", "`unsupported_media_type`: the Content-Type is not JSON."),
    ("422", "`invalid`: `fields` says what is wrong with which field."),
];
const QUERY: &[(&str, &str)] = &[("422", "`invalid`: `fields` says what is wrong with which parameter.")];
const TOKEN: &[(&str, &str)] = &[(
    "401",
    "`token_missing`, `token_invalid`, `token_expired`, `session_revoked`: no valid access token was sent.",
)];
const WRITE: &[(&str, &str)] = &[("429", "`rate_limited`: too many calls that change something.")];
const ALL: &[(&str, &str)] = &[
    ("500", "`internal`: a mistake in the node; its log says more."),
    ("503", "`unavailable`, `timeout`, `overloaded`: try again after `Retry-After`."),
];

fn finish(document: &mut Value) {
    let Some(paths) = document["paths"].as_object_mut() else { return };
    let operations = paths.values_mut().filter_map(Value::as_object_mut).flat_map(|item| {
        item.iter_mut()
            .filter(|(key, _)| !matches!(key.as_str(), "parameters" | "summary" | "description" | "servers"))
            .filter_map(|(method, operation)| Some((method == "get", operation.as_object_mut()?)))
    });
    for (is_get, operation) in operations {
        let has_body = operation.contains_key("requestBody");
        let has_query = operation
            .get("parameters")
            .and_then(Value::as_array)
            .is_some_and(|all| all.iter().any(|p| p["in"] == "query"));
        let has_token = operation
            .get("security")
            .and_then(Value::as_array)
            .is_some_and(|all| all.iter().any(|scheme| scheme.get(BEARER).is_some()));
        let Some(responses) = operation.entry("responses").or_insert_with(|| json!({})).as_object_mut()
        else {
            continue;
        };
        let writes = has_token && !is_get;
        let kinds = [
            (has_body, BODY),
            (has_query && !has_body, QUERY),
            (has_token, TOKEN),
            (writes, WRITE),
            (true, ALL),
        ];
        for (status, description) in kinds.iter().filter(|(applies, _)| *applies).flat_map(|(_, all)| *all) {
            common(responses, status, description);
        }
        for (status, response) in responses.iter_mut() {
            if status.starts_with(['4', '5']) {
                problem(status, response);
            }
        }
    }
}

/// Adds a common answer, behind what the handler says about the same status.
fn common(responses: &mut Map<String, Value>, status: &str, description: &str) {
    let response = responses.entry(status).or_insert_with(|| json!({"description": ""}));
    let own = response["description"].as_str().unwrap_or_default();
    response["description"] =
        if own.is_empty() { description.to_owned() } else { format!("{own} {description}") }.into();
}

/// Says that an answer is a problem.
fn problem(status: &str, response: &mut Value) {
    response["content"] = json!({ PROBLEM_JSON: { "schema": { "$ref": "#/components/schemas/Problem" } } });
    if matches!(status, "429" | "503") {
        response["headers"] = json!({
            "Retry-After": { "description": "Seconds after which to try again.", "schema": { "type": "integer" } },
        });
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn document() -> Value {
        let (_, api) = super::super::calls().split_for_parts();
        serde_json::from_slice(&Document::new(&api).0).unwrap()
    }

    fn refs(value: &Value, found: &mut BTreeSet<String>) {
        match value {
            Value::Object(map) => {
                if let Some(target) = map.get("$ref").and_then(Value::as_str) {
                    found.insert(target.to_owned());
                }
                map.values().for_each(|inner| refs(inner, found));
            }
            Value::Array(list) => list.iter().for_each(|inner| refs(inner, found)),
            _ => {}
        }
    }

    #[test]
    fn every_operation_is_described() {
        let document = document();
        assert!(document["openapi"].as_str().unwrap().starts_with("3."));
        let mut ids = BTreeSet::new();
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                let at = format!("{method} {path}");
                let id = operation["operationId"].as_str().unwrap_or_else(|| panic!("{at}: no operationId"));
                assert!(ids.insert(id.to_owned()), "{at}: {id} is used twice");
                assert!(operation["summary"].as_str().is_some_and(|s| !s.is_empty()), "{at}: no summary");
                assert!(operation["tags"].as_array().is_some_and(|t| !t.is_empty()), "{at}: no tag");
                let responses = operation["responses"].as_object().unwrap();
                assert!(responses.keys().any(|s| s.starts_with(['1', '2', '3'])), "{at}: no success");
                for (status, response) in responses {
                    let text = response["description"].as_str().unwrap_or_default();
                    assert!(!text.is_empty(), "{at}: {status} has no description");
                    if status.starts_with(['4', '5']) {
                        assert!(text.starts_with('`'), "{at}: {status} does not begin with its code: {text}");
                    }
                }
                let named: BTreeSet<_> = path.split(['{', '}']).skip(1).step_by(2).collect();
                let said: BTreeSet<_> = operation["parameters"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .filter(|p| p["in"] == "path")
                    .map(|p| p["name"].as_str().unwrap())
                    .collect();
                assert_eq!(named, said, "{at}: parameters of the path");
            }
        }
        assert!(!ids.is_empty());
    }

    #[test]
    fn every_reference_resolves() {
        let document = document();
        let mut found = BTreeSet::new();
        refs(&document, &mut found);
        assert!(found.contains("#/components/schemas/Problem"));
        for target in found {
            assert!(document.pointer(target.trim_start_matches('#')).is_some(), "{target}");
        }
        for scheme in document["components"]["securitySchemes"].as_object().unwrap().keys() {
            assert_eq!(scheme, BEARER);
        }
    }
}
