//! What holds for every call: bodies, paths, methods, headers, pages.

use serde_json::json;

use super::{
    client::{raw, send},
    world::{World, unlimited},
};
use crate::edge::http::HttpSettings;

const JSON: &str = "content-type: application/json";

#[tokio::test]
async fn bodies_that_cannot_be_read() {
    let world = World::new().await;
    let post = |headers: &'static [&'static str], body: String| async move {
        send(world.at, "POST", "/v1/auth/login", headers, &body).await
    };
    for text in ["{", "nonsense", "{\"login\": \"a\"", "{\"login\":\"a\",\"password\":\"b\"} x", "\u{1}"] {
        post(&[JSON], text.to_owned()).await.refused(400, "malformed");
    }
    for text in ["[]", "5", "null", "{\"login\": 5, \"password\": \"x\"}", "{\"login\": {}}"] {
        post(&[JSON], text.to_owned()).await.refused(422, "invalid");
    }
    let fine = r#"{"login": "nobody", "password": "some password", "more": {"a": []}}"#.to_owned();
    for headers in [
        &[][..],
        &[JSON],
        &["content-type: application/json; charset=utf-8"],
        &["content-type: APPLICATION/problem+json"],
    ] {
        send(world.at, "POST", "/v1/auth/login", headers, &fine).await.refused(401, "credentials_invalid");
    }
    for headers in [&["content-type: text/plain"][..], &["content-type: application/x-www-form-urlencoded"]] {
        send(world.at, "POST", "/v1/auth/login", headers, &fine).await.refused(415, "unsupported_media_type");
    }
    let long = format!("{{\"login\": \"{}\"}}", "a".repeat(64 * 1024));
    post(&[JSON], long.clone()).await.refused(413, "body_too_large");
    // Also where the length is not said.
    let chunked = format!(
        "POST /v1/auth/login HTTP/1.1\r\nhost: x\r\nconnection: close\r\ntransfer-encoding: chunked\r\n{JSON}\r\n\r\n\
         {:x}\r\n{long}\r\n0\r\n\r\n",
        long.len()
    );
    raw(world.at, chunked.as_bytes()).await.refused(413, "body_too_large");
    let deep = format!("{{\"login\": {}", "[".repeat(30_000));
    assert!(matches!(post(&[JSON], deep).await.status, 400 | 422));
}

#[tokio::test]
async fn paths_and_methods() {
    let world = World::new().await;
    send(world.at, "GET", "/v1/nothing", &[], "").await.refused(404, "not_found");
    let answer = send(world.at, "GET", "/v1/auth/login", &[], "").await;
    answer.refused(405, "method_not_allowed");
    assert_eq!(answer.header("allow"), Some("POST"));
    assert_eq!(send(world.at, "HEAD", "/docs", &[], "").await.status, 200);
}

#[tokio::test]
async fn a_slow_body_is_given_up() {
    let http = HttpSettings { request_timeout_seconds: 1, ..HttpSettings::default() };
    let world = World::with(unlimited(), http).await;
    let request = format!(
        "POST /v1/auth/login HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{JSON}\r\ncontent-length: 9\r\n\r\n{{"
    );
    raw(world.at, request.as_bytes()).await.refused(503, "timeout");
}

#[tokio::test]
async fn pages_of_allowed_origins_may_read_answers() {
    let origins = vec!["https://chat.example.org".to_owned().try_into().unwrap()];
    let world =
        World::with(unlimited(), HttpSettings { allowed_origins: origins, ..HttpSettings::default() }).await;
    let allowed = "origin: https://chat.example.org";
    let asks = ["access-control-request-method: POST", "access-control-request-headers: authorization"];
    let preflight = send(world.at, "OPTIONS", "/v1/auth/login", &[allowed, asks[0], asks[1]], "").await;
    assert_eq!(preflight.status, 204);
    assert_eq!(preflight.header("access-control-allow-origin"), Some("https://chat.example.org"));
    assert!(preflight.header("access-control-allow-headers").unwrap().contains("authorization"));
    assert!(preflight.header("access-control-allow-credentials").is_none());
    let answer = send(world.at, "GET", "/v1/users/me", &[allowed], "").await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("https://chat.example.org"));
    let refused =
        send(world.at, "OPTIONS", "/v1/auth/login", &["origin: https://evil.test", asks[0]], "").await;
    assert!(refused.header("access-control-allow-origin").is_none());
    assert_eq!(refused.header("vary"), Some("origin"));
}

#[tokio::test]
async fn pages_say_what_runs_here() {
    let world = World::new().await;
    let front = send(world.at, "GET", "/", &[], "").await;
    assert_eq!(front.status, 200);
    for link in ["/docs", "/v1/openapi.json", "/dev/mailbox"] {
        let link = format!("href=\"{link}\"");
        assert!(front.text.contains(&link), "{link}");
    }
    assert!(front.text.contains("node &lt;1&gt;"), "the node's name is not escaped");
    let docs = send(world.at, "GET", "/docs", &[], "").await;
    let script = send(world.at, "GET", "/docs/docs.js", &[], "").await;
    assert!(docs.status == 200 && script.status == 200);
    assert!(script.header("content-type").unwrap().starts_with("text/javascript"));
    for page in [&front, &docs] {
        assert!(page.header("content-type").unwrap().starts_with("text/html"));
        assert!(!page.text.contains("https://"), "a page needs another server");
        assert!(page.header("content-security-policy").unwrap().contains("default-src 'none'"));
        assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
        assert_eq!(page.header("x-frame-options"), Some("DENY"));
    }
    let document = send(world.at, "GET", "/v1/openapi.json", &[], "").await.accepted(200);
    assert_eq!(document["components"]["securitySchemes"]["bearer"]["scheme"], json!("bearer"));
    for path in ["/v1/auth/register", "/v1/users/me", "/.well-known/jwks.json"] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
}

