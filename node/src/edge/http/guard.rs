//! What holds for every request: time limit, panics, CORS, security headers.

use std::{
    future::poll_fn,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::pin,
    sync::Arc,
    task::Poll,
};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

use crate::{edge::App, problem::Problem};

/// Pages say what they need themselves; answers of the API are no pages.
const NO_CONTENT: HeaderValue = HeaderValue::from_static("default-src 'none'; frame-ancestors 'none'");

/// Wraps all routes.
pub(super) async fn guard(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let cors = allowed_origin(&app, request.headers());
    let preflight = request.method() == Method::OPTIONS
        && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut answer = if preflight {
        StatusCode::NO_CONTENT.into_response()
    } else {
        let path = request.uri().path().to_owned();
        answer(&app, &path, request, next).await
    };
    let headers = answer.headers_mut();
    secure(headers);
    headers.append(header::VARY, HeaderValue::from_static("origin"));
    if let Some(origin) = cors {
        share(headers, origin, preflight);
    }
    answer
}

/// Runs the request within its time; a panic in it is logged by the panic hook and answered 500.
async fn answer(app: &App, path: &str, request: Request, next: Next) -> Response {
    let mut work = pin!(next.run(request));
    let caught = poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    });
    match tokio::time::timeout(app.http.request_timeout(), caught).await {
        Ok(Some(answer)) => answer,
        Ok(None) => {
            tracing::error!(path, "a request handler panicked");
            Problem::internal().into_response()
        }
        Err(_) => {
            tracing::warn!(path, "a request took too long");
            Problem { code: "timeout", ..Problem::unavailable("The request took too long; try again.") }
                .into_response()
        }
    }
}

/// The request's origin, if its pages may read answers.
fn allowed_origin(app: &App, headers: &HeaderMap) -> Option<HeaderValue> {
    let origin = headers.get(header::ORIGIN)?;
    let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
    app.http.origin_allowed(origin.to_str().ok()?, host).then(|| origin.clone())
}

fn secure(headers: &mut HeaderMap) {
    let mut default = |name: HeaderName, value| {
        headers.entry(name).or_insert(value);
    };
    default(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    default(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    default(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    default(header::CONTENT_SECURITY_POLICY, NO_CONTENT);
    default(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
}

/// Lets a page of another origin read the answer. Without credentials: tokens are sent by the page itself.
fn share(headers: &mut HeaderMap, origin: HeaderValue, preflight: bool) {
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    if preflight {
        for (name, value) in [
            (header::ACCESS_CONTROL_ALLOW_METHODS, "GET, POST, PUT, PATCH, DELETE"),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type"),
            (header::ACCESS_CONTROL_MAX_AGE, "600"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
    } else {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
    }
}
