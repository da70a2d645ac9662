//! Problems as answers: RFC 9457 `application/problem+json`.

use std::{collections::BTreeMap, time::Duration};

use axum::{
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
};

use crate::problem::Problem;

/// Media type of problems.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// A refusal or failure (RFC 9457).
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody<'a> {
    /// A URI reference that names the kind of problem: `/docs#` and the code.
    #[serde(rename = "type")]
    #[schema(example = "/docs#username_taken")]
    kind: String,
    /// The status in words.
    #[schema(example = "Conflict")]
    title: &'a str,
    /// The HTTP status.
    #[schema(example = 409)]
    status: u16,
    /// A sentence that says what is wrong and what can be done.
    #[schema(example = "That username is taken; choose another one.")]
    detail: &'a str,
    /// A stable word for programs.
    #[schema(example = "username_taken")]
    code: &'a str,
    /// What is wrong with which field of the request.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    #[schema(value_type = BTreeMap<String, String>, required = false)]
    fields: BTreeMap<&'a str, &'a str>,
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = ProblemBody {
            kind: format!("/docs#{}", self.code),
            title: status.canonical_reason().unwrap_or("Problem"),
            status: status.as_u16(),
            detail: &self.detail,
            code: self.code,
            fields: self.fields.iter().map(|(field, why)| (field.as_ref(), why.as_ref())).collect(),
        };
        // Text, numbers and a map with text as keys: this cannot fail.
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let mut answer =
            (status, [(header::CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON))], body).into_response();
        if let Some(after) = self.retry_after {
            // Whole seconds, rounded up: never earlier than true.
            let seconds = (after + Duration::from_millis(999)).as_secs().max(1);
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6750: a token that was sent and is no good is said to be so.
            let challenge = match self.code {
                "token_invalid" | "token_expired" => r#"Bearer realm="rookery", error="invalid_token""#,
                _ => r#"Bearer realm="rookery""#,
            };
            answer.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
        }
        answer
    }
}

/// 404 for paths that are no calls.
pub(super) async fn not_found() -> Problem {
    Problem::new(404, "not_found", "There is nothing at this path; /docs lists the calls.")
}

/// 405 for paths that are calls with another method; `Allow` says which.
pub(super) async fn method_not_allowed() -> Problem {
    Problem::new(
        405,
        "method_not_allowed",
        "This path exists, but not with this method; /docs lists the calls.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn is_problem_json() {
        let answer = Problem::invalid("email", "An @ is missing.")
            .retry_after(Duration::from_millis(1001))
            .into_response();
        assert_eq!(answer.status(), 422);
        assert_eq!(answer.headers()["content-type"], PROBLEM_JSON);
        assert_eq!(answer.headers()["retry-after"], "2");
        let body = axum::body::to_bytes(answer.into_body(), 10_000).await.unwrap();
        assert_eq!(
            serde_json::from_slice::<serde_json::Value>(&body).unwrap(),
            serde_json::json!({
                "type": "/docs#invalid", "title": "Unprocessable Entity", "status": 422, "code": "invalid",
                "detail": "The request has fields that cannot be accepted.",
                "fields": {"email": "An @ is missing."},
            })
        );
    }
}