#[tokio::test]
async fn the_mailbox_shows_mails() {
    let world = World::new().await;
    let empty = send(world.at, "GET", "/dev/mailbox", &[], "").await;
    assert!(empty.status == 200 && empty.header("content-type").unwrap().starts_with("text/html"));
    world.user("ada").await;
    world.user("bob").await;
    let mails = send(world.at, "GET", "/dev/mailbox?to=ADA%40example.org", &[], "").await.accepted(200);
    let mails = mails["mails"].as_array().unwrap();
    assert_eq!(mails.len(), 2);
    for mail in mails {
        assert_eq!(mail["to"], "ada@example.org");
        for field in ["subject", "text", "html"] {
            assert!(mail[field].as_str().is_some_and(|text| !text.is_empty()), "{field}");
        }
        assert!(rookery_protocol::time::parse(mail["ts"].as_str().unwrap()).is_ok());
    }
    let all = send(world.at, "GET", "/dev/mailbox", &["accept: application/json"], "").await.accepted(200);
    assert_eq!(all["mails"].as_array().unwrap().len(), 4);
    let page = send(world.at, "GET", "/dev/mailbox", &["accept: text/html"], "").await;
    assert!(page.text.contains("bob@example.org") && page.text.contains(&world.code("bob@example.org")));
}

/// What somebody at `peer` who sends these headers is answered.
async fn asked_from(world: &World, peer: &str, path: &str, headers: &[(&str, &str)]) -> (u16, String) {
    let mut request = axum::http::Request::builder().uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut request = request.body(axum::body::Body::empty()).unwrap();
    let peer: std::net::SocketAddr = peer.parse().unwrap();
    request.extensions_mut().insert(axum::extract::ConnectInfo(peer));
    let router = super::super::router(world.app.clone());
    let answer = tower::ServiceExt::oneshot(router, request).await.unwrap();
    let status = answer.status().as_u16();
    let body = axum::body::to_bytes(answer.into_body(), 100_000).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn mails_are_shown_on_this_machine_alone() {
    let trusted = || vec!["127.0.0.0/8".parse().unwrap(), "203.0.113.0/24".parse().unwrap()];
    let http = HttpSettings { trusted_proxies: trusted(), ..HttpSettings::default() };
    let world = World::with(unlimited(), http).await;
    world.user("ada").await;
    let code = world.code("ada@example.org");
    let json = "/dev/mailbox?to=ada%40example.org";
    for here in ["127.0.0.1:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        let (status, mails) = asked_from(&world, here, json, &[]).await;
        assert!(status == 200 && mails.contains(&code), "{here}: {status} {mails}");
        assert!(asked_from(&world, here, "/", &[]).await.1.contains("/dev/mailbox"), "{here}");
    }
    for (peer, headers) in [
        ("203.0.113.9:1", &[][..]),
        ("[2001:db8::7]:1", &[]),
        // A trusted proxy elsewhere, whose client says that it is here.
        ("203.0.113.9:1", &[("x-forwarded-for", "127.0.0.1")]),
        // A proxy on this machine, trusted or not.
        ("127.0.0.1:1", &[("x-forwarded-for", "203.0.113.77")]),
        ("127.0.0.1:1", &[("x-forwarded-for", "127.0.0.1")]),
        ("127.0.0.1:1", &[("forwarded", "for=203.0.113.77")]),
        ("127.0.0.1:1", &[("x-real-ip", "203.0.113.77")]),
        ("127.0.0.1:1", &[("via", "1.1 proxy")]),
    ] {
        for path in ["/dev/mailbox", json] {
            let (status, said) = asked_from(&world, peer, path, headers).await;
            assert!(status == 403 && said.contains("\"forbidden\""), "{peer} {headers:?}: {status} {said}");
        }
        assert!(
            !asked_from(&world, peer, "/", headers).await.1.contains("/dev/mailbox"),
            "{peer} {headers:?}"
        );
    }
    let http = HttpSettings { dev_mailbox: true, ..HttpSettings::default() };
    let open = World::with(unlimited(), http).await;
    assert_eq!(asked_from(&open, "203.0.113.9:1", "/dev/mailbox", &[]).await.0, 200);
}

#[tokio::test]
async fn a_panic_is_a_problem_and_disturbs_nobody() {
    let world = World::new().await;
    let guard = axum::middleware::from_fn_with_state(world.app.clone(), super::super::guard::guard);
    let panics = axum::Router::new().route("/", axum::routing::get(panicking)).layer(guard);
    let request = axum::http::Request::builder().uri("/").body(axum::body::Body::empty()).unwrap();
    let answer = tower::ServiceExt::oneshot(panics, request).await.unwrap();
    assert_eq!(answer.status(), 500);
    assert_eq!(answer.headers()["content-type"], "application/problem+json");
    let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
    assert!(!std::str::from_utf8(&body).unwrap().contains("secret"));
}

async fn panicking() {
    panic!("a secret");
}
